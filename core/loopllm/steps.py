"""What a run asks the world to do, and what can come of it.

Rule 1: a step is an order, an outcome is a report; both are values and neither does anything.
Rule 2: time, money and chance enter a run only through outcomes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic

from loopllm.priors import CallObservation, RoundObservation
from loopllm.results import UNKNOWN_USAGE, EvaluationResult, OutputT, PromptT, RefinementResult, Usage


@dataclass(frozen=True, slots=True)
class CallModel(Generic[PromptT]):
    """Send `prompt` to the model.

    Attributes:
        prompt: What to send.
        iteration: 1 for the first call.
        action: How this call is asked for: `first`, or the name of a way of asking again.
        timeout_s: Seconds left for the run, or None without a limit.
    """

    prompt: PromptT
    iteration: int
    action: str
    timeout_s: float | None


@dataclass(frozen=True, slots=True)
class Evaluate(Generic[PromptT, OutputT]):
    """Score `output`.

    Attributes:
        output: The draft.
        task: The prompt of the first call, for evaluators that look at it.
        iteration: The draft's number.
        timeout_s: Seconds left for the run, or None without a limit.
        judgement: How often this draft will have been judged then; above 1 when it is judged again.
    """

    output: OutputT
    task: PromptT
    iteration: int
    timeout_s: float | None
    judgement: int = 1


@dataclass(frozen=True, slots=True)
class Remember:
    """Tell the priors what was seen.

    Attributes:
        round: The round that was just scored, or None.
        end: The whole run, when it is over, or None.
    """

    round: RoundObservation | None
    end: CallObservation | None


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait, then report `Paused`.

    Attributes:
        seconds: How long.
        reason: What failed.
    """

    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Finish(Generic[PromptT, OutputT]):
    """The run is over.

    Attributes:
        result: What came of it.
        error: To be raised instead of returning `result`, when there is no draft to return.
    """

    result: RefinementResult[PromptT, OutputT]
    error: Exception | None = None

    def settled(self) -> RefinementResult[PromptT, OutputT]:
        """Return the result, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.result


@dataclass(frozen=True, slots=True)
class ModelReplied(Generic[OutputT]):
    """The model answered.

    Attributes:
        output: The draft.
        usage: Tokens and cost, None where unknown.
        seconds: How long the call took.
        finish_reason: Why the model stopped, or None.
    """

    output: OutputT
    usage: Usage = UNKNOWN_USAGE
    seconds: float = 0.0
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True)
class CallFailed:
    """The model call raised.

    Attributes:
        error: What it raised.
        transient: The same call may succeed a little later.
        retry_after: Seconds the server asked to wait, or None.
        timed_out: The call was given up because the run's time is over.
        jitter: A number in [0, 1) drawn by the driver, to spread retries.
    """

    error: Exception
    transient: bool = False
    retry_after: float | None = None
    timed_out: bool = False
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The evaluator answered.

    Attributes:
        result: What it said.
        seconds: How long it took.
    """

    result: EvaluationResult
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class EvaluationFailed:
    """The evaluator raised; the draft has no score. Attributes as in `CallFailed`."""

    error: Exception
    transient: bool = False
    retry_after: float | None = None
    timed_out: bool = False
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class Remembered:
    """The priors were told."""


@dataclass(frozen=True, slots=True)
class Paused:
    """The wait is over."""


Step = CallModel[PromptT] | Evaluate[PromptT, OutputT] | Remember | Pause | Finish[PromptT, OutputT]
Outcome = ModelReplied[OutputT] | CallFailed | Evaluated | EvaluationFailed | Remembered | Paused
