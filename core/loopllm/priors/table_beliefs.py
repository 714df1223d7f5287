"""What is expected of one more call, worked out for all cells at once: for where numpy is installed.

The same numbers as `archetypes` and `tilting` give cell by cell, which hold the formulas with their sources and are
read first; a test keeps the two equal. A table has one row per cell and one column per outcome, shape (CELLS, WIDTH).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loopllm.priors.archetypes import BELIEVABLE, NEGLIGIBLE, UNREACHED, Archetype
from loopllm.priors.coded_rows import CodedRows, level_probabilities
from loopllm.priors.counts import WIDTH, Row, TransitionCounts
from loopllm.priors.run_state import CELLS, DEPTHS, FIRST_GAIN
from loopllm.priors.tilting import (
    EVENTS,
    FALL_STRENGTH,
    GAIN_STRENGTH,
    LEAST,
    LEAST_WORTH,
    MOST_WORTH,
    Outlook,
    kind_group,
    momentum_group,
)

Array = NDArray[np.float64]


class ArchetypeTables:
    """All archetypes as one array each.

    Attributes:
        archetypes: What they were made from.
        rows: Probabilities of the outcomes, shape (archetypes, CELLS, WIDTH).
        reach: Visits per run, shape (archetypes, CELLS).
        logs: Logarithms of `rows`, shape (archetypes, CELLS, WIDTH).
        first: Logarithms of the probabilities of the first score's bins, shape (archetypes, bins).
        optimism: Mean and sd of best observed score less true quality, shape (2, archetypes, CELLS).
    """

    def __init__(self, archetypes: Sequence[Archetype]) -> None:
        number = len(archetypes)
        self.archetypes = archetypes
        self.reach = np.zeros((number, CELLS))
        self.rows = np.zeros((number, CELLS, WIDTH))
        logs = np.full((number, CELLS, WIDTH), UNREACHED)
        self.optimism = np.zeros((2, number, CELLS))
        for index, archetype in enumerate(archetypes):
            cells = list(archetype.reach)
            self.reach[index, cells] = list(archetype.reach.values())
            self.rows[index, cells] = decoded(archetype.coded, cells)
            logs[index, cells] = np.log(self.rows[index, cells])
            if archetype.optimism:
                self.optimism[:, index, list(archetype.optimism)] = np.array([*archetype.optimism.values()]).T
        self.logs = logs
        self.first = np.log([archetype.first for archetype in archetypes])
        self.judge_sd = np.array([archetype.judge_sd for archetype in archetypes])

    def log_likelihoods(self, counts: TransitionCounts, first: Sequence[float]) -> list[float]:
        """See `archetypes.log_likelihood`."""
        told = self.first @ np.maximum(first, 0.0)  # what was folded twice is below 0 until the next folding
        if counts.cells:
            # Not as a product of matrices, which would wake a thread on every core for so little.
            cells, seen = list(counts.cells), list(counts.cells.values())
            told += np.einsum("aco,co->a", self.logs[:, cells], seen)
        found: list[float] = told.tolist()
        return found


class TableMixture:
    """Probabilities of the outcomes, and the judge's optimism, under weights; as `archetypes.ArchetypeMixture`."""

    def __init__(self, tables: ArchetypeTables, weights: Sequence[float], judge_sd: float | None) -> None:
        heavy = np.asarray(weights) > NEGLIGIBLE * max(weights)
        heavy[0] = True  # covers every cell
        self._kept = np.flatnonzero(heavy)
        self._weights = np.asarray(weights)[self._kept]
        self._tables = tables
        self._judge_sd = judge_sd
        here = np.maximum(self._weights, 1e-9)[:, None] * tables.reach[self._kept]
        raw = np.einsum("hc,hco->co", here, tables.rows[self._kept])
        self.table: Array = raw / raw.sum(axis=1, keepdims=True)
        self._optimism: list[tuple[float, float, float]] | None = None

    def __call__(self, cell: int) -> Sequence[float]:
        """Probabilities of the outcomes in `cell`."""
        row: list[float] = self.table[cell].tolist()
        return row

    @property
    def judge_errs(self) -> bool:
        """True when a judge that errs is believable enough to be reckoned with."""
        erring = self._tables.judge_sd[self._kept] > 0.0
        return bool(self._weights[erring].sum() > BELIEVABLE * self._weights.sum())

    def optimism(self, cell: int) -> tuple[float, float, float]:
        """Probability that the judge errs, and then the mean and sd of best observed score minus true quality."""
        if self._optimism is None:
            self._optimism = self._work_out_optimism()
        return self._optimism[cell]

    def _work_out_optimism(self) -> list[tuple[float, float, float]]:
        tables, kept = self._tables, self._kept
        sd = tables.judge_sd[kept]
        here = self._weights[:, None] * tables.reach[kept]
        mass = here.sum(axis=0) + 1e-12
        errs = sd > 0.0
        here, means, sds = here[errs], *tables.optimism[:, kept][:, errs]
        scale = np.ones(len(means)) if self._judge_sd is None else self._judge_sd / sd[errs]
        erring = here.sum(axis=0)
        total = np.maximum(erring, 1e-300)
        mean = (here * scale[:, None] * means).sum(axis=0) / total
        square = (here * (scale**2)[:, None] * (sds**2 + means**2)).sum(axis=0) / total
        spread = np.sqrt(np.maximum(square - mean**2, 1e-6))
        none = erring <= 0.0
        columns = np.where(none, 0.0, erring / mass), np.where(none, 0.0, mean), np.where(none, 1.0, spread)
        return list(zip(*(column.tolist() for column in columns), strict=True))

    def families(self) -> dict[str, float]:
        """Weight of each family, for people."""
        found: dict[str, float] = {}
        for weight, index in zip(self._weights.tolist(), self._kept.tolist(), strict=True):
            family = self._tables.archetypes[index].family
            found[family] = found.get(family, 0.0) + weight
        return found


