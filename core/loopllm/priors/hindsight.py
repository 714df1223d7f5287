"""What acting would have changed in a run that was only observed.

The plan that the run began with is replayed on the scores that were seen. Three things can come of it:

- It would have stopped at a call that was made. What that saves and loses is known.
- It would have asked again in another way. What that would have scored, nobody knows.
- The run ended before it would have stopped (a plateau, a time limit, an error). In a loop that keeps its other exits
  nothing would have changed; if the plan alone had ruled, it would have gone on, and nobody knows to what.

Of the last two only bounds are known (partial identification: Manski 2003, Partial Identification of Probability
Distributions, chapter 1). They are counted apart, as `unknown`, and every mean over all runs is given as two: with the
unknown runs at their worst and at their best.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from loopllm.priors.intervals import mean_interval
from loopllm.priors.learning import way_of
from loopllm.priors.observation import Hindsight
from loopllm.priors.policy import Policy
from loopllm.priors.report import SavedReport
from loopllm.priors.run_state import RunState, state_of
from loopllm.priors.statistics import Statistics

_SUMMED = ("calls", "value", "net")


def look_back(
    policy: Policy, scores: Sequence[float], actions: Sequence[str] = (), first: int = 1
) -> Hindsight:
    """What the rule would have done in a run that is over.

    Args:
        policy: The rule; it need not act.
        scores: Scores of all calls.
        actions: How calls 2, 3, ... were asked for.
        first: The first call after which the rule would have been asked (`LoopConfig.min_iterations`).
    """
    acting, made = policy.acting(), len(scores)
    for call in range(max(1, first), made + 1):
        decision = acting.decide(scores[:call], actions[: call - 1])
        if decision.move is None:
            return _known(policy, scores, actions, call)
        if call < made and len(policy.ways) > 1 and decision.move != way_of(actions, call + 1):
            return _unknown(policy, scores, actions, call)
    return _unknown(policy, scores, actions, made)


def _value(policy: Policy, state: RunState) -> float:
    return policy.worth(state.cell, state.best)


def _top(policy: Policy, state: RunState) -> float:
    return max(policy.worth(state.cell, 1.0), _value(policy, state))


def _cost(policy: Policy, actions: Sequence[str], after: int, last: int) -> float:
    """Cost of the calls that follow call `after`, up to call `last`; ways that the rule does not tell apart are one."""
    ways = (way_of(actions, call) for call in range(after + 1, last + 1))
    told_apart = (way if way in policy.ways else policy.ways[0] for way in ways)
    return sum(policy.costs.of(way, call) for call, way in enumerate(told_apart, start=after + 1))


def _known(policy: Policy, scores: Sequence[float], actions: Sequence[str], stop: int) -> Hindsight:
    made, end = len(scores), state_of(scores)
    saved, lost = float(made - stop), _value(policy, end) - _value(policy, state_of(scores[:stop]))
    net = _cost(policy, actions, stop, made) - lost
    room = _room(policy, made)
    stake = _cost(policy, actions, 1, int(room) + 1)
    return Hindsight(made, room, _top(policy, end), stake, stop, lost, (saved, saved), (net, net))


def _unknown(policy: Policy, scores: Sequence[float], actions: Sequence[str], call: int) -> Hindsight:
    """Nothing is known of what would have followed `call`: another 1 to K - k calls, and any gain."""
    made, end, then = len(scores), state_of(scores), state_of(scores[:call])
    fewest = made if call == made else call + 1
    longest = max(policy.plan.horizon, made)
    saved = float(made - longest), float(made - fewest)
    value, top = _value(policy, end), _top(policy, end)
    paid = _cost(policy, actions, call, made)
    dearest = max(_dearest(policy, call, longest), paid)
    cheapest = min(policy.costs.of(way, call + 1) for way in policy.ways)
    worst = paid - dearest - max(0.0, value - _value(policy, then))
    best = max(0.0 if call == made else paid - cheapest, paid - cheapest + top - value)
    room = _room(policy, made)
    stake = _dearest(policy, 1, int(room) + 1)
    unknown: Literal["ended", "asked"] = "ended" if call == made else "asked"
    return Hindsight(made, room, top, stake, None, 0.0, saved, (worst, best), unknown)


def _dearest(policy: Policy, after: int, last: int) -> float:
    """The most that calls `after` + 1 to `last` can cost, in whatever way they are asked for."""
    calls = range(after + 1, last + 1)
    return sum(max(policy.costs.of(way, call) for way in policy.ways) for call in calls)


def _room(policy: Policy, made: int) -> float:
    """The most calls that can be saved, or added."""
    return float(max(policy.plan.horizon, made) - 1)


def learn_hindsight(statistics: Statistics, seen: Hindsight) -> None:
    """Add what acting would have changed in a run that is over."""
    sums: dict[str, float] = {"made": seen.made, "room": seen.room, "top": seen.top, "stake": seen.stake}
    pairs = {"all/calls": seen.calls_saved, "all/net": seen.net_gain}
    for name, (low, high) in pairs.items():
        sums |= {f"{name}/low": low, f"{name}/low2": low * low}
        sums |= {f"{name}/high": high, f"{name}/high2": high * high}
    if seen.stop is None:
        sums[f"unknown/{seen.unknown_since}"] = 1.0
    else:
        sums["n"] = 1.0
        values = (seen.calls_saved[0], seen.value_lost, seen.net_gain[0])
        for name, value in zip(_SUMMED, values, strict=True):
            sums |= {f"{name}": value, f"{name}2": value * value}
    for name, amount in sums.items():
        statistics.bump(f"s/hindsight/{name}", amount)


def saved_report(statistics: Statistics) -> SavedReport | None:
    """What acting would have changed; None when no run was only observed."""

    def total(name: str) -> float:
        return statistics.get(f"s/hindsight/{name}")

    known, ended, asked = total("n"), total("unknown/ended"), total("unknown/asked")
    runs = known + ended + asked
    if runs <= 0:
        return None
    room, top, stake = (total(name) / runs for name in ("room", "top", "stake"))
    ranges = {"calls": (0.0, room), "value": (0.0, top), "net": (-top, stake)}

    def mean(name: str) -> tuple[float, float, float]:
        low, high = mean_interval(known, total(name), total(f"{name}2"), *ranges[name])
        return (total(name) / known if known else 0.0), low, high

    def bounds(name: str, least: float, most: float) -> tuple[float, float]:
        low = mean_interval(runs, total(f"all/{name}/low"), total(f"all/{name}/low2"), least, most)[0]
        high = mean_interval(runs, total(f"all/{name}/high"), total(f"all/{name}/high2"), least, most)[1]
        return low, high

    return SavedReport(
        runs=int(known),
        unknown=int(ended + asked),
        calls_saved=mean("calls"),
        value_lost=mean("value"),
        net_gain=mean("net"),
        calls_made=total("made") / runs,
        ended_first=int(ended),
        asked_otherwise=int(asked),
        calls_saved_bounds=bounds("calls", -room, room),
        net_gain_bounds=bounds("net", -top - stake, top + stake),
    )
