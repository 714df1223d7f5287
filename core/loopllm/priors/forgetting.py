"""How old runs fade: generations of counts, weighted by age when they are read.

An additive store cannot decay what it holds, so a pair's transitions and first scores are kept by generation (10 runs
each) and a reader weights generation g of the current one G by 2^(-(G - g) / half-life), and by the belief that nothing
changed since (see `change`). After `KEPT` generations a generation is folded into the oldest, generation 0, by adding
its counts there and their negative where they were. The sum of the two is unchanged whatever happens: when two
processes fold the same generation at once, its negative remainder cancels against generation 0 at the next reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from loopllm.priors.cost_sums import era_of, fold_rows
from loopllm.priors.counts import Row, TransitionCounts
from loopllm.priors.first_scores import no_first_scores
from loopllm.priors.statistics import Statistics

GENERATION = 10
"""Runs of a pair that share a generation."""

KEPT = 20
"""Generations kept apart; older ones are one."""

OLDEST = 0

Trust = Mapping[int, float]
"""For each generation the probability that the process is still the one it saw."""

Fading = Mapping[int, float]
"""For each generation the weight of what it saw; 1 where it is missing."""


def generation_of(runs: float) -> int:
    """Generation of the run that is the `runs`-th of its pair, the first being run 1; at least 1.

    >>> generation_of(1), generation_of(10), generation_of(11)
    (1, 1, 2)
    """
    return 1 + max(0, int(runs) - 1) // GENERATION


def age_weight(generation: int, current: int, half_life: float) -> float:
    """Weight of a generation; `half_life` is in runs.

    >>> age_weight(3, 3, 20), age_weight(1, 3, 20), age_weight(1, 3, float("inf"))
    (1.0, 0.5, 1.0)
    """
    return float(2.0 ** (-max(0, current - generation) * GENERATION / half_life))


def fading(runs: float, half_life: float, trust: Trust) -> Fading:
    """Weights of the generations of a pair after `runs` runs, by age and trust."""
    current = generation_of(runs)
    oldest = max(current - KEPT, 1) - 1
    return {
        generation: belief * age_weight(oldest if generation == OLDEST else generation, current, half_life)
        for generation, belief in trust.items()
    }


def faded(
    statistics: Statistics, weights: Fading | None = None, ways: Iterable[str] | None = None
) -> TransitionCounts:
    """Transitions of all generations; of some ways of asking, or of all (None)."""
    wanted = None if ways is None else set(ways)
    total = TransitionCounts()
    for (generation, way), counts in statistics.layers.items():
        if wanted is None or way in wanted:
            total.merge(counts, (weights or {}).get(generation, 1.0))
    return total


def first_scores(statistics: Statistics, weights: Fading | None = None) -> Row:
    """Number of first scores per bin, of all generations."""
    total = no_first_scores()
    for generation, row in statistics.firsts.items():
        weight = (weights or {}).get(generation, 1.0)
        total = [have + weight * count for have, count in zip(total, row, strict=True)]
    return total


def constancy(trust: Trust) -> float:
    """Probability that the process is still what it was in the oldest runs that are known."""
    return min(trust.values(), default=1.0)


def by_generation(statistics: Statistics) -> dict[int, tuple[TransitionCounts, Row]]:
    """Transitions, in whatever way they were asked for, and first scores of each generation; to be read only."""
    found: dict[int, TransitionCounts] = {}
    for (generation, _), counts in statistics.layers.items():
        have = found.get(generation)
        found[generation] = counts if have is None else have + counts
    ages = {*found, *statistics.firsts}
    return {
        age: (found.get(age, TransitionCounts()), statistics.firsts.get(age, no_first_scores()))
        for age in ages
    }


def folding(statistics: Statistics, current: int) -> Statistics:
    """What to merge so that generations too old to be kept apart become part of the oldest; usually nothing."""
    found = Statistics()
    changes = found.layers
    for (generation, way), counts in statistics.layers.items():
        if OLDEST < generation <= current - KEPT:
            changes.setdefault((generation, way), TransitionCounts()).merge(counts, -1.0)
            changes.setdefault((OLDEST, way), TransitionCounts()).merge(counts)
    for generation, row in statistics.firsts.items():
        if OLDEST < generation <= current - KEPT:
            for at, count in enumerate(row):
                found.first_score(generation, at, -count)
                found.first_score(OLDEST, at, count)
    found.costs = fold_rows(statistics.costs, era_of(current))
    return found
