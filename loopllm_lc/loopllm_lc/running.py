"""One invocation of a `LoopedRunnable`: the engine over what is bound, inside one LangChain run.

Blocking and awaiting stand side by side; what they share is decided in plain functions elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.messages import get_buffer_string
from langchain_core.prompt_values import PromptValue

from loopllm_lc.accepting import Result, finished
from loopllm_lc.anatomy import Anatomy, dissect
from loopllm_lc.asking import Asker
from loopllm_lc.conversation import ChatFormat, InputFormat, StringFormat, as_messages
from loopllm_lc.drafts import is_raw_triple
from loopllm_lc.engine_run import EngineRun
from loopllm_lc.evaluating import bind_evaluator
from loopllm_lc.model_identity import model_id_of
from loopllm_lc.replaying import aparsed_pieces, can_reparse, chunks_of, message_pieces, parsed_pieces
from loopllm_lc.scope import Scope

if TYPE_CHECKING:
    from loopllm_lc.looped_runnable import LoopedRunnable

_SAYING = frozenset({"auto", "last", "best", "deficiencies"})
"""The ways of asking that put feedback into the input; what a way of the caller's own does with it, nobody knows."""


def parts_of(looped: LoopedRunnable[Any, Any]) -> Anatomy:
    """Return the parts of what is bound; with a key for feedback the whole of it is asked again."""
    return Anatomy(looped.bound, "whole") if looped.feedback_key is not None else dissect(looped.bound)


class LoopRun:
    """One invocation.

    Args:
        looped: What is invoked, with its settings.
        scope: The LangChain run that everything happens in.
        given: The caller's input.
        kwargs: The caller's keywords, for the model.
        recording: Keep the pieces of each draft, for a stream.
    """

    def __init__(
        self,
        looped: LoopedRunnable[Any, Any],
        scope: Scope,
        given: Any,
        kwargs: Mapping[str, Any],
        *,
        recording: bool,
    ) -> None:
        self._looped = looped
        self._scope = scope
        self._given = given
        self._parts = parts_of(looped)
        model_id = looped.model_id or model_id_of(self._parts.asked, scope.config, kwargs)
        self._asker = Asker(self._parts, scope, model_id=model_id, kwargs=kwargs, recording=recording)
        evaluator = bind_evaluator(looped.evaluator, has_parser=self._parts.tail is not None)
        self._engine = EngineRun(looped, scope, self._asker, evaluator, given)

    # -- blocking -----------------------------------------------------------------------------------------------

    def play(self) -> Result:
        """Run the loop, blocking, and return its result."""
        head = self._parts.head
        task = (
            self._given
            if head is None
            else head.invoke(self._given, self._scope.child("loopllm:input", shown=True))
        )
        return self._engine.play(*self._written(task))

    def answer(self) -> Any:
        """Run the loop and return what the caller gets."""
        return self._finished(self.play())

    def pieces(self) -> Sequence[Any]:
        """Run the loop and return what the caller gets, in pieces."""
        result = self.play()
        tail = self._parts.tail
        if tail is None or not can_reparse(tail):
            return self._own_pieces(result)
        config = self._scope.child("loopllm:output", shown=True)
        return parsed_pieces(tail, chunks_of(result), self._finished(result), config)

    # -- awaiting -----------------------------------------------------------------------------------------------

    async def aplay(self) -> Result:
        """Run the loop without blocking the event loop, and return its result."""
        head = self._parts.head
        task = (
            self._given
            if head is None
            else await head.ainvoke(self._given, self._scope.child("loopllm:input", shown=True))
        )
        return await self._engine.aplay(*self._written(task))

    async def aanswer(self) -> Any:
        """Run the loop and return what the caller gets."""
        return self._finished(await self.aplay())

    async def apieces(self) -> Sequence[Any]:
        """Run the loop and return what the caller gets, in pieces."""
        result = await self.aplay()
        tail = self._parts.tail
        if tail is None or not can_reparse(tail):
            return self._own_pieces(result)
        config = self._scope.child("loopllm:output", shown=True)
        return await aparsed_pieces(tail, chunks_of(result), self._finished(result), config)

    # -- shared -------------------------------------------------------------------------------------------------

    def _written(self, task: Any) -> tuple[Any, Any]:
        """Return the first prompt, and how prompts are written."""
        if self._parts.kind == "chat":
            messages = as_messages(task)
            self._asker.taken_ids.update(message.id for message in messages)
            return messages, ChatFormat()
        if self._parts.kind == "text":
            return _as_string(task), StringFormat()
        form = InputFormat(self._looped.feedback_key)
        if self._looped.config.max_iterations > 1 and self._looped.config.feedback in _SAYING:
            form.require_room(task)
        return form.first(task), form

    def _finished(self, result: Result) -> Any:
        return finished(result, self._asker.usages)

    def _own_pieces(self, result: Result) -> Sequence[Any]:
        value, draft = self._finished(result), result.output
        if draft.value is draft.message:
            return message_pieces(result, self._asker.usages)
        if is_raw_triple(value):  # its pieces know neither the usage of all drafts nor the facts
            return (value,)
        return (draft.chunks if self._parts.tail is None else ()) or (value,)


def _as_string(task: Any) -> str:
    if isinstance(task, PromptValue):
        return task.to_string()
    return task if isinstance(task, str) else get_buffer_string(as_messages(task))
