"""What has been learned about a task type and model, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any


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
    """One depth.

    Attributes:
        iteration: Number of the call; the first is 1.
        runs: Runs that made it.
        expected_score: Mean best score after it, over the runs that made it.
        expected_improvement: By how much it is expected to raise the best score.
        improvement_probability: Probability that it is a new best.
        reservation_score: Best score from which stopping after this call is right for a run that has just gained.
        reservation_after_stall: The same for a run whose last call gained nothing.
    """

    iteration: int
    runs: float
    expected_score: float
    expected_improvement: float
    improvement_probability: float
    reservation_score: float
    reservation_after_stall: float


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
        parts = [f"{x[0]:.3g}{unit} ({x[1]:.3g} to {x[2]:.3g})" for x, unit in said if x is not None]
        return f"{self.way}: {', '.join(parts)}; {self.calls:.0f} calls"


@dataclass(frozen=True)
class PriorsReport(Readable):
    """A task type and model.

    Attributes:
        task_type: The kind of task.
        model_id: The model.
        total_calls: Observed runs (calls of `refine`).
        optimal_depth: Depth up to which calling pays.
        converge_rate: Probability that a run reaches its threshold (posterior mean).
        converge_interval: Its 80 % interval, from the exact Beta distribution.
        first_call_quality: Mean score of the first call, or None when there is no run.
        confidence: How much of what is believed comes from this pair's own runs, in [0, 1).
        iterations: What is known per depth.
        model_calls: Model calls in those runs.
        mean_latency_ms: Mean milliseconds of a call, or None.
        kinds: What kind of loop it is believed to be: probabilities by family, see `loopllm.priors.cold_start`.
        saved: In mode `observe`: what acting would have saved.
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

    def __str__(self) -> str:
        first = "-" if self.first_call_quality is None else f"{self.first_call_quality:.2f}"
        lines = [
            f"{self.task_type} with {self.model_id}: {self.total_calls} runs",
            f"  {self.converge_rate:.0%} good enough, first call {first}, worth up to {self.optimal_depth} calls",
        ]
        lines += [
            f"  call {it.iteration}: {it.runs:.0f} runs, best {it.expected_score:.2f}, "
            f"P(improve) {it.improvement_probability:.2f}, stop from {it.reservation_score:.2f}"
            for it in self.iterations
        ]
        lines += [f"  cost of {cost}" for cost in self.call_costs.values()]
        return "\n".join(lines)


@dataclass(frozen=True)
class SavedReport(Readable):
    """What acting would have changed, from runs that were only observed.

    Attributes:
        runs: Runs in which the plan would have stopped by the end of what was seen.
        unknown: Runs that ended before the plan would have stopped: nothing is known about what it would have done.
        calls_saved: Mean calls saved per known run, with its 80 % interval.
        value_lost: Mean value lost per known run by returning an earlier best draft, with its 80 % interval.
    """

    runs: int
    unknown: int
    calls_saved: tuple[float, float, float]
    value_lost: tuple[float, float, float]


@dataclass(frozen=True)
class SuggestedConfig(Readable):
    """Settings for a loop.

    Attributes:
        max_iterations: A budget that does not cut off what has been seen to succeed.
        quality_threshold: The threshold that the runs used, unchanged.
        metadata: Why.
    """

    max_iterations: int
    quality_threshold: float
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
