"""Has the process changed: how far older runs may still be believed.

For a split of the generations into older and recent ones, the share of calls that gave a new best is compared
group by group (by momentum) under "one rate" and "two rates", each rate with a flat Beta prior. The log Bayes
factor of a change is

    sum_groups  ln B(u1, d1) + ln B(u2, d2) - ln B(u1 + u2, d1 + d2),   B(u, d) = beta(1 + u, 1 + d),

u and d being calls with and without a new best (Kass & Raftery 1995, JASA 90:773; as a run-length posterior: Adams
& MacKay 2007, arXiv 0710.3742). Older generations keep the posterior probability that nothing changed as a factor.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, lgamma

from loopllm.priors.counts import TransitionCounts
from loopllm.priors.run_state import FIRST_GAIN
from loopllm.priors.tilting import momentum_group

PRIOR_OF_CHANGE = 0.002
"""Probability that the process changed at a given split."""

LATEST_SPLITS = 6
"""Only changes in the last so many generations are looked for; earlier ones were found when they were recent."""

_NONE = (0.0, 0.0)

Rates = dict[int, tuple[float, float]]
"""Calls with and without a new best, by momentum group."""


def rates_of(counts: TransitionCounts) -> Rates:
    """Calls with and without a new best, by momentum group."""
    found: Rates = {}
    for cell, row in counts.cells.items():
        group, gains = momentum_group(cell), sum(row[FIRST_GAIN:])
        up, down = found.get(group, _NONE)
        found[group] = (up + gains, down + sum(row[:FIRST_GAIN]))
    return found


def _plus(a: Rates, b: Rates) -> Rates:
    total = dict(a)
    for group, (up, down) in b.items():
        before = total.get(group, _NONE)
        total[group] = (before[0] + up, before[1] + down)
    return total


def _log_beta(up: float, down: float) -> float:
    up, down = max(up, 0.0), max(down, 0.0)
    return lgamma(1.0 + up) + lgamma(1.0 + down) - lgamma(2.0 + up + down)


def log_bayes_factor(older: Rates, recent: Rates) -> float:
    """Log odds for two rates against one, from the data alone.

    >>> same = log_bayes_factor({0: (10.0, 10.0)}, {0: (10.0, 10.0)})
    >>> other = log_bayes_factor({0: (20.0, 0.0)}, {0: (0.0, 20.0)})
    >>> round(same, 1), round(other, 1)
    (-1.0, 23.3)
    """
    total = 0.0
    for group in older.keys() & recent.keys():
        (u1, d1), (u2, d2) = older[group], recent[group]
        total += _log_beta(u1, d1) + _log_beta(u2, d2) - _log_beta(u1 + u2, d1 + d2)
    return total


def belief_in_generations(generations: Mapping[int, TransitionCounts]) -> dict[int, float]:
    """For each generation the probability that the process is still the one it saw."""
    ages = sorted(generations)
    rates = {age: rates_of(generations[age]) for age in ages}
    trust = dict.fromkeys(ages, 1.0)
    odds: dict[int, float] = {}
    for at in ages[1:][-LATEST_SPLITS:]:
        older: Rates = {}
        recent: Rates = {}
        for age in ages:
            if age < at:
                older = _plus(older, rates[age])
            else:
                recent = _plus(recent, rates[age])
        odds[at] = PRIOR_OF_CHANGE * exp(min(log_bayes_factor(older, recent), 50.0))
    total = 1.0 + sum(odds.values())
    for age in ages:
        trust[age] = 1.0 - sum(value for at, value in odds.items() if age < at) / total
    return trust
