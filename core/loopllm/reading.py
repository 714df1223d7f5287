"""What has been learned, for whoever asks: the half of `AdaptivePriors` that changes nothing.

A read leaves the store, the statistics and every later decision as they were: plans that are made for an answer are
kept apart from the plans by which runs are steered.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from math import inf
from typing import TYPE_CHECKING, Self

from loopllm.errors import MisuseError
from loopllm.priors.beliefs import Scopes
from loopllm.priors.calibration import Reliability, forecasts_of, reliability
from loopllm.priors.judge_spread import JudgeSpread
from loopllm.priors.objective import Goal, Objective
from loopllm.priors.observation import USUAL_WAY, CallObservation, check_scores, is_within, whole
from loopllm.priors.planning import PlanRequest, Prepared, costs_by_way
from loopllm.priors.report import PriorsReport, SuggestedConfig
from loopllm.priors.reporting import build_report, expected_gain_of_call, optimal_depth, suggestion
from loopllm.priors.run_state import complete_scores
from loopllm.priors.statistics import Statistics

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class PriorsReading(ABC):
    """Questions about what has been learned."""

    half_life: float
    continue_probability_threshold: float

    @abstractmethod
    def _alone(self) -> threading.RLock:
        """What keeps other threads out."""

    @abstractmethod
    def observe(self, observation: CallObservation) -> None:
        """Learn from a run that is over."""

    @abstractmethod
    def _read(self, task_type: str, model_id: str) -> Statistics:
        """The statistics of a pair, as new as the store."""

    @abstractmethod
    def _scopes_of(self, task_type: str, model_id: str) -> Scopes:
        """The statistics of a pair and of its relatives."""

    @abstractmethod
    def _look(self, request: PlanRequest) -> Prepared:
        """A plan to answer from, which no run is steered by."""

    @abstractmethod
    def _last_asked(self, task_type: str, model_id: str) -> PlanRequest:
        """What the runs of a pair last asked for, or the usual."""

    @abstractmethod
    def _pairs(self) -> list[tuple[str, str]]:
        """Task types and models that were seen, in order."""

    @abstractmethod
    def _twin(self, pairs: Iterable[tuple[str, str]]) -> Self:
        """Priors in memory that know the same of some pairs, and of their relatives."""

    def _least_probability(self, given: float | None) -> float:
        """The chance of a new best below which a run stops: the one that is given, or that of these priors."""
        return self.continue_probability_threshold if given is None else checked_chance(given)

    def should_continue(
        self,
        task_type: str,
        model_id: str,
        current_iteration: int,
        current_score: float,
        scores_so_far: Sequence[float],
        quality_threshold: float = 0.8,
        *,
        objective: Goal | Objective = "threshold",
        call_cost: float = 0.05,
        max_iterations: int = 8,
        continue_probability_threshold: float | None = None,
    ) -> bool:
        """Whether one more call is worth it; `scores_so_far` may or may not end with `current_score`.

        Raises:
            MisuseError: A score is not in [0, 1], or a setting out of its range.
        """
        scores = complete_scores(current_iteration, current_score, scores_so_far)
        check_scores(scores)
        least = self._least_probability(continue_probability_threshold)
        request = PlanRequest(task_type, model_id, objective, quality_threshold, call_cost, max_iterations)
        with self._alone():
            runs = self._read(task_type, model_id).runs
            policy = self._look(request).policy(runs, 0, acts=True, least_probability=least)
        return policy.decide(scores).advised is not None

    def expected_improvement(self, task_type: str, model_id: str, at_iteration: int) -> float:
        """By how much call number `at_iteration` raises the best score; of the first call, its expected score.

        Raises:
            MisuseError: `at_iteration` is no whole number from 1, the first call, on.
        """
        at_iteration = whole("at_iteration", at_iteration)
        with self._alone():
            return expected_gain_of_call(self._read(task_type, model_id), at_iteration)

    def predict_optimal_depth(self, task_type: str, model_id: str, cost_weight: float = 0.5) -> int:
        """The depth up to which calling pays, never below one at which success was seen.

        Args:
            task_type: Your name for the kind of task.
            model_id: The model.
            cost_weight: How much a call costs, in tenths of the best score: at 0.5 it must raise it by 0.05.

        Raises:
            MisuseError: `cost_weight` is negative.
        """
        if not is_within(cost_weight, 0.0, inf):
            raise MisuseError(f"cost_weight must be >= 0, got {cost_weight!r}")
        with self._alone():
            return optimal_depth(self._read(task_type, model_id), cost_weight)

    def judge_spread(self, task_type: str, model_id: str) -> JudgeSpread:
        """How much the scores of one draft vary, as the repeats of all models' runs of this task tell."""
        with self._alone():
            self._read(task_type, model_id)
            return JudgeSpread.seen(self._scopes_of(task_type, model_id).task)

    def suggest_config(self, task_type: str, model_id: str) -> SuggestedConfig:
        """A budget that cuts off nothing that was seen to succeed; the threshold stays the one in use."""
        with self._alone():
            return suggestion(self._read(task_type, model_id), task_type, model_id)

    def report(self, task_type: str, model_id: str) -> PriorsReport:
        """What is known about one task type and model; it prints as a table."""
        with self._alone():
            pair = self._read(task_type, model_id)
            known = self._look(self._last_asked(task_type, model_id))
            policy = known.policy(pair.runs, 0, acts=True)
            costs = costs_by_way(self._scopes_of(task_type, model_id), self.half_life)
            return build_report(pair, policy, costs, known.beliefs.mixture.families(), task_type, model_id)

    def report_all(self) -> list[PriorsReport]:
        """Reports of all pairs, by task type and model."""
        with self._alone():
            reports = [self.report(task_type, model_id) for task_type, model_id in self._pairs()]
        return [report for report in reports if report.total_calls]

    def plot(self, task_type: str, model_id: str) -> Figure:
        """The report as a picture: scores, improvement, reservation scores and runs by depth.

        It is a `matplotlib.figure.Figure` that belongs to no window: `figure.savefig("priors.png")`, or let a notebook
        show it.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        from loopllm.plotting import draw_report  # noqa: PLC0415  (an extra, loaded when a picture is wanted)

        return draw_report(self.report(task_type, model_id))

    def calibration(
        self, runs: Iterable[CallObservation], *, learn: bool = True, bins: int = 10
    ) -> Reliability:
        """How well P(the next call is a new best) is predicted on recorded runs; changes nothing here.

        >>> from loopllm import AdaptivePriors, CallObservation
        >>> runs = [CallObservation("t", "m", [0.2, 0.9] if n % 2 else [0.2, 0.2]) for n in range(100)]
        >>> AdaptivePriors().calibration(runs).error < 0.1
        True

        Args:
            runs: Recorded runs, in order, best not stopped early (a rule that stops chooses what is seen).
            learn: Learn each run after it was forecast (prequential: Dawid 1984, JRSS A 147:278); False: forecast all
                runs from what is known now, for instance from other runs.
            bins: Bins of the table.
        """
        seen = list(runs)
        ways = tuple(dict.fromkeys(action for run in seen for action in run.actions))
        told_apart = ways if set(ways) - {USUAL_WAY} else None
        with self._alone():
            twin = self._twin({(run.task_type, run.model_id) for run in seen})
        found: list[tuple[float, bool]] = []
        for run in seen:
            # A forecast needs beliefs, not a plan: two calls are planned fastest.
            request = PlanRequest(run.task_type, run.model_id, max_iterations=2, ways=told_apart)
            policy = twin._look(request).policy(0, 0, acts=True)  # noqa: SLF001  (of the same class)
            found += forecasts_of(policy, run.scores, run.actions)
            if learn:
                twin.observe(run)
        return reliability(found, bins)


def checked_chance(value: float, name: str = "continue_probability_threshold") -> float:
    """A probability.

    Raises:
        MisuseError: It is not in [0, 1].
    """
    if not is_within(value, 0.0, 1.0):
        raise MisuseError(f"{name} must be in [0, 1], got {value!r}")
    return value
