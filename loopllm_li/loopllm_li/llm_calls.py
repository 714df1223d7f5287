"""What did the LLM calls inside somebody else's code use?

A query engine does not say how many tokens an answer took; LlamaIndex's instrumentation does, call by call.

Rule 1: a call is counted for whoever listens in its context, so that queries side by side do not mix.
Rule 2: an LLM that answers through another of its methods ends twice, and is counted once.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMChatStartEvent,
    LLMCompletionEndEvent,
    LLMCompletionStartEvent,
)
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base.event import BaseEvent
from llama_index_instrumentation.event_handlers import BaseEventHandler

from loopllm.results import UNKNOWN_USAGE, Usage
from loopllm_li.replies import Reply, text_of, usage_of

ItemT = TypeVar("ItemT")


class LLMCalls:
    """The LLM calls that are heard while it listens."""

    def __init__(self) -> None:
        self._usages: list[Usage] = []

    @property
    def usage(self) -> Usage:
        """What they used together, as far as they told."""
        return sum(self._usages, UNKNOWN_USAGE)

    def add(self, usage: Usage) -> None:
        """Count one call."""
        self._usages.append(usage)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear every LLM call that is made inside, in whatever thread or task it started."""
        _attach()
        listening, ended = _listening.set(self), _just_ended.set(None)
        try:
            yield
        finally:
            _just_ended.reset(ended)
            _listening.reset(listening)

    def heard(self, stream: Iterable[ItemT]) -> Iterator[ItemT]:
        """Hand on a stream, listening only while it works on the next item: what its reader does is not heard."""
        source = iter(stream)
        while True:
            with self.listening():
                try:
                    item = next(source)
                except StopIteration:
                    return
            yield item

    async def aheard(self, stream: AsyncIterable[ItemT]) -> AsyncIterator[ItemT]:
        """Hand on an async stream in the same way."""
        source = aiter(stream)
        while True:
            with self.listening():
                try:
                    item = await anext(source)
                except StopAsyncIteration:
                    return
            yield item


_listening: ContextVar[LLMCalls | None] = ContextVar("loopllm_li_listening", default=None)
_just_ended: ContextVar[str | None] = ContextVar("loopllm_li_just_ended", default=None)
"""The words of the call that ended last in this context, if it told its usage and no other began since."""


class LLMCallListener(BaseEventHandler):
    """Tells whoever listens of the end of each LLM call."""

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows the class."""
        return "LLMCallListener"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        """Take one event of LlamaIndex's instrumentation."""
        del kwargs
        calls = _listening.get()
        if calls is None:
            return
        if isinstance(event, LLMChatStartEvent | LLMCompletionStartEvent):
            _just_ended.set(None)
        elif isinstance(event, LLMChatEndEvent | LLMCompletionEndEvent) and event.response is not None:
            _count(calls, event.response)


def _count(calls: LLMCalls, reply: Reply) -> None:
    usage, words = usage_of(reply), text_of(reply)
    if usage is UNKNOWN_USAGE or words == _just_ended.get():
        return
    calls.add(usage)
    _just_ended.set(words)


def _attach() -> None:
    root = get_dispatcher()
    if not any(isinstance(handler, LLMCallListener) for handler in root.event_handlers):
        root.add_event_handler(LLMCallListener())
