"""What to do next in a run: a plan to look up, and a decision that can explain itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from loopllm.priors.beta import beta_quantile
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
    def explores(self) -> bool:
        """True when going on is for the sake of learning."""
        return self.move is not None and self.advised is None

    @property
    def call_cost(self) -> float:
        """What one more call costs, in the unit of the value."""
        return self._policy.call_cost

    @property
    def runs(self) -> int:
        """Runs of this task type and model behind the decision."""
        return self._policy.runs

    @property
    def way(self) -> str:
        """The way of asking again that the numbers here are about: the move, or the best one when it is to stop."""
        return self.move or self._policy.best_way(self._state)

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
        call_cost: Cost of one more call in the same unit.
        runs: Runs of this pair behind it.
        weight_of: What the belief in a cell is worth, in observations.
        acts: False: go on whatever the plan says (modes `observe` and `off`).
        prices: What a call was reckoned to cost, by way of asking; below `call_cost` where it teaches.
        glance: Calls to go on after the plan says stop, in order to learn.
    """

    __slots__ = (
        "acts",
        "call_cost",
        "glance",
        "outlooks",
        "plan",
        "prices",
        "runs",
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
        call_cost: float,
        runs: int,
        weight_of: Callable[[int], float],
        prices: Mapping[str, Price],
        acts: bool = True,
        glance: int = 0,
    ) -> None:
        self.plan = plan
        self.outlooks = outlooks
        self.worth = worth
        self.call_cost = call_cost
        self.runs = runs
        self.weight_of = weight_of
        self.acts = acts
        self.prices = prices
        self.glance = glance
        self.ways = plan.ways

    def decide(self, scores: Sequence[float], actions: Sequence[str] = ()) -> Decision:
        """What to do after the calls that scored `scores`.

        Args:
            scores: Scores in [0, 1] of all calls so far, at least one.
            actions: How calls 2, 3, ... were asked for; kept for policies that weigh it.
        """
        del actions
        state = state_of(scores)
        planned, advised = self._planned(state)
        move = planned
        if planned is None and not self.acts:
            move = self.ways[0]
        elif planned is None and self._glances(scores, state):
            move = self.best_way(state)
        return Decision(self, state, move, advised)

    def best_way(self, state: RunState) -> str:
        """The way of asking again that is worth most where the run stands, whether or not it is worth its cost."""
        if state.depth >= self.plan.horizon:
            return self.ways[0]
        return self.plan.next_way(state.depth, state.momentum, state.best)

    def _planned(self, state: RunState) -> tuple[str | None, str | None]:
        """What the plan says, and what it says without the value of learning from this call."""
        if state.depth >= self.plan.horizon:
            return None, None
        ahead = self.plan.going_on(state.depth, state.momentum, state.best)
        now = self.worth(state.cell, state.best)
        if ahead <= now:
            return None, None
        way = self.best_way(state)
        lesson = self.call_cost - self.prices[way](state.momentum, state.depth)
        return way, way if ahead - lesson > now else None

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
        verb = "stopped" if decision.stop else "goes on in order to learn" if decision.explores else "goes on"
        how = f' asked with "{decision.way}"' if len(self.ways) > 1 else ""
        return (
            f"{verb}: another call{how} is expected to gain {decision.expected_gain:.3f} "
            f"(80 % interval {low:.2f} to {high:.2f}), costs {self.call_cost:.2g}; {self.runs} runs behind this"
        )

    def __repr__(self) -> str:
        return f"Policy(runs={self.runs}, call_cost={self.call_cost:g}, max_iterations={self.plan.horizon})"
