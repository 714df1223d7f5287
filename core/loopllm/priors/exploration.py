"""When going on is worth it for what it teaches.

A rule that stops early never sees what it misses: the belief that keeps it from going on is never put to the test.
While learning, a call from a state that was seldom seen is therefore reckoned cheaper than it is,

    price(n) = c (1 - S / sqrt(1 + n / N0)),

n being the transitions seen from that momentum and depth. The bonus falls as what is not known of a probability does,
so that a call that hardly seems to pay is tried until it plainly does not (the exploration bonus of Strehl & Littman
2008, J. Computer and System Sciences 74:1309). The plan is made with these prices, so that it reaches for states whose
price is low through several calls (deep exploration: Osband et al. 2016, arXiv 1402.0635). What is paid for it is
bounded: at most S c / sqrt(1 + n / N0) for a call.

Between several ways of asking the one that was tried less is hoped to be better than it is believed to be,

    hope(w) = exp(z (s_w - min_v s_v)),   s_w = sigma / sqrt(1 + n_w / N0),

a factor on the probability of a new best, s_w being what is not known of the logarithm of way w's rate after n_w calls,
the pair's and its siblings' (optimism in the face of uncertainty: Auer, Cesa-Bianchi & Fischer 2002, Machine Learning
47:235). It is taken relative to the way that is known best, so that it weighs ways against each other and not going on
against stopping; it is bounded by exp(z sigma) = 2.2 and ends as the ways become known.

One run of every plan also goes on where a plan made for one archetype would, drawn with the probability that it is the
truth (posterior sampling: Thompson 1933, Biometrika 25:285; Osband, Russo & Van Roy 2013, NeurIPS 26): what is
believable enough to pay is tried, several calls deep, before it is ruled out. It is done at numbers of runs that grow
by an eighth, so that it takes some 9 ln N of N runs, ever fewer as the truth becomes plain.

So that a change for the better is noticed after the prices have become those of the calls, one run in `GLANCE_EVERY`
goes two calls further than the plan says.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log1p, sqrt

from loopllm.priors.counts import TransitionCounts
from loopllm.priors.run_state import BANDS, DEPTH_EDGES, DEPTHS

GLANCE_EVERY, GLANCE_FROM, GLANCE_CALLS = 50, 20, 2

Price = Callable[[int, int], float]
"""Cost of a call from a momentum and depth."""


@dataclass(frozen=True, slots=True)
class Curiosity:
    """How much cheaper a call is reckoned while learning.

    Attributes:
        discount: S, part of a call's cost that its first observation is worth.
        familiar: N0, transitions after which 0.7 of the discount is left.
    """

    discount: float
    familiar: float


GRADED = Curiosity(0.25, 8.0)
"""Where scores are graded, every call gives a sign of what the next may bring."""

YES_NO = Curiosity(1.0, 2.0)
"""A verifier that only says no gives no sign that the next call may succeed, and a rule that believes it will not never
finds out: the first call is free, and those that follow nearly. Its runs stand in the same few states, so that these
are soon known."""

YES_NO_BEFORE = 0.3
"""Probability of such a verifier before any run, in the weight of one run."""

HOPE = 0.8
"""z sigma: logarithm of the factor by which a new best is hoped to be more likely in a way that was never tried."""

WAY_FAMILIAR = 4.0
"""N0: transitions in a way after which its hope has fallen to 0.7 of that."""


def fixed_price(call_cost: float) -> Price:
    """The same cost everywhere."""
    return lambda *_state: call_cost


def curiosity(first_scores: Sequence[float]) -> Curiosity:
    """S and N0 for a pair, by how many of its first scores were exactly 0 or 1.

    >>> curiosity([3.0] + 20 * [0.0]).discount > curiosity([0.0, 3.0] + 19 * [0.0]).discount
    True

    Args:
        first_scores: Number of first scores per bin, see `first_scores.first_bin`.
    """
    yes_no = (first_scores[0] + first_scores[-1] + YES_NO_BEFORE) / (sum(first_scores) + 1.0)
    return Curiosity(
        GRADED.discount + (YES_NO.discount - GRADED.discount) * yes_no,
        1.0 / ((1.0 - yes_no) / GRADED.familiar + yes_no / YES_NO.familiar),
    )


def discounted_price(counts: TransitionCounts, call_cost: float, curious: Curiosity) -> Price:
    """What a call is reckoned to cost while learning.

    >>> counts = TransitionCounts(); counts.add(0, 0, 24.0)
    >>> price = discounted_price(counts, 0.1, Curiosity(0.4, 8.0))
    >>> round(price(0, 1), 3), round(price(0, 2), 3)
    (0.08, 0.06)
    """
    seen: dict[tuple[int, int], float] = {}
    for cell, row in counts.cells.items():
        key = (cell // (BANDS * DEPTHS), cell % DEPTHS)
        seen[key] = seen.get(key, 0.0) + sum(row)

    def price(momentum: int, depth: int) -> float:
        n = seen.get((momentum, bisect_left(DEPTH_EDGES, depth)), 0.0)
        return call_cost * (1.0 - curious.discount / sqrt(1.0 + max(n, 0.0) / curious.familiar))

    return price


def hopes(tried: Mapping[str, float]) -> dict[str, float]:
    """By how much more likely than believed a new best is reckoned in each way of asking while learning.

    >>> {way: round(factor, 2) for way, factor in hopes({"last": 9.0, "fresh": 0.0}).items()}
    {'last': 1.0, 'fresh': 1.43}

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


def is_drawing(runs: float, growth: float, most: float) -> bool:
    """Whether the first run of a plan made after `runs` runs follows an archetype that is drawn.

    Plans are made when the runs have grown by the part `growth`, but at most `most` runs after the last one; one of
    those draws for each growth of the runs.

    >>> [runs for runs in range(0, 400, 20) if is_drawing(runs, 0.125, 20.0)]
    [0, 20, 40, 60, 80, 100, 120, 140, 160, 180, 200, 240, 260, 300, 320, 380]
    """
    before, now = (int(log1p(max(0.0, at)) / log1p(growth)) for at in (runs - most, runs))
    return runs < most or now > before


def glance(seed: int, runs: int) -> int:
    """Calls to go on after the plan says stop, in the run after `runs` runs: usually 0.

    >>> sum(glance(0, runs) > 0 for runs in range(5000)) in range(70, 130)
    True
    """
    return GLANCE_CALLS if runs >= GLANCE_FROM and chance(seed, runs) < 1.0 / GLANCE_EVERY else 0
