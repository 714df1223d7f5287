"""Where runs would stand after 1, 2, 3, ... calls if none had been stopped.

The mean over the runs that made call k is not that: the good ones stopped before. Stopping depends on the scores alone,
so what one more call does, given where a run stands, is learned without bias from the runs that went on; carrying the
distribution of the first scores through it, call by call, gives every run its later calls (the g-formula: Robins 1986,
Mathematical Modelling 7:1393; Hernan & Robins 2020, Causal Inference: What If, chapter 21).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from loopllm.priors.first_scores import first_bin
from loopllm.priors.forgetting import first_scores
from loopllm.priors.intervals import MASS
from loopllm.priors.run_state import FIRST_GAIN, PERFECT, RunState, next_momentum, split_cell
from loopllm.priors.score_grid import ScoreGrid, score_grid
from loopllm.priors.statistics import Statistics

Standing = dict[int, list[float]]
"""Probability of each node of the grid, by momentum."""

Expects = Callable[[RunState], Sequence[float]]
"""Probabilities of the outcomes of one more call from a state."""

_NOTHING = 1e-9


@dataclass(frozen=True, slots=True)
class ScoreForecast:
    """The best score after some calls, over all runs.

    Attributes:
        mean: Expected best score.
        low: A tenth of the runs have less.
        high: A tenth of the runs have more.
    """

    mean: float
    low: float
    high: float


def first_standing(statistics: Statistics, grid: ScoreGrid) -> Standing:
    """Distribution of the first scores over the nodes, from their bins, with the mean that was seen."""
    bins = first_scores(statistics)
    mean = statistics.get("d/1/score") / max(statistics.get("d/1/n"), 1.0)
    if sum(bins) <= 0.0:  # a store of an older version kept no bins
        bins[first_bin(mean)] = 1.0
    total = sum(bins)
    zeros = min(bins[0], _exact_zeros(statistics))
    inner = [bins[0] - zeros, *bins[1:-1]]
    width = 1.0 / len(inner)
    middles = [(b + 0.5) * width for b in range(len(inner))]
    inside = sum(inner)
    off = mean * total - bins[-1] - sum(n * m for n, m in zip(inner, middles, strict=True))
    shift = min(max(off / inside, -width / 2), width / 2) if inside > 0 else 0.0
    row = [0.0] * len(grid.nodes)
    row[0], row[-1] = zeros / total, bins[-1] / total
    for n, middle in zip(inner, middles, strict=True):
        node, share = grid.place(middle + shift)
        row[node] += n / total * (1.0 - share)
        row[min(node + 1, len(row) - 1)] += n / total * share
    return {0: row}


def _exact_zeros(statistics: Statistics) -> float:
    """First scores of exactly 0 that were followed by another call."""
    counts = (counts for layer in statistics.layers.values() for counts in layer.cells.items())
    return sum(sum(row) for cell, row in counts if split_cell(cell) == (0, 0, 0))


def advanced(
    standing: Mapping[int, Sequence[float]], depth: int, expects: Expects, grid: ScoreGrid
) -> Standing:
    """The distribution after one more call."""
    after: Standing = {}
    for momentum, row in standing.items():
        for node, mass in enumerate(row):
            if mass > _NOTHING:
                best = grid.nodes[node]
                outcomes = expects(RunState(depth, best, momentum, best))
                for outcome, p in enumerate(outcomes):
                    target = after.setdefault(next_momentum(momentum, outcome), [0.0] * len(row))
                    for landing, weight in _landing(node, outcome, grid):
                        target[landing] += mass * p * weight
    return after


def _landing(node: int, outcome: int, grid: ScoreGrid) -> Sequence[tuple[int, float]]:
    top = len(grid.nodes) - 1
    if outcome < FIRST_GAIN or node == top:
        return ((node, 1.0),)
    return ((top, 1.0),) if outcome == PERFECT else grid.landing[node][outcome - FIRST_GAIN]


def summed_up(standing: Mapping[int, Sequence[float]], grid: ScoreGrid) -> ScoreForecast:
    """Mean and central 80 % of a distribution."""
    masses = [sum(column) for column in zip(*standing.values(), strict=True)]
    total = sum(masses)
    mean = sum(mass * best for mass, best in zip(masses, grid.nodes, strict=True)) / total
    tail = (1.0 - MASS) / 2.0
    return ScoreForecast(mean, *(_quantile(masses, q * total, grid) for q in (tail, 1.0 - tail)))


def _quantile(masses: Sequence[float], wanted: float, grid: ScoreGrid) -> float:
    below = 0.0
    for mass, best in zip(masses, grid.nodes, strict=True):
        below += mass
        if below >= wanted:
            return best
    return 1.0


def score_forecasts(statistics: Statistics, expects: Expects, depths: int) -> Iterator[ScoreForecast]:
    """The best score after 1, 2, ..., `depths` calls if no run is stopped.

    Args:
        statistics: A pair's; it holds the first scores of at least one run.
        expects: What is believed of one more call.
        depths: Calls to look ahead.
    """
    grid = score_grid(None)
    standing = first_standing(statistics, grid)
    yield summed_up(standing, grid)
    for depth in range(1, depths):
        standing = advanced(standing, depth, expects, grid)
        yield summed_up(standing, grid)
