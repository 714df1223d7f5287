"""What to do next in a run: a plan to look up, and a decision that can explain itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from loopllm.priors.beta import beta_quantile
from loopllm.priors.call_cost import CallCosts
from loopllm.priors.cost_sums import CostRow
from loopllm.priors.exploration import Price
from loopllm.priors.planner import Plan, StopValue, cells_at
from loopllm.priors.run_state import FIRST_GAIN, GAIN_EDGES, RunState, cell_of, next_momentum, state_of
from loopllm.priors.tilting import Outlook

_MIDDLES = tuple((low + high) / 2 for low, high in zip((0.0, *GAIN_EDGES), (*GAIN_EDGES, 1.0), strict=True))
_SHARES = (0.0, 0.0, 0.0, *_MIDDLES, 1.0)


ENOUGH = 0.97
"""A run whose draft is worth this much has nothing left to teach that would pay."""


class Decision:
    """Stop, or ask again and how; the numbers behind it are worked out when somebody asks for them.

    Attributes:
        move: None to stop, otherwise the way to ask again.
        advised: What the plan says; differs from `move` when the priors only observe, or explore.
    """

    __slots__ = ("_policy", "_scores", "_state", "advised", "move")

    def __init__(self, policy: Policy, state: RunState, move: str | None, advised: str | None) -> None:
        self._policy = policy
        self._state = state
        self.move = move
        self.advised = advised

    @property
    def stop(self) -> bool:
        """True when the run should end here."""
        return self.move is None

    @property
    def depth(self) -> int:
        """Calls made."""
        return self._state.depth

    @property
    def explores(self) -> bool:
        """True when going on is for the sake of learning."""
        return self.move is not None and self.advised is None

    @property
    def call_cost(self) -> float:
        """What one more call is expected to cost, in the unit of the value."""
        return self._policy.costs.of(self.way, self._state.depth + 1)

    @property
    def cost_interval(self) -> tuple[float, float]:
        """An 80 % interval of `call_cost`; a point when it is the caller's number."""
        return self._policy.costs.interval(self.way, self._state.depth + 1)

    @property
    def way(self) -> str:
        """How the next call would be asked for."""
        return self.move or self._policy.ways[0]

    @property
    def runs(self) -> int:
        """Runs of this task type and model behind the decision."""
        return self._policy.runs

    @property
    def _row(self) -> Sequence[float]:
        return self._policy.outlooks[self.way](self._state.cell)

    @property
    def probability_of_improvement(self) -> float:
        """Probability that one more call gives a new best score."""
        return sum(self._row[FIRST_GAIN:])

    @property
    def expected_gain(self) -> float:
        """By how much one more call is expected to raise the value of the best draft, its cost not counted."""
        state, worth = self._state, self._policy.worth
        now = worth(state.cell, state.best)
        total = 0.0
        for outcome, p in enumerate(self._row):
            share = _SHARES[outcome]
            best = state.best + share * (1.0 - state.best)
            cell = cell_of(next_momentum(state.momentum, outcome), best, state.depth + 1)
            total += p * (worth(cell, best) - now)
        return total

    @property
    def interval(self) -> tuple[float, float]:
        """An 80 % interval of `expected_gain`: that of P(improvement), times the mean gain when there is one."""
        p = min(max(self.probability_of_improvement, 1e-9), 1.0 - 1e-9)
        size = self.expected_gain / p
        weight = self._policy.weight_of(self._state.cell)
        low, high = (beta_quantile(q, p * weight, (1.0 - p) * weight) for q in (0.1, 0.9))
        return low * size, high * size

    @property
    def reservation_score(self) -> float:
        """The best score from which on stopping here is right."""
        return self._policy.reservation_score(self._state.depth, self._state.momentum)

    @property
    def message(self) -> str:
        """The reason as a sentence."""
        return self._policy.explain(self)

    def __repr__(self) -> str:
        return f"Decision(move={self.move!r}, expected_gain={self.expected_gain:.3f}, call_cost={self.call_cost:g})"


