"""The exit that learns: stop when another call is not expected to be worth its cost."""

from __future__ import annotations

from collections.abc import Sequence

from loopllm.adaptive_priors import AdaptivePriors
from loopllm.priors.objective import Goal, Objective
from loopllm.priors.observation import check_scores, whole
from loopllm.priors.planning import PlanRequest
from loopllm.priors.policy import Decision, Policy
from loopllm.priors.run_state import complete_scores
from loopllm.reading import checked_chance
from loopllm.results import ExitReason


class LearnedExit(ExitReason):
    """The exit reason of `BayesianExitCondition`, whose sentence is worked out when somebody reads it.

    A decision takes microseconds, and its explanation with an exact interval a hundred times as long. Compared, copied,
    pickled and written down it is a plain `ExitReason`.
    """

    __slots__ = ("_explained",)

    _explained: Decision | str

    def __init__(self, condition: str, message: Decision | str) -> None:
        # Its arguments go by the names of the fields, which is how `dataclasses.replace` gives them.
        object.__setattr__(self, "condition", condition)
        object.__setattr__(self, "_explained", message)

    @property
    def message(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The same for a person, with the numbers."""
        if not isinstance(self._explained, str):
            object.__setattr__(self, "_explained", self._explained.message)  # and lets go of the plan
        return str(self._explained)

    def __repr__(self) -> str:
        return repr(ExitReason(self.condition, self.message))

    def __eq__(self, other: object) -> bool:
        """Compare as the plain reason."""
        if not isinstance(other, ExitReason):
            return NotImplemented
        return (self.condition, self.message) == (other.condition, other.message)

    def __hash__(self) -> int:
        return hash((self.condition, self.message))

    def __reduce__(self) -> tuple[type[ExitReason], tuple[str, str]]:
        return ExitReason, (self.condition, self.message)


class BayesianExitCondition:
    """An exit condition backed by what runs have taught.

    A run keeps the rule that it began with: the plan is looked up when the condition is first asked in a run and used
    until the iteration no longer grows, so one condition may serve run after run, one at a time.

    Args:
        priors: What has been learned.
        task_type: Your name for the kind of task.
        model_id: The model.
        quality_threshold: The score that is good enough.
        objective: `threshold`: value 1 when the best score reaches the threshold; `quality`: value = best score; or an
            `Objective`, which states in money what one of them is worth: the cost of a call is then what the observed
            calls cost (`CallObservation.usages`, `latencies_ms`).
        call_cost: Cost of one more call in the unit of that value; with an `Objective` it stands in for the cost
            until a call was observed.
        max_iterations: The most calls of a run.
        explore: May go on now and then in order to learn; bounded.
        seed: Of the exploration.
        judge_sd: Test-retest standard deviation of the evaluator's scores; None: it is learned; 0: it never errs.
        continue_probability_threshold: Also stop when the probability that another call improves is below this;
            None: that of the priors.

    Raises:
        MisuseError: A setting is out of its range; the message names it.
    """

    name = "bayesian_exit"

    def __init__(
        self,
        priors: AdaptivePriors,
        task_type: str,
        model_id: str,
        *,
        quality_threshold: float = 0.8,
        objective: Goal | Objective = "threshold",
        call_cost: float = 0.05,
        max_iterations: int = 8,
        explore: bool = False,
        seed: int = 0,
        judge_sd: float | None = None,
        continue_probability_threshold: float | None = None,
    ) -> None:
        self.priors = priors
        self.task_type = task_type
        self.model_id = model_id
        self.quality_threshold = quality_threshold
        self.objective: Goal | Objective = objective
        self.call_cost = call_cost
        self.max_iterations = max_iterations
        self.explore = explore
        self.seed = seed
        self.judge_sd = judge_sd
        self.continue_probability_threshold = (
            priors.continue_probability_threshold
            if continue_probability_threshold is None
            else checked_chance(continue_probability_threshold)
        )
        PlanRequest(
            task_type, model_id, objective, quality_threshold, call_cost, max_iterations, None, judge_sd
        )
        whole("seed", seed, least=None)
        self._policy: Policy | None = None
        self._iteration = 0

    def should_exit(
        self, iteration: int, current_score: float, scores_so_far: Sequence[float]
    ) -> ExitReason | None:
        """Decide after a call.

        Args:
            iteration: Number of the call, the first is 1.
            current_score: Its score in [0, 1].
            scores_so_far: Scores of all calls of the run, with or without the current one.

        Returns:
            The reason to stop, or None to go on.

        Raises:
            MisuseError: A score is not in [0, 1].
        """
        # Where the iteration does not grow another run began, perhaps one that is not asked about at call 1.
        if self._policy is None or iteration <= self._iteration:
            self._policy = self._plan()
        self._iteration = iteration
        scores = complete_scores(iteration, current_score, scores_so_far)
        check_scores(scores)
        decision = self._policy.decide(scores)
        return LearnedExit(self.name, decision) if decision.stop else None

    def _plan(self) -> Policy:
        return self.priors.policy(
            self.task_type,
            self.model_id,
            objective=self.objective,
            quality_threshold=self.quality_threshold,
            call_cost=self.call_cost,
            max_iterations=self.max_iterations,
            explore=self.explore,
            seed=self.seed,
            judge_sd=self.judge_sd,
            continue_probability_threshold=self.continue_probability_threshold,
        )

    def __repr__(self) -> str:
        return f"BayesianExitCondition({self.task_type!r}, {self.model_id!r}, call_cost={self.call_cost:g})"
