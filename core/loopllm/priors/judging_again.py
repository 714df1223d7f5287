"""When is judging the best draft once more worth its cost?

The true quality q of a draft whose first score was b is believed to be Normal(b - m, s^2), where m and s come from the
archetypes of judges that err (see `worth`), and a further judgement of a judge with test-retest spread sd is
y ~ Normal(q, sd^2). After r repeats y_1..y_r the belief is Normal(mu, s_r^2) with

    1 / s_r^2 = 1 / s^2 + r / sd^2,     mu = s_r^2 ((b - m) / s^2 + sum y / sd^2),

and the next judgement is y ~ Normal(mu, s_r^2 + sd^2). Stopping is worth mu, or Phi((mu - t) / s_r) for a threshold t,
of the draft that would be returned. A draft whose mean score reaches t ends the run; else the run may go on, which is
worth more by what the plan says. The expected value of sample information is what knowing y before choosing is worth,

    EVSI = E_y[max over actions of value(action | y)] - max over actions of E_y[value(action | y)]

(Raiffa & Schlaifer 1961, Applied Statistical Decision Theory, chapters 4 and 5; one judgement ahead, as the knowledge
gradient: Frazier, Powell & Dayanik 2008, SIAM J. Control Optim. 47:2410): judge again when it exceeds the cost. Both
expectations are sums over one grid of y, so that a judgement that changes no decision is worth nothing, however uneven
the plan is.

In the plan, and among the drafts, one that was judged several times stands at the score that a draft judged once would
have to have to be worth the same: mu + m, or t + m + (mu - t) s / s_r for a threshold. A mean of several scores
flatters less than a single score, so it is not compared with one as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import erf, exp, sqrt

from loopllm.priors.judge_spread import USUAL_SD
from loopllm.priors.objective import Goal
from loopllm.priors.planner import Plan
from loopllm.priors.policy import Policy
from loopllm.priors.run_state import state_of
from loopllm.priors.worth import Worth

MOST_JUDGEMENTS = 3
"""Judgements of one draft at most, the first included."""

LEAST_GAIN = 2e-3
"""A gain below this is within the error of the sum over y, and not worth the wait even where judging is free."""

_WIDEST, _STEPS = 3.0, 16
_GRID = tuple(_WIDEST * (2.0 * i / _STEPS - 1.0) for i in range(_STEPS + 1))
_MASS = sum(exp(-0.5 * z * z) for z in _GRID)
_NODES = tuple((z, exp(-0.5 * z * z) / _MASS) for z in _GRID)

Judgements = Sequence[Sequence[float]]
"""All scores of each draft, in order; the first of each is what the priors learn from."""


@dataclass(frozen=True, slots=True)
class Belief:
    """What is believed of the true quality of a draft: Normal(mean, sd^2).

    A draft that first scored 0.82, which flatters by 0.04, and then 0.74, from a judge with a spread of 0.08:

    >>> belief = Belief(0.82 - 0.04, 0.06).after([0.74], 0.08)
    >>> round(belief.mean, 4), round(belief.sd, 4)
    (0.7656, 0.048)
    >>> round(belief.value("threshold", 0.8), 3), round(belief.value("quality", 0.8), 3)
    (0.237, 0.766)
    """

    mean: float
    sd: float

    def after(self, repeats: Sequence[float], spread: float) -> Belief:
        """The belief after further judgements."""
        precision = 1.0 / self.sd**2 + len(repeats) / spread**2
        mean = (self.mean / self.sd**2 + sum(repeats) / spread**2) / precision
        return Belief(mean, 1.0 / sqrt(precision))

    def value(self, goal: Goal, threshold: float) -> float:
        """What it is worth to return the draft."""
        if goal == "quality":
            return self.mean
        return 0.5 * (1.0 + erf((self.mean - threshold) / (self.sd * sqrt(2.0))))


@dataclass(frozen=True, slots=True)
class JudgingRule:
    """Whether to judge the best draft once more.

    Attributes:
        spread: sd, the judge's test-retest spread, above 0; None while it is not known: each run then has one draft
            judged twice, in order to learn it.
        cost: Cost of a judgement, in the unit of the value.
        passes_at: Mean score from which a draft ends the run.
    """

    spread: float | None
    cost: float
    passes_at: float

    def judges_again(self, policy: Policy, judgements: Judgements) -> bool:
        """Whether to judge the draft that leads once more.

        Args:
            policy: The rule of the run.
            judgements: All scores of each draft.
        """
        if self.spread is None:
            return all(len(scores) == 1 for scores in judgements)
        if len(judgements[self.leader(policy, judgements)]) >= MOST_JUDGEMENTS:
            return False
        return self.gain(policy, judgements) > max(self.cost, LEAST_GAIN)

    def gain(self, policy: Policy, judgements: Judgements) -> float:
        """EVSI of one more judgement of the draft that leads, its cost not counted."""
        now = self._drafts(policy, judgements)
        if now is None:
            return 0.0
        best = now.leader
        belief = now.belief(best)
        width = sqrt(belief.sd**2 + now.spread**2)
        informed = keeping = going_on = 0.0
        for z, mass in _NODES:
            after = now.with_judgement(best, min(1.0, max(0.0, belief.mean + z * width)))
            informed += mass * after.value()
            keeping += mass * after.worth_of(best)
            going_on += mass * after.going_on()
        return informed - (max(keeping, going_on) if now.may_go_on else keeping)

    def standings(self, policy: Policy, judgements: Judgements) -> list[float]:
        """The scores by which the plan is looked up; the first ones of drafts that were not judged again."""
        drafts = self._drafts(policy, judgements)
        return [scores[0] for scores in judgements] if drafts is None else drafts.standings

    def leader(self, policy: Policy, judgements: Judgements) -> int:
        """Index of the draft that would be returned."""
        drafts = self._drafts(policy, judgements)
        if drafts is not None:
            return drafts.leader
        means = [mean_of(scores) for scores in judgements]
        return means.index(max(means))

    def _drafts(self, policy: Policy, judgements: Judgements) -> Drafts | None:
        """The drafts as they are believed to be; None where the judge is taken not to err."""
        worth, spread = policy.worth, USUAL_SD if self.spread is None else self.spread
        if not isinstance(worth, Worth) or worth.optimism is None or spread <= 0.0:
            return None
        return Drafts(policy.plan, worth, judgements, spread, self.passes_at)


def mean_of(scores: Sequence[float]) -> float:
    """Mean of the judgements of one draft."""
    return sum(scores) / len(scores)


class Drafts:
    """What is believed of the drafts of a run, and where the run stands in the plan.

    Args:
        plan: What going on is worth.
        worth: What is valued, and how a judge flatters.
        judgements: All scores of each draft.
        spread: The judge's test-retest spread, above 0.
        passes_at: Mean score from which a draft ends the run.
    """

    def __init__(
        self, plan: Plan, worth: Worth, judgements: Judgements, spread: float, passes_at: float
    ) -> None:
        self._plan, self._worth, self._judgements, self._passes_at = plan, worth, judgements, passes_at
        self.spread = spread
        self._state = state_of([scores[0] for scores in judgements])
        # One m and s for all drafts: with those of each draft's own cell, a step from one band of scores to the next
        # would look like a step in quality.
        errs, mean, sd = (0.0, 0.0, 0.0) if worth.optimism is None else worth.optimism(self._state.cell)
        self._flattery = (mean, sd) if errs > 0.0 else (0.0, spread)
        self.standings = [
            scores[0] if len(scores) == 1 else self._standing(index)
            for index, scores in enumerate(judgements)
        ]
        ranks = [(self._passes(i), standing) for i, standing in enumerate(self.standings)]
        self.leader = ranks.index(max(ranks))

    def with_judgement(self, index: int, score: float) -> Drafts:
        """The same after one draft was judged once more."""
        judgements = list(self._judgements)
        judgements[index] = [*judgements[index], score]
        return Drafts(self._plan, self._worth, judgements, self.spread, self._passes_at)

    def belief(self, index: int) -> Belief:
        """What is believed of one draft."""
        scores = self._judgements[index]
        mean, sd = self._flattery
        return Belief(scores[0] - mean, sd).after(scores[1:], self.spread)

    def worth_of(self, index: int) -> float:
        """Value of returning a draft."""
        return self.belief(index).value(self._worth.goal, self._worth.threshold)

    @property
    def may_go_on(self) -> bool:
        """Whether no draft passes, and a call is left."""
        return not self._passes(self.leader) and self._state.depth < self._plan.horizon

    def going_on(self) -> float:
        """Value of another call, its cost paid; when no call is left, that of the draft that leads."""
        stop, state = self.worth_of(self.leader), state_of(self.standings)
        if state.depth >= self._plan.horizon:
            return stop
        ahead = self._plan.going_on(state.depth, state.momentum, state.best)
        return stop + ahead - self._worth(state.cell, state.best)

    def value(self) -> float:
        """Value of deciding well."""
        stop = self.worth_of(self.leader)
        return max(stop, self.going_on()) if self.may_go_on else stop

    def _passes(self, index: int) -> bool:
        return mean_of(self._judgements[index]) >= self._passes_at

    def _standing(self, index: int) -> float:
        belief, (mean, sd) = self.belief(index), self._flattery
        score = belief.mean + mean
        if self._worth.goal == "threshold":
            score = self._worth.threshold + mean + (belief.mean - self._worth.threshold) * sd / belief.sd
        return min(1.0, max(0.0, score))
