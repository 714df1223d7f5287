"""A query transform that rewrites, retrieves, scores against the caller's own words, and keeps the best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.indices.query.query_transform.base import BaseQueryTransform
from llama_index.core.llms import LLM
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.prompts.mixin import PromptDictType
from llama_index.core.schema import QueryBundle, QueryType

from loopllm import AdaptivePriors, Condition, LoopConfig
from loopllm.preparing import require_loop_parts
from loopllm.telemetry.base import Observer
from loopllm_li.bundles import RefinedQueryBundle
from loopllm_li.llama_evaluator import adapted
from loopllm_li.query_refiner import QueryRefiner
from loopllm_li.retrieval_evaluators import TermCoverage
from loopllm_li.rewriting import DEFAULT_REWRITE_PROMPTS, RewriteMode, Wording
from loopllm_li.spans import dispatcher


class LoopedQueryTransform(BaseQueryTransform):
    """Rewrites a query until its nodes are good enough, and returns the query that found the best ones.

    Round one is the unchanged query: it costs no LLM call, and it wins unless a rewrite beats it by
    `min_gain`. When the rewriter, the retriever or the evaluator fails, the best query so far is returned, at
    worst the unchanged one. The result is a new `RefinedQueryBundle`; how it was found is in its `loop`.

    >>> from llama_index.core.llms import MockLLM
    >>> from llama_index.core.retrievers import BaseRetriever
    >>> from llama_index.core.schema import NodeWithScore, TextNode
    >>> class Shelf(BaseRetriever):
    ...     def _retrieve(self, query_bundle):
    ...         return [NodeWithScore(node=TextNode(text="Tides follow the moon."), score=0.5)]
    >>> transform = LoopedQueryTransform(llm=MockLLM(), retriever=Shelf())
    >>> bundle = transform.run("tides and the moon")
    >>> bundle.query_str, bundle.loop.exit_reason.condition
    ('tides and the moon', 'quality_threshold')

    Args:
        llm: Writes the rewrites: a LlamaIndex LLM, any provider of loopllm, or a callable `prompt -> str`. None means
            LlamaIndex's `Settings.llm`, looked up only when a rewrite is needed.
        retriever: Finds the nodes that are scored.
        evaluator: Scores `(nodes, context)`, with the list of `NodeWithScore` and `context["query"]` the
            caller's bundle. `TermCoverage()` when not given.
        config: Limits and settings of the loop.
        priors: What earlier runs have taught; the transform learns by itself.
        task_type: Under which name it is learned.
        model_id: The name of the rewriting model, for LLMs that do not state it.
        min_gain: By how much a rewrite must beat the unchanged query, in [0, 1].
        rewrite_query_str: Put the rewrite into `query_str`. Word-based retrievers need it there; an engine around them
            then also answers the rewrite (`LoopedTransformQueryEngine` answers the caller's words). False rewrites only
            what is embedded. None decides by the retriever.
        anchor: Embed the caller's words beside the rewrite, against drift.
        mode: `"replace"` searches for the rewrite, `"expand"` for the caller's words followed by the rewrite, which
            serves weak models better.
        rewrite_prompts: What the rewriter is asked, in turn; see `DEFAULT_REWRITE_PROMPTS`.
        exit_conditions: Further reasons to end a run, such as `nodes_settle()`; see `loopllm.Condition`.
        observers: Listeners to the events of every run.

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
        exit_conditions: Sequence[Any] = (),
        observers: Sequence[Observer] = (),
    ) -> None:
        super().__init__()
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

    def __repr__(self) -> str:
        refiner = self._refiner
        llm, retriever = (
            type(part).__name__ for part in (refiner.llm, refiner.retriever)
        )  # an LLM shows its key
        return f"LoopedQueryTransform(llm={llm}, retriever={retriever}, config={refiner.config!r})"

    def run(
        self, query_bundle_or_str: QueryType, metadata: dict[str, Any] | None = None
    ) -> RefinedQueryBundle:
        """Run the transform, blocking.

        Args:
            query_bundle_or_str: The query.
            metadata: Accepted because every transform has it; not used, and never written to.

        Returns:
            The best query, with its story in `loop`.
        """
        return self._run(_as_run_takes_it(query_bundle_or_str), metadata or {})

    async def arun(
        self, query_bundle_or_str: QueryType, metadata: dict[str, Any] | None = None
    ) -> RefinedQueryBundle:
        """Run the transform without blocking the event loop: the retriever and the LLM are awaited.

        Arguments and result as in `run`.
        """
        del metadata
        return await self._arun(_as_run_takes_it(query_bundle_or_str))

    def _run(self, query_bundle: QueryBundle, metadata: dict[str, Any]) -> RefinedQueryBundle:
        del metadata  # one dict is shared by all queries of an engine, so nothing is reported there
        return self._refiner.find(query_bundle).bundle

    @dispatcher.span
    async def _arun(self, query_bundle: QueryBundle) -> RefinedQueryBundle:
        return (await self._refiner.afind(query_bundle)).bundle

    def _get_prompts(self) -> PromptDictType:
        return self._refiner.prompts()

    def _update_prompts(self, prompts_dict: PromptDictType) -> None:
        self._refiner = self._refiner.with_prompts(prompts_dict)


def _as_run_takes_it(query: QueryType) -> QueryBundle:
    """Make of a string what `BaseQueryTransform.run` makes of it."""
    return QueryBundle(query, custom_embedding_strs=[query]) if isinstance(query, str) else query
