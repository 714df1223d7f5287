"""What the engine needs from a model: the port, and the values that cross it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from loopllm.results import UNKNOWN_USAGE, OutputT, Usage

Message = Mapping[str, Any]
"""One chat message in the OpenAI form: `{"role": "user", "content": "..."}`."""

TextPrompt = str | Sequence[Message]
"""What text providers take: one user message as a string, or a whole conversation."""

PromptT_contra = TypeVar("PromptT_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Completion(Generic[OutputT]):
    """One reply of a model.

    Attributes:
        content: The reply itself: text, or a framework's message kept whole.
        model: The name the server reports, or None.
        usage: Tokens and cost, None where unknown.
        finish_reason: `stop`, `length`, ..., or None.
        latency_ms: Milliseconds from sending to the last byte; 0.0 when the provider did not measure.
    """

    content: OutputT
    model: str | None = None
    usage: Usage = UNKNOWN_USAGE
    finish_reason: str | None = None
    latency_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class CompletionChunk:
    """A piece of a streamed reply; the last one carries usage and finish reason.

    Attributes:
        text: The new text, possibly empty.
        usage: Tokens and cost of the whole call, on the last chunk of servers that say.
        finish_reason: Set on the last chunk.
    """

    text: str
    usage: Usage = UNKNOWN_USAGE
    finish_reason: str | None = None


@runtime_checkable
class Provider(Protocol[PromptT_contra, OutputT]):
    """Anything that answers prompts, blocking and awaiting.

    Both methods take `timeout`, the seconds that are left, and must give up with `CallTimeoutError` when they pass.
    Failures are `ProviderError` with `transient` set truthfully; the engine does the retrying.

    Attributes:
        model_id: The name under which learning is kept, or None when nobody knows it.
    """

    @property
    def model_id(self) -> str | None:
        """The model's name, the same however the model is reached."""
        ...

    def complete(
        self, prompt: PromptT_contra, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[OutputT]:
        """Answer `prompt`, blocking at most `timeout` seconds."""
        ...

    async def acomplete(
        self, prompt: PromptT_contra, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[OutputT]:
        """Answer `prompt` without blocking the event loop."""
        ...


@runtime_checkable
class StreamingProvider(Protocol[PromptT_contra]):
    """A provider that can also hand over its reply piece by piece."""

    def stream(
        self, prompt: PromptT_contra, model: str | None = None, *, timeout: float | None = None
    ) -> Iterator[CompletionChunk]:
        """Yield the reply as it is written."""
        ...

    def astream(
        self, prompt: PromptT_contra, model: str | None = None, *, timeout: float | None = None
    ) -> AsyncIterator[CompletionChunk]:
        """Yield the reply as it is written, without blocking the event loop."""
        ...
