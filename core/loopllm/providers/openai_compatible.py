"""Any server that speaks OpenAI's chat completions: vLLM, llama.cpp, LM Studio, and OpenAI itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from loopllm.errors import MisuseError, ProviderError
from loopllm.providers.base import Completion, CompletionChunk
from loopllm.providers.failures import reported
from loopllm.providers.framing import EventDecoder
from loopllm.providers.http import decoded
from loopllm.providers.http_chat import HttpChatProvider, StreamReader
from loopllm.providers.prompts import content_text
from loopllm.providers.usage import usage_of
from loopllm.results import UNKNOWN_USAGE, Usage


class OpenAICompatibleProvider(HttpChatProvider):
    """A chat model behind `POST {base_url}/chat/completions`.

    Args:
        base_url: Address up to and including `/v1`; the environment's `OPENAI_BASE_URL` when not given. A query, as
            Azure's `?api-version=...`, is sent with every request.
        api_key: Sent as a bearer token. The environment's `OPENAI_API_KEY` is used only when the address
            comes from the environment too, so that no key goes to a server it was not meant for.
        model: The model's name; None when every call names one.
        temperature: Sampling temperature; None leaves it to the server.
        max_tokens: Most tokens of a reply; None leaves it to the server.
        seed: Seed of the sampling, for servers that take one.
        default_params: Further fields of every request, for example `{"top_p": 0.9}`; they win over the
            three above, and a value None leaves a field out.
        headers: Further headers of every request, treated as secrets.
        name: What the provider is called.

    Raises:
        MisuseError: There is no base_url, or it is no HTTP address.
        MissingExtraError: httpx is not installed.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: SecretStr | str | None = None,
        model: str | None = None,
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
        seed: int | None = None,
        default_params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        name: str = "openai-compatible",
    ) -> None:
        address = base_url or os.environ.get("OPENAI_BASE_URL")
        if not address:
            raise MisuseError("name the server: base_url='http://host:port/v1', or set OPENAI_BASE_URL")
        self._key_variable = None if base_url else "OPENAI_API_KEY"
        sampling = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
        super().__init__(
            base_url=address,
            model=model,
            api_key=api_key,
            headers=headers,
            default_params=sampling | dict(default_params or {}),
            name=name,
        )

    def _key_of_the_environment(self) -> SecretStr | None:
        key = os.environ.get(self._key_variable) if self._key_variable else None
        return SecretStr(key) if key else None

    def _url(self) -> str:
        return self._under("/chat/completions")

    def _body(self, messages: list[dict[str, Any]], model: str, *, stream: bool) -> dict[str, Any]:
        streaming = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        return {"model": model, "messages": messages, **streaming, **self.default_params}

    def _reply(self, reply: dict[str, Any]) -> Completion[str]:
        return read_reply(reply)

    def _reader(self) -> StreamReader:
        return OpenAIStream()


def read_reply(reply: Mapping[str, Any]) -> Completion[str]:
    """Read a `chat.completion` object.

    >>> read_reply({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}).content
    'Hi'

    Raises:
        ProviderError: It reports a failure, or holds no message.
    """
    choice = _first_choice(reply)
    failure = reported(reply) or reported(choice)
    if failure is not None:
        raise failure
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise ProviderError(
            "the reply holds no message; check that base_url ends with the API's version, as in /v1"
        )
    return Completion(
        _said(message),
        model=reply.get("model"),
        usage=read_usage(reply.get("usage")),
        finish_reason=choice.get("finish_reason"),
    )


def _said(message: Mapping[str, Any]) -> str:
    """Return the words of a message; those of a refusal stand in a field of their own, and its content is null."""
    return content_text(message.get("content")) or content_text(message.get("refusal"))


def _first_choice(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = reply.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, Mapping) else {}


def read_usage(usage: Any) -> Usage:
    """Read a `usage` object; what the server does not say, or not as a number, stays None.

    >>> read_usage({"prompt_tokens": 7, "completion_tokens": 2, "cost": 0.0001})
    Usage(prompt_tokens=7, completion_tokens=2, cost=0.0001)
    """
    if not isinstance(usage, Mapping):
        return UNKNOWN_USAGE
    return usage_of(usage.get("prompt_tokens"), usage.get("completion_tokens"), usage.get("cost"))


class OpenAIStream:
    """Reads the server-sent events of one streamed reply."""

    def __init__(self) -> None:
        self.done = False
        self._events = EventDecoder()
        self._usage = UNKNOWN_USAGE
        self._finish_reason: str | None = None

    def feed(self, line: str) -> str:
        """Take the next line; return the text it brings, possibly none."""
        return self._take(self._events.feed(line))

    def _take(self, data: str | None) -> str:
        if data is None:
            return ""
        if data.strip() == "[DONE]":
            self.done = True
            return ""
        chunk = decoded(data)
        failure = reported(chunk) or reported(_first_choice(chunk))
        if failure is not None:
            raise failure
        return self._note(chunk)

    def _note(self, chunk: Mapping[str, Any]) -> str:
        choice = _first_choice(chunk)
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        if chunk.get("usage"):
            self._usage = read_usage(chunk["usage"])
        delta = choice.get("delta")
        return _said(delta) if isinstance(delta, Mapping) else ""

    def last(self) -> CompletionChunk:
        """Return usage and finish reason.

        Raises:
            ProviderError: The stream broke off before its end was announced.
        """
        text = self._take(self._events.flush())
        if not self.done and self._finish_reason is None:
            raise ProviderError("the stream broke off before the reply was complete", transient=True)
        return CompletionChunk(text, self._usage, self._finish_reason)
