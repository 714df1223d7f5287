"""Backward induction over all momenta and nodes at once: for where numpy is installed.

The same plan as `planner.make_plan`, which holds the formula with its source and is read first; a test keeps the two
equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from loopllm.priors.exploration import Price
from loopllm.priors.planner import AFTER_STALL, LOOKAHEAD, STEADY, Plan, Stopping, cells_at, momenta_at
from loopllm.priors.run_state import FIRST_GAIN, GAIN_MOMENTUM, MOMENTA
from loopllm.priors.score_grid import ScoreGrid
from loopllm.priors.table_beliefs import Array, table_of
from loopllm.priors.tilting import Outlook

_AFTER_STALL = np.array(AFTER_STALL)
_AFTER_GAIN = np.array(GAIN_MOMENTUM)


@lru_cache(maxsize=64)
def landings(grid: ScoreGrid) -> Array:
    """Weights of the nodes after a gain, shape (classes, nodes from, nodes to); the last node leads to itself."""
    nodes = len(grid.nodes)
    weights = np.zeros((len(_AFTER_GAIN) - 1, nodes, nodes))
    weights[:, -1, -1] = 1.0
    for node, classes in enumerate(grid.landing[:-1]):
        for index, parts in enumerate(classes):
            for to, weight in parts:
                weights[index, node, to] = weight
    return weights


@lru_cache(maxsize=256)
def _cells(depth: int, grid: ScoreGrid) -> NDArray[np.intp]:
    """Cell of every momentum that is possible at `depth` and node, shape (momenta, nodes)."""
    bands = np.array(grid.bands)
    return np.array([np.array(cells_at(momentum, depth))[bands] for momentum in momenta_at(depth)])


def make_plan(
    outlooks: Mapping[str, Outlook],
    stopping: Stopping,
    prices: Mapping[str, Price],
    horizon: int,
) -> Plan:
    """See `planner.make_plan`."""
    tables = [table_of(outlook) for outlook in outlooks.values()]
    grid, landing = stopping.grid, landings(stopping.grid)
    planned = min(horizon, LOOKAHEAD)
    held = np.array([stopping.values(m, planned) for m in range(len(MOMENTA))])  # stopping, one call later
    value = held.copy()
    ahead: dict[int, dict[int, Sequence[float]]] = {}
    chosen: dict[int, dict[int, Sequence[int]]] = {}
    for depth in range(planned - 1, 0, -1):
        momenta, cells = momenta_at(depth), _cells(depth, grid)
        now = np.array([stopping.values(m, depth) for m in momenta])
        after = _after(value, landing, momenta)
        if stopping.by_cell:
            changes = now[:, None] - held[_AFTER_STALL[list(momenta)]]
            after[:, :, :FIRST_GAIN] += STEADY * changes.transpose(0, 2, 1)
        values = np.array(
            [
                np.einsum("mno,mno->mn", table[cells], after) - [[price(m, depth)] for m in momenta]
                for table, price in zip(tables, prices.values(), strict=True)
            ]
        )
        best = values.max(axis=0)
        ahead[depth] = dict(zip(momenta, best.tolist(), strict=True))
        chosen[depth] = dict(zip(momenta, values.argmax(axis=0).tolist(), strict=True))
        held[list(momenta)] = now
        value[list(momenta)] = np.maximum(now, best)
    return Plan(grid, ahead, chosen if len(tables) > 1 else None, tuple(outlooks), horizon)


def _after(value: Array, landing: Array, momenta: range) -> Array:
    """Value after each outcome, shape (momenta, nodes, outcomes)."""
    nodes = value.shape[1]
    after = np.empty((len(momenta), nodes, FIRST_GAIN + len(_AFTER_GAIN)))
    stalls = value[_AFTER_STALL[list(momenta)]]
    after[:, :, :FIRST_GAIN] = stalls.transpose(0, 2, 1)
    gains = np.einsum("jab,jb->aj", landing, value[_AFTER_GAIN[:-1]])
    perfect = value[_AFTER_GAIN[-1], -1]
    gains[-1] = perfect
    after[:, :, FIRST_GAIN:-1] = gains
    after[:, :, -1] = perfect
    return after
