"""How is one draft got? The engine's port to a model, over whatever a `LoopedRunnable` binds.

Rule 1: a deadline ends the call even where the model knows no timeouts: the blocking call then runs in a thread that
sees the caller's context, the awaited one is cancelled.
Rule 2: a draft that the rest of the chain, or the model's own client, cannot read is a bad answer, not a failed call.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage

from loopllm.errors import LoopLLMError
from loopllm.providers.base import Completion
from loopllm.providers.deadline import call_within
from loopllm_lc.anatomy import Anatomy, answers_whole, structure_in
from loopllm_lc.drafts import Draft, is_raw_triple, with_parsed
from loopllm_lc.handoff import Handoff
from loopllm_lc.replies import (
    added_up,
    finish_reason_of,
    merge_chunks,
    misshapen_reply,
    whole,
    withheld_reply,
)
from loopllm_lc.scope import Scope
from loopllm_lc.usage import sum_usage, usage_of

UNREADABLE = (ValueError, KeyError)
"""What a parser raises on an answer it cannot read: parser, validation and JSON errors are all ValueErrors."""


class Asker:
    """Gets drafts for one run.

    Args:
        parts: What is asked, and what reads its answers.
        scope: The run that the calls belong to.
        model_id: The name under which learning is kept, or None.
        kwargs: The caller's keywords for the model, for example `stop`.
        recording: Ask for streams and keep their pieces, where they are pieces of the answer.

    Attributes:
        iteration: The round that the next call belongs to.
        usages: What each message said it cost.
        passes_tools: Whether drafts that call tools go to the caller unjudged.
        handoff: The draft that ends the run unjudged, if any.
        taken_ids: Message ids of the task and of earlier drafts, which no draft may share.
    """

    def __init__(
        self,
        parts: Anatomy,
        scope: Scope,
        *,
        model_id: str | None = None,
        kwargs: Mapping[str, Any] | None = None,
        recording: bool = False,
    ) -> None:
        self.model_id = model_id
        self.iteration = 1
        self.usages: list[Mapping[str, Any] | None] = []
        self.passes_tools = parts.tail is None
        self.handoff = Handoff()
        self.taken_ids: set[str | None] = set()
        self._parts = parts
        self._scope = scope
        self._kwargs = dict(kwargs or {})
        self._recording = recording and not answers_whole(parts.asked)

    def complete(
        self, prompt: Any, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[Draft]:
        """Get a draft, blocking at most `timeout` seconds."""
        del model  # chosen by what is bound, or by the caller's keywords
        try:
            draft = call_within(timeout, self._draft, prompt)
        except Exception as error:  # noqa: BLE001 - raised again unless it holds a reply
            draft = self._withheld(error)
        return self._taken(draft, prompt)

    async def acomplete(
        self, prompt: Any, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[Draft]:
        """Get a draft without blocking the event loop; the engine cancels it when the time is up."""
        del model, timeout
        try:
            draft = await self._adraft(prompt)
        except Exception as error:  # noqa: BLE001 - raised again unless it holds a reply
            draft = self._withheld(error)
        return self._taken(draft, prompt)

    def _draft(self, prompt: Any) -> Draft:
        config = self._scope.child(f"loopllm:iteration:{self.iteration}")
        asked, tail = self._parts.asked, self._parts.tail
        if self._recording:
            draft = self._recorded(list(asked.stream(prompt, config, **self._kwargs)))
        else:
            draft = self._replied(asked.invoke(prompt, config, **self._kwargs))
        if tail is None:
            return draft
        try:
            return Draft(tail.invoke(draft.value, config), draft.message, None, draft.chunks)
        except UNREADABLE as error:
            return unread(draft, error)

    async def _adraft(self, prompt: Any) -> Draft:
        config = self._scope.child(f"loopllm:iteration:{self.iteration}")
        asked, tail = self._parts.asked, self._parts.tail
        if self._recording:
            chunks = [chunk async for chunk in asked.astream(prompt, config, **self._kwargs)]
            draft = self._recorded(chunks)
        else:
            draft = self._replied(await asked.ainvoke(prompt, config, **self._kwargs))
        if tail is None:
            return draft
        try:
            return Draft(await tail.ainvoke(draft.value, config), draft.message, None, draft.chunks)
        except UNREADABLE as error:
            return unread(draft, error)

    def _replied(self, reply: Any) -> Draft:
        if is_raw_triple(reply) and isinstance(reply["raw"], BaseMessage):  # of a model out of sight
            message = self._replied(reply["raw"]).message
            return Draft({**reply, "raw": message}, message)
        if not isinstance(reply, BaseMessage):
            return Draft(reply)
        message = self._with_own_id(whole(reply))
        self.usages.append(getattr(message, "usage_metadata", None))
        return Draft(message, message)

    def _withheld(self, error: Exception) -> Draft:
        """Return the draft that was not handed over: unreadable, cut off, or misshapen; or raise `error`."""
        if self._parts.kind == "whole" and isinstance(error, OutputParserException):  # its parser is within
            return Draft(None, AIMessage(error.llm_output or ""), error)
        reply = misshapen_reply(error, structure_in(self._parts.asked)) or withheld_reply(error)
        return Draft(None, self._replied(reply).message, error)

    def _recorded(self, chunks: Sequence[Any]) -> Draft:
        if not chunks or not all(isinstance(chunk, AIMessageChunk) for chunk in chunks):
            reply = self._replied(with_parsed(added_up(chunks)))
            return Draft(reply.value, reply.message, None, tuple(chunks))
        usage = sum_usage(chunk.usage_metadata for chunk in chunks)
        self.usages.append(usage)
        merged = merge_chunks(chunks).model_copy(update={"usage_metadata": usage})
        message = self._with_own_id(merged)
        return Draft(message, message, None, tuple(chunks))

    def _with_own_id(self, message: BaseMessage) -> BaseMessage:
        # A history that merges by id would take two drafts with one id for one message.
        if message.id is not None and message.id in self.taken_ids:
            message = message.model_copy(update={"id": f"lc_run--{uuid.uuid4()}"})
        self.taken_ids.add(message.id)
        return message

    def _taken(self, draft: Draft, prompt: Any) -> Completion[Draft]:
        self.handoff.consider(draft, prompt, passes_tools=self.passes_tools)
        return Completion(draft, usage=usage_of(draft.message), finish_reason=finish_reason_of(draft.message))


def unread(draft: Draft, error: Exception) -> Draft:
    """Return a draft that what follows the model could not read."""
    if isinstance(error, LoopLLMError):  # the caller's mistake, not the model's
        raise error
    return Draft(None, draft.message, error, draft.chunks)
