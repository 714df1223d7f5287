"""What all model servers over HTTP have in common: keys, one pooled client, and the four ways to ask.

A server's own dialect is four small functions: where to post, what to post, how to read a reply, how to read
a stream.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, closing
from dataclasses import replace
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self, TypeVar, TypeVarTuple
from urllib.parse import urlsplit

from pydantic import SecretStr

from loopllm.errors import MisuseError, ProviderError
from loopllm.providers.base import Completion, CompletionChunk, TextPrompt
from loopllm.providers.failures import without_secrets
from loopllm.providers.http import HttpClient
from loopllm.providers.prompts import as_messages

ReadT = TypeVar("ReadT")
ArgTs = TypeVarTuple("ArgTs")


class StreamReader(Protocol):
    """Reads one streamed reply, line by line; knows no I/O."""

    done: bool

    def feed(self, line: str) -> str:
        """Take the next line; return the text it brings, possibly none."""
        ...

    def last(self) -> CompletionChunk:
        """Return usage and finish reason; raise `ProviderError` when the stream broke off."""
        ...


class HttpChatProvider(ABC):
    """A chat model behind HTTP.

    Keys and headers are kept as `SecretStr`. They are in no repr and in no pickle: an unpickled provider
    takes its key from the environment again, or says that it has none. A copy is the provider itself,
    sharing its connections.

    Args:
        base_url: Address of the server's API, `http://` or `https://`.
        model: The model's name; None when every call names one.
        api_key: Sent as a bearer token.
        headers: Further headers of every request.
        default_params: Further fields of every request; a value None leaves the field out.
        name: What this provider is called in its repr.
    """

    _extra: ClassVar[str] = "openrouter"
    _local: ClassVar[bool] = False
    _when_unreachable: ClassVar[str] = "is it running, and is base_url its address?"

    def __init__(
        self,
        *,
        base_url: str,
        model: str | None,
        api_key: SecretStr | str | None = None,
        headers: Mapping[str, str] | None = None,
        default_params: Mapping[str, Any] | None = None,
        name: str,
    ) -> None:
        _require_address(base_url)
        self.name = name
        self.model = model
        self.default_params = dict(default_params or {})
        self._base_url = base_url.rstrip("/")
        self._api_key = SecretStr(api_key) if isinstance(api_key, str) else api_key
        self._headers = {key: SecretStr(value) for key, value in (headers or {}).items()}
        self._sent(self._api_key)  # refuses what no header can carry
        self._dropped: tuple[str, ...] = ()
        self._http = self._connections()

    def _connections(self) -> HttpClient:
        return HttpClient(
            self._secret_headers, extra=self._extra, remedy=self._when_unreachable, local=self._local
        )

    @property
    def base_url(self) -> str:
        """Address of the API, as frameworks' own clients want it."""
        return self._base_url

    @property
    def model_id(self) -> str | None:
        """The name under which learning is kept: the model's name."""
        return self.model

    def __repr__(self) -> str:
        """Show what is asked where, without any secret."""
        shown = self._base_url.partition("?")[0]
        return f"{type(self).__name__}(model={self.model!r}, base_url={shown!r})"

    # -- the dialect -----------------------------------------------------------------------------------------

    @abstractmethod
    def _url(self) -> str: ...

    def _under(self, path: str) -> str:
        """Return the address of a path of the API; a query of the base URL, as Azure's api-version, goes behind it."""
        address, mark, query = self.base_url.partition("?")
        return f"{address.rstrip('/')}{path}{mark}{query}"

    @abstractmethod
    def _body(self, messages: list[dict[str, Any]], model: str, *, stream: bool) -> dict[str, Any]: ...

    @abstractmethod
    def _reply(self, reply: dict[str, Any]) -> Completion[str]: ...

    @abstractmethod
    def _reader(self) -> StreamReader: ...

    def _prepare(self, timeout: float | None) -> float | None:
        """Make the server ready; return the time that is left."""
        return timeout

    async def _aprepare(self, timeout: float | None) -> float | None:
        return timeout

    # -- the four ways to ask --------------------------------------------------------------------------------

    def complete(
        self, prompt: TextPrompt, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[str]:
        """Answer `prompt`, blocking at most `timeout` seconds in all.

        Args:
            prompt: One user message as a string, or a list of messages.
            model: Another model than the provider's own.
            timeout: Seconds for the whole exchange, or None for no limit.

        Raises:
            CallTimeoutError: The time is up.
            ProviderError: The server cannot be reached or answers with a failure.
            MisuseError: No model is named, or the prompt is no prompt.
        """
        started = time.perf_counter()
        body = self._request(prompt, model, stream=False)
        left = self._prepare(timeout)
        reply = self._discreetly(self._reply, self._http.post(self._url(), body, left))
        return _timed(reply, started)

    async def acomplete(
        self, prompt: TextPrompt, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[str]:
        """Answer `prompt`, as `complete` does, without blocking the event loop."""
        started = time.perf_counter()
        body = self._request(prompt, model, stream=False)
        left = await self._aprepare(timeout)
        reply = self._discreetly(self._reply, await self._http.apost(self._url(), body, left))
        return _timed(reply, started)

    def stream(
        self, prompt: TextPrompt, model: str | None = None, *, timeout: float | None = None
    ) -> Iterator[CompletionChunk]:
        """Yield the reply as it is written; usage and finish reason come with the last chunk.

        Raises:
            CallTimeoutError: The stream was not over within `timeout` seconds.
            ProviderError: As for `complete`, and when the stream breaks off.
        """
        body = self._request(prompt, model, stream=True)
        left = self._prepare(timeout)
        reader = self._reader()
        with closing(self._http.lines(self._url(), body, left)) as lines:
            for line in lines:
                if text := self._discreetly(reader.feed, line):
                    yield CompletionChunk(text)
                if reader.done:
                    break
        yield self._discreetly(reader.last)

    async def astream(
        self, prompt: TextPrompt, model: str | None = None, *, timeout: float | None = None
    ) -> AsyncIterator[CompletionChunk]:
        """Yield the reply, as `stream` does, without blocking the event loop."""
        body = self._request(prompt, model, stream=True)
        left = await self._aprepare(timeout)
        reader = self._reader()
        async with aclosing(self._http.alines(self._url(), body, left)) as lines:
            async for line in lines:
                if text := self._discreetly(reader.feed, line):
                    yield CompletionChunk(text)
                if reader.done:
                    break
        yield self._discreetly(reader.last)

    def _discreetly(self, read: Callable[[*ArgTs], ReadT], *said: *ArgTs) -> ReadT:
        """Read what a server said; a failure it reports in a reply of status 200 must not repeat our secrets."""
        try:
            return read(*said)
        except ProviderError as error:
            del said
            error.args = (without_secrets(str(error), self._http.secrets()),)
            raise error.with_traceback(None)  # noqa: B904  the same error, without the frames that hold what was said

    def _request(self, prompt: TextPrompt, model: str | None, *, stream: bool) -> dict[str, Any]:
        chosen = model or self.model
        if not chosen:
            raise MisuseError(
                f"name the model: {type(self).__name__}(model=...) or complete(prompt, model=...)"
            )
        body = self._body(as_messages(prompt), chosen, stream=stream)
        return {field: value for field, value in body.items() if value is not None}

    # -- secrets, copies and closing -------------------------------------------------------------------------

    def _key_of_the_environment(self) -> SecretStr | None:
        return None

    def _secret_headers(self) -> dict[str, str]:
        key = self._api_key or self._key_of_the_environment()
        missing = [dropped for dropped in self._dropped if dropped != "api_key" or key is None]
        if missing:
            raise MisuseError(
                f"a pickle carries no {' and no '.join(missing)}: build a new {type(self).__name__} here"
            )
        return self._sent(key)

    def _sent(self, key: SecretStr | None) -> dict[str, str]:
        sent = {name: _sendable(f"headers[{name!r}]", value) for name, value in self._headers.items()}
        return ({"Authorization": f"Bearer {_sendable('the API key', key)}"} if key else {}) | sent

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the key, the headers and the connections."""
        held = {"api_key": self._api_key, "headers": self._headers}
        dropped = {*self._dropped, *(name for name, value in held.items() if value)}
        gone: dict[str, Any] = {
            "_http": None,
            "_api_key": None,
            "_headers": {},
            "_dropped": tuple(sorted(dropped)),
        }
        return self.__dict__ | gone

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take everything but the secrets, and connect anew."""
        for name, value in state.items():
            setattr(self, name, value)
        self._http = self._connections()

    def __copy__(self) -> Self:
        """Share the connections (a copy by pickle would lose the key)."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Share the connections (a copy by pickle would lose the key)."""
        return self

    def close(self) -> None:
        """Close every connection; the next call opens new ones."""
        self._http.close()

    async def aclose(self) -> None:
        """Close every connection, waiting for those of the running event loop."""
        await self._http.aclose()

    def __enter__(self) -> Self:
        """Return the provider itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        self.close()

    async def __aenter__(self) -> Self:
        """Return the provider itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        await self.aclose()


def _require_address(base_url: str) -> None:
    if not base_url.startswith(("http://", "https://")):
        raise MisuseError(f"base_url must start with http:// or https://, got {base_url!r}")
    try:
        place = urlsplit(base_url).netloc
    except ValueError as error:
        raise MisuseError(f"base_url is no address: {error}") from error
    if "@" in place:  # an address is shown in reprs and errors
        raise MisuseError(
            "base_url holds a password; pass it as headers={'Authorization': 'Basic ...'} instead"
        )


def _sendable(field: str, secret: SecretStr) -> str:
    """Return a secret that a header can carry; the HTTP client would show any other in its error."""
    if not isinstance(secret.get_secret_value(), str):
        raise MisuseError(f"{field} must be a string")
    if not _is_sendable(secret.get_secret_value()):
        raise MisuseError(
            f"{field} holds a line break, a blank at an end or a letter beyond ASCII, which no header can carry; "
            "perhaps it was read from a file: strip() it"
        )
    return secret.get_secret_value()


def _is_sendable(value: str) -> bool:
    return value.isascii() and value.replace("\t", " ").isprintable() and value == value.strip()


def _timed(reply: Completion[str], started: float) -> Completion[str]:
    return replace(reply, latency_ms=(time.perf_counter() - started) * 1000)
