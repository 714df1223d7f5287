"""What another call is expected to cost: in money, milliseconds or tokens, by way of asking.

The mean cost mu of a call is a scale, so beliefs about it multiply: ln mu is taken as normal. With a belief of median e
and n calls seen with mean xbar and coefficient of variation s,

    ln mu ~ Normal(m, v),   m = (kappa ln e + n ln xbar) / (kappa + n),   v = s^2 / (n + kappa),   kappa = s^2 / tau^2,
    E[mu] = exp(m + v / 2),   80 % interval exp(m -+ 1.28 sqrt(v))

(normal-normal shrinkage: Gelman et al. 2013, Bayesian Data Analysis, sections 2.5 and 5.4; Var(ln xbar) ~ s^2 / n by
the delta method). tau says how far, in logarithms, a pair strays from its relatives (1: a factor of 2.7), and a way of
asking from its usual relation to the others (0.3).

From outermost to innermost: other pairs, pairs of the same task, pairs of the same model, the pair. Each moves the
level of all ways by observed over expected cost, sum x / sum n e (as in `tilting`); only calls of the same model, the
siblings' and the pair's own, say how ways relate to each other. The scale is unknown before the first call: whoever
speaks first sets it. Before that, ways are taken to relate as in `USUAL_RELATION`. A first call that cost nothing asked
no model (a query that is searched for as it stands), so it says nothing about the calls that do.

A way whose calls grow dearer with depth, since a caller's prompt keeps the whole history, gets a line through its mean:
slope S_kx / (S_kk + RIDGE), never negative (ridge regression: Hoerl & Kennard 1970, Technometrics 12:55).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, sqrt

from loopllm.priors.cost_sums import FIRST_WAY, POWERS, QUANTITIES, WIDTH, CostRow, empty_row
from loopllm.priors.moments import Moments

USUAL_RELATION = {"first": 1.0, "fresh": 1.0, "deficiencies": 1.1, "last": 1.3, "best": 1.3}
"""Cost relative to the first call before anything was seen: a prompt that shows a draft is longer."""

OWN_WAY_RELATION = 1.3
"""The same for a caller's own way of asking."""

PAIR_SPREAD, WAY_SPREAD = 1.0, 0.3
"""tau of pairs and of ways of asking, in logarithms."""

CALL_SPREAD, CALL_SPREAD_SEEN = 0.5, 4.0
"""s before calls were seen, and how many calls that is worth."""

RIDGE = 4.0
"""What holds the slope at zero, in units of the sum of squared deviations of k."""

NORMAL_80 = 1.2816

_LEAST = 1e-9

Rows = Mapping[str, CostRow]
"""Power sums by way of asking."""


@dataclass(frozen=True, slots=True)
class Source:
    """Calls that were seen.

    Attributes:
        rows: Their power sums, disjoint from those of other sources.
        same_model: Whether they say how the ways relate to each other.
    """

    rows: Rows
    same_model: bool


@dataclass(frozen=True, slots=True)
class ExpectedCost:
    """What a call in one way is expected to cost, in one quantity.

    >>> cost = ExpectedCost(median=2.0, log_variance=0.02, calls=10.0, slope=0.5, centre=1.0)
    >>> round(cost.mean, 2), [round(edge, 2) for edge in cost.interval], round(cost.of_call(4) - cost.of_call(3), 2)
    (2.02, [1.67, 2.4], 0.5)

    Attributes:
        median: Median of the belief in the mean cost.
        log_variance: Variance of its logarithm.
        calls: Calls of the pair behind it, faded.
        slope: By how much the cost grows from one call of a run to the next.
        centre: Mean k of the calls behind it; k is 0 for the second call.
    """

    median: float
    log_variance: float
    calls: float = 0.0
    slope: float = 0.0
    centre: float = 0.0

    @property
    def mean(self) -> float:
        """Expected cost of a call at the usual depth: all that a plan needs, see `call_cost`."""
        return self.median * exp(self.log_variance / 2.0)

    @property
    def interval(self) -> tuple[float, float]:
        """An 80 % interval of the mean cost."""
        factor = exp(NORMAL_80 * sqrt(self.log_variance))
        return self.median / factor, self.median * factor

    @property
    def variance(self) -> float:
        """Variance of the belief in the mean cost."""
        return self.mean**2 * (exp(self.log_variance) - 1.0)

    def of_call(self, call: int) -> float:
        """Expected cost of call number `call`."""
        return max(0.0, self.mean + self.slope * (max(0, call - 2) - self.centre))


