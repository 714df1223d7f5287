"""Where a gain lands: the grid of best scores on which a plan is computed, and how a value is averaged over a gain.

The value of a state is kept at the nodes of a grid over [0, 1] and is linear between them; a threshold gets two
nodes, just below and at it, so that a jump stays a jump. A gain of class j from a best b lands somewhere in
[b + f_lo (1 - b), b + f_hi (1 - b)], taken as uniform; the mean of a piecewise linear V over an interval [l, h],

    1 / (h - l) * integral_l^h V(x) dx = sum_n w_n V(x_n),

is a weighted sum of nodes whose weights depend on the grid only, so they are computed once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from loopllm.priors.run_state import GAIN_EDGES, band_of

STEPS = 20
"""Equal steps; with 20 the borders of the bands and multiples of .05, which graders like, are nodes."""
_JUST_BELOW = 1e-9

Weights = tuple[tuple[int, float], ...]
"""Nodes and their weights."""


def mean_weights(nodes: Sequence[float], low: float, high: float) -> Weights:
    """Weights of the mean of a piecewise linear function over [low, high].

    >>> mean_weights([0.0, 0.5, 1.0], 0.0, 1.0)
    ((0, 0.25), (1, 0.5), (2, 0.25))
    """
    weights: dict[int, float] = {}
    left = max(0, bisect_right(nodes, low) - 1)
    while left + 1 < len(nodes) and nodes[left] < high:
        a, b = nodes[left], nodes[left + 1]
        inside_low, inside_high = max(a, low), min(b, high)
        if b > a and inside_high > inside_low:
            share = (inside_high - inside_low) / (high - low)
            towards_b = ((inside_low + inside_high) / 2 - a) / (b - a)
            weights[left] = weights.get(left, 0.0) + share * (1.0 - towards_b)
            weights[left + 1] = weights.get(left + 1, 0.0) + share * towards_b
        left += 1
    return tuple(weights.items())


@dataclass(frozen=True, slots=True, eq=False)
class ScoreGrid:
    """Nodes of best scores and where gains from each of them land; two grids are equal if they are the same object.

    Attributes:
        nodes: Best scores, ascending, from 0 to 1.
        bands: Band of each node.
        landing: `landing[node][j]` are the weights of the mean value after a gain of class j; empty for the last
            node, which cannot be improved.
    """

    nodes: tuple[float, ...]
    bands: tuple[int, ...]
    landing: tuple[tuple[Weights, ...], ...]

    def place(self, best: float) -> tuple[int, float]:
        """The node at or below `best` and how far towards the next, in [0, 1).

        >>> grid = score_grid(None)
        >>> node, share = grid.place(0.52)
        >>> round(grid.nodes[node] * (1 - share) + grid.nodes[node + 1] * share, 12)
        0.52
        """
        nodes = self.nodes
        index = bisect_right(nodes, best) - 1
        if index >= len(nodes) - 1:
            return len(nodes) - 1, 0.0
        return index, (best - nodes[index]) / (nodes[index + 1] - nodes[index])


@lru_cache(maxsize=64)
def score_grid(threshold: float | None) -> ScoreGrid:
    """The grid for a value function that jumps at `threshold` (None: one that does not jump).

    >>> {0.05, 0.35, 0.65, 0.8, 0.95} <= {round(node, 9) for node in score_grid(None).nodes}
    True
    """
    # 1e-6 instead of 0 next to 0: exactly 0 is a band of its own.
    points = {0.0, 1e-6, 1.0 - 1e-6, *(i / STEPS for i in range(1, STEPS + 1))}
    if threshold is not None and 0.0 < threshold <= 1.0:
        points |= {threshold - _JUST_BELOW, threshold}
    nodes = tuple(sorted(points))
    edges = (0.0, *GAIN_EDGES, 1.0)
    landing = tuple(
        tuple(mean_weights(nodes, b + low * (1.0 - b), b + high * (1.0 - b)) for low, high in pairwise(edges))
        for b in nodes[:-1]
    )
    return ScoreGrid(nodes, tuple(band_of(b) for b in nodes), (*landing, ()))
