"""A query engine that answers, scores its answer, and answers again until it is good enough."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import RESPONSE_TYPE, AsyncStreamingResponse, StreamingResponse
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.prompts.mixin import PromptDictType, PromptMixinType
from llama_index.core.schema import NodeWithScore, QueryBundle

from loopllm import AdaptivePriors, LoopConfig, LoopedLLM
from loopllm.errors import EvaluatorError, MisuseError, ProviderError
from loopllm.evaluators import as_evaluator
from loopllm.preparing import require_loop_parts
from loopllm.results import RefinementResult
from loopllm.telemetry.base import Observer
from loopllm_li.answer_judge import AnswerJudge, JudgedPart
from loopllm_li.answer_rounds import AnswerAttempt, AnswerFormat
from loopllm_li.answering import DEFAULT_REVISION_PROMPT, Answering, streams
from loopllm_li.answers import Answer, aanswer_of, answer_of, shown
from loopllm_li.background_loop import run_blocking
from loopllm_li.bundles import plain
from loopllm_li.deep_prompts import DeepPrompts, has_usable_prompts
from loopllm_li.llama_evaluator import LlamaIndexEvaluator, adapted
from loopllm_li.llm_calls import LLMCalls
from loopllm_li.model_names import model_name_of
from loopllm_li.opened_runs import AnswerLoop, aopened, opened
from loopllm_li.optimistic_stream import DEFAULT_REVISION_NOTICE, OptimisticStream, Outcome
from loopllm_li.spans import InstrumentationObserver, SpannedJudge, SpannedRounds, dispatcher
from loopllm_li.stories import story_of
from loopllm_li.tie_break import TieBreak
from loopllm_li.transform_engine import aretrieve_with

logger = logging.getLogger("loopllm")

_Result = RefinementResult[AnswerAttempt, Answer]


class LoopedQueryEngine(DeepPrompts, BaseQueryEngine):
    """Asks a query engine, scores the answer, feeds back what is wrong, and returns the best answer of all.

    Every answer is scored against the caller's own query. An engine that can write from given nodes (such as
    `RetrieverQueryEngine`, `CitationQueryEngine` and `LoopedTransformQueryEngine` around them) retrieves once, for that
    query, and feedback reaches only whoever writes the answer. Any other engine (`RouterQueryEngine`,
    `SubQuestionQueryEngine`, a plain `TransformQueryEngine`) is asked anew in every round with the feedback in the
    query: its selectors, transforms and word-based retrievers read it too, and only what is embedded stays the caller's
    where nothing in between rewrites it. Take `LoopedTransformQueryEngine` for `TransformQueryEngine`, and loop the
    engines inside a router instead of the router. The response is of the type that the inner engine gives, with its
    source nodes; the story of the run is in `response.metadata["loopllm"]`.

    Args:
        query_engine: The engine to loop.
        evaluator: Scores `(text, context)`: a LlamaIndex `BaseEvaluator`, an evaluator of loopllm, or a callable. The
            context has `query`, `contexts`, `response` and `previous_answer`.
        config: Limits and settings of the loop.
        priors: What earlier runs have taught; the engine learns by itself.
        task_type: Under which name it is learned.
        model_id: The name of the answering model, when it cannot be found in the engine.
        context: Further facts for the evaluator, for example `{"reference": "..."}`.
        evaluate_on: Picks what is judged out of a response, instead of its text.
        streaming: Hand out streams that replay the accepted answer; None does so when the inner engine streams.
            `"optimistic"` hands out the first answer of a streaming engine while it is written, judges it when it is
            complete, and goes on with `revision_notice` and a better answer where there is one. That first answer's
            time and tokens count as the run's; but it is asked for outside the loop, which can neither interrupt it
            when the time is up nor ask again when it fails.
        revision_notice: What is written between the two.
        tie_break: A `PairwiseComparisonEvaluator` that chooses among answers of equal best score; else the first wins.
        revision_prompt: How a question with feedback is written; see `DEFAULT_REVISION_PROMPT`.
        observers: Listeners to the events of every run.
        callback_manager: The inner engine's when not given.

    Raises:
        MisuseError: An argument is wrong; the message names it.
    """

    def __init__(
        self,
        *,
        query_engine: BaseQueryEngine,
        evaluator: Any,
        config: LoopConfig | None = None,
        priors: AdaptivePriors | None = None,
        task_type: str = "query",
        model_id: str | None = None,
        context: Mapping[str, Any] | None = None,
        evaluate_on: JudgedPart | None = None,
        streaming: bool | Literal["optimistic"] | None = None,
        revision_notice: str = DEFAULT_REVISION_NOTICE,
        tie_break: Any = None,
        revision_prompt: BasePromptTemplate | None = None,
        observers: Sequence[Observer] = (),
        callback_manager: CallbackManager | None = None,
    ) -> None:
        if not isinstance(query_engine, BaseQueryEngine):
            raise MisuseError(
                f"query_engine must be a LlamaIndex query engine, got {type(query_engine).__name__}"
            )
        judge = adapted(evaluator)
        as_evaluator(judge)  # what is no evaluator is refused now, not at the first query
        require_loop_parts(config, priors, observers)
        self._query_engine = query_engine
        self._evaluator = judge
        self._config = config or LoopConfig()
        self._priors = priors
        self._task_type = task_type
        self._model_id = model_id
        self._context = dict(context or {})
        self._evaluate_on = evaluate_on
        if streaming not in {True, False, None, "optimistic"}:
            raise MisuseError(f'streaming must be True, False, None or "optimistic", got {streaming!r}')
        self._streaming = streaming
        self._revision_notice = revision_notice
        self._tie_break = None if tie_break is None else TieBreak(tie_break)
        self._revision_prompt = revision_prompt or DEFAULT_REVISION_PROMPT
        self._observers = tuple(observers)
        super().__init__(callback_manager or query_engine.callback_manager)

    def __repr__(self) -> str:
        return f"LoopedQueryEngine({type(self._query_engine).__name__}, config={self._config!r})"

    # -- what every query engine has ----------------------------------------------------------------------------

    def retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """Retrieve through the inner engine."""
        return self._query_engine.retrieve(query_bundle)

    async def aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """Retrieve through the inner engine without blocking the event loop."""
        return await aretrieve_with(self._query_engine, query_bundle)

    def synthesize(
        self,
        query_bundle: QueryBundle,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
    ) -> RESPONSE_TYPE:
        """Write one answer through the inner engine, without looping."""
        return self._query_engine.synthesize(query_bundle, nodes, additional_source_nodes)

    async def asynthesize(
        self,
        query_bundle: QueryBundle,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
    ) -> RESPONSE_TYPE:
        """Write one answer through the inner engine, without looping or blocking the event loop."""
        return await self._query_engine.asynthesize(query_bundle, nodes, additional_source_nodes)

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        payload: dict[str, Any] = {EventPayload.QUERY_STR: query_bundle.query_str}
        with self.callback_manager.event(CBEventType.QUERY, payload=payload) as event:
            response = self._answered(query_bundle)
            event.on_end(payload={EventPayload.RESPONSE: response})
        return response

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        payload: dict[str, Any] = {EventPayload.QUERY_STR: query_bundle.query_str}
        with self.callback_manager.event(CBEventType.QUERY, payload=payload) as event:
            response = await self._aanswered(query_bundle)
            event.on_end(payload={EventPayload.RESPONSE: response})
        return response

    # -- the loop -----------------------------------------------------------------------------------------------

    def _answered(self, query: QueryBundle) -> RESPONSE_TYPE:
        if self._streaming != "optimistic":
            return self._shown(self._looped(query), awaited=False)
        calls = LLMCalls()
        with calls.listening():
            first = self._query_engine.query(plain(query))
        if isinstance(first, StreamingResponse):
            stream = OptimisticStream(first, self._revision_notice, calls)
            return stream.response(lambda answer: _outcome(self._looped(query, answer)))
        opening = replace(answer_of(first), usage=calls.usage, latency_ms=calls.latency_ms)
        return self._shown(self._looped(query, opening), awaited=False)

    async def _aanswered(self, query: QueryBundle) -> RESPONSE_TYPE:
        if self._streaming != "optimistic":
            return self._shown(await self._alooped(query), awaited=True)
        calls = LLMCalls()
        with calls.listening():
            first = await self._query_engine.aquery(plain(query))
        if isinstance(first, AsyncStreamingResponse):

            async def finish(answer: Answer) -> Outcome:
                return _outcome(await self._alooped(query, answer))

            return OptimisticStream(first, self._revision_notice, calls).aresponse(finish)
        with calls.listening():  # it may be a blocking stream, whose model is asked while it is read
            whole = await aanswer_of(first)
        opening = replace(whole, usage=calls.usage, latency_ms=calls.latency_ms)
        return self._shown(await self._alooped(query, opening), awaited=True)

    @dispatcher.span
    def _looped(self, query: QueryBundle, opening: Answer | None = None) -> _Result:
        loop, judge = self._loop(opening), self._judge()
        task = opened(loop, AnswerAttempt(query), opening, self._task_type, judge)
        try:
            result = loop.refine(task, judge, self._context, task_type=self._task_type)
        except (EvaluatorError, ProviderError) as error:
            return _unscored(error)
        if self._tie_break is None:
            return result
        return run_blocking(self._tie_break.settle(result, query, self._context))

    @dispatcher.span
    async def _alooped(self, query: QueryBundle, opening: Answer | None = None) -> _Result:
        loop, judge = self._loop(opening), self._judge()
        task = await aopened(loop, AnswerAttempt(query), opening, self._task_type, judge)
        try:
            result = await loop.arefine(task, judge, self._context, task_type=self._task_type)
        except (EvaluatorError, ProviderError) as error:
            return _unscored(error)
        return (
            result if self._tie_break is None else await self._tie_break.settle(result, query, self._context)
        )

    def _judge(self) -> SpannedJudge:
        return SpannedJudge(AnswerJudge(self._evaluator, self._evaluate_on))

    def _loop(self, opening: Answer | None) -> AnswerLoop:
        model_id = self._model_id or model_of_engine(self._query_engine)
        if self._priors is not None and model_id is None:
            raise MisuseError(
                "learning needs the name of the answering model: give LoopedQueryEngine model_id=..."
            )
        answering = Answering(self._query_engine, self._revision_prompt, model_id, opening)
        return LoopedLLM(
            SpannedRounds(answering),
            self._config,
            priors=self._priors,
            observers=(InstrumentationObserver(), *self._observers),
            format=AnswerFormat(streamed=streams(self._query_engine)),
        )

    def _shown(self, result: _Result, *, awaited: bool) -> RESPONSE_TYPE:
        answer = result.output
        streaming = answer.streamed if self._streaming in {None, "optimistic"} else bool(self._streaming)
        return shown(answer, _story(result), streaming=streaming, awaited=awaited)

    # -- prompts ------------------------------------------------------------------------------------------------

    def _get_prompts(self) -> PromptDictType:
        return {"revision_prompt": self._revision_prompt}

    # The two bases call the argument by different names.
    def _update_prompts(self, prompts: PromptDictType) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._revision_prompt = prompts.get("revision_prompt", self._revision_prompt)

    def _get_prompt_modules(self) -> PromptMixinType:
        modules: PromptMixinType = {"query_engine": self._query_engine}
        judge = (
            self._evaluator.evaluator if isinstance(self._evaluator, LlamaIndexEvaluator) else self._evaluator
        )
        if has_usable_prompts(judge):
            modules["evaluator"] = judge
        return modules


def _story(result: _Result) -> dict[str, Any]:
    story = story_of(result)
    for told, record in zip(story["iterations"], result.iterations, strict=True):
        told["node_ids"] = [node.node_id for node in record.output.source_nodes]
    return story


def _outcome(result: _Result) -> Outcome:
    return result.output, _story(result)


def model_of_engine(engine: Any) -> str | None:
    """Return the name of the model that writes an engine's answers, or None when it cannot be found."""
    for part in (
        getattr(engine, "_response_synthesizer", None),
        engine,
        getattr(engine, "_query_engine", None),
    ):
        llm = getattr(part, "_llm", None)
        name = None if llm is None else model_name_of(llm)
        if name is not None:
            return name
    inner = getattr(engine, "_query_engine", None)
    return None if inner is None else model_of_engine(inner)


def _unscored(error: EvaluatorError | ProviderError) -> _Result:
    """Return the paid answer although nothing could score it, and say so; without any answer, raise.

    The engine may fail after the judge did; the answer before that is paid for all the same.
    """
    result: _Result | None = error.result
    if result is None or not result.iterations:
        raise error
    logger.warning("the answer is returned without a score: %s", error)
    return result
