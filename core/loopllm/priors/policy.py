"""What to do next in a run: a plan to look up, and a decision that can explain itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy

from loopllm.errors import MisuseError
from loopllm.priors.call_cost import CallCosts
from loopllm.priors.cost_sums import CostRow
from loopllm.priors.evidence import Evidence
from loopllm.priors.explaining import explain
from loopllm.priors.exploration import Price
from loopllm.priors.intervals import beta_interval
from loopllm.priors.one_call import values_after
from loopllm.priors.planner import Plan, StopValue, cells_at
from loopllm.priors.run_state import FIRST_GAIN, RunState, state_of
from loopllm.priors.tilting import Outlook

ENOUGH = 0.97
"""A run whose draft is worth this much has nothing left to teach that would pay."""


class Decision:
    """Stop, or ask again and how; the numbers behind it are worked out when somebody asks for them.

    Attributes:
        move: None to stop, otherwise the way to ask again.
        advised: What the plan says; differs from `move` when the priors only observe, or explore.
        policy: The rule that decided.
    """

    __slots__ = ("_state", "advised", "move", "policy")

    def __init__(self, policy: Policy, state: RunState, move: str | None, advised: str | None) -> None:
        self.policy = policy
        self._state = state
        self.move = move
        self.advised = advised

    @property
    def stop(self) -> bool:
        """True when the run should end here."""
        return self.move is None

    @property
    def explores(self) -> bool:
        """True when going on is for the sake of learning."""
        return self.move is not None and self.advised is None and self.policy.acts

    @property
    def call_cost(self) -> float:
        """What one more call is expected to cost, in the unit of the value."""
        return self.policy.costs.of(self.way, self.depth + 1)

    @property
    def cost_interval(self) -> tuple[float, float]:
        """An 80 % interval of `call_cost`; a point when it is the caller's number."""
        return self.policy.costs.interval(self.way, self.depth + 1)

    @property
    def evidence(self) -> Evidence:
        """The runs behind the decision, by kind."""
        return self.policy.evidence

    @property
    def runs(self) -> int:
        """Runs of this task type and model behind the decision."""
        return self.policy.runs

    @property
    def depth(self) -> int:
        """Calls made."""
        return self._state.depth

    @property
    def way(self) -> str:
        """How the next call is asked for; in a run that stops or is only observed, how the plan would have asked."""
        move = self.move if self.policy.acts else None
        return move or self.advised or self.policy.next_way(self._state)

    @property
    def _row(self) -> Sequence[float]:
        return self.policy.outlooks[self.way](self._state.cell)

    @property
    def probability_of_improvement(self) -> float:
        """Probability that one more call gives a new best score."""
        return sum(self._row[FIRST_GAIN:])

    def _gains(self) -> list[float]:
        """By how much each outcome of one more call changes the value of the best draft."""
        state, worth = self._state, self.policy.worth
        now = worth(state.cell, state.best)
        return [value - now for value in values_after(state, worth, self.policy.plan.grid)]

    @property
    def expected_gain(self) -> float:
        """By how much one more call is expected to raise the value of the best draft, its cost not counted."""
        return sum(p * gain for p, gain in zip(self._row, self._gains(), strict=True))

    @property
    def interval(self) -> tuple[float, float]:
        """An 80 % interval of `expected_gain`: how uncertain the probabilities behind it are.

        They have a Dirichlet distribution worth as many observations as the belief in them; the expected gain is a
        mean under it (see `loopllm.priors.intervals`).
        """
        row, gains = self._row, self._gains()
        mean = sum(p * gain for p, gain in zip(row, gains, strict=True))
        square = sum(p * gain * gain for p, gain in zip(row, gains, strict=True))
        variance = (square - mean * mean) / (self.policy.weight_of(self._state.cell) + 1.0)
        low, high = beta_interval(mean, variance, min(gains), max(gains))
        return min(low, mean), max(high, mean)

    @property
    def advantage(self) -> float:
        """By how much going on and deciding well later, all costs paid, is worth more than stopping here."""
        state, policy = self._state, self.policy
        if policy.is_spent(state.depth):
            return 0.0
        ahead = policy.plan.going_on(state.depth, state.momentum, state.best)
        return ahead - policy.worth(state.cell, state.best)

    @property
    def reservation_score(self) -> float:
        """The best score from which on stopping here is right."""
        return self.policy.reservation_score(self._state.depth, self._state.momentum)

    @property
    def message(self) -> str:
        """The reason as a sentence."""
        return explain(self)

    def __repr__(self) -> str:
        return f"Decision(move={self.move!r}, expected_gain={self.expected_gain:.3f}, call_cost={self.call_cost:g})"


