"""What LlamaIndex's instrumentation sees of a run: spans for the rounds, and one event for each scored round.

Rule 1: spans carry the data. Tracers that do not know an event of ours log a warning for each one they can
place, so events carry no span id; a tracer that places events by the active span still attaches them.
Rule 2: tags are added to those that are active, which `instrument_tags` alone would replace.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic

from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base.event import BaseEvent
from llama_index_instrumentation.dispatcher import Dispatcher, active_instrument_tags, instrument_tags
from llama_index_instrumentation.event_handlers import NullEventHandler
from llama_index_instrumentation.span_handlers import NullSpanHandler
from pydantic import BaseModel

from loopllm.events import DraftJudgedAgain, DraftScored, Finished, LoopEvent
from loopllm.providers.base import Completion, Provider
from loopllm.results import EvaluationResult, IterationRecord, OutputT, PromptT
from loopllm_li.judge_face import JudgeFace
from loopllm_li.llm_calls import LLMCallListener

dispatcher = get_dispatcher("loopllm_li")

_IDLE = (NullEventHandler, NullSpanHandler, LLMCallListener)
ITERATION_TAG = "loopllm.iteration"


class LoopIteration(BaseModel):
    """One scored round, as tracers show it.

    Attributes:
        iteration: 1 for the first.
        action: How it was asked for.
        score: Its score in [0, 1], or None when the evaluator failed.
        best_score: The best so far.
        passed: Whether it was good enough.
        deficiencies: What was wrong.
        latency_ms: Milliseconds of the call.
    """

    iteration: int
    action: str
    score: float | None
    best_score: float | None
    passed: bool
    deficiencies: list[str]
    latency_ms: float


class LoopIterationEvent(BaseEvent):
    """A round was scored; fields as in `LoopIteration`."""

    iteration: int
    action: str
    score: float | None
    best_score: float | None
    passed: bool
    deficiencies: list[str]
    latency_ms: float

    @classmethod
    def class_name(cls) -> str:
        """Return the name that handlers know the event by."""
        return "LoopIterationEvent"


class LoopFinishedEvent(BaseEvent):
    """A run is over.

    Attributes:
        exit_reason: Name of the condition that ended it.
        total_iterations: Rounds.
        best_iteration: The returned one.
        best_score: Its score.
    """

    exit_reason: str
    total_iterations: int
    best_iteration: int
    best_score: float

    @classmethod
    def class_name(cls) -> str:
        """Return the name that handlers know the event by."""
        return "LoopFinishedEvent"


class InstrumentationObserver:
    """Tells LlamaIndex's instrumentation of a run; an observer for any loop of loopllm."""

    def on_event(self, event: LoopEvent[Any, Any]) -> None:
        """Take one event of the run."""
        if not listened():
            return
        match event:
            case DraftScored(record, best_score) | DraftJudgedAgain(record, best_score):
                summary = scored_iteration(record, best_score)
                dispatcher.event(LoopIterationEvent(span_id=None, **summary.model_dump()))
            case Finished(result):
                metrics = result.metrics
                finished = LoopFinishedEvent(
                    span_id=None,
                    exit_reason=metrics.exit_reason.condition,
                    total_iterations=metrics.total_iterations,
                    best_iteration=metrics.best_iteration,
                    best_score=metrics.best_score,
                )
                dispatcher.event(finished)
            case _:
                return


@dispatcher.span
def scored_iteration(record: IterationRecord[Any, Any], best_score: float | None) -> LoopIteration:
    """Return a round as tracers show it; the call is a span, and its output is the round's data."""
    return LoopIteration(
        iteration=record.iteration,
        action=record.action,
        score=record.score,
        best_score=best_score,
        passed=record.passed,
        deficiencies=list(record.deficiencies),
        latency_ms=record.latency_ms,
    )


def listened() -> bool:
    """Say whether any handler records what it hears; spans for nobody would cost more than a round."""
    heard: Dispatcher | None = dispatcher
    while heard is not None:
        if not all(isinstance(handler, _IDLE) for handler in (*heard.span_handlers, *heard.event_handlers)):
            return True
        heard = heard.parent if heard.propagate else None
    return False


@contextmanager
def tagged(iteration: int) -> Iterator[None]:
    """Tag every span inside with the number of the round."""
    with instrument_tags({**active_instrument_tags.get(), ITERATION_TAG: iteration}):
        yield


class SpannedRounds(Generic[PromptT, OutputT]):
    """A provider whose calls are spans, tagged with the round; spans of LLMs and retrievers nest below.

    Args:
        provider: The provider of one run.
    """

    def __init__(self, provider: Provider[PromptT, OutputT]) -> None:
        self._provider = provider
        self._answered = 0

    @property
    def model_id(self) -> str | None:
        """The provider's own."""
        return self._provider.model_id

    def complete(
        self, prompt: PromptT, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[OutputT]:
        """Call the provider inside a span."""
        if not listened():
            return self._provider.complete(prompt, model, timeout=timeout)
        with tagged(self._answered + 1):
            reply = self._round(prompt, model, timeout)
        self._answered += 1
        return reply

    async def acomplete(
        self, prompt: PromptT, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[OutputT]:
        """Await the provider inside a span."""
        if not listened():
            return await self._provider.acomplete(prompt, model, timeout=timeout)
        with tagged(self._answered + 1):
            reply = await self._around(prompt, model, timeout)
        self._answered += 1
        return reply

    @dispatcher.span
    def _round(self, prompt: PromptT, model: str | None, timeout: float | None) -> Completion[OutputT]:
        return self._provider.complete(prompt, model, timeout=timeout)

    @dispatcher.span
    async def _around(self, prompt: PromptT, model: str | None, timeout: float | None) -> Completion[OutputT]:
        return await self._provider.acomplete(prompt, model, timeout=timeout)


class SpannedJudge(JudgeFace):
    """An evaluator whose calls are spans, tagged with the round.

    Args:
        judge: The evaluator of one run.
    """

    def evaluate(self, output: Any, context: Mapping[str, Any] | None = None) -> EvaluationResult:
        """Ask the evaluator inside a span."""
        if not listened():
            return self._plain(output, context)
        with tagged((context or {}).get("iteration", 0)):
            return self._evaluation(output, context)

    async def aevaluate(self, output: Any, context: Mapping[str, Any] | None = None) -> EvaluationResult:
        """Await the evaluator inside a span."""
        if not listened():
            return await self._aplain(output, context)
        with tagged((context or {}).get("iteration", 0)):
            return await self._aevaluation(output, context)

    @dispatcher.span
    def _evaluation(self, output: Any, context: Mapping[str, Any] | None) -> EvaluationResult:
        return self._plain(output, context)

    @dispatcher.span
    async def _aevaluation(self, output: Any, context: Mapping[str, Any] | None) -> EvaluationResult:
        return await self._aplain(output, context)

    def _plain(self, output: Any, context: Mapping[str, Any] | None) -> EvaluationResult:
        return self._judge.evaluate(output, context)

    async def _aplain(self, output: Any, context: Mapping[str, Any] | None) -> EvaluationResult:
        return await self._judge.aevaluate(output, context)
