"""What the learning is told: a whole run, or one round of a live run.

Rule 1: an observation is checked when it is made, so that nothing wrong ever reaches the statistics.
Rule 2: the first call is iteration 1; `actions` names how calls 2, 3, ... were asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

from loopllm.errors import MisuseError
from loopllm.priors.cost_sums import FIRST_WAY
from loopllm.results import UNKNOWN_USAGE, Usage

USUAL_WAY = "last"
"""The way of asking again that is meant when nobody says."""

MOST = sys.float_info.max
"""The largest number there is: an amount is finite."""


def check_text(name: str, value: str) -> None:
    """Refuse what cannot be part of a key: half a character (a lone surrogate) would make two names one key.

    Raises:
        MisuseError: It is no string, empty, or cannot be written as UTF-8.
    """
    if not isinstance(value, str) or not value:
        raise MisuseError(f"{name} must be a non-empty string, got {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise MisuseError(f"{name} must be text that can be written as UTF-8, got {value!r}") from None


def is_within(value: float, low: float, high: float) -> bool:
    """Whether it is a number in [low, high]; NaN is in none."""
    try:
        return bool(low <= value <= high)
    except TypeError:
        return False


def whole(name: str, value: float, least: int | None = 1) -> int:
    """A whole number as an int, whatever kind of number it came as.

    >>> whole("seed", 3.0)
    3

    Raises:
        MisuseError: It is none, or below `least`.
    """
    if not is_within(value, -inf if least is None else least, inf) or value % 1:
        raise MisuseError(
            f"{name} must be a whole number{'' if least is None else f' from {least} on'}, got {value!r}"
        )
    return int(value)


def check_scores(scores: Sequence[float], name: str = "scores") -> None:
    """Refuse what are no scores.

    Raises:
        MisuseError: There is none, or one is not in [0, 1].
    """
    try:
        if not len(scores):
            raise MisuseError(f"{name} must hold the score of at least one call")
        for index, score in enumerate(scores):
            if not 0.0 <= score <= 1.0:  # NaN fails this comparison too
                raise MisuseError(f"{name}[{index}] must be a number in [0, 1], got {score!r}")
    except TypeError:  # tried rather than asked for, which would cost every observation
        raise MisuseError(f"{name} must be a sequence of numbers in [0, 1], got {scores!r}") from None


def _check_listed(name: str, values: object) -> None:
    if not hasattr(values, "__len__"):  # None, or what can be read only once
        raise MisuseError(f"{name} must be a sequence, or empty; got {values!r}")


def _check_stated(stated: Sequence[float], calls: int) -> None:
    if not len(stated):
        return
    check_scores(stated, "stated")
    if len(stated) != calls:
        raise MisuseError(f"stated must be empty or hold one score a call, {calls}; got {len(stated)}")


def _check_latencies(name: str, latencies: Sequence[float]) -> None:
    _check_listed(name, latencies)
    for index, latency in enumerate(latencies):
        if not is_within(latency, 0.0, MOST):
            raise MisuseError(f"{name}[{index}] must be milliseconds >= 0, got {latency!r}")


def _check_usages(usages: Sequence[Usage]) -> None:
    _check_listed("usages", usages)
    for usage in usages:
        if not isinstance(usage, Usage):
            raise MisuseError(
                f"usages must hold Usage(prompt_tokens, completion_tokens, cost), got {usage!r}"
            )
        for name in ("prompt_tokens", "completion_tokens", "cost"):
            amount = getattr(usage, name)
            if amount is not None and not is_within(amount, 0.0, MOST):
                raise MisuseError(f"usage: {name} must be a number >= 0 or None, got {amount!r}")


def _check_shape(actions: Sequence[str], threshold: float, maximum: int | None, calls: int) -> None:
    _check_listed("actions", actions)
    if isinstance(actions, str) or not all(isinstance(action, str) and action for action in actions):
        raise MisuseError(f"actions must be a sequence of non-empty names, got {actions!r}")
    if FIRST_WAY in actions:
        raise MisuseError(f"actions may not be called {FIRST_WAY!r}, which is the name of a run's first call")
    if len(actions) > max(0, calls - 1):
        raise MisuseError(f"actions names how calls 2.. were asked: at most {calls - 1}, got {len(actions)}")
    if not is_within(threshold, 0.0, 1.0):
        raise MisuseError(f"quality_threshold must be a number in [0, 1], got {threshold!r}")
    if maximum is not None:
        whole("max_iterations", maximum)


@dataclass(frozen=True, slots=True)
class Hindsight:
    """What acting would have changed in a run that was only observed; see `loopllm.priors.hindsight`.

    Attributes:
        made: Calls that were made.
        room: The most calls that could have been saved.
        top: The most that a draft can be worth.
        stake: What `room` calls cost, in the unit of the value.
        stop: The call after which it would have stopped, or None when that is unknown.
        value_lost: Value lost by returning the best draft of then; 0 when unknown.
        calls_saved: Calls saved, as the least and the most that it can be; equal when known.
        net_gain: Cost of the calls saved less the value lost, in the same form.
        unknown_since: Why it is unknown: `ended`: the run ended first; `asked`: it would have asked in another way.
    """

    made: int
    room: float
    top: float
    stake: float
    stop: int | None
    value_lost: float
    calls_saved: tuple[float, float]
    net_gain: tuple[float, float]
    unknown_since: Literal["", "ended", "asked"] = ""


@dataclass(frozen=True, slots=True)
class CallObservation:
    """A run that is over: what every call scored, and what it cost.

    >>> CallObservation(task_type="sql", model_id="gpt-4o", scores=[0.3, 0.9]).reached
    True

    Args:
        task_type: Your name for the kind of task.
        model_id: The model, by the same name everywhere.
        scores: Scores in [0, 1] of the calls, in order; never empty.
        latencies_ms: Milliseconds of each call, or empty.
        converged: Whether the run ended good enough; None: a score reached the threshold.
        total_iterations: Calls made; None or the number of scores (a call without a score has none).
        max_iterations: The budget the run had, or None.
        quality_threshold: The score that was good enough.
        actions: How calls 2, 3, ... were asked for (`last`, `best`, `deficiencies`, `fresh`, your own); missing
            ones are taken as `last`.
        usages: Tokens and money of each call, or empty.
        evaluations_ms: Milliseconds of each call's evaluation, or empty.
        hindsight: Of a run that the priors did not steer: what they would have changed. A loop fills it in.
        judgements: All scores of each draft that was judged more than once, the first one included; `scores` holds the
            first only.
        stated: What the evaluator said of each call, where `scores` hold something else to learn from (a draft whose
            score was enough but which was refused); for reports. Empty where they are the same.

    Raises:
        MisuseError: A field is out of its range; the message names it.
    """

    task_type: str
    model_id: str
    scores: Sequence[float]
    latencies_ms: Sequence[float] = ()
    converged: bool | None = None
    total_iterations: int | None = None
    max_iterations: int | None = None
    quality_threshold: float = 0.8
    actions: Sequence[str] = ()
    usages: Sequence[Usage] = ()
    evaluations_ms: Sequence[float] = ()
    hindsight: Hindsight | None = None
    judgements: Sequence[Sequence[float]] = ()
    stated: Sequence[float] = ()

    def __post_init__(self) -> None:
        check_text("task_type", self.task_type)
        check_text("model_id", self.model_id)
        check_scores(self.scores)
        _check_stated(self.stated, len(self.scores))
        _check_listed("judgements", self.judgements)
        for scores in self.judgements:
            check_scores(scores, "judgements")
        _check_latencies("latencies_ms", self.latencies_ms)
        _check_latencies("evaluations_ms", self.evaluations_ms)
        _check_usages(self.usages)
        _check_shape(self.actions, self.quality_threshold, self.max_iterations, len(self.scores))
        calls = len(self.scores)
        if self.total_iterations is not None and whole("total_iterations", self.total_iterations) < calls:
            raise MisuseError(
                f"total_iterations must be at least the {calls} scored calls, got {self.total_iterations}"
            )

    @property
    def reached(self) -> bool:
        """True when the run ended good enough."""
        return max(self.scores) >= self.quality_threshold if self.converged is None else self.converged


@dataclass(frozen=True, slots=True)
class RoundObservation:
    """One finished round of a run that may go on.

    Args:
        task_type: Your name for the kind of task.
        model_id: The model, by the same name everywhere.
        scores: All scores of the run so far, this round's last.
        actions: How calls 2, 3, ... were asked for.
        latency_ms: Milliseconds of this round's call, or None.
        usage: Tokens and money of this round's call.
        quality_threshold: The score that is good enough.
        max_iterations: The budget of the run, or None.
        evaluation_ms: Milliseconds of this round's evaluation, or None.
        stated: As in `CallObservation`.

    Raises:
        MisuseError: A field is out of its range; the message names it.
    """

    task_type: str
    model_id: str
    scores: Sequence[float]
    actions: Sequence[str] = ()
    latency_ms: float | None = None
    usage: Usage = UNKNOWN_USAGE
    quality_threshold: float = 0.8
    max_iterations: int | None = None
    evaluation_ms: float | None = None
    stated: Sequence[float] = ()

    def __post_init__(self) -> None:
        check_text("task_type", self.task_type)
        check_text("model_id", self.model_id)
        check_scores(self.scores)
        _check_stated(self.stated, len(self.scores))
        if self.latency_ms is not None:
            _check_latencies("latency_ms", (self.latency_ms,))
        if self.evaluation_ms is not None:
            _check_latencies("evaluation_ms", (self.evaluation_ms,))
        _check_usages((self.usage,))
        _check_shape(self.actions, self.quality_threshold, self.max_iterations, len(self.scores))
