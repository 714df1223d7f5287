"""One query, looped: what `LoopedQueryTransform` and `LoopedRetriever` both do.

The engine drives the rounds; this file says what a round is, which one wins, and what becomes of failures.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.indices.vector_store.retrievers import VectorIndexRetriever
from llama_index.core.llms import LLM
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import VectorStoreQueryMode

from loopllm import AdaptivePriors, Condition, LoopConfig, LoopedLLM, RunView
from loopllm.errors import EvaluatorError, InterruptedRunError, MisuseError, ProviderError
from loopllm.evaluators import as_evaluator
from loopllm.providers.adapt import as_provider
from loopllm.providers.base import Provider
from loopllm.results import ExitReason, IterationRecord, RefinementResult
from loopllm.telemetry.base import Observer
from loopllm_li.bundles import QueryLoop, RefinedQueryBundle, TriedQuery, as_bundle, refined
from loopllm_li.nodes_judge import NodesJudge
from loopllm_li.provider import LlamaIndexProvider
from loopllm_li.query_config import query_config
from loopllm_li.query_rounds import QueryAttempt, QueryFormat, Retrieval
from loopllm_li.query_search import QuerySearch, Shape
from loopllm_li.rewriting import Wording
from loopllm_li.spans import InstrumentationObserver, SpannedJudge, SpannedRounds

logger = logging.getLogger("loopllm")

_WORD_BASED = frozenset(
    {VectorStoreQueryMode.SPARSE, VectorStoreQueryMode.TEXT_SEARCH, VectorStoreQueryMode.HYBRID}
)

_Record = IterationRecord[QueryAttempt, Retrieval]
_Result = RefinementResult[QueryAttempt, Retrieval]


@dataclass(frozen=True, slots=True)
class FoundNodes:
    """What a query loop came to.

    Attributes:
        bundle: The query that won, with its story in `bundle.loop`.
        nodes: What the retriever gave for it.
        error: What ended the run before the unchanged query could be scored, or None.
        rounds: The nodes of every round, in order.
    """

    bundle: RefinedQueryBundle
    nodes: Sequence[NodeWithScore]
    error: Exception | None = None
    rounds: Sequence[Sequence[NodeWithScore]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRefiner:
    """The settings of a query loop, and the loop. Arguments as in `LoopedQueryTransform`."""

    llm: Any
    retriever: BaseRetriever
    evaluator: Any
    config: LoopConfig
    priors: AdaptivePriors | None
    task_type: str
    model_id: str | None
    min_gain: float
    reword_query: bool | None
    anchored: bool
    wording: Wording
    observers: Sequence[Observer]
    exits: Sequence[Condition]

    def __post_init__(self) -> None:
        if not isinstance(self.retriever, BaseRetriever):
            raise MisuseError(
                f"retriever must be a LlamaIndex retriever, got a {type(self.retriever).__name__}"
            )
        if not 0.0 <= self.min_gain <= 1.0:
            raise MisuseError(f"min_gain must be a number in [0, 1], got {self.min_gain!r}")
        if self.wording.mode not in {"replace", "expand"}:
            raise MisuseError(f'mode must be "replace" or "expand", got {self.wording.mode!r}')
        if not self.wording.prompts:
            raise MisuseError("rewrite_prompts must hold at least one prompt")
        as_evaluator(self.evaluator)  # what is no evaluator is refused now, not at the first query

    def prompts(self) -> dict[str, BasePromptTemplate]:
        """Return the rewriting prompts by name: `rewrite_prompt_1`, `rewrite_prompt_2`, ..."""
        return {f"rewrite_prompt_{turn}": prompt for turn, prompt in enumerate(self.wording.prompts, start=1)}

    def with_prompts(self, changed: Mapping[str, BasePromptTemplate]) -> Self:
        """Return the settings with other rewriting prompts; runs that are under way keep theirs."""
        prompts = tuple(changed.get(name, prompt) for name, prompt in self.prompts().items())
        return replace(self, wording=replace(self.wording, prompts=prompts))

    def find(self, query: str | QueryBundle) -> FoundNodes:
        """Run the loop for one query, blocking; a failing rewriter or retriever never raises here."""
        original = as_bundle(query)
        try:
            result = self._loop().refine(
                QueryAttempt(original), SpannedJudge(NodesJudge(self.evaluator)), task_type=self.task_type
            )
        except (ProviderError, EvaluatorError) as error:
            return self._fallen_back(original, error)
        return self._choose(original, result)

    async def afind(self, query: str | QueryBundle) -> FoundNodes:
        """Run the loop for one query without blocking the event loop."""
        original = as_bundle(query)
        try:
            result = await self._loop().arefine(
                QueryAttempt(original), SpannedJudge(NodesJudge(self.evaluator)), task_type=self.task_type
            )
        except (ProviderError, EvaluatorError) as error:
            return self._fallen_back(original, error)
        return self._choose(original, result)

    # -- one run ------------------------------------------------------------------------------------------------

    def _loop(self) -> LoopedLLM[QueryAttempt, Retrieval]:
        search = QuerySearch(
            _Rewriter(self.llm), self.retriever, self.wording, self._shape(), self._model_id()
        )
        loop: LoopedLLM[QueryAttempt, Retrieval] = LoopedLLM(
            SpannedRounds(search),
            query_config(self.config),
            priors=self.priors,
            observers=(InstrumentationObserver(), *self.observers),
            format=QueryFormat(),
        )
        for condition in (*self.exits, nothing_new_for(len(self.wording.prompts))):
            loop.add_exit_condition(condition)
        return loop

    def _shape(self) -> Shape:
        reword = self.reword_query
        return Shape(_reads_words(self.retriever) if reword is None else reword, self.anchored)

    def _model_id(self) -> str | None:
        if self.model_id is not None or (self.llm is None and self.priors is None):
            return self.model_id  # without priors nobody asks, and Settings.llm is left alone
        return rewriter_of(self.llm).model_id

    # -- what became of it --------------------------------------------------------------------------------------

    def _choose(self, original: QueryBundle, result: _Result) -> FoundNodes:
        rounds = result.iterations
        if not rounds:
            return FoundNodes(refined(original, original, _story(result, 1)), ())
        first = rounds[0]
        best = rounds[max(result.metrics.best_iteration, 1) - 1]
        chosen = best if self._beats(best, first) else first
        bundle = refined(chosen.output.bundle, original, _story(result, chosen.iteration))
        return FoundNodes(bundle, chosen.output.nodes, rounds=[each.output.nodes for each in rounds])

    def _beats(self, best: _Record, first: _Record) -> bool:
        if best.score is None:
            return False
        gain = best.score - (first.score or 0.0)
        return gain > 0.0 and gain >= self.min_gain

    def _fallen_back(self, original: QueryBundle, error: InterruptedRunError) -> FoundNodes:
        logger.warning("the query is used unchanged: %s", error)
        result: _Result | None = error.result
        if result is None:
            reason = ExitReason("provider_error", str(error))
            return FoundNodes(refined(original, original, QueryLoop(None, (), 1, reason)), (), error)
        nodes = result.iterations[0].output.nodes if result.iterations else ()
        return FoundNodes(refined(original, original, _story(result, 1)), nodes, error)


class _Rewriter:
    """The rewriter, found when it is first needed: with `llm=None`, `Settings.llm` may not exist before."""

    def __init__(self, llm: Any) -> None:
        self._llm = llm

    @property
    def model_id(self) -> str | None:
        return rewriter_of(self._llm).model_id

    def complete(self, prompt: Any, model: str | None = None, *, timeout: float | None = None) -> Any:
        return rewriter_of(self._llm).complete(prompt, model, timeout=timeout)

    async def acomplete(self, prompt: Any, model: str | None = None, *, timeout: float | None = None) -> Any:
        return await rewriter_of(self._llm).acomplete(prompt, model, timeout=timeout)


def rewriter_of(llm: Any) -> Provider[Any, str]:
    """Return the provider for what was given as `llm`; for None, LlamaIndex's `Settings.llm` of this moment."""
    if llm is None:
        from llama_index.core import Settings  # noqa: PLC0415 - its default would ask for an OpenAI key

        llm = Settings.llm
    return LlamaIndexProvider(llm) if isinstance(llm, LLM) else as_provider(llm)


def _reads_words(retriever: BaseRetriever) -> bool:
    """Say whether a retriever reads `query_str`; one that embeds its query reads `embedding_strs` instead."""
    if not isinstance(retriever, VectorIndexRetriever):
        return True
    return getattr(retriever, "_vector_store_query_mode", None) in _WORD_BASED


def nothing_new_for(rounds: int) -> Condition:
    """Return an exit condition: the rewriter has given no new query in so many successive rounds."""

    def nothing_new(view: RunView) -> str | None:
        newest = view.records[-rounds:]
        if len(newest) < rounds or not all(record.output.repeated for record in newest):
            return None
        return f"asked in {rounds} ways, the rewriter gave no query that was not tried before"

    return Condition(nothing_new, "no_new_query")


def _story(result: _Result, chosen: int) -> QueryLoop:
    tried = tuple(
        TriedQuery(
            record.output.query, record.score, tuple(record.output.node_ids), tuple(record.deficiencies)
        )
        for record in result.iterations
    )
    return QueryLoop(result.metrics, tried, chosen, result.metrics.exit_reason)
