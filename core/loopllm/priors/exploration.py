"""When going on is worth it for what it teaches.

A rule that stops early never sees what it misses: the belief that keeps it from going on is never put to the test.
While learning, a call from a state that was seldom seen is therefore reckoned cheaper than it is,

    price(n) = c (1 - S / (1 + n / N0)),

n being the transitions seen from that momentum and depth in that way of asking. The plan is made with these prices, so
that it reaches for states whose price is low through several calls (deep exploration as an information bonus in the
planner: Osband et al. 2016, arXiv 1402.0635; Strehl & Littman 2008, J. Computer and System Sciences 74:1309). What is
paid for it is bounded: at most S c per call, falling as 1/n.

Between several ways of asking the one that was tried less is hoped to be better than it is believed to be,

    hope(w) = exp(z (s_w - min_v s_v)),   s_w = sigma / sqrt(1 + n_w / N0),

a factor on the probability of a new best, s_w being what is not known of the logarithm of way w's rate after n_w calls,
the pair's and its siblings' (optimism in the face of uncertainty: Auer, Cesa-Bianchi & Fischer 2002, Machine Learning
47:235). It is taken relative to the way that is known best, so that it weighs ways against each other and not going on
against stopping; it is bounded by exp(z sigma) = 2 and ends as the ways become known.

So that a change for the better is noticed after the prices have become those of the calls, one run in `GLANCE_EVERY`
goes two calls further than the plan says.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from math import exp

from loopllm.priors.counts import TransitionCounts
from loopllm.priors.run_state import BANDS, DEPTH_EDGES, DEPTHS
from loopllm.priors.tilting import is_yes_no

DISCOUNT = 0.42
"""S: part of a call's cost that its first observation is worth where scores are graded."""

YES_NO_DISCOUNT = 0.5
"""The same after a score of exactly 0: a verifier that only says no gives no sign that the next call may succeed, and
what is learned of it serves every later run, since all its runs stand in the same few states."""

HOPE = 0.7
"""z sigma: logarithm of the factor by which a new best is hoped to be more likely in a way that was never tried."""

WAY_FAMILIAR = 3.0
"""N0: transitions in a way after which its hope has fallen to 0.7 of that."""

FAMILIAR = 8.0
"""N0: transitions after which half of the discount is left."""

GLANCE_EVERY, GLANCE_FROM, GLANCE_CALLS = 50, 20, 2

Price = Callable[[int, int], float]
"""Cost of a call from a momentum and depth."""


def fixed_price(call_cost: float) -> Price:
    """The same cost everywhere."""
    return lambda *_state: call_cost


def usual_discount(counts: TransitionCounts) -> float:
    """S for a pair, by how much of what it was seen to do started from a score of exactly 0.

    >>> usual_discount(TransitionCounts()) == (DISCOUNT + YES_NO_DISCOUNT) / 2
    True
    """
    total = sum(map(sum, counts.cells.values()))
    at_zero = sum(sum(row) for cell, row in counts.cells.items() if is_yes_no(cell))
    share = at_zero / total if total > 0.0 else 0.5
    return DISCOUNT + (YES_NO_DISCOUNT - DISCOUNT) * share


def discounted_price(counts: TransitionCounts, call_cost: float, discount: float) -> Price:
    """What a call is reckoned to cost while learning.

    >>> counts = TransitionCounts(); counts.add(0, 0, 8.0)
    >>> price = discounted_price(counts, 0.1, 0.4)
    >>> round(price(0, 1), 3), round(price(0, 2), 3)
    (0.08, 0.06)
    """
    seen: dict[tuple[int, int], float] = {}
    for cell, row in counts.cells.items():
        key = (cell // (BANDS * DEPTHS), cell % DEPTHS)
        seen[key] = seen.get(key, 0.0) + sum(row)

    def price(momentum: int, depth: int) -> float:
        n = seen.get((momentum, bisect_left(DEPTH_EDGES, depth)), 0.0)
        return call_cost * (1.0 - discount / (1.0 + max(n, 0.0) / FAMILIAR))

    return price


def hopes(tried: Mapping[str, float]) -> dict[str, float]:
    """By how much more likely than believed a new best is reckoned in each way of asking while learning.

    >>> {way: round(factor, 2) for way, factor in hopes({"last": 9.0, "fresh": 0.0}).items()}
    {'last': 1.0, 'fresh': 1.42}

    Args:
        tried: Transitions that speak of each way.
    """
    doubt = {way: (1.0 + max(n, 0.0) / WAY_FAMILIAR) ** -0.5 for way, n in tried.items()}
    least = min(doubt.values())
    return {way: exp(HOPE * (sd - least)) for way, sd in doubt.items()}


def chance(seed: int, runs: int) -> float:
    """A number in [0, 1) that depends on the seed and the run only (SplitMix64: Steele et al. 2014, OOPSLA).

    >>> chance(0, 5) == chance(0, 5), chance(0, 5) == chance(0, 6), chance(0, 5) == chance(1, 5)
    (True, False, False)
    """
    mask = (1 << 64) - 1
    z = (seed * 0x9E3779B97F4A7C15 + (runs + 1) * 0xD1B54A32D192ED03) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return ((z ^ (z >> 31)) >> 11) / float(1 << 53)


def glance(seed: int, runs: int) -> int:
    """Calls to go on after the plan says stop, in the run after `runs` runs: usually 0.

    >>> sum(glance(0, runs) > 0 for runs in range(5000)) in range(70, 130)
    True
    """
    return GLANCE_CALLS if runs >= GLANCE_FROM and chance(seed, runs) < 1.0 / GLANCE_EVERY else 0