class Policy:
    """A plan for runs of one task type and model, frozen: a run keeps the policy that it began with.

    Args:
        plan: What going on is worth.
        outlooks: Probabilities behind the plan, by way of asking.
        worth: What it is worth to stop.
        costs: What one more call costs in the same unit.
        evidence: The runs behind it, by kind.
        weight_of: What the belief in a cell is worth, in observations.
        acts: False: go on whatever the plan says (modes `observe` and `off`).
        prices: What a call was reckoned to cost, by way of asking; below its cost where it teaches.
        glance: Calls to go on after the plan says stop, in order to learn.
        supposed: What going on is worth if one archetype were the truth; followed where it goes further, in order to
            learn.
        revise: Makes the rule anew from what a run's own calls cost; None when that is known already.
        least_probability: Also stop when the probability that another call improves is below this.
    """

    __slots__ = (
        "acts",
        "costs",
        "evidence",
        "glance",
        "least_probability",
        "outlooks",
        "plan",
        "prices",
        "revise",
        "supposed",
        "ways",
        "weight_of",
        "worth",
    )

    def __init__(
        self,
        plan: Plan,
        outlooks: Mapping[str, Outlook],
        worth: StopValue,
        *,
        costs: CallCosts,
        evidence: Evidence,
        weight_of: Callable[[int], float],
        prices: Mapping[str, Price],
        acts: bool = True,
        glance: int = 0,
        supposed: Plan | None = None,
        revise: Callable[[Mapping[str, CostRow]], Policy] | None = None,
        least_probability: float = 0.0,
    ) -> None:
        self.plan = plan
        self.outlooks = outlooks
        self.worth = worth
        self.costs = costs
        self.evidence = evidence
        self.weight_of = weight_of
        self.acts = acts
        self.prices = prices
        self.glance = glance
        self.supposed = supposed
        self.revise = revise
        self.least_probability = least_probability
        self.ways = plan.ways

    @property
    def runs(self) -> int:
        """Runs of this pair behind it."""
        return self.evidence.own

    @property
    def call_cost(self) -> float:
        """Expected cost of the second call, asked for in the usual way."""
        return self.costs.of(self.ways[0], 2)

    def after(self, seen: Mapping[str, CostRow]) -> Policy:
        """The rule after a run's own calls: another one only where nothing else had told what a call costs."""
        return self if self.revise is None else self.revise(seen)

    def decide(self, scores: Sequence[float], actions: Sequence[str] = ()) -> Decision:
        """What to do after the calls that scored `scores`.

        Args:
            scores: Scores in [0, 1] of all calls so far, at least one.
            actions: How calls 2, 3, ... were asked for; kept for policies that weigh it.

        Raises:
            MisuseError: There are no scores.
        """
        del actions
        if len(scores) == 0:
            raise MisuseError("scores is empty: the first call is always made, decide after it")
        state = state_of(scores)
        planned, advised = self._planned(state)
        if not self.acts:
            return Decision(self, state, self.ways[0], advised)
        move = planned or self._supposed_move(state)
        if move is None and self._glances(scores, state):
            move = self.next_way(state)
        return Decision(self, state, move, advised)

    def acting(self) -> Policy:
        """The same rule as it would be if it acted."""
        twin = copy(self)
        twin.acts = True
        return twin

    def is_spent(self, depth: int) -> bool:
        """Whether no call is left after `depth` calls."""
        return depth >= self.plan.horizon

    def _is_over(self, state: RunState) -> bool:
        """Whether no call can change what is returned: none is left, or nothing scores higher."""
        return self.is_spent(state.depth) or state.best >= 1.0

    def next_way(self, state: RunState) -> str:
        """How the plan would ask again in a state, whether or not it would."""
        if self.is_spent(state.depth):
            return self.ways[0]
        return self.plan.next_way(state.depth, state.momentum, state.best)

    def expects(self, state: RunState) -> Sequence[float]:
        """Probabilities of the outcomes of one more call, asked for as the plan would; shape (12,)."""
        return self.outlooks[self.next_way(state)](state.cell)

    def _planned(self, state: RunState) -> tuple[str | None, str | None]:
        """What the plan says, and what it says without the value of learning from this call."""
        if self._is_over(state):
            return None, None
        ahead = self.plan.going_on(state.depth, state.momentum, state.best)
        now = self.worth(state.cell, state.best)
        if ahead <= now:
            return None, None
        way = self.plan.next_way(state.depth, state.momentum, state.best)
        if self._is_unlikely(way, state):
            return None, None
        lesson = self.costs.of(way, state.depth + 1) - self.prices[way](state.momentum, state.depth)
        return way, way if ahead - lesson > now else None

    def _supposed_move(self, state: RunState) -> str | None:
        """How to go on if one archetype were the truth, or None when it too says stop."""
        if self.supposed is None or self._is_over(state):
            return None
        ahead = self.supposed.going_on(state.depth, state.momentum, state.best)
        if ahead <= self.worth(state.cell, state.best):
            return None
        way = self.supposed.next_way(state.depth, state.momentum, state.best)
        return None if self._is_unlikely(way, state) else way

    def _is_unlikely(self, way: str, state: RunState) -> bool:
        least = self.least_probability
        return least > 0.0 and sum(self.outlooks[way](state.cell)[FIRST_GAIN:]) < least

    def _glances(self, scores: Sequence[float], state: RunState) -> bool:
        if not self.glance or self._is_over(state) or self.worth(state.cell, state.best) >= ENOUGH:
            return False
        if self._is_unlikely(self.ways[0], state):
            return False
        overdue = sum(self._planned(state_of(scores[:k]))[0] is None for k in range(1, len(scores)))
        return overdue < self.glance

    def reservation_score(self, depth: int, momentum: int) -> float:
        """The best score from which on stopping is right; 1.0 when going on is right up to a perfect score."""
        return self.goes_on_within(depth, momentum)[1]

    def goes_on_within(self, depth: int, momentum: int) -> tuple[float, float]:
        """The lowest and the highest best score at which going on is right; (0.0, 0.0) when it never is.

        A best score may be too low to go on with, where only a good enough one is worth anything. Exactly 0, where a
        yes-or-no verifier begins, stands apart: scores next to it may not go on though it does. Between two nodes of
        the grid of which going on is worth more at one, it and stopping are taken as lines, and their crossing is told.
        """
        leads = self._leads(depth, momentum)
        right = [index for index, (_, lead) in enumerate(leads) if lead > 0.0]
        if not right:
            return 0.0, 0.0
        first, last = right[0], right[-1]
        low = _crossing(leads[first], leads[first - 1]) if first else 0.0
        return low, _crossing(leads[last], leads[last + 1]) if last + 1 < len(leads) else 1.0

    def _leads(self, depth: int, momentum: int) -> list[tuple[float, float]]:
        """Each node and by how much going on is worth more there than stopping."""
        values = None if self.is_spent(depth) else self.plan.ahead[self.plan.row(depth)].get(momentum)
        if values is None:
            return []
        grid, cells = self.plan.grid, cells_at(momentum, depth)
        nodes = zip(grid.nodes, grid.bands, values, strict=True)
        return [(best, going_on - self.worth(cells[band], best)) for best, band, going_on in nodes]

    def __repr__(self) -> str:
        return f"Policy(runs={self.runs}, call_cost={self.call_cost:g}, max_iterations={self.plan.horizon})"


def _crossing(inside: tuple[float, float], outside: tuple[float, float]) -> float:
    """Where the line through two nodes and their leads is 0."""
    (best, lead), (other, behind) = inside, outside
    return best + (other - best) * lead / (lead - behind)
