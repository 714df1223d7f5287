"""The edge of an answering loop: asks a query engine, and asks it again with feedback. One object a run.

Rule 1: feedback is for whoever writes the answer. An engine that can write from given nodes is asked to, so that what
is retrieved is the caller's query, once; any other engine gets one query with the feedback in its words, of which only
the texts to embed are the caller's, and what it makes of the words (a selector, a transform, a word-based retriever) is
its own affair.
Rule 2: a prompt shows one earlier answer, cut to a bounded length, so that no prompt grows with the rounds.
Rule 3: usage is told with an answer. What the calls of an answer that failed or came too late used is not counted:
the engine has no place for it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.prompts import BasePromptTemplate, PromptTemplate
from llama_index.core.query_engine import CitationQueryEngine, TransformQueryEngine
from llama_index.core.schema import NodeWithScore, QueryBundle

from loopllm.providers.base import Completion
from loopllm.providers.deadline import await_within, call_in_thread, call_within
from loopllm_li.answer_rounds import AnswerAttempt
from loopllm_li.answers import Answer, aanswer_of, answer_of
from loopllm_li.bundles import plain
from loopllm_li.llm_calls import LLMCalls
from loopllm_li.pretended_async import writer_blocks_when_awaited
from loopllm_li.transform_engine import LoopedTransformQueryEngine, answers_from_nodes, aretrieve_with

DEFAULT_REVISION_PROMPT = PromptTemplate("{query_str}\n\n{revision}")
"""Variables: `query_str`, the caller's words, and `revision`, the earlier answer if shown and its faults."""

LONGEST_SHOWN = 4000
"""Characters of an earlier answer that are shown."""


class Answering:
    """The provider of one answering run.

    Args:
        engine: The query engine.
        revision_prompt: How a question with feedback is written.
        model_id: The name of the engine's model, or None.
        opening: An answer that the engine has given already, taken for the first one.
    """

    def __init__(
        self,
        engine: BaseQueryEngine,
        revision_prompt: BasePromptTemplate,
        model_id: str | None,
        opening: Answer | None = None,
    ) -> None:
        self.model_id = model_id
        self._opening = opening
        self._engine = engine
        self._prompt = revision_prompt
        self._keeps_nodes = can_rewrite_only(engine)
        self._retrieves_first = self._keeps_nodes and cites(engine)
        self._nodes: Sequence[NodeWithScore] | None = None

    def complete(
        self, prompt: AnswerAttempt, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[Answer]:
        """Answer, blocking at most `timeout` seconds."""
        del model  # the engine has its own
        if (opening := self._taken_opening()) is not None:
            return opening
        began = time.perf_counter()
        answer = call_within(timeout, self._ask, prompt)
        return _completion(answer, began)

    async def acomplete(
        self, prompt: AnswerAttempt, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[Answer]:
        """Answer without blocking the event loop."""
        del model
        if (opening := self._taken_opening()) is not None:
            return opening
        began = time.perf_counter()
        answer = await await_within(timeout, self._aask(prompt))
        return _completion(answer, began)

    def _ask(self, prompt: AnswerAttempt) -> Answer:
        bundle, calls = self._bundle(prompt), LLMCalls()
        with calls.listening():
            if self._retrieves_first and self._nodes is None:
                self._nodes = self._engine.retrieve(plain(prompt.original))
            if self._nodes is not None:
                answer = answer_of(self._engine.synthesize(bundle, list(self._nodes)))
            else:
                answer = self._kept(answer_of(self._engine.query(bundle)))
        return replace(answer, usage=calls.usage)

    async def _aask(self, prompt: AnswerAttempt) -> Answer:
        if writer_blocks_when_awaited(self._engine):
            return await call_in_thread(self._ask, prompt)
        bundle, calls = self._bundle(prompt), LLMCalls()
        with calls.listening():
            if self._retrieves_first and self._nodes is None:
                self._nodes = await aretrieve_with(self._engine, plain(prompt.original))
            if self._nodes is not None:
                answer = await aanswer_of(await self._engine.asynthesize(bundle, list(self._nodes)))
            else:
                answer = self._kept(await aanswer_of(await self._engine.aquery(bundle)))
        return replace(answer, usage=calls.usage)

    def _bundle(self, prompt: AnswerAttempt) -> QueryBundle:
        original = plain(prompt.original)
        parts = []
        if prompt.earlier is not None:
            parts.append(f"Your previous answer:\n{_cut(prompt.earlier)}")
        if prompt.feedback is not None:
            parts.append(prompt.feedback)
        if not parts:
            return original
        words = self._prompt.format(query_str=original.query_str, revision="\n\n".join(parts))
        return QueryBundle(words, original.image_path, list(original.embedding_strs), original.embedding)

    def _taken_opening(self) -> Completion[Answer] | None:
        opening, self._opening = self._opening, None
        if opening is None:
            return None
        return Completion(self._kept(opening), usage=opening.usage, latency_ms=opening.latency_ms)

    def _kept(self, answer: Answer) -> Answer:
        if self._keeps_nodes and not self._retrieves_first:
            self._nodes = answer.source_nodes or None
            self._retrieves_first = self._nodes is None  # or the next query would search for the feedback
        return answer


def _completion(answer: Answer, began: float) -> Completion[Answer]:
    return Completion(answer, usage=answer.usage, latency_ms=(time.perf_counter() - began) * 1000.0)


def can_rewrite_only(engine: Any) -> bool:
    """Say whether an engine can write another answer from the nodes it has found.

    A plain `TransformQueryEngine` would run its transform over the feedback, and a looped engine hands out the nodes
    of its answer, which a `CitationQueryEngine` inside it would cut up and number again.
    """
    if isinstance(engine, TransformQueryEngine) and not isinstance(engine, LoopedTransformQueryEngine):
        return False
    if not isinstance(engine, BaseQueryEngine) or not answers_from_nodes(engine):
        return False
    return not cites(engine) or isinstance(engine, CitationQueryEngine | LoopedTransformQueryEngine)


def cites(engine: Any) -> bool:
    """Say whether an engine cuts the nodes it is given into numbered sources, which its answer then stands on."""
    while not isinstance(engine, CitationQueryEngine):
        engine = getattr(engine, "_query_engine", None)
        if engine is None:
            return False
    return True


def streams(engine: Any) -> bool:
    """Say whether an engine, or one inside it, writes its answers as streams, as far as it tells before it is asked."""
    while engine is not None:
        if getattr(getattr(engine, "_response_synthesizer", None), "_streaming", False):
            return True
        engine = getattr(engine, "_query_engine", None)
    return False


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]} [...]"
