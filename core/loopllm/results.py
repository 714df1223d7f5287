"""What is known: scores, rounds, and the result of a run. Values only.

Rule 1: nothing here changes after it is made, and nothing here does I/O.
Rule 2: unknown is None, never 0: a missing token count or a missing score stays visibly missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from loopllm.errors import MisuseError
from loopllm.tables import Tabular, shorten

PromptT = TypeVar("PromptT")
OutputT = TypeVar("OutputT")


def _sum_known(left: float | None, right: float | None) -> float | None:
    if left is None or right is None:
        return left if right is None else right
    return left + right


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and money of one or several calls; None where nobody said.

    Adding two usages sums what is known, and `Usage()` is the identity:

    >>> Usage(10, 5) + Usage(2, None, cost=0.001)
    Usage(prompt_tokens=12, completion_tokens=5, cost=0.001)
    >>> (Usage(10, 5) + Usage()).total_tokens
    15

    Attributes:
        prompt_tokens: Tokens sent to the model.
        completion_tokens: Tokens the model wrote.
        cost: Money, in the currency of whoever stated the price.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: float | None = None

    @property
    def total_tokens(self) -> int | None:
        """Tokens in both directions, or None when neither is known."""
        total = _sum_known(self.prompt_tokens, self.completion_tokens)
        return None if total is None else int(total)

    def __add__(self, other: Usage) -> Usage:
        """Sum field by field, treating None as "nobody said"."""
        if other is UNKNOWN_USAGE:
            return self
        if self is UNKNOWN_USAGE:
            return other
        prompt = _sum_known(self.prompt_tokens, other.prompt_tokens)
        completion = _sum_known(self.completion_tokens, other.completion_tokens)
        return Usage(
            None if prompt is None else int(prompt),
            None if completion is None else int(completion),
            _sum_known(self.cost, other.cost),
        )


UNKNOWN_USAGE = Usage()


_HAIR = 1e-9


def _plain_float(score: Any) -> float:
    """Return a number of any kind as a float, so that what holds it can be written to JSON."""
    try:
        if not isinstance(score, str):
            return float(score)
    except (TypeError, ValueError):
        pass
    raise MisuseError(f"score must be a number in [0, 1], got {score!r}")


def _rounded(score: float) -> float:
    """Return the nearer end of a score a hair beside [0, 1]: a weighted mean of ones may end at 1.0000000000000002."""
    if not -_HAIR <= score <= 1.0 + _HAIR:
        raise MisuseError(f"score must be a number in [0, 1], got {score!r}")
    return 0.0 if score < 0.0 else 1.0


def _sentences(deficiencies: Any) -> Sequence[str]:
    """Return deficiencies of any kind as a sequence; a string is one of its own letters, and never meant so."""
    if isinstance(deficiencies, str):
        return (deficiencies,) if deficiencies else ()
    return () if deficiencies is None else tuple(deficiencies)


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """What an evaluator says of one draft.

    >>> EvaluationResult(0.4, deficiencies=["too short", "no date"]).feedback
    'too short; no date'

    Attributes:
        score: Quality in [0, 1]; NaN and values outside are refused, but for a hair that rounding leaves.
        passed: The evaluator's own verdict; None leaves it to the quality threshold of the loop.
        deficiencies: What is wrong, each a sentence the model can act on; a lone string is one sentence.
        sub_scores: Named parts of the score, each in [0, 1].
        feedback: Free text for the model, told when there are no deficiencies; made from them when not given.

    Raises:
        MisuseError: The score is not a number in [0, 1].
    """

    score: float
    passed: bool | None = None
    deficiencies: Sequence[str] = ()
    sub_scores: Mapping[str, float] = field(default_factory=dict[str, float])
    feedback: str = ""

    def __post_init__(self) -> None:
        score = self.score
        if type(score) is not float:
            score = _plain_float(score)
            object.__setattr__(self, "score", score)
        if not 0.0 <= score <= 1.0:  # NaN fails this comparison too
            object.__setattr__(self, "score", _rounded(score))
        if self.passed is not None and type(self.passed) is not bool:  # numpy's False is not False
            object.__setattr__(self, "passed", bool(self.passed))
        if type(self.deficiencies) is not tuple and not isinstance(self.deficiencies, list):
            object.__setattr__(self, "deficiencies", _sentences(self.deficiencies))
        if self.sub_scores is None:
            object.__setattr__(self, "sub_scores", {})
        if not self.feedback and self.deficiencies:
            object.__setattr__(self, "feedback", "; ".join(map(str, self.deficiencies)))


@dataclass(frozen=True, slots=True)
class ExitReason:
    """Why a run ended.

    Attributes:
        condition: A stable name: `quality_threshold`, `convergence_delta`, `bayesian_exit`, `max_iterations`,
            `timeout_ms`, `token_budget`, `cost_budget`, `provider_error`, `evaluator_error`, `cancelled`, the name of a
            condition of your own, or, in the result that an error carries, `store_error` or `caller_error` (a feedback
            builder, an exit condition or an argument of your own).
        message: The same for a person, with the numbers.
    """

    condition: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class IterationRecord(Generic[PromptT, OutputT]):
    """One call of the model and what came of it.

    Attributes:
        iteration: 1 for the first call.
        prompt: Exactly what the model saw.
        output: Exactly what it answered.
        score: Its score in [0, 1], or None when the evaluator failed; the mean when it was judged more than once.
        passed: True when the draft is good enough: the score reaches the threshold and the evaluator did not object.
        deficiencies: What the evaluator found wrong.
        latency_ms: Milliseconds the model call took.
        action: How this call was asked for: `first`, `last`, `best`, `deficiencies`, `fresh`, or your builder's name.
        evaluation: Everything the evaluator said, or None when it failed; all judgements in one when there are several.
        error: Why there is no score, or an empty string.
        usage: Tokens and cost of the call.
        finish_reason: Why the model stopped writing (`stop`, `length`, ...), or None.
        evaluation_ms: Milliseconds the (first) evaluation took.
        judgements: Every single judgement, the first one first, when there was more than one; else empty.
    """

    iteration: int
    prompt: PromptT
    output: OutputT
    score: float | None
    passed: bool
    deficiencies: Sequence[str] = ()
    latency_ms: float = 0.0
    action: str = "first"
    evaluation: EvaluationResult | None = None
    error: str = ""
    usage: Usage = UNKNOWN_USAGE
    finish_reason: str | None = None
    evaluation_ms: float = 0.0
    judgements: Sequence[EvaluationResult] = ()


@dataclass(frozen=True, slots=True)
class LoopMetrics:
    """The run in numbers.

    Attributes:
        total_iterations: Finished calls, scored or not.
        best_score: Highest score, or 0.0 when nothing was scored.
        final_score: Score of the last scored draft, or 0.0.
        converged: True when a draft was good enough (see `IterationRecord.passed`).
        exit_reason: Why the run ended.
        total_latency_ms: Wall time of the run in milliseconds.
        score_trajectory: Scores in order, one per draft; drafts without a score are left out.
        usage: Tokens and cost of all calls.
        best_iteration: Number of the returned draft, 1-based; 0 when there is none.
        retries: Calls repeated because of transient failures.
    """

    total_iterations: int
    best_score: float
    final_score: float
    converged: bool
    exit_reason: ExitReason
    total_latency_ms: float
    score_trajectory: Sequence[float] = ()
    usage: Usage = UNKNOWN_USAGE
    best_iteration: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class RefinementResult(Tabular, Generic[PromptT, OutputT]):
    """The accepted draft and how it came about; it prints as a table of its calls, the returned one marked `*`.

    Attributes:
        output: The best draft (or the last, with `best_of=False`); the empty text when the time ran out before the
            first call ended, which `iterations == ()` shows.
        metrics: The run in numbers.
        iterations: Every call of the run, in order.
    """

    output: OutputT
    metrics: LoopMetrics
    iterations: Sequence[IterationRecord[PromptT, OutputT]] = ()

    def _columns(self) -> Sequence[str]:
        return _COLUMNS

    def _headline(self) -> str:
        metrics, reason = self.metrics, self.metrics.exit_reason
        spent = f", {metrics.usage.total_tokens} tokens" if metrics.usage.total_tokens else ""
        seconds = metrics.total_latency_ms / 1000.0
        best = f"best {metrics.best_score:.2f} of {metrics.total_iterations} calls"
        return f"{best}, {seconds:.1f} s{spent}; {reason.condition}: {reason.message}"

    def _rows(self) -> Sequence[Sequence[object]]:
        best = self.metrics.best_iteration
        return [
            (
                f"{record.iteration}{'*' if record.iteration == best else ''}",
                record.action,
                "none" if record.score is None else f"{record.score:.2f}",
                shorten("; ".join(record.deficiencies) or record.error),
                shorten(getattr(record.output, "content", record.output)),
            )
            for record in self.iterations
        ]


_COLUMNS = ("call", "asked", "score", "what was wrong", "answer")
