"""Should a graph's loop go round once more? An edge predicate for loops that you draw yourself.

Rule: the answer depends on the state and on what the priors know, never on what this object saw before; so one
instance serves concurrent and resumed runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loopllm.adaptive_exit import BayesianExitCondition
from loopllm.config import LoopConfig
from loopllm.errors import MisuseError
from loopllm.exits import QUALITY_RULES, RunView, spends_all_iterations
from loopllm.results import UNKNOWN_USAGE, ExitReason, IterationRecord


@dataclass(frozen=True, slots=True)
class AdaptiveStopper:
    """Decides on an edge whether to ask again, from the scores in the state.

    >>> stopper = AdaptiveStopper(LoopConfig(max_iterations=3))
    >>> stopper.should_continue({"scores": [0.4]}), stopper.should_continue({"scores": [0.4, 0.9]})
    (True, False)
    >>> stopper.route({"scores": [0.4, 0.5, 0.6]})
    '__end__'

    Use it as `graph.add_conditional_edges("evaluate", stopper.route, [stopper.again, stopper.done])`. Budgets of
    tokens and time are not looked at: a state of scores does not hold them.

    Attributes:
        config: Limits and settings: the threshold, the plateau, the number of calls, and what the learned exit goes by.
        priors: What earlier runs have taught, or None.
        task_type: Your name for the kind of task.
        model_id: The model's name; needed with priors.
        scores: The state's key of the scores so far, oldest first.
        again: The node to go to for another draft.
        done: Where to go when it is enough.
    """

    config: LoopConfig = field(default_factory=LoopConfig)
    priors: Any = None
    task_type: str = "default"
    model_id: str | None = None
    scores: str = "scores"
    again: str = "draft"
    done: str = "__end__"

    def __post_init__(self) -> None:
        if self.priors is not None and self.model_id is None:
            raise MisuseError(
                "AdaptiveStopper(priors=...) needs model_id=..., the name under which learning is kept"
            )

    def should_continue(self, state: Any) -> bool:
        """Return True when another draft is worth its call."""
        return self.exit_reason(state) is None

    def route(self, state: Any) -> str:
        """Return the node to go to: `again` or `done`."""
        return self.again if self.should_continue(state) else self.done

    def exit_reason(self, state: Any) -> ExitReason | None:
        """Return why the loop should end in this state, or None to go on.

        Raises:
            MisuseError: The state has no scores under that key, or something else among them.
        """
        scores = self._scores_in(state)
        if not scores:
            return None
        records = [
            IterationRecord(n, None, None, score, passed=score >= self.config.quality_threshold)
            for n, score in enumerate(scores, start=1)
        ]
        view = RunView(records, scores, 0.0, UNKNOWN_USAGE)
        if len(scores) >= self.config.min_iterations:
            for rule in QUALITY_RULES:
                if reason := rule(self.config, view):
                    return reason
            if reason := self._learned(scores):
                return reason
        return spends_all_iterations(self.config, view)

    def _learned(self, scores: Sequence[float]) -> ExitReason | None:
        if self.priors is None or self.config.learning != "act":
            return None
        condition = BayesianExitCondition(
            self.priors,
            self.task_type,
            str(self.model_id),
            quality_threshold=self.config.quality_threshold,
            objective=self.config.objective,
            call_cost=self.config.call_cost,
            max_iterations=self.config.max_iterations,
        )
        return condition.should_exit(len(scores), scores[-1], scores)

    def _scores_in(self, state: Any) -> list[float]:
        held: Mapping[str, Any] = state if isinstance(state, Mapping) else vars(state)
        if self.scores not in held:
            raise MisuseError(
                f"the state has no {self.scores!r}: say where the scores are, AdaptiveStopper(scores=...)"
            )
        scores = held[self.scores] or ()
        if not all(_is_score(score) for score in scores):
            raise MisuseError(
                f"the state's {self.scores!r} are numbers from 0 to 1, got {list(scores)}; leave out what has no score"
            )
        return [float(score) for score in scores]


def _is_score(score: Any) -> bool:
    try:
        return 0.0 <= float(score) <= 1.0
    except (TypeError, ValueError):
        return False
