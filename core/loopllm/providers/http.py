"""The one module that talks HTTP: pooled clients, total deadlines, streams, failures as `ProviderError`.

Rule 1: nothing else imports httpx, so that its successor can take its place here.
Rule 2: a deadline is total. httpx limits single reads; a server that drips a byte now and then must not
outlive it. Rule 3: an async client belongs to the event loop it was made in and is closed with that loop.
"""

from __future__ import annotations

import inspect
import json
import os
import threading
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import aclosing, closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from loopllm.deadline import await_within, call_within, too_late
from loopllm.errors import MissingExtraError, MisuseError, ProviderError
from loopllm.providers.failures import refused, retry_after_seconds
from loopllm.providers.framing import LineSplitter, refuse_oversize

if TYPE_CHECKING:
    import asyncio

    import httpx

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 600.0
"""Without a deadline: how long to wait for a connection, and for the next byte."""

Headers = Callable[[], Mapping[str, str]]
_Keeper = AsyncGenerator[Any, None]


def load_httpx(extra: str) -> Any:
    """Import the HTTP client.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import httpx  # noqa: PLC0415 - only who calls a model over HTTP pays for it
    except ImportError as error:
        raise MissingExtraError(extra, "httpx") from error
    return httpx


class HttpClient:
    """Posts JSON and reads replies, blocking and awaiting; safe to share by threads, event loops and forks.

    Args:
        headers: Called whenever a client is made; what it returns is sent with every request and never shown.
        extra: The extra that `MissingExtraError` names.
        remedy: What to do when no server answers, for the error.
        local: True for a server in this process: no proxy of the environment is used.
    """

    def __init__(self, headers: Headers, *, extra: str, remedy: str, local: bool = False) -> None:
        self._httpx = load_httpx(extra)
        self._remedy = remedy
        self._headers = headers
        self._local = local
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._sync: dict[bool, tuple[httpx.Client, weakref.finalize[Any, Any]]] = {}
        self._keepers: dict[asyncio.AbstractEventLoop, tuple[_Keeper, httpx.AsyncClient]] = {}
        self._pid = os.getpid()

    def _alone(self) -> threading.Lock:
        """Return what keeps other threads out; in a forked child a new one, since a thread left behind may hold it."""
        if self._pid != os.getpid():  # the sockets belong to the parent of this fork, too
            self._forget()
        return self._lock

    # -- clients ---------------------------------------------------------------------------------------------

    def _options(self, url: str) -> dict[str, Any]:
        return {
            "headers": dict(self._headers()),
            "limits": self._httpx.Limits(
                max_connections=None, max_keepalive_connections=100, keepalive_expiry=30
            ),
            "trust_env": not self._local,
            "verify": _is_encrypted(
                url
            ),  # plain HTTP needs no certificates, and loading them takes tens of ms
        }

    def _client(self, url: str) -> httpx.Client:
        with self._alone():
            encrypted = _is_encrypted(url)
            if encrypted not in self._sync:
                client: httpx.Client = self._httpx.Client(**self._options(url))
                self._sync[encrypted] = (client, weakref.finalize(self, client.close))
            return self._sync[encrypted][0]

    async def _aclient(self, url: str) -> httpx.AsyncClient:
        import asyncio  # noqa: PLC0415 - `import loopllm` must not load asyncio

        loop = asyncio.get_running_loop()
        self._alone()
        known = self._keepers.get(loop)
        if known is not None:
            return known[1]
        for old in [old for old in list(self._keepers) if old.is_closed()]:
            del self._keepers[old]
        client: httpx.AsyncClient = self._httpx.AsyncClient(**self._options(url))
        keeper = _closed_with_the_loop(client, self._keepers, loop)
        self._keepers[loop] = (keeper, client)
        await anext(keeper)
        return client

    def close(self) -> None:
        """Close every connection; the next call opens new ones."""
        with self._alone():
            clients, self._sync = self._sync, {}
        self._keepers.clear()  # each keeper is finalised on its own loop, which closes its client there
        for _, close in clients.values():
            close()

    async def aclose(self) -> None:
        """Close every connection, waiting for those of the running event loop."""
        import asyncio  # noqa: PLC0415 - `import loopllm` must not load asyncio

        keeper, _ = self._keepers.pop(asyncio.get_running_loop(), (None, None))
        if keeper is not None:
            await keeper.aclose()
        self.close()

    # -- one reply -------------------------------------------------------------------------------------------

    def post(self, url: str, body: Mapping[str, Any], timeout: float | None = None) -> dict[str, Any]:
        """Post `body` as JSON and return the JSON object answered.

        Raises:
            CallTimeoutError: The whole exchange took longer than `timeout` seconds.
            ProviderError: No connection, a status of 300 or above, or a reply that is no JSON object.
        """
        return call_within(timeout, self._post, url, encoded(body), timeout)

    def _post(self, url: str, content: bytes, timeout: float | None) -> dict[str, Any]:
        with closing(self._pieces(url, content, timeout)) as pieces:
            whole = bytearray()
            for piece in pieces:
                whole += piece
                refuse_oversize(len(whole))
        return decoded(bytes(whole))

    async def apost(self, url: str, body: Mapping[str, Any], timeout: float | None = None) -> dict[str, Any]:
        """Post `body`, as `post` does, without blocking the event loop."""
        return await await_within(timeout, self._apost(url, encoded(body), timeout))

    async def _apost(self, url: str, content: bytes, timeout: float | None) -> dict[str, Any]:
        whole = bytearray()
        async with aclosing(self._apieces(url, content, timeout)) as pieces:
            async for piece in pieces:
                whole += piece
                refuse_oversize(len(whole))
        return decoded(bytes(whole))

    # -- streams ---------------------------------------------------------------------------------------------

    def lines(
        self, url: str, body: Mapping[str, Any], timeout: float | None = None
    ) -> Generator[str, None, None]:
        """Post `body` and yield the lines answered, as they arrive, for at most `timeout` seconds in all.

        Raises:
            CallTimeoutError: The stream was not over in time.
            ProviderError: As for `post`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pieces = self._pieces(url, encoded(body), timeout)
        splitter = LineSplitter()
        try:
            while piece := call_within(_left(deadline), next, pieces, b""):
                yield from splitter.feed(piece)
            yield from splitter.flush()
        finally:
            if inspect.getgeneratorstate(pieces) != inspect.GEN_RUNNING:  # an abandoned read ends by itself
                pieces.close()

    async def alines(
        self, url: str, body: Mapping[str, Any], timeout: float | None = None
    ) -> AsyncGenerator[str, None]:
        """Yield the lines answered, as `lines` does, without blocking the event loop."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pieces = self._apieces(url, encoded(body), timeout)
        splitter = LineSplitter()
        try:
            while piece := await await_within(_left(deadline), anext(pieces, b"")):
                for line in splitter.feed(piece):
                    yield line
            for line in splitter.flush():
                yield line
        finally:
            await pieces.aclose()

    # -- bytes -----------------------------------------------------------------------------------------------

    def _pieces(self, url: str, content: bytes, timeout: float | None) -> Generator[bytes, None, None]:
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            with self._client(url).stream("POST", url, **self._request(content, timeout)) as response:
                if not response.is_success:
                    raise self._refusal(response, _beginning(response.iter_bytes()))
                for piece in response.iter_bytes():
                    if deadline is not None and time.monotonic() > deadline:
                        raise too_late(timeout or 0.0)
                    if piece:
                        yield piece
        except (self._httpx.HTTPError, self._httpx.StreamError) as error:
            raise self._failure(error, url, timeout) from error

    async def _apieces(self, url: str, content: bytes, timeout: float | None) -> AsyncGenerator[bytes, None]:
        client = await self._aclient(url)
        try:
            async with client.stream("POST", url, **self._request(content, timeout)) as response:
                if not response.is_success:
                    raise self._refusal(response, await _abeginning(response.aiter_bytes()))
                async for piece in response.aiter_bytes():
                    if piece:
                        yield piece
        except (self._httpx.HTTPError, self._httpx.StreamError) as error:
            raise self._failure(error, url, timeout) from error

    def _request(self, content: bytes, timeout: float | None) -> dict[str, Any]:
        patience = timeout or SILENCE_SECONDS
        limits = self._httpx.Timeout(patience, connect=min(timeout or CONNECT_SECONDS, patience))
        return {"content": content, "headers": {"content-type": "application/json"}, "timeout": limits}

    # -- failures --------------------------------------------------------------------------------------------

    def _refusal(self, response: httpx.Response, beginning: bytes) -> ProviderError:
        words = beginning.decode("utf-8", errors="replace") or response.reason_phrase
        if response.has_redirect_location:  # not followed: a key must not go to a server it was not meant for
            place, *_ = response.headers["location"].partition("?")
            words = f"moved to {place}; set base_url to where the server's API is now"
        wait = retry_after_seconds(response.headers, datetime.now(UTC))
        return refused(response.status_code, words, retry_after=wait, secrets=self.secrets())

    def secrets(self) -> list[str]:
        """Return what is sent with every request and must never be shown."""
        values = [value for name, value in self._headers().items() if name.lower() != "user-agent"]
        return values + [value.partition(" ")[2] for value in values]

    def _failure(self, error: Exception, url: str, timeout: float | None) -> ProviderError:
        said = str(error) or type(error).__name__
        server = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        if isinstance(error, self._httpx.ConnectTimeout) and timeout is None:
            said = f"no connection within {CONNECT_SECONDS:.3g} s"
        elif isinstance(error, self._httpx.TimeoutException):
            return too_late(timeout or SILENCE_SECONDS)
        if "CERTIFICATE_VERIFY_FAILED" in said:
            return ProviderError(f"the certificate of {server} cannot be verified: {said}")
        if isinstance(error, (self._httpx.ConnectError, self._httpx.ConnectTimeout)):
            return ProviderError(
                f"no model server answers at {server} ({said}); {self._remedy}", transient=True
            )
        lasting = isinstance(error, (self._httpx.UnsupportedProtocol, self._httpx.LocalProtocolError))
        transient = isinstance(error, self._httpx.TransportError) and not lasting
        return ProviderError(f"the connection to {server} failed: {said}", transient=transient)


def _is_encrypted(url: str) -> bool:
    return not url.startswith("http://")


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else deadline - time.monotonic()


async def _closed_with_the_loop(
    client: httpx.AsyncClient,
    keepers: dict[asyncio.AbstractEventLoop, tuple[_Keeper, httpx.AsyncClient]],
    loop: asyncio.AbstractEventLoop,
) -> _Keeper:
    """Keep `client` until the loop ends: `asyncio.run` finalises the async generators of its loop."""
    try:
        yield client
    finally:
        keepers.pop(loop, None)
        await client.aclose()


_ENOUGH_OF_AN_ERROR = 65_536


def _beginning(pieces: Iterator[bytes]) -> bytes:
    beginning = bytearray()
    for piece in pieces:
        beginning += piece
        if len(beginning) >= _ENOUGH_OF_AN_ERROR:
            break
    return bytes(beginning)


async def _abeginning(pieces: AsyncIterator[bytes]) -> bytes:
    beginning = bytearray()
    async for piece in pieces:
        beginning += piece
        if len(beginning) >= _ENOUGH_OF_AN_ERROR:
            break
    return bytes(beginning)


def encoded(body: Mapping[str, Any]) -> bytes:
    """Write a request as JSON.

    Raises:
        MisuseError: A message or a parameter is nothing that JSON can hold.
    """
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise MisuseError(f"the prompt or a request parameter cannot be sent as JSON: {error}") from error


def decoded(content: bytes | str) -> dict[str, Any]:
    """Read a reply as a JSON object.

    Raises:
        ProviderError: It is none.
    """
    try:
        reply = json.loads(content)
    except (ValueError, RecursionError):
        reply = None
    if isinstance(reply, dict):
        return reply
    raise ProviderError(
        "the reply is no JSON object; check that base_url is the address of the model server's API"
    )
