"""The arms that are compared: single ways of asking again, the choice among them, and references that never learn."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.next_move_lab.replies import Record, Recorded
from benchmarks.next_move_lab.tasks import Task

from loopllm import AdaptivePriors, LoopConfig, LoopedLLM
from loopllm.feedback import FeedbackBuilder, FeedbackRequest, list_deficiencies
from loopllm.results import RefinementResult

CALLS = 6
SINGLE = ("last", "best", "deficiencies", "fresh")


def rules_first(request: FeedbackRequest[Any, Any]) -> str:
    """A builder of the caller's own: what was wrong, as rules before the task."""
    faults = list_deficiencies(request.previous)
    return f"Rules:\n{faults}\n\n{request.task}" if faults else request.task


OWN: Mapping[str, FeedbackBuilder] = {"rules_first": rules_first}


@dataclass(frozen=True, slots=True)
class Goal:
    """What is maximised: the value of the returned draft less the cost of the calls."""

    objective: Any
    threshold: float
    call_cost: float

    def utility(self, result: RefinementResult[Any, Any]) -> float:
        """What a run earned."""
        metrics = result.metrics
        value = metrics.best_score if self.objective == "quality" else float(metrics.converged)
        return value - self.call_cost * metrics.total_iterations


GOALS = {"quality": Goal("quality", 1.0, 0.03), "threshold": Goal("threshold", 0.8, 0.05)}


@dataclass(frozen=True, slots=True)
class Arm:
    """How runs are made.

    Attributes:
        name: For the table.
        feedback: The way of asking again, or `auto`.
        ways: The caller's own ways that `auto` may choose from.
        learns: Whether it has priors.
        calls: The most calls.
    """

    name: str
    feedback: Any
    ways: Mapping[str, FeedbackBuilder] = field(default_factory=dict)
    learns: bool = True
    calls: int = CALLS

    def config(self, goal: Goal, seed: int) -> LoopConfig:
        """Settings of its runs."""
        return LoopConfig(
            max_iterations=self.calls,
            quality_threshold=goal.threshold,
            convergence_delta=0.0,
            timeout_ms=None,
            feedback=self.feedback,
            feedback_ways=self.ways,
            objective=goal.objective,
            call_cost=goal.call_cost,
            seed=seed,
        )


ARMS = (
    *(Arm(way, way) for way in SINGLE),
    Arm("auto", "auto"),
    Arm("rules_first", rules_first),
    Arm("auto and rules_first", "auto", OWN),
    Arm("one call", "last", learns=False, calls=1),
    Arm("last, 3 calls", "last", learns=False, calls=3),
    Arm("deficiencies, 3 calls", "deficiencies", learns=False, calls=3),
)
"""The best of the first four, in hindsight, is what the choice is measured against. The last three do not learn: they
stop at the threshold or after so many calls."""


class Session:
    """One arm under one goal: its priors, learning from run to run."""

    def __init__(self, arm: Arm, goal: Goal, record: Record, replicate: int, priors: Any = None) -> None:
        self.arm = arm
        self.goal = goal
        self.earned: list[float] = []
        self.calls: list[int] = []
        self._record = record
        self._replicate = replicate
        self._priors = (AdaptivePriors() if priors is None else priors) if arm.learns else None
        self._config = arm.config(goal, replicate)

    def run(self, task: Task) -> RefinementResult[Any, Any]:
        """One run, learned from."""
        provider = Recorded(self._record, task, self._replicate)
        loop = LoopedLLM(provider, self._config, priors=self._priors)
        result = loop.refine(task.prompt, task.evaluator, task_type=task.kind)
        self.earned.append(self.goal.utility(result))
        self.calls.append(result.metrics.total_iterations)
        return result
