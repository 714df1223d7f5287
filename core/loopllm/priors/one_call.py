"""What each outcome of one more call would make the best draft worth; for explanations."""

from __future__ import annotations

from itertools import pairwise

from loopllm.priors.planner import STEADY, StopValue
from loopllm.priors.run_state import (
    FIRST_GAIN,
    GAIN_EDGES,
    OUTCOMES,
    PERFECT,
    RunState,
    cell_of,
    next_momentum,
)
from loopllm.priors.score_grid import ScoreGrid, mean_weights

_SHARES = tuple(pairwise((0.0, *GAIN_EDGES, 1.0)))


def values_after(state: RunState, worth: StopValue, grid: ScoreGrid) -> list[float]:
    """Value of stopping after each outcome of one more call; a gain lands anywhere in its class, as in the plan.

    From a best of 0.5 a call that gains less than 2 % of what is missing lands at 0.505 on average:

    >>> from loopllm.priors.run_state import start
    >>> from loopllm.priors.score_grid import score_grid
    >>> from loopllm.priors.worth import Worth
    >>> values = values_after(start(0.5), Worth("quality", 0.8), score_grid(None))
    >>> round(values[0], 6), round(values[3], 6), values[11]
    (0.5, 0.505, 1.0)
    """
    values: list[float] = []
    now = worth(state.cell, state.best)
    for outcome in range(len(OUTCOMES)):
        momentum = next_momentum(state.momentum, outcome)
        if outcome < FIRST_GAIN:
            then = worth(cell_of(momentum, state.best, state.depth + 1), state.best)
            values.append(then + STEADY * (now - then))
        elif outcome == PERFECT or state.best >= 1.0:
            values.append(worth(cell_of(momentum, 1.0, state.depth + 1), 1.0))
        else:
            values.append(_mean_worth(state, momentum, _SHARES[outcome - FIRST_GAIN], worth, grid))
    return values


def _mean_worth(
    state: RunState, momentum: int, share: tuple[float, float], worth: StopValue, grid: ScoreGrid
) -> float:
    missing = 1.0 - state.best
    low, high = (state.best + part * missing for part in share)
    total = 0.0
    for node, weight in mean_weights(grid.nodes, low, high):
        best = grid.nodes[node]
        total += weight * worth(cell_of(momentum, best, state.depth + 1), best)
    return total
