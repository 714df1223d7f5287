"""Ollama over its native API."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from loopllm.errors import MisuseError, ProviderError
from loopllm.providers.base import Completion, CompletionChunk
from loopllm.providers.failures import reported
from loopllm.providers.http import decoded
from loopllm.providers.http_chat import HttpChatProvider, StreamReader
from loopllm.providers.prompts import content_text
from loopllm.providers.usage import usage_of
from loopllm.results import UNKNOWN_USAGE

DEFAULT_PORT = 11434


class OllamaProvider(HttpChatProvider):
    """A model served by Ollama through `POST {base_url}/api/chat`.

    Args:
        base_url: Address of the server; the environment's `OLLAMA_HOST`, or `http://localhost:11434`, when
            not given.
        model: The model's name, for example `"llama3.2"`; None when every call names one.
        temperature: Sampling temperature; None leaves it to the server.
        max_tokens: Most tokens of a reply (Ollama's `num_predict`).
        seed: Seed of the sampling.
        options: Further model options, for example `{"num_ctx": 8192}`.
        default_params: Further fields of every request, for example `{"keep_alive": "10m", "format":
            "json"}`.
        headers: Further headers of every request, treated as secrets.
        name: What the provider is called.

    Raises:
        MisuseError: base_url is no HTTP address.
        MissingExtraError: httpx is not installed.
    """

    _extra = "ollama"
    _when_unreachable = "start it with `ollama serve`, or set base_url or OLLAMA_HOST to where it runs"

    def __init__(
        self,
        base_url: str | None = None,
        model: str | None = None,
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
        seed: int | None = None,
        options: Mapping[str, Any] | None = None,
        default_params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        name: str = "ollama",
    ) -> None:
        address = base_url or address_of(os.environ.get("OLLAMA_HOST") or "localhost")
        sampling = {"temperature": temperature, "num_predict": max_tokens, "seed": seed} | dict(options or {})
        self._options = {option: value for option, value in sampling.items() if value is not None}
        super().__init__(
            base_url=address, model=model, headers=headers, default_params=default_params, name=name
        )

    def _url(self) -> str:
        return self._under("/api/chat")

    def _body(self, messages: list[dict[str, Any]], model: str, *, stream: bool) -> dict[str, Any]:
        asked = [native_message(message) for message in messages]
        options = {"options": self._options} if self._options else {}
        return {"model": model, "messages": asked, "stream": stream, **options, **self.default_params}

    def _reply(self, reply: dict[str, Any]) -> Completion[str]:
        return read_reply(reply)

    def _reader(self) -> StreamReader:
        return OllamaStream()


def address_of(host: str) -> str:
    """Complete what `OLLAMA_HOST` holds to an address that a client can call.

    >>> address_of("box"), address_of("0.0.0.0:8000"), address_of("https://box"), address_of(":8000")
    ('http://box:11434', 'http://127.0.0.1:8000', 'https://box', 'http://localhost:8000')

    Raises:
        MisuseError: It is no address.
    """
    if host.startswith(("http://", "https://")):
        return host
    parts, port = _split(host)
    anywhere = parts.hostname == "0.0.0.0"  # noqa: S104 - where the server listens, not where we do
    name = "127.0.0.1" if anywhere else parts.hostname or "localhost"
    name = f"[{name}]" if ":" in name else name
    return f"http://{name}:{port or DEFAULT_PORT}{parts.path}"


def _split(host: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(f"//{host}")
        port = parts.port
    except ValueError as error:
        raise MisuseError(
            f"OLLAMA_HOST is no address ({error}); write host:port, an IPv6 address in brackets: [::1]:{DEFAULT_PORT}"
        ) from error
    return parts, port


def native_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a message in the OpenAI form into Ollama's: the text alone, images as base64 beside it.

    >>> native_message({"role": "user", "content": [{"type": "text", "text": "hello"}]})
    {'role': 'user', 'content': 'hello'}

    Raises:
        MisuseError: An image is given by an address; Ollama takes only the image itself.
    """
    content = message.get("content")
    if not isinstance(content, list):
        return dict(message)
    parts = [part for part in content if isinstance(part, Mapping)]  # others are plain strings
    images = [_base64(part) for part in parts if part.get("type") == "image_url"]
    return {**message, "content": content_text(content), **({"images": images} if images else {})}


def _base64(part: Mapping[str, Any]) -> str:
    image = part.get("image_url")
    url = str(image.get("url") if isinstance(image, Mapping) else image)
    head, comma, data = url.partition(";base64,")
    if not comma or not head.startswith("data:"):
        raise MisuseError("Ollama takes images as data: URLs with base64, not by address")
    return data


def read_reply(reply: Mapping[str, Any]) -> Completion[str]:
    """Read an `/api/chat` reply.

    >>> read_reply({"message": {"content": "Hi"}, "prompt_eval_count": 7, "eval_count": 2}).usage
    Usage(prompt_tokens=7, completion_tokens=2, cost=None)

    Raises:
        ProviderError: It reports a failure, or holds no message.
    """
    failure = reported(reply)
    if failure is not None:
        raise failure
    message = reply.get("message")
    if not isinstance(message, Mapping):
        raise ProviderError(
            "the reply holds no message; check that base_url is the address of an Ollama server"
        )
    usage = usage_of(reply.get("prompt_eval_count"), reply.get("eval_count"))
    return Completion(
        content_text(message.get("content")), reply.get("model"), usage, reply.get("done_reason")
    )


class OllamaStream:
    """Reads the JSON lines of one streamed reply."""

    def __init__(self) -> None:
        self.done = False
        self._usage = UNKNOWN_USAGE
        self._finish_reason: str | None = None

    def feed(self, line: str) -> str:
        """Take the next line; return the text it brings, possibly none."""
        if not line.strip():
            return ""
        chunk = decoded(line)
        reply = read_reply(chunk)
        if chunk.get("done"):
            self.done, self._usage, self._finish_reason = True, reply.usage, reply.finish_reason
        return reply.content

    def last(self) -> CompletionChunk:
        """Return usage and finish reason.

        Raises:
            ProviderError: The stream broke off before its end was announced.
        """
        if not self.done:
            raise ProviderError("the stream broke off before the reply was complete", transient=True)
        return CompletionChunk("", self._usage, self._finish_reason)
