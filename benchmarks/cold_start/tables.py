"""What is counted in simulated runs, and how are sparse counts smoothed?

The cells and outcomes are those of `loopllm.priors.run_state`, computed here for all runs of an environment at once.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from benchmarks.cold_start.families import Simulated
from numpy.typing import NDArray

from loopllm.priors.planner import AFTER_STALL
from loopllm.priors.run_state import (
    BAND_EDGES,
    BANDS,
    CELLS,
    DEPTH_EDGES,
    DEPTHS,
    EQUAL_WITHIN,
    FIRST_GAIN,
    FIRST_STALL,
    GAIN_EDGES,
    GAIN_MOMENTUM,
    MOMENTA,
    NEAR_WITHIN,
    OUTCOMES,
    PERFECT,
)

Ints = NDArray[np.int64]
Reals = NDArray[np.floating]
"""Counts of one environment are whole numbers, and kept in single precision."""

WIDTH = len(OUTCOMES)
FIRST_SCORES = 21
"""Classes of the first score: twentieths, and exactly 1."""

STALLED = np.array(AFTER_STALL)
"""Momentum after a call without a gain, by the momentum before and the outcome."""

SIMILAR_MOMENTA = (range(1), range(1, FIRST_STALL), range(FIRST_STALL, len(MOMENTA)))
"""The first call, after a gain, without a gain: cells within a group are alike."""

SIMILAR_BANDS = (range(1, BANDS), range(1))
"""A best score of exactly 0 is unlike all others: a verifier's next call may be anything."""

OVERALL, GROUP, MOMENTUM, BAND, CELL = 2, 6, 4, 4, 6
"""Pseudo-counts by which each level is drawn to the one above it, from all transitions down to one cell."""


@dataclass(frozen=True, slots=True)
class Featurised:
    """Runs in terms of the run state.

    Attributes:
        cells: Where a run stands after each call, shape (runs, calls).
        outcomes: What each call after the first did, shape (runs, calls - 1).
        optimism: Best score less the true quality of its draft, shape (runs, calls).
    """

    cells: Ints
    outcomes: Ints
    optimism: Reals


@dataclass(frozen=True, slots=True)
class Counts:
    """What is kept of one environment.

    Attributes:
        transitions: How often each outcome followed each cell, shape (CELLS * WIDTH,).
        visits: Runs that stood in each cell, shape (CELLS,), the last call included.
        optimism: Sum of the optimism there.
        optimism_squared: Sum of its squares.
        first: Runs by class of the first score, shape (FIRST_SCORES,).
        judge_sd: Standard deviation of the judge's error.
    """

    transitions: Reals
    visits: Ints
    optimism: Reals
    optimism_squared: Reals
    first: Ints
    judge_sd: float


def cells_of(momentum: Ints, best: Reals, depth: int) -> Ints:
    """`run_state.cell_of` for many runs at the same depth."""
    band = np.where(best >= 1, BANDS - 1, np.searchsorted(BAND_EDGES, best, side="left"))
    return np.asarray((momentum * BANDS + band) * DEPTHS + np.searchsorted(DEPTH_EDGES, depth, side="left"))


def outcomes_of(best: Reals, score: Reals) -> Ints:
    """`run_state.outcome_of` for many runs."""
    missing = np.maximum(1 - best, 1e-12)  # a best of 1 cannot be exceeded: any divisor will do
    gained = (score - best) / missing
    gain = np.where(score >= 1, PERFECT, FIRST_GAIN + np.searchsorted(GAIN_EDGES, gained, side="right"))
    fall = best - score
    lower = np.where(fall <= EQUAL_WITHIN, 0, np.where(fall <= NEAR_WITHIN, 1, 2))
    return np.where(score > best, gain, lower)


def next_momenta(momentum: Ints, outcome: Ints) -> Ints:
    """`run_state.next_momentum` for many runs."""
    gaining = np.array(GAIN_MOMENTUM)[np.maximum(outcome - FIRST_GAIN, 0)]
    return np.where(outcome >= FIRST_GAIN, gaining, STALLED[momentum, np.minimum(outcome, FIRST_GAIN - 1)])


def featurise(scores: Reals, quality: Reals) -> Featurised:
    """Cells, outcomes and optimism of runs of equal length, both arrays of shape (runs, calls)."""
    runs, calls = scores.shape
    best, true = scores[:, 0], quality[:, 0]
    momentum = np.zeros(runs, np.int64)
    cells, optimism = [cells_of(momentum, best, 1)], [best - true]
    outcomes = []
    for call in range(1, calls):
        score = scores[:, call]
        outcome = outcomes_of(best, score)
        outcomes.append(outcome)
        momentum = next_momenta(momentum, outcome)
        true = np.where(score > best, quality[:, call], true)
        best = np.maximum(best, score)
        cells.append(cells_of(momentum, best, call + 1))
        optimism.append(best - true)
    return Featurised(np.stack(cells, 1), np.stack(outcomes, 1), np.stack(optimism, 1))


def counted(environment: Simulated) -> Counts:
    """The counts of one environment."""
    found = featurise(environment.scores, environment.quality)
    cells, optimism = found.cells.ravel(), found.optimism.ravel()
    transitions = (found.cells[:, :-1] * WIDTH + found.outcomes).ravel()
    first = environment.scores[:, 0]
    classes = np.clip((first * 20).astype(int), 0, 19) + (first >= 1)
    return Counts(
        transitions=np.bincount(transitions, minlength=CELLS * WIDTH).astype(np.float32),
        visits=np.bincount(cells, minlength=CELLS),
        optimism=np.bincount(cells, optimism, minlength=CELLS).astype(np.float64),
        optimism_squared=np.bincount(cells, optimism**2, minlength=CELLS).astype(np.float64),
        first=np.bincount(classes, minlength=FIRST_SCORES),
        judge_sd=environment.judge_sd,
    )


def drawn_to(prior: Reals, counts: Reals, weight: int) -> Reals:
    """Probabilities from counts (last axis) and `weight` pseudo-counts of `prior`."""
    return np.asarray((counts + weight * prior) / (counts.sum(-1, keepdims=True) + weight))


def smoothed(transitions: Reals) -> Reals:
    """Probabilities of the outcomes, shape (clusters, CELLS, WIDTH), from counts of the same shape.

    Each cell is drawn to the same momentum and band at all depths, that to the momentum at similar bands, that to
    similar momenta, and that to all transitions of the cluster: a cell that was hardly visited is filled from the
    most alike that were.
    """
    table = transitions.reshape(len(transitions), len(MOMENTA), BANDS, DEPTHS, WIDTH)
    filled = np.zeros_like(table)
    overall = drawn_to(np.full(WIDTH, 1 / WIDTH), table.sum((1, 2, 3)), OVERALL)
    for momenta, bands in product(SIMILAR_MOMENTA, SIMILAR_BANDS):
        block = table[:, np.array(momenta)][:, :, np.array(bands)]
        group = drawn_to(overall, block.sum((1, 2, 3)), GROUP)
        for momentum in momenta:
            alike = drawn_to(group, table[:, momentum][:, np.array(bands)].sum((1, 2)), MOMENTUM)
            for band in bands:
                depths = drawn_to(alike, table[:, momentum, band].sum(1), BAND)
                filled[:, momentum, band] = drawn_to(depths[:, None], table[:, momentum, band], CELL)
    return filled.reshape(transitions.shape)
