"""What did the LLM calls inside somebody else's code use?

A query engine does not say how many tokens an answer took; LlamaIndex's instrumentation does, call by call.

Rule 1: a call is counted for all who listen in its context, so that queries side by side do not mix and a looped
engine inside another one hides nothing from it.
Rule 2: an LLM that answers through another one, or through another of its own methods, ends twice, and is counted once:
the inner end counts, unless it told nothing.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMChatInProgressEvent,
    LLMChatStartEvent,
    LLMCompletionEndEvent,
    LLMCompletionInProgressEvent,
    LLMCompletionStartEvent,
)
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base.event import BaseEvent
from llama_index_instrumentation.event_handlers import BaseEventHandler

from loopllm.results import UNKNOWN_USAGE, Usage
from loopllm_li.replies import Reply, text_of, usage_of

ItemT = TypeVar("ItemT")

_CHATS = (LLMChatStartEvent, LLMChatInProgressEvent, LLMChatEndEvent)


class LLMCalls:
    """The LLM calls that are heard while it listens."""

    def __init__(self) -> None:
        self._usages: list[Usage] = []
        self._seconds = 0.0

    @property
    def usage(self) -> Usage:
        """What they used together, as far as they told."""
        return sum(self._usages, UNKNOWN_USAGE)

    @property
    def latency_ms(self) -> float:
        """Milliseconds it listened for; what the reader of a stream does meanwhile is left out."""
        return self._seconds * 1000.0

    def add(self, usage: Usage) -> None:
        """Count one call."""
        self._usages.append(usage)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear every LLM call made inside, and in tasks and threads started there that copy the context.

        A thread of a bare `ThreadPoolExecutor` does not copy it, and is not heard.
        """
        _attach()
        outer = tuple(each for each in _listening.get() if each is not self)
        listening, under_way, told = (
            _listening.set((*outer, self)),
            _under_way.set(_under_way.get()),
            _just_told.set(None),
        )
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds += time.perf_counter() - began
            _just_told.reset(told)
            _under_way.reset(under_way)
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


@dataclass(slots=True, eq=False)
class _Call:
    """A call under way; tasks and threads that copy the context share it."""

    key: tuple[bool, str | None]
    outer: _Call | None
    streams: bool = False
    inner_told: bool = False

    def tell_outer(self) -> None:
        """Tell every call around this one that its tokens are counted already."""
        call = self.outer
        while call is not None:
            call.inner_told, call = True, call.outer


_listening: ContextVar[tuple[LLMCalls, ...]] = ContextVar("loopllm_li_listening", default=())
_under_way: ContextVar[_Call | None] = ContextVar("loopllm_li_under_way", default=None)
"""The innermost call that began in this context. One that failed never ends, and stays below the next ones."""
_just_told: ContextVar[Reply | None] = ContextVar("loopllm_li_just_told", default=None)
"""The reply that ended last in this context, if it told its usage and no other call began since."""


class LLMCallListener(BaseEventHandler):
    """Tells whoever listens of the end of each LLM call."""

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows the class."""
        return "LLMCallListener"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        """Take one event of LlamaIndex's instrumentation."""
        del kwargs
        if not _listening.get():
            return
        match event:
            case LLMChatStartEvent() | LLMCompletionStartEvent():
                _under_way.set(_Call(_key(event), _under_way.get()))
                _just_told.set(None)
            case LLMChatInProgressEvent() | LLMCompletionInProgressEvent():
                if (call := _call_of(event)) is not None:
                    call.streams = True
            case LLMChatEndEvent() | LLMCompletionEndEvent():
                _end(_call_of(event), event.response)
            case _:
                return


def _end(call: _Call | None, reply: Reply | None) -> None:
    if call is not None:
        _under_way.set(call.outer)
    usage = UNKNOWN_USAGE if reply is None else usage_of(reply)
    if usage is UNKNOWN_USAGE:
        return
    if not _is_counted(call, reply):
        for calls in _listening.get():
            calls.add(usage)
    if call is not None:
        call.tell_outer()
    _just_told.set(reply)


def _is_counted(call: _Call | None, reply: Reply | None) -> bool:
    """Say whether a call inside has told the tokens of this reply.

    What began while a plain call was under way was made by it. A stream is under way until it is read, and other calls
    begin meanwhile: there the same words, or the same raw reply handed on, must show that it is one call.
    """
    if call is not None and not call.streams:
        return call.inner_told
    told = _just_told.get()
    if told is None or reply is None:
        return False
    return text_of(told) == text_of(reply) or (reply.raw is not None and reply.raw is told.raw)


def _call_of(event: BaseEvent) -> _Call | None:
    call, key = _under_way.get(), _key(event)
    while call is not None and call.key != key:
        call = call.outer
    return call


def _key(event: BaseEvent) -> tuple[bool, str | None]:
    """Return what the events of one call have in common, and those of calls side by side mostly have not."""
    return isinstance(event, _CHATS), event.span_id


def _attach() -> None:
    root = get_dispatcher()
    if not any(isinstance(handler, LLMCallListener) for handler in root.event_handlers):
        root.add_event_handler(LLMCallListener())
