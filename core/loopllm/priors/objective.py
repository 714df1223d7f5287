"""What the loop is to earn: a plain goal, or one in the user's terms, in which money, time and quality are weighed.

With a plain goal everything is counted in the goal's own unit, and so is the cost of a call. With an `Objective` the
value of that unit is stated in money, so that what a call costs can be seen instead of guessed:

    cost of a call = (money of the call + seconds of the call * cost_per_second) / value of a unit

(a quasi-linear utility, the net benefit of cost-benefit analysis: Boardman et al. 2018, Cost-Benefit Analysis, ch. 4;
a value of time turns waiting into money: Becker 1965, The Economic Journal 75:493).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from loopllm.errors import MisuseError

Goal = Literal["threshold", "quality"]
"""`threshold`: 1 when the best score reaches the threshold, else 0; `quality`: the best score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What an answer is worth in money, and what waiting for it costs.

    A good enough answer is worth 0.02; a call takes 0.0015 and 2.5 seconds of somebody's time at 0.001 a second (3.60
    an hour). The call must raise the chance of a good enough answer by a fifth to be worth it:

    >>> aim = Objective(value_of_success=0.02, cost_per_second=0.001)
    >>> aim.goal, round(aim.call_cost(money=0.0015, seconds=2.5), 3)
    ('threshold', 0.2)

    Args:
        value_of_success: Money that an answer is worth whose score reaches the threshold; any other is worth nothing.
        value_of_quality: Instead: money that a score of 1 is worth more than a score of 0; half of it for half of the
            way.
        cost_per_second: Money that a second of waiting costs, 0 when nobody waits. An hour at 36 is 0.01 a second.
        currency: Of all these, of `LoopConfig(prices=...)`, and of what providers report as cost.

    Raises:
        MisuseError: Not exactly one value is given, or one is out of its range; the message names the field.
    """

    value_of_success: float | None = None
    value_of_quality: float | None = None
    cost_per_second: float = 0.0
    currency: str = "USD"

    def __post_init__(self) -> None:
        if (self.value_of_success is None) == (self.value_of_quality is None):
            raise MisuseError("give one of value_of_success and value_of_quality, an amount of money above 0")
        name = "value_of_quality" if self.value_of_success is None else "value_of_success"
        if not 0.0 < _number(name, self.unit_value) < float("inf"):
            raise MisuseError(f"{name} must be an amount of money above 0, got {self.unit_value!r}")
        if not 0.0 <= _number("cost_per_second", self.cost_per_second) < float("inf"):
            raise MisuseError(f"cost_per_second must be money >= 0, got {self.cost_per_second!r}")
        if not isinstance(self.currency, str) or not self.currency.strip():
            raise MisuseError(f"currency must be a non-empty name such as 'USD', got {self.currency!r}")

    @property
    def goal(self) -> Goal:
        """The plain goal behind it."""
        return "quality" if self.value_of_success is None else "threshold"

    @property
    def unit_value(self) -> float:
        """Money that a unit of that goal is worth."""
        value = self.value_of_quality if self.value_of_success is None else self.value_of_success
        return value if value is not None else 0.0

    def call_cost(self, *, money: float, seconds: float) -> float:
        """Cost of a call in the unit of the goal."""
        return (money + seconds * self.cost_per_second) / self.unit_value


def goal_of(objective: Goal | Objective) -> Goal:
    """The plain goal that an objective is about."""
    return objective.goal if isinstance(objective, Objective) else objective


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MisuseError(f"{name} must be a number, got {value!r}")
    return value
