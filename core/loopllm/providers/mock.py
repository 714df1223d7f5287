"""A provider without a model, for tests, examples and measurements."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import Any

from loopllm.errors import CallTimeoutError, MisuseError
from loopllm.forking import ForkSafeLock
from loopllm.providers.base import Completion, CompletionChunk
from loopllm.results import UNKNOWN_USAGE, Usage

REMEMBERED_CALLS = 10_000
"""`MockLLMProvider.calls` keeps the latest so many prompts, so that long runs do not fill the memory."""

Scripted = str | Completion[str] | BaseException


class MockLLMProvider:
    """Answers with the given responses, one after the other, and starts again at the end.

    >>> provider = MockLLMProvider(responses=["first", "second"])
    >>> [provider.complete("go on").content for _ in range(3)], provider.call_count
    (['first', 'second', 'first'], 3)

    It may be shared by threads and tasks; each call takes the next response.

    Args:
        responses: What to answer: a text, a whole `Completion`, or an exception to raise.
        model_id: The name under which learning is kept.
        latency_s: Seconds that each call waits; a shorter `timeout` is waited for instead, then
            `CallTimeoutError`.
        usage: Tokens and cost reported with each text.

    Raises:
        MisuseError: There are no responses, or the latency is negative.
    """

    def __init__(
        self,
        responses: Sequence[Scripted],
        model_id: str = "mock",
        latency_s: float = 0.0,
        usage: Usage = UNKNOWN_USAGE,
    ) -> None:
        if isinstance(responses, str) or not responses:
            raise MisuseError("responses must be a non-empty list of texts, completions or exceptions")
        if not latency_s >= 0.0:
            raise MisuseError(f"latency_s must be 0 or more seconds, got {latency_s!r}")
        self.model_id = model_id
        self.latency_s = latency_s
        self._arguments = (tuple(responses), model_id, latency_s, usage)
        self._replies = [_prepared(response, model_id, latency_s, usage) for response in responses]
        self._calls: deque[Any] = deque(maxlen=REMEMBERED_CALLS)
        self._count = 0
        self._alone = ForkSafeLock()

    def __repr__(self) -> str:
        """Show what is scripted and how far it got."""
        script = f"{len(self._replies)} responses, model_id={self.model_id!r}"
        return f"MockLLMProvider({script}, {self._count} calls)"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the script, not how far it got."""
        return type(self), self._arguments

    @property
    def calls(self) -> list[Any]:
        """The prompts seen, in order (the latest `REMEMBERED_CALLS` of them)."""
        return list(self._calls)

    @property
    def call_count(self) -> int:
        """How many calls were made."""
        return self._count

    def _take(self, prompt: object) -> Completion[str] | BaseException:
        with self._alone():
            number = self._count
            self._count = number + 1
            self._calls.append(prompt)
        return self._replies[number % len(self._replies)]

    def complete(
        self, prompt: object, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[str]:
        """Return the next response.

        Raises:
            CallTimeoutError: `timeout` is shorter than the latency, and has passed.
        """
        reply = self._take(prompt)
        if self.latency_s:
            threading.Event().wait(self._wait(timeout))
            self._refuse_when_late(timeout)
        return _delivered(reply, model)

    async def acomplete(
        self, prompt: object, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[str]:
        """Return the next response, as `complete` does, without blocking the event loop."""
        reply = self._take(prompt)
        if self.latency_s:
            import asyncio  # noqa: PLC0415 - `import loopllm` must not load asyncio

            await asyncio.sleep(self._wait(timeout))
            self._refuse_when_late(timeout)
        return _delivered(reply, model)

    def stream(
        self, prompt: object, model: str | None = None, *, timeout: float | None = None
    ) -> Iterator[CompletionChunk]:
        """Yield the next response word by word."""
        yield from _words(self.complete(prompt, model, timeout=timeout))

    async def astream(
        self, prompt: object, model: str | None = None, *, timeout: float | None = None
    ) -> AsyncIterator[CompletionChunk]:
        """Yield the next response word by word, without blocking the event loop."""
        for chunk in _words(await self.acomplete(prompt, model, timeout=timeout)):
            yield chunk

    def _wait(self, timeout: float | None) -> float:
        return self.latency_s if timeout is None else max(0.0, min(self.latency_s, timeout))

    def _refuse_when_late(self, timeout: float | None) -> None:
        if timeout is not None and timeout < self.latency_s:
            raise CallTimeoutError(
                f"no reply within {timeout:.3g} s (the mock's latency is {self.latency_s:.3g} s)"
            )


def _prepared(
    response: Scripted, model_id: str, latency_s: float, usage: Usage
) -> Completion[str] | BaseException:
    if isinstance(response, str):
        return Completion(response, model_id, usage, "stop", latency_s * 1000)
    if isinstance(response, Completion):
        return response if response.latency_ms else replace(response, latency_ms=latency_s * 1000)
    if isinstance(response, BaseException):
        return response
    raise MisuseError(f"a response is a text, a Completion or an exception, got {type(response).__name__}")


def _delivered(reply: Completion[str] | BaseException, model: str | None) -> Completion[str]:
    if isinstance(reply, BaseException):
        raise reply.with_traceback(None)
    return reply if model is None else replace(reply, model=model)


def _words(reply: Completion[str]) -> Iterator[CompletionChunk]:
    for word in re.findall(r"\s*\S+|\s+$", reply.content):
        yield CompletionChunk(word)
    yield CompletionChunk("", reply.usage, reply.finish_reason)