def decoded(coded: CodedRows, cells: Sequence[int]) -> Array:
    """The rows of some cells, shape (cells, WIDTH); see `coded_rows`."""
    known = np.zeros(128)
    for letter, probability in level_probabilities(coded.levels).items():
        known[ord(letter)] = probability
    text = "".join([coded.texts[cell] for cell in cells])
    return _normalised(known[np.frombuffer(text.encode("ascii"), np.uint8)].reshape(len(cells), WIDTH))


class TableOutlook:
    """An outlook whose rows are all known."""

    __slots__ = ("table",)

    def __init__(self, table: Array) -> None:
        self.table = table

    def __call__(self, cell: int) -> Sequence[float]:
        """Probabilities of the outcomes in `cell`."""
        row: list[float] = self.table[cell].tolist()
        return row


def table_of(outlook: Outlook) -> Array:
    """The table of an outlook."""
    known = getattr(outlook, "table", None)
    return np.array([outlook(cell) for cell in range(CELLS)]) if known is None else known


def corrected(outlook: Outlook, counts: TransitionCounts, strength: float = 1.0) -> TableOutlook:
    """A belief corrected by a table of counts; see `tilting.Corrected`.

    What a ring says is worked out on the cells that were visited; all its cells are multiplied by it in the end.
    """
    belief = table_of(outlook)
    if not counts.cells:
        return TableOutlook(belief)
    cells, seen = np.array(list(counts.cells)), np.array(list(counts.cells.values()))
    visits, here = seen @ _ALL_OUTCOMES, belief[cells]
    raw = belief.copy()
    for ring in _RINGS:
        factors = _ring_factors(ring, cells, np.concatenate([seen, visits * here], axis=1), strength)
        here = _normalised(here * factors[ring.inner[cells]])
        raw *= factors[ring.inner]
    raw[cells] *= _factors(seen, visits * here, strength)
    return TableOutlook(_normalised(raw))


