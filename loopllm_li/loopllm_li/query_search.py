"""The edge of a query loop: asks the rewriter, asks the retriever, remembers what was tried. One object a run.

Rule 1: the first query is the caller's own, and costs no LLM call.
Rule 2: nothing is searched for twice.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from inspect import getattr_static
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle

from loopllm.providers.base import Completion, Provider
from loopllm.providers.deadline import await_within, call_in_thread, call_within, too_late
from loopllm.results import Usage
from loopllm_li.bundles import plain, reworded
from loopllm_li.query_rounds import QueryAttempt, Retrieval
from loopllm_li.rewriting import Wording, same_words

NO_CALL = Usage(0, 0, 0.0)
"""The usage of a round in which no LLM was asked."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the bundle of a rewrite looks like; see `bundles.reworded` for the meaning of the two."""

    reword_query: bool
    anchored: bool


class QuerySearch:
    """The provider of one query run: a call is "rewrite unless it is the first, then retrieve".

    Args:
        rewriter: Provider of text.
        retriever: Any LlamaIndex retriever.
        wording: What the rewriter is asked.
        shape: What the bundles look like.
        model_id: The name of the rewriter's model, or None.
    """

    def __init__(
        self,
        rewriter: Provider[Any, str],
        retriever: BaseRetriever,
        wording: Wording,
        shape: Shape,
        model_id: str | None = None,
    ) -> None:
        self.model_id = model_id
        self._rewriter = rewriter
        self._retriever = retriever
        self._wording = wording
        self._shape = shape
        self._tried: dict[str, Retrieval] = {}
        self._asked = 0

    def complete(
        self, prompt: QueryAttempt, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[Retrieval]:
        """Find nodes for the next query, blocking at most `timeout` seconds."""
        del model  # the rewriter is one model and is not asked for another
        began = time.perf_counter()
        if not self._tried:
            nodes = call_within(timeout, self._retriever.retrieve, plain(prompt.original))
            return Completion(self._first(prompt, nodes), usage=NO_CALL)
        answer = self._rewriter.complete(self._question(prompt), timeout=timeout)
        found = self._known_or_new(prompt, answer.content)
        if not found.repeated:
            left = _left(timeout, began)
            nodes = call_within(left, self._retriever.retrieve, plain(found.bundle))
            found = self._keep(found, nodes)
        return _with_content(answer, found)

    async def acomplete(
        self, prompt: QueryAttempt, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[Retrieval]:
        """Find nodes for the next query without blocking the event loop."""
        del model
        return await await_within(timeout, self._afind(prompt, timeout))

    async def _afind(self, prompt: QueryAttempt, timeout: float | None) -> Completion[Retrieval]:
        if not self._tried:
            nodes = await aretrieve(self._retriever, plain(prompt.original))
            return Completion(self._first(prompt, nodes), usage=NO_CALL)
        answer = await self._rewriter.acomplete(self._question(prompt), timeout=timeout)
        found = self._known_or_new(prompt, answer.content)
        if not found.repeated:
            found = self._keep(found, await aretrieve(self._retriever, plain(found.bundle)))
        return _with_content(answer, found)

    # -- decisions ----------------------------------------------------------------------------------------------

    def _question(self, prompt: QueryAttempt) -> str:
        turn, self._asked = self._asked, self._asked + 1
        return self._wording.ask(turn, prompt.original.query_str, prompt.earlier, prompt.feedback)

    def _first(self, prompt: QueryAttempt, nodes: list[NodeWithScore]) -> Retrieval:
        return self._keep(Retrieval(prompt.original.query_str, plain(prompt.original)), nodes)

    def _known_or_new(self, prompt: QueryAttempt, answer: str) -> Retrieval:
        """Return the query to search for, or an older retrieval when the answer holds nothing new."""
        words = self._wording.read(prompt.original.query_str, answer)
        earlier = self._tried.get(same_words(words or prompt.original.query_str))
        if earlier is not None:
            return replace(earlier, repeated=True)
        words = words or prompt.original.query_str
        shape = self._shape
        bundle = reworded(prompt.original, words, reword_query=shape.reword_query, anchored=shape.anchored)
        return Retrieval(words, bundle)

    def _keep(self, found: Retrieval, nodes: list[NodeWithScore]) -> Retrieval:
        found = replace(found, nodes=tuple(nodes))
        self._tried[same_words(found.query)] = found
        return found


async def aretrieve(retriever: BaseRetriever, bundle: QueryBundle) -> list[NodeWithScore]:
    """Retrieve without blocking the event loop.

    A retriever that has no async method of its own inherits one that blocks; it runs in a thread.
    """
    if getattr_static(type(retriever), "_aretrieve") is getattr_static(BaseRetriever, "_aretrieve"):
        return await call_in_thread(retriever.retrieve, bundle)
    return await retriever.aretrieve(bundle)


def _with_content(answer: Completion[str], found: Retrieval) -> Completion[Retrieval]:
    return Completion(found, answer.model, answer.usage, answer.finish_reason, answer.latency_ms)


def _left(timeout: float | None, began: float) -> float | None:
    if timeout is None:
        return None
    left = timeout - (time.perf_counter() - began)
    if left <= 0:
        raise too_late(timeout)
    return left
