"""What has been learned about a task type and model, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from loopllm.tables import Rows, Tabular, counted, shorten, significant


class Readable:
    """Attributes that may also be read like a mapping: `report["total_calls"]`, `dict(report)`."""

    __slots__ = ()

    def keys(self) -> list[str]:
        """Names of the fields."""
        return [f.name for f in fields(self)]  # type: ignore[arg-type]  # every subclass is a dataclass

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def __getitem__(self, name: str) -> Any:
        if name not in self.keys():
            raise KeyError(name)
        return getattr(self, name)


@dataclass(frozen=True)
class IterationReport(Readable):
    """One depth. Intervals hold 80 %.

    What is said of "all runs" is what would be if none had been stopped before: runs that stop early are the good
    ones, so those that made a late call are no fair sample (see `loopllm.priors.forecast`). What is said of the runs
    that made the call is about them alone.

    Attributes:
        iteration: Number of the call; the first is 1.
        runs: Runs that made it.
        expected_score: Expected best score after it, over all runs.
        score_range: Where the best score is then in 80 % of all runs.
        observed_score: Mean best score after it, over the runs that made it.
        expected_improvement: Mean rise of the best score by it, over the runs that made it; of the first, its score.
        improvement_probability: Probability that it is a new best, for a run that makes it (posterior mean, one
            success and one failure in advance); of the first, 1.
        improvement_interval: Its interval, from the exact Beta distribution.
        goes_on_within: Lowest and highest best score at which another call is worth its cost, for a run that has just
            gained; (0.0, 0.0) when none is. Where only a good enough answer counts, a low score may be hopeless.
        goes_on_after_stall: The same for a run whose last call gained nothing.
    """

    iteration: int
    runs: float
    expected_score: float
    score_range: tuple[float, float]
    observed_score: float
    expected_improvement: float
    improvement_probability: float
    improvement_interval: tuple[float, float]
    goes_on_within: tuple[float, float]
    goes_on_after_stall: tuple[float, float]

    @property
    def reservation_score(self) -> float:
        """Best score from which stopping after this call is right for a run that has just gained."""
        return self.goes_on_within[1]

    @property
    def reservation_after_stall(self) -> float:
        """The same for a run whose last call gained nothing."""
        return self.goes_on_after_stall[1]


@dataclass(frozen=True)
class CallCostReport(Readable):
    """What a call costs that is asked for in one way: expected values with their 80 % intervals, None where unknown.

    Attributes:
        way: How it is asked for; `first` for the first call of a run.
        calls: Calls of this pair behind it, older ones counting less; 0 when it is known from relatives only.
        money: Mean, low, high, in the currency of whoever stated the price.
        seconds: Mean, low, high; of the call and its evaluation.
        tokens: Mean, low, high; in both directions.
    """

    way: str
    calls: float
    money: tuple[float, float, float] | None
    seconds: tuple[float, float, float] | None
    tokens: tuple[float, float, float] | None

    def __str__(self) -> str:
        said = ((self.money, " in money"), (self.seconds, " s"), (self.tokens, " tokens"))
        known = ((unit, [significant(edge, 3) for edge in x]) for x, unit in said if x is not None)
        parts = [f"{mean}{unit} ({low} to {high})" for unit, (mean, low, high) in known]
        behind = "from relatives only" if self.calls < 0.5 else counted(self.calls, "call")  # noqa: PLR2004
        return f"{self.way}: {', '.join(parts)}; {behind}"


@dataclass(frozen=True)
class PriorsReport(Tabular, Readable):
    """A task type and model; prints as a table of its depths.

    Attributes:
        task_type: The kind of task.
        model_id: The model.
        total_calls: Observed runs (calls of `refine`).
        outdated_calls: Those of them before the process changed, which are hardly believed any more.
        optimal_depth: Depth up to which calling pays.
        converge_rate: Probability that a run reaches its threshold (posterior mean).
        converge_interval: Its 80 % interval, from the exact Beta distribution.
        first_call_quality: Mean score of the first call, or None when there is no run.
        confidence: How much of what is believed comes from this pair's own runs, in [0, 1).
        iterations: What is known per depth.
        model_calls: Model calls in those runs.
        mean_latency_ms: Mean milliseconds of a call, or None.
        kinds: What kind of loop it is believed to be: probabilities by family, see `loopllm.priors.cold_start`.
        saved: Of runs that were only observed: what acting would have saved.
        call_costs: What a call costs, by way of asking.
    """

    task_type: str
    model_id: str
    total_calls: int
    optimal_depth: int
    converge_rate: float
    converge_interval: tuple[float, float]
    first_call_quality: float | None
    confidence: float
    iterations: tuple[IterationReport, ...] = ()
    model_calls: int = 0
    mean_latency_ms: float | None = None
    kinds: Mapping[str, float] = field(default_factory=dict[str, float])
    saved: SavedReport | None = None
    call_costs: Mapping[str, CallCostReport] = field(default_factory=dict[str, CallCostReport])
    outdated_calls: int = 0

    def _headline(self) -> str:
        runs = f"{shorten(self.task_type)} with {shorten(self.model_id)}: {counted(self.total_calls, 'run')}"
        if self.first_call_quality is None:
            return f"{runs}, so nothing of its own is known yet"
        low, high = self.converge_interval
        enough = f"{self.converge_rate:.0%} good enough ({low:.0%} to {high:.0%})"
        first = f"first call {self.first_call_quality:.2f}"
        lines = [f"{runs}, {enough}, {first}, worth up to {counted(self.optimal_depth, 'call')}"]
        if self.outdated_calls:
            outdated = counted(self.outdated_calls, "run")
            count = "counts" if self.outdated_calls == 1 else "count"
            lines.append(f"it changed: the first {outdated} no longer {count} for when to stop")
        lines += [f"cost of {cost}" for cost in self.call_costs.values()]
        return "\n".join([*lines, *([] if self.saved is None else self.saved.sentences())])

    def _columns(self) -> Sequence[str]:
        return ("call", "runs", "expected best", "80 % of runs", "P(improve)", "goes on at", "after a stall")

    def _rows(self) -> Rows:
        return [
            (
                it.iteration,
                f"{it.runs:.0f}",
                f"{it.expected_score:.2f}",
                "{:.2f} to {:.2f}".format(*it.score_range),
                "" if it.iteration == 1 else f"{it.improvement_probability:.2f}",
                _span(it.goes_on_within),
                _span(it.goes_on_after_stall),
            )
            for it in self.iterations
        ]


def _span(within: tuple[float, float]) -> str:
    """Between which best scores a run goes on.

    >>> _span((0.0, 0.0)), _span((0.55, 0.69))
    ('never', '0.55 to 0.69')
    """
    low, high = within
    return f"{low:.2f} to {high:.2f}" if high > 0.0 else "never"


Estimate = tuple[float, float, float]
"""A mean and its 80 % interval."""


@dataclass(frozen=True)
class SavedReport(Tabular, Readable):
    """What acting would have changed, from runs that were only observed. Intervals hold 80 %.

    A mean over the known runs says nothing of the unknown ones, which need not be like them. So the bounds are over
    all runs: the lower end takes every unknown run at its worst, the upper end at its best, and both leave room for
    chance. A run that ended before the rule would have stopped counts as anything from "nothing changes" (the loop
    keeps its other exits) to "every call that was left is made" (the rule alone).

    Attributes:
        runs: Runs of which it is known what acting would have done.
        unknown: Runs of which it is not: `ended_first` and `asked_otherwise`.
        calls_saved: Mean calls saved per known run.
        value_lost: Mean value lost per known run by returning an earlier best draft.
        net_gain: Mean cost of the calls saved less the value lost, per known run, in the unit of the value.
        calls_made: Mean calls of all observed runs.
        ended_first: Runs that ended before the rule would have stopped.
        asked_otherwise: Runs in which the rule would have asked again in another way.
        calls_saved_bounds: Least and most calls saved per run, over all runs; shown where some are unknown.
        net_gain_bounds: Least and most net gain per run, over all runs.
    """

    runs: int
    unknown: int
    calls_saved: Estimate
    value_lost: Estimate
    net_gain: Estimate = (0.0, 0.0, 0.0)
    calls_made: float = 0.0
    ended_first: int = 0
    asked_otherwise: int = 0
    calls_saved_bounds: tuple[float, float] = (0.0, 0.0)
    net_gain_bounds: tuple[float, float] = (0.0, 0.0)

    def sentences(self) -> list[str]:
        """The same in words."""
        everyone = self.runs + self.unknown
        lines = [f"only observed: acting would have saved {_estimate(self.calls_saved, 2)} calls a run"]
        show = "shows" if self.runs == 1 else "show"
        lines[0] += f" of {self.calls_made:.1f}, as {self.runs} of {counted(everyone, 'run')} {show}"
        lines.append(f"it would have lost {_estimate(self.value_lost, 3)} of value, for a net gain of ")
        lines[-1] += _estimate(self.net_gain, 3)
        if self.unknown:
            low, high = self.calls_saved_bounds
            are = "is" if self.unknown == 1 else "are"
            lines.append(
                f"{counted(self.unknown, 'run')} {are} unknown ({self.ended_first} ended first, "
                f"{self.asked_otherwise} would have been asked in another way): "
                f"over all runs {low:.2f} to {high:.2f} calls saved"
            )
        return lines if self.runs else lines[2:]

    def _headline(self) -> str:
        return self.sentences()[0]

    def _columns(self) -> Sequence[str]:
        return ("per run", "known runs", "80 % interval", "all runs, least to most")

    def _rows(self) -> Rows:
        rows = (
            ("calls saved", self.calls_saved, self.calls_saved_bounds),
            ("value lost", self.value_lost, None),
            ("net gain", self.net_gain, self.net_gain_bounds),
        )
        return [
            (
                name,
                f"{mean:.3f}" if self.runs else "unknown",
                f"{low:.3f} to {high:.3f}" if self.runs else "",
                "" if bounds is None or not self.unknown else "{:.3f} to {:.3f}".format(*bounds),
            )
            for name, (mean, low, high), bounds in rows
        ] + [("runs", self.runs, "", self.runs + self.unknown)]


def _estimate(estimate: Estimate, digits: int) -> str:
    mean, low, high = estimate
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


@dataclass(frozen=True)
class SuggestedConfig(Tabular, Readable):
    """Settings for a loop.

    Attributes:
        max_iterations: A budget that does not cut off what has been seen to succeed.
        quality_threshold: The threshold that the runs used, unchanged.
        metadata: Why.
    """

    max_iterations: int
    quality_threshold: float
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def _headline(self) -> str:
        why = self.metadata
        names = " with ".join(shorten(why.get(name)) for name in ("task_type", "model_id"))
        return f"Suggested for {names}, from {counted(why.get('runs', 0), 'run')}"

    def _columns(self) -> Sequence[str]:
        return ("setting", "value")

    def _rows(self) -> Rows:
        return [("max_iterations", self.max_iterations), ("quality_threshold", self.quality_threshold)]