def _ring_factors(ring: _Ring, cells: NDArray[np.intp], told: Array, strength: float) -> Array:
    """Factors of each of a ring's groups; `told` are counts and expected counts, shape (visited cells, 2 WIDTH)."""
    group = ring.inner[cells]
    inner, outer = np.zeros((len(ring.outer), 2 * WIDTH)), np.zeros((ring.larger, 2 * WIDTH))
    np.add.at(inner, group, told)
    np.add.at(outer, ring.outer[group], told)
    others = outer[ring.outer] - inner
    return _factors(others[:, :WIDTH], others[:, WIDTH:], strength)


def leaning(outlook: Outlook, factors: Row | None) -> TableOutlook:
    """A belief leaning by factors; see `ways.Leaning`."""
    table = table_of(outlook)
    return TableOutlook(table if factors is None else _normalised(table * np.array(factors)))


class _Ring(NamedTuple):
    """Cells that are corrected together, and the larger groups whose other members correct them.

    Attributes:
        inner: Group of each cell.
        outer: Larger group of each group.
        larger: Number of larger groups.
    """

    inner: NDArray[np.intp]
    outer: NDArray[np.intp]
    larger: int


def _ring(inner: Callable[[int], int], outer: Callable[[int], int]) -> _Ring:
    """The ring of the groups that two functions give each cell."""
    groups, larger = np.array([inner(cell) for cell in range(CELLS)]), [outer(cell) for cell in range(CELLS)]
    above = np.zeros(groups.max() + 1, np.intp)
    above[groups] = larger
    return _Ring(groups, above, max(larger) + 1)


_ALL_OUTCOMES = np.ones((WIDTH, 1))
_GAINS = np.array([[0.0]] * FIRST_GAIN + [[1.0]] * (WIDTH - FIRST_GAIN))
_RINGS = (
    _ring(momentum_group, kind_group),
    _ring(lambda cell: cell // DEPTHS, momentum_group),
    _ring(lambda cell: cell, lambda cell: cell // DEPTHS),
)


def _normalised(raw: Array) -> Array:
    rows: Array = raw / (raw @ _ALL_OUTCOMES)
    return rows


def _factors(counts: Array, expected: Array, strength: float) -> Array:
    """Factors per row; 1 where nothing was counted."""
    factors = np.ones_like(counts)
    told = np.flatnonzero(counts @ _ALL_OUTCOMES > LEAST)
    if len(told):
        factors[told] = _tilt(counts[told], expected[told], strength)
    return factors


def _tilt(counts: Array, expected: Array, strength: float) -> Array:
    """See `tilting.tilt`."""
    total = counts @ _ALL_OUTCOMES
    share = np.minimum(np.maximum(expected @ _GAINS / total, 1e-6), 1.0 - 1e-6)
    worth = EVENTS / np.minimum(share, 1.0 - share)
    alpha = strength * np.minimum(np.maximum(worth, LEAST_WORTH), MOST_WORTH)
    posterior = (counts @ _GAINS + alpha * share) / (total + alpha)
    falls, rises = (1.0 - posterior) / (1.0 - share), posterior / share
    down = _branch(counts[:, :FIRST_GAIN], expected[:, :FIRST_GAIN], strength * FALL_STRENGTH)
    up = _branch(counts[:, FIRST_GAIN:], expected[:, FIRST_GAIN:], strength * GAIN_STRENGTH)
    return np.concatenate([falls * down, rises * up], axis=1)


def _branch(counts: Array, expected: Array, alpha: float) -> Array:
    """See `tilting.branch`."""
    every = np.ones((counts.shape[1], 1))
    n, e = counts @ every, expected @ every
    none = (n <= LEAST) | (e <= LEAST)
    floor = np.maximum(expected, LEAST * np.where(none, 1.0, e))
    factors = (np.maximum(counts, 0.0) * e / floor + alpha) / (np.where(none, 1.0, n) + alpha)
    return np.where(none, 1.0, factors)