def expected_costs(sources: Sequence[Source], ways: Iterable[str], quantity: str) -> dict[str, ExpectedCost]:
    """Expected cost of a call by way of asking; empty when no call told.

    Siblings paid 1 for a first call and 2 for one that shows a draft; the pair's first calls cost 10. So a call that
    shows a draft will cost about 20, though none was made:

    >>> row = lambda n, x: [n, 0.0, 0.0, n * x, n * x * x, 0.0] + 12 * [0.0]
    >>> siblings = Source({"first": row(99.0, 1.0), "last": row(99.0, 2.0)}, same_model=True)
    >>> pair = Source({"first": row(20.0, 10.0)}, same_model=True)
    >>> found = expected_costs([siblings, pair], ["last"], "money")
    >>> round(found["first"].median, 1), round(found["last"].median, 1)
    (10.0, 19.9)

    Args:
        sources: From the outermost to the pair itself, which is last.
        ways: Further ways to be told about.
        quantity: One of `QUANTITIES`.
    """
    at = QUANTITIES.index(quantity) * WIDTH
    seen = [_means(source.rows, at) for source in sources]
    if not any(n for level in seen for n, _ in level.values()):
        return {}
    own = sources[-1].rows
    square = _call_variance(own, at)
    between_ways = square / WAY_SPREAD**2
    medians = {
        way: USUAL_RELATION.get(way, OWN_WAY_RELATION) for way in [*ways, *(w for s in seen for w in s)]
    }
    known = False
    for source, level in zip(sources, seen, strict=True):
        if level:
            medians = _moved(medians, level, square / PAIR_SPREAD**2 if known else 0.0)
            known = True
        if source.same_model:
            medians |= {
                way: shrunk(medians[way], n, total / n, between_ways) for way, (n, total) in level.items()
            }
    calls = sum(n for n, _ in seen[-1].values())
    level_variance = square / (calls + square / PAIR_SPREAD**2)
    if own.get(FIRST_WAY, empty_row())[at] and FIRST_WAY not in seen[-1]:
        medians[FIRST_WAY] = 0.0
    return {way: _belief(median, own.get(way), at, square, level_variance) for way, median in medians.items()}


def shrunk(belief: float, n: float, mean: float, strength: float) -> float:
    """The median after n calls with a mean, for a belief that is worth `strength` calls.

    >>> round(shrunk(1.0, 3.0, 16.0, 1.0), 6), shrunk(1.0, 0.0, 16.0, 1.0)
    (8.0, 1.0)
    """
    if n <= 0.0:
        return belief
    if belief <= 0.0:
        return mean
    share = n / (n + strength)
    return float(belief * (mean / belief) ** share)


def _means(rows: Rows, at: int) -> dict[str, tuple[float, float]]:
    """Number of calls and their total, by way."""
    means = {way: (row[at], max(row[at + 3], 0.0)) for way, row in rows.items() if row[at] > _LEAST}
    return {way: mean for way, mean in means.items() if way != FIRST_WAY or mean[1]}


def _moved(
    medians: Mapping[str, float], level: Mapping[str, tuple[float, float]], strength: float
) -> dict[str, float]:
    """The ways' costs, all multiplied by observed over expected cost."""
    reckoned = sum(n * medians[way] for way, (n, _) in level.items())
    if reckoned <= 0.0:  # free so far: whoever pays first sets the scale
        relation = {way: USUAL_RELATION.get(way, OWN_WAY_RELATION) for way in medians}
        return dict(relation) if not any(t for _, t in level.values()) else _moved(relation, level, 0.0)
    n, total = (sum(column) for column in zip(*level.values(), strict=True))
    factor = shrunk(1.0, n, total / reckoned, strength)
    return {way: median * factor for way, median in medians.items()}


def _call_variance(rows: Rows, at: int) -> float:
    """s^2: squared coefficient of variation of single calls, within ways."""
    total, freedom = CALL_SPREAD_SEEN * CALL_SPREAD**2, CALL_SPREAD_SEEN
    for row in rows.values():
        moments = Moments.from_sums(row[at], row[at + 3], row[at + 4])
        if moments.n > 1.0 and moments.mean > 0.0:
            total += moments.m2 / moments.mean**2
            freedom += moments.n - 1.0
    return total / freedom


def _belief(
    median: float, row: CostRow | None, at: int, square: float, level_variance: float
) -> ExpectedCost:
    strength = square / WAY_SPREAD**2
    n, k, kk, x, _, kx = row[at : at + len(POWERS)] if row else [0.0] * len(POWERS)
    n = max(n, 0.0)
    variance = square / (n + strength) + (strength / (n + strength)) ** 2 * level_variance
    if n < 1.0:
        return ExpectedCost(median, variance, n)
    slope = max(0.0, kx - k * x / n) / (kk - k * k / n + RIDGE)
    return ExpectedCost(median, variance, n, slope, k / n)
