"""The cost of another call in the unit of what it may gain, and what a plan reckons with.

With a plain goal it is the caller's number. With an `Objective` it is what calls were seen to cost,

    c(way, call) = (E[money] + E[seconds] * cost_per_second) / value of a unit,

the seconds being those of the call and of its evaluation. Stopping under a cost that adds up needs its expectation and
nothing else: whoever weighs money in proportion (risk neutral) finds in the value of going on, -c + E[V], the cost only
inside an expectation, which may be taken first (DeGroot 1970, Optimal Statistical Decisions, section 12.3). So the
uncertainty of the cost is kept for people, and for nothing in the plan.

Before any call told what it cost, the caller's `call_cost` stands in for it: a guess, and said to be one. It ends with
the first call of the first run, whose own cost is told to the rule before the second is decided on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

from loopllm.priors.cost_estimate import NORMAL_80, ExpectedCost, Source, expected_costs
from loopllm.priors.cost_sums import (
    FIRST_WAY,
    QUANTITIES,
    CostRow,
    add_row,
    empty_row,
    era_of,
    faded_rows,
    totals,
)
from loopllm.priors.exploration import Price
from loopllm.priors.forgetting import generation_of
from loopllm.priors.objective import Goal, Objective
from loopllm.priors.observation import USUAL_WAY
from loopllm.priors.statistics import Statistics
from loopllm.tables import significant


@dataclass(frozen=True, slots=True)
class WayCost:
    """What a call in one way of asking is expected to cost; None where no call told.

    Attributes:
        money: In the currency of whoever stated the price.
        ms: Milliseconds of the call and its evaluation.
        tokens: In both directions.
    """

    money: ExpectedCost | None = None
    ms: ExpectedCost | None = None
    tokens: ExpectedCost | None = None


UNKNOWN = WayCost()

GUESS = "a guess from call_cost, since no call has told its price: set LoopConfig(prices=...)"
NO_MONEY = "no call has told its price"
"""What a sentence says where money is unknown."""


@dataclass(frozen=True, slots=True)
class CallCosts:
    """Costs of calls in the unit of the goal, by way of asking.

    A call that shows a draft cost 0.002 and 3 s on average; success is worth 0.02, a second 0.001:

    >>> seen = WayCost(money=ExpectedCost(0.002, 0.0), ms=ExpectedCost(3000.0, 0.0))
    >>> costs = CallCosts(Objective(value_of_success=0.02, cost_per_second=0.001), 0.05, {"last": seen})
    >>> costs.of("last", 2), costs.guessed
    (0.25, False)
    >>> CallCosts("threshold", 0.05, {"last": seen}).of("last", 2)
    0.05

    Attributes:
        objective: What the loop is to earn.
        call_cost: The caller's number: the cost with a plain goal, a guess with an `Objective`.
        by_way: What was seen, `first` among them.
    """

    objective: Goal | Objective
    call_cost: float
    by_way: Mapping[str, WayCost]

    @property
    def guessed(self) -> bool:
        """True when an `Objective` is to be served and no call told what it cost."""
        objective = self.objective
        if not isinstance(objective, Objective):
            return False
        waiting = objective.cost_per_second > 0.0
        return not any(cost.money or (waiting and cost.ms) for cost in self.by_way.values())

    @property
    def money_is_known(self) -> bool:
        """False when an `Objective` is to be served and no call told its price; time alone is weighed then."""
        return not isinstance(self.objective, Objective) or any(cost.money for cost in self.by_way.values())

    def of(self, way: str, call: int) -> float:
        """Expected cost of call number `call`, asked for in a way, in the unit of the goal."""
        objective = self.objective
        if not isinstance(objective, Objective) or self.guessed:
            return self.call_cost
        cost = self.by_way.get(way, UNKNOWN)
        money = cost.money.of_call(call) if cost.money else 0.0
        seconds = cost.ms.of_call(call) / 1000.0 if cost.ms else 0.0
        return objective.call_cost(money=money, seconds=seconds)

    def interval(self, way: str, call: int) -> tuple[float, float]:
        """An 80 % interval of that expectation: a log-normal one with the variances of money and time added."""
        mean = self.of(way, call)
        objective = self.objective
        if not isinstance(objective, Objective) or self.guessed or mean <= 0.0:
            return mean, mean
        cost, second = self.by_way.get(way, UNKNOWN), objective.cost_per_second / 1000.0
        money, waiting = cost.money.variance if cost.money else 0.0, cost.ms.variance if cost.ms else 0.0
        relative = (money + waiting * second**2) / (mean * objective.unit_value) ** 2
        spread = log(1.0 + relative)
        half = NORMAL_80 * sqrt(spread)
        return mean * exp(-spread / 2.0 - half), mean * exp(-spread / 2.0 + half)

    def phrase(self, gain: float, way: str, call: int) -> str:
        """What a gain is worth and what the call costs, in the middle of a sentence."""
        cost, objective = self.of(way, call), self.objective
        if not isinstance(objective, Objective):
            return f"costs {significant(cost, 2)}"
        value, currency = objective.unit_value, objective.currency
        worth = f"worth {significant(gain * value, 2)} {currency}, costs {significant(cost * value, 2)} {currency}"
        if self.guessed:
            return f"{worth} ({GUESS})"
        low, high = (significant(edge * value, 2) for edge in self.interval(way, call))
        return f"{worth} ({low} to {high}{self._parts(way, call)})"

    def _parts(self, way: str, call: int) -> str:
        """What the cost is made of, where that is not all money."""
        objective, cost = self.objective, self.by_way.get(way, UNKNOWN)
        assert isinstance(objective, Objective)  # noqa: S101  (the caller looked)
        if not objective.cost_per_second:
            return ""
        paid = None if cost.money is None else significant(cost.money.of_call(call), 2)
        money = NO_MONEY if paid is None else f"{paid} {objective.currency}"
        return (
            f"; {money} and {significant(cost.ms.of_call(call) / 1000.0, 2)} s" if cost.ms else f"; {money}"
        )

    def told(self, seen: Mapping[str, CostRow]) -> CallCosts:
        """The same, had these calls been seen and nothing else: for the first run of all."""
        source = Source(seen, same_model=True)
        return CallCosts(self.objective, self.call_cost, _by_way([source], list(self.by_way)))

    def price(self, way: str, horizon: int, part: Price) -> Price:
        """What a plan reckons a call to cost that follows a state: its cost times `part` (see `exploration`).

        A call that costs more than the whole value can never pay, so nothing is given for what it teaches.
        """
        costs = [self.of(way, depth + 1) for depth in range(horizon + 1)]

        def price(momentum: int, depth: int) -> float:
            cost = costs[depth]
            return cost * part(momentum, depth) if cost < 1.0 else cost

        return price


def expected_by_way(
    scopes: Sequence[Statistics], half_life: float, ways: Sequence[str] | None
) -> dict[str, WayCost]:
    """What a pair's calls are expected to cost.

    Args:
        scopes: Statistics of the pair, of its task, of its model, and of all pairs.
        half_life: Runs after which an outcome counts half.
        ways: The ways of asking to be told about, beside those that were seen; None: all but the first call are one.
    """
    pair, *shared = scopes
    now = era_of(generation_of(pair.runs))
    own = _merged(faded_rows(pair.costs, now, half_life), ways)
    whole = _merged(totals(pair.costs), ways)
    task, model, everything = (_merged(totals(scope.costs), ways) for scope in shared)
    sources = [
        Source(_sum((1.0, everything), (-1.0, task), (-1.0, model), (1.0, whole)), same_model=False),
        Source(_sum((1.0, task), (-1.0, whole)), same_model=False),
        Source(_sum((1.0, model), (-1.0, whole)), same_model=True),
        Source(own, same_model=True),
    ]
    return _by_way(sources, (USUAL_WAY,) if ways is None else ways)


def _by_way(sources: Sequence[Source], ways: Sequence[str]) -> dict[str, WayCost]:
    asked = dict.fromkeys((FIRST_WAY, *ways))
    money, ms, tokens = (expected_costs(sources, asked, quantity) for quantity in QUANTITIES)
    names = dict.fromkeys((*asked, *money, *ms, *tokens))
    return {way: WayCost(money.get(way), ms.get(way), tokens.get(way)) for way in names}


def _merged(rows: Mapping[str, CostRow], ways: Sequence[str] | None) -> Mapping[str, CostRow]:
    """Rows with all later calls under one name when ways are not told apart."""
    if ways is not None:
        return rows
    later = _sum(*((1.0, {USUAL_WAY: row}) for way, row in rows.items() if way != FIRST_WAY))
    return later | {way: row for way, row in rows.items() if way == FIRST_WAY}


def _sum(*parts: tuple[float, Mapping[str, CostRow]]) -> dict[str, CostRow]:
    total: dict[str, CostRow] = {}
    for weight, rows in parts:
        for way, row in rows.items():
            add_row(total.setdefault(way, empty_row()), row, weight)
    return total
