"""How old runs fade: generations of counts, weighted by age when they are read.

An additive store cannot decay what it holds, so a pair's transitions are kept by generation (20 runs each) and a
reader weights generation g of the current one G by 2^(-(G - g) / half-life), and by the belief that nothing changed
since (see `change`). After `KEPT` generations a generation is folded into the oldest, generation 0, by adding its
counts there and their negative where they were. The sum of the two is unchanged whatever happens: when two processes
fold the same generation at once, its negative remainder cancels against generation 0 at the next reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from loopllm.priors.change import belief_in_generations
from loopllm.priors.cost_sums import era_of, fold_rows
from loopllm.priors.counts import TransitionCounts
from loopllm.priors.statistics import Statistics

GENERATION = 20
"""Runs of a pair that share a generation."""

KEPT = 12
"""Generations kept apart; older ones are one."""

OLDEST = 0


def generation_of(runs: float) -> int:
    """Generation of the run that is the `runs`-th of its pair, the first being run 1; at least 1.

    >>> generation_of(1), generation_of(20), generation_of(21)
    (1, 1, 2)
    """
    return 1 + max(0, int(runs) - 1) // GENERATION


def age_weight(generation: int, current: int, half_life: float) -> float:
    """Weight of a generation; `half_life` is in runs.

    >>> age_weight(3, 3, 40), age_weight(1, 3, 40), age_weight(1, 3, float("inf"))
    (1.0, 0.5, 1.0)
    """
    return float(2.0 ** (-max(0, current - generation) * GENERATION / half_life))


Trust = Mapping[int, float]
"""For each generation the probability that the process is still the one it saw."""


def trust_of(statistics: Statistics, half_life: float) -> Trust:
    """How far each generation is believed; {} when nothing is ever forgotten."""
    return {} if half_life == float("inf") else belief_in_generations(by_generation(statistics))


def faded(
    statistics: Statistics, half_life: float, ways: Iterable[str] | None = None, trust: Trust | None = None
) -> TransitionCounts:
    """Transitions of all generations, by age and trust; of some ways of asking, or of all (None).

    Args:
        statistics: What to read.
        half_life: In runs; infinite: nothing fades.
        ways: The ways of asking.
        trust: What `trust_of` gives, where it is known already.
    """
    wanted = None if ways is None else set(ways)
    current = generation_of(statistics.runs)
    oldest = max(current - KEPT, 1)
    trust = trust_of(statistics, half_life) if trust is None else trust
    total = TransitionCounts()
    for (generation, way), counts in statistics.layers.items():
        if wanted is None or way in wanted:
            age = oldest - 1 if generation == OLDEST else generation
            total.merge(counts, trust.get(generation, 1.0) * age_weight(age, current, half_life))
    return total


def constancy(trust: Trust) -> float:
    """Probability that the process is still what it was in the oldest runs that are known."""
    return min(trust.values(), default=1.0)


def by_generation(statistics: Statistics) -> dict[int, TransitionCounts]:
    """Transitions of each generation, in whatever way they were asked for."""
    found: dict[int, TransitionCounts] = {}
    for (generation, _), counts in statistics.layers.items():
        found.setdefault(generation, TransitionCounts()).merge(counts)
    return found


def folding(statistics: Statistics, current: int) -> Statistics:
    """What to merge so that generations too old to be kept apart become part of the oldest; usually nothing."""
    found = Statistics()
    changes = found.layers
    for (generation, way), counts in statistics.layers.items():
        if OLDEST < generation <= current - KEPT:
            changes.setdefault((generation, way), TransitionCounts()).merge(counts, -1.0)
            changes.setdefault((OLDEST, way), TransitionCounts()).merge(counts)
    found.costs = fold_rows(statistics.costs, era_of(current))
    return found