class Policy:
    """A plan for runs of one task type and model, frozen: a run keeps the policy that it began with.

    Args:
        plan: What going on is worth.
        outlooks: Probabilities behind the plan, by way of asking.
        worth: What it is worth to stop.
        costs: What one more call costs in the same unit.
        runs: Runs of this pair behind it.
        weight_of: What the belief in a cell is worth, in observations.
        acts: False: go on whatever the plan says (modes `observe` and `off`).
        prices: What a call was reckoned to cost, by way of asking; below its cost where it teaches.
        glance: Calls to go on after the plan says stop, in order to learn.
        supposed: What going on is worth if one archetype were the truth; followed where it goes further, in order to
            learn.
        revise: Makes the rule anew from what a run's own calls cost; None when that is known already.
    """

    __slots__ = (
        "acts",
        "costs",
        "glance",
        "outlooks",
        "plan",
        "prices",
        "revise",
        "runs",
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
        runs: int,
        weight_of: Callable[[int], float],
        prices: Mapping[str, Price],
        acts: bool = True,
        glance: int = 0,
        supposed: Plan | None = None,
        revise: Callable[[Mapping[str, CostRow]], Policy] | None = None,
    ) -> None:
        self.plan = plan
        self.outlooks = outlooks
        self.worth = worth
        self.costs = costs
        self.runs = runs
        self.weight_of = weight_of
        self.acts = acts
        self.prices = prices
        self.glance = glance
        self.supposed = supposed
        self.revise = revise
        self.ways = plan.ways

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
        """
        del actions
        state = state_of(scores)
        planned, advised = self._planned(state)
        move = planned or self._supposed_move(state)
        if move is None and (not self.acts or self._glances(scores, state)):
            move = self.ways[0]
        return Decision(self, state, move, advised)

    def _planned(self, state: RunState) -> tuple[str | None, str | None]:
        """What the plan says, and what it says without the value of learning from this call."""
        if state.depth >= self.plan.horizon:
            return None, None
        ahead = self.plan.going_on(state.depth, state.momentum, state.best)
        now = self.worth(state.cell, state.best)
        if ahead <= now:
            return None, None
        way = self.plan.next_way(state.depth, state.momentum, state.best)
        lesson = self.costs.of(way, state.depth + 1) - self.prices[way](state.momentum, state.depth)
        return way, way if ahead - lesson > now else None

    def _supposed_move(self, state: RunState) -> str | None:
        """How to go on if one archetype were the truth, or None when it too says stop."""
        if self.supposed is None or state.depth >= self.plan.horizon:
            return None
        ahead = self.supposed.going_on(state.depth, state.momentum, state.best)
        if ahead <= self.worth(state.cell, state.best):
            return None
        return self.supposed.next_way(state.depth, state.momentum, state.best)

    def _glances(self, scores: Sequence[float], state: RunState) -> bool:
        if (
            not self.glance
            or state.depth >= self.plan.horizon
            or self.worth(state.cell, state.best) >= ENOUGH
        ):
            return False
        overdue = sum(self._planned(state_of(scores[:k]))[0] is None for k in range(1, len(scores)))
        return overdue < self.glance

    def reservation_score(self, depth: int, momentum: int) -> float:
        """The lowest best score at which stopping is right; 1.0 when going on is right up to a perfect score."""
        if depth >= self.plan.horizon:
            return 0.0
        values = self.plan.ahead.get(depth, {}).get(momentum)
        if values is None:
            return 0.0
        grid, cells = self.plan.grid, cells_at(momentum, depth)
        for best, band, going_on in zip(
            reversed(grid.nodes), reversed(grid.bands), reversed(values), strict=True
        ):
            if going_on > self.worth(cells[band], best):
                return best
        return 0.0

    def explain(self, decision: Decision) -> str:
        """The reason for a decision as a sentence."""
        low, high = decision.interval
        gain = decision.expected_gain
        verb = "stopped" if decision.stop else "goes on in order to learn" if decision.explores else "goes on"
        return (
            f"{verb}: another call is expected to gain {gain:.3f} (80 % interval {low:.2f} to {high:.2f}), "
            f"{self.costs.phrase(gain, decision.way, decision.depth + 1)}; {self.runs} runs behind this"
        )

    def __repr__(self) -> str:
        return f"Policy(runs={self.runs}, call_cost={self.call_cost:g}, max_iterations={self.plan.horizon})"
