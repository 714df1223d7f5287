"""A retriever that rewrites its query until the nodes are good enough, and returns the best nodes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import LLM
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.prompts.mixin import PromptDictType
from llama_index.core.schema import NodeWithScore, QueryBundle

from loopllm import AdaptivePriors, Condition, LoopConfig
from loopllm.errors import MisuseError
from loopllm.preparing import require_loop_parts
from loopllm.telemetry.base import Observer
from loopllm_li.llama_evaluator import adapted
from loopllm_li.pooling import Combine, distinct_nodes, pooled, scorer_of
from loopllm_li.query_refiner import FoundNodes, QueryRefiner
from loopllm_li.retrieval_evaluators import TermCoverage
from loopllm_li.rewriting import DEFAULT_REWRITE_PROMPTS, RewriteMode, Wording

logger = logging.getLogger("loopllm")


class LoopedRetriever(BaseRetriever):
    """Rewrites, retrieves, scores against the caller's own words, and returns the nodes of the best round.

    It stands wherever a retriever does. Compared with `LoopedQueryTransform` in front of the same retriever
    it saves one retrieval a query, since a transform can hand on its query only.

    With `combine="pool"` it returns the nodes of all rounds instead, each scored by itself against the caller's
    words and put in that order, as many as the largest round had: what one rewrite found and another missed
    is kept, at no further LLM call. That needs an evaluator that scores single nodes and knows meanings, such
    as `RescoredSimilarity`.

    Args: as in `LoopedQueryTransform`, `combine`, and `callback_manager` as every retriever has it.

    Raises:
        MisuseError: An argument is wrong; the message names it.
    """

    def __init__(
        self,
        *,
        llm: LLM | Any = None,
        retriever: BaseRetriever,
        evaluator: Any = None,
        config: LoopConfig | None = None,
        priors: AdaptivePriors | None = None,
        task_type: str = "query_rewrite",
        model_id: str | None = None,
        min_gain: float = 0.01,
        rewrite_query_str: bool | None = None,
        anchor: bool = True,
        mode: RewriteMode = "replace",
        rewrite_prompts: Sequence[BasePromptTemplate] = DEFAULT_REWRITE_PROMPTS,
        combine: Combine = "best",
        exit_conditions: Sequence[Any] = (),
        observers: Sequence[Observer] = (),
        callback_manager: CallbackManager | None = None,
    ) -> None:
        require_loop_parts(config, priors, observers)
        self._refiner = QueryRefiner(
            llm=llm,
            retriever=retriever,
            evaluator=TermCoverage() if evaluator is None else adapted(evaluator),
            config=config or LoopConfig(),
            priors=priors,
            task_type=task_type,
            model_id=model_id,
            min_gain=min_gain,
            reword_query=rewrite_query_str,
            anchored=anchor,
            wording=Wording(tuple(rewrite_prompts), mode),
            observers=tuple(observers),
            exits=tuple(Condition.of(each) for each in exit_conditions),
        )
        if combine not in {"best", "pool"}:
            raise MisuseError(f'combine must be "best" or "pool", got {combine!r}')
        self._scorer = scorer_of(self._refiner.evaluator) if combine == "pool" else None
        inner = getattr(retriever, "callback_manager", None)  # LlamaIndex takes retrievers that never set one
        super().__init__(callback_manager=callback_manager or inner)

    def __repr__(self) -> str:
        return f"LoopedRetriever({type(self._refiner.retriever).__name__}, config={self._refiner.config!r})"

    def find(self, query: str | QueryBundle) -> FoundNodes:
        """Return the best nodes together with the query that found them and its story, blocking.

        Raises:
            Exception: What the retriever raised on the unchanged query, when there is nothing to return.
        """
        found = _or_raise(self._refiner.find(query))
        if self._scorer is None or found.error is not None:
            return found
        nodes = distinct_nodes(found.rounds)
        try:
            return _pooled(found, nodes, self._scorer.score_nodes(nodes, {"query": found.bundle.original}))
        except MisuseError:
            raise
        except Exception as error:  # noqa: BLE001 - an embedding service fails in its own ways
            return _not_pooled(found, error)

    async def afind(self, query: str | QueryBundle) -> FoundNodes:
        """Return what `find` does without blocking the event loop."""
        found = _or_raise(await self._refiner.afind(query))
        if self._scorer is None or found.error is not None:
            return found
        nodes = distinct_nodes(found.rounds)
        try:
            scores = await self._scorer.ascore_nodes(nodes, {"query": found.bundle.original})
            return _pooled(found, nodes, scores)
        except MisuseError:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            return _not_pooled(found, error)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return list(self.find(query_bundle).nodes)

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return list((await self.afind(query_bundle)).nodes)

    def _get_prompts(self) -> PromptDictType:
        return self._refiner.prompts()

    def _update_prompts(self, prompts: PromptDictType) -> None:
        self._refiner = self._refiner.with_prompts(prompts)


def _pooled(found: FoundNodes, nodes: Sequence[NodeWithScore], scores: Sequence[float]) -> FoundNodes:
    at_most = max((len(each) for each in found.rounds), default=0)
    return replace(found, nodes=pooled(nodes, scores, at_most))


def _not_pooled(found: FoundNodes, error: Exception) -> FoundNodes:
    logger.warning("the nodes of the best round are returned without those of the others: %s", error)
    return found


def _or_raise(found: FoundNodes) -> FoundNodes:
    if found.error is not None and not found.bundle.loop.tried:
        raise found.error.__cause__ or found.error
    return found
