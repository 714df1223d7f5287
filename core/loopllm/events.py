"""What can be seen of a run while it goes on: one vocabulary for streams, logs, progress bars, callbacks and spans."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic

from loopllm.refinement import Refinement
from loopllm.results import ExitReason, IterationRecord, OutputT, PromptT, RefinementResult
from loopllm.steps import CallModel, Evaluate, Evaluated, Finish, ModelReplied, Outcome, Pause, Remember, Step


@dataclass(frozen=True, slots=True)
class RoundStarted(Generic[PromptT]):
    """The model is about to be called.

    Attributes:
        iteration: 1 for the first call.
        action: `first`, or the way of asking again.
        prompt: What is sent.
    """

    iteration: int
    action: str
    prompt: PromptT


@dataclass(frozen=True, slots=True)
class DraftReceived(Generic[OutputT]):
    """The model answered; the draft is not scored yet.

    Attributes:
        iteration: The draft's number.
        output: The draft.
        seconds: How long the call took.
    """

    iteration: int
    output: OutputT
    seconds: float


@dataclass(frozen=True, slots=True)
class DraftScored(Generic[PromptT, OutputT]):
    """A round is complete, and what it taught has been remembered.

    Attributes:
        record: The round.
        best_score: Score of the draft that leads, a good enough one before a higher score, or None when nothing could
            be scored yet.
        superseded: True when an earlier draft is better than this one.
    """

    record: IterationRecord[PromptT, OutputT]
    best_score: float | None
    superseded: bool


@dataclass(frozen=True, slots=True)
class DraftJudgedAgain(Generic[PromptT, OutputT]):
    """The best draft was judged once more, since that was worth more than it costs.

    Attributes:
        record: Its round, with all judgements; its score is their mean.
        best_score: Score of the draft that leads now.
        superseded: True when another draft leads now.
    """

    record: IterationRecord[PromptT, OutputT]
    best_score: float | None
    superseded: bool


@dataclass(frozen=True, slots=True)
class Retrying:
    """A call failed for the moment and will be repeated.

    Attributes:
        iteration: The round it belongs to.
        seconds: How long the run pauses first.
        reason: What failed.
    """

    iteration: int
    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Finished(Generic[PromptT, OutputT]):
    """The run is over; always the last event.

    Attributes:
        result: The accepted draft and the whole history.
    """

    result: RefinementResult[PromptT, OutputT]

    @property
    def exit_reason(self) -> ExitReason:
        """Why the run ended."""
        return self.result.metrics.exit_reason


LoopEvent = (
    RoundStarted[PromptT]
    | DraftReceived[OutputT]
    | DraftScored[PromptT, OutputT]
    | DraftJudgedAgain[PromptT, OutputT]
    | Retrying
    | Finished[PromptT, OutputT]
)


def narrate(
    run: Refinement[PromptT, OutputT], step: Step[PromptT, OutputT], outcome: Outcome[OutputT] | None
) -> Iterator[LoopEvent[PromptT, OutputT]]:
    """Return what there is to tell about a step that is about to be performed (`outcome` None) or was.

    A scored draft is told only after it was remembered, so that a listener who leaves there loses nothing.
    """
    match step, outcome:
        case CallModel(prompt, iteration, action), None:
            yield RoundStarted(iteration, action, prompt)
        case CallModel(_, iteration), ModelReplied(output, _, seconds):
            yield DraftReceived(iteration, output, seconds)
        case Pause(seconds, reason), None:
            yield Retrying(run.current_iteration, seconds, reason)
        case Finish(result, None), None:
            yield Finished(result)
        case Evaluate(judgement=judgement, iteration=iteration), outcome if judgement > 1:
            if isinstance(outcome, Evaluated):
                yield _judged_again(run, iteration)
        case (Evaluate(), outcome) if outcome is not None and not run.has_to_remember:
            yield from _scored(run)
        case (Remember(newest), outcome) if newest is not None and outcome is not None:
            yield from _scored(run)
        case _:
            return


def _judged_again(run: Refinement[Any, Any], iteration: int) -> DraftJudgedAgain[Any, Any]:
    record, best = run.records[iteration - 1], run.best
    return DraftJudgedAgain(record, best.score if best else None, superseded=best is not record)


def _scored(run: Refinement[Any, Any]) -> Iterator[DraftScored[Any, Any]]:
    if run.records and not run.is_repeating:
        newest, best = run.records[-1], run.best
        yield DraftScored(
            newest, best.score if best else None, superseded=best is not None and best is not newest
        )
