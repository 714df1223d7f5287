"""How a table of counts corrects a belief: level by level, each observation once.

A prior gives every cell its own probabilities p(o | cell). Counts from many cells say how wrong it is as a whole before
they say anything about one cell. So the cells are nested in rings (kind of momentum, momentum, band, the cell), and
each ring multiplies the probabilities by how often the outcomes came against how often they were expected. For an
expected distribution e worth alpha observations and counts n with total N,

    t(o) = (n(o) + alpha e(o)) / ((N + alpha) e(o)),   e(o) = sum_cells N_cell p(o | cell) / N,

the posterior mean of a Dirichlet relative to its prior mean (the exposure form of a rate ratio: Clayton & Kaldor 1987,
Biometrics 43:671). In a ring of one cell this is the ordinary Dirichlet posterior. It is applied on a tree: first "a
new best or not", then which gain, and which fall (Dirichlet tree: Dennis 1991, Communications in Statistics 20:4069).
On the first branch alpha is stated in expected events of the rarer side, since it is the *ratio* of rates that varies
little between an archetype and its members: no success where 1.3 were expected must not divide a rate of .04 by seven.

A ring counts what is in it and not in the next ring inwards, so that nothing counts twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import add, mul

from loopllm.priors.counts import WIDTH, Row, TransitionCounts
from loopllm.priors.run_state import BANDS, CELLS, DEPTHS, FIRST_GAIN, FIRST_STALL

Outlook = Callable[[int], Sequence[float]]
"""Probabilities of the outcomes, given a cell."""

EVENTS = 4.0
"""What a belief in "a new best or not" is worth, in events of the rarer side."""

GAIN_STRENGTH, FALL_STRENGTH = 10.0, 8.0
"""What a belief in the sizes of gains and of falls is worth, in observations."""

LEAST_WORTH, MOST_WORTH = 4.0, 400.0
"""Between these, in observations."""

LEAST = 1e-9
"""Weights up to this are nothing."""


def branch(counts: Sequence[float], expected: Sequence[float], alpha: float) -> Row:
    """Factors for one branch of the tree: counts against expected numbers, whatever their totals.

    >>> [round(t, 3) for t in branch([3.0, 1.0], [2.0, 2.0], 4.0)]
    [1.25, 0.75]
    """
    n, e = sum(counts), sum(expected)
    if n <= LEAST or e <= LEAST:
        return [1.0] * len(counts)
    scale = 1.0 / (n + alpha)
    return [
        (max(count, 0.0) * e / max(x, LEAST * e) + alpha) * scale
        for count, x in zip(counts, expected, strict=True)
    ]


def tilt(counts: Sequence[float], expected: Sequence[float], strength: float = 1.0) -> Row | None:
    """Factors for all outcomes; `expected` has the same total as `counts`. None when there are no counts.

    No success in ten trials where 0.5 were expected takes a success from 5 % to 4.4 %, not to nothing:

    >>> factors = tilt([10.0] + 11 * [0.0], [9.5] + 10 * [0.0] + [0.5])
    >>> round(0.05 * factors[-1], 3)
    0.044
    """
    total = sum(counts)
    if total <= LEAST:
        return None
    share = min(max(sum(expected[FIRST_GAIN:]) / total, 1e-6), 1.0 - 1e-6)
    alpha = strength * min(max(EVENTS / min(share, 1.0 - share), LEAST_WORTH), MOST_WORTH)
    posterior = (sum(counts[FIRST_GAIN:]) + alpha * share) / (total + alpha)
    rises, falls = posterior / share, (1.0 - posterior) / (1.0 - share)
    down = branch(counts[:FIRST_GAIN], expected[:FIRST_GAIN], strength * FALL_STRENGTH)
    up = branch(counts[FIRST_GAIN:], expected[FIRST_GAIN:], strength * GAIN_STRENGTH)
    return [falls * factor for factor in down] + [rises * factor for factor in up]


def tilted(row: Sequence[float], factors: Sequence[float] | None) -> Sequence[float]:
    """Probabilities times factors, summing to 1 again."""
    if factors is None:
        return row
    raw = list(map(mul, row, factors))
    scale = 1.0 / sum(raw)
    return [p * scale for p in raw]


class Corrected:
    """A belief corrected by a table of counts; rows are worked out when first asked for.

    Args:
        prior: The belief to correct.
        counts: What was seen.
        strength: What the belief is worth, as a multiple of the usual.
    """

    __slots__ = (
        "_banded_rows",
        "_bands",
        "_by_band",
        "_by_kind",
        "_by_momentum",
        "_counts",
        "_momenta",
        "_momentum_rows",
        "_prior",
        "_rows",
        "_strength",
    )

    def __init__(self, prior: Outlook, counts: TransitionCounts, strength: float = 1.0) -> None:
        self._prior = prior
        self._counts = counts.cells
        self._strength = strength
        self._rows: dict[int, Sequence[float]] = {}
        self._momentum_rows: dict[int, Sequence[float]] = {}
        self._banded_rows: dict[int, Sequence[float]] = {}
        self._momenta: dict[int, Row | None] = {}
        self._bands: dict[int, Row | None] = {}
        self._by_kind: dict[int, list[int]] = {}
        self._by_momentum: dict[int, list[int]] = {}
        self._by_band: dict[int, list[int]] = {}
        for cell in self._counts:
            self._by_kind.setdefault(kind_group(cell), []).append(cell)
            self._by_momentum.setdefault(momentum_group(cell), []).append(cell)
            self._by_band.setdefault(cell // DEPTHS, []).append(cell)

    def __call__(self, cell: int) -> Sequence[float]:
        """Probabilities of the outcomes in `cell`."""
        row = self._rows.get(cell)
        if row is None:
            row = self._rows[cell] = self._work_out(cell)
        return row

    def _work_out(self, cell: int) -> Sequence[float]:
        row = self._of_band(cell)
        same = self._by_band.get(cell // DEPTHS, ())
        others = [c for c in same if c != cell]
        if others:
            row = tilted(row, self._tilt(others, self._of_band))
        if len(others) < len(same):
            counts = self._counts[cell]
            total = sum(counts)
            row = tilted(row, tilt(counts, [total * p for p in row], self._strength))
        return row

    def _of_momentum(self, cell: int) -> Sequence[float]:
        """The belief after the outermost ring."""
        group = momentum_group(cell)
        if group not in self._momenta:
            others = [c for c in self._by_kind.get(kind_group(cell), ()) if momentum_group(c) != group]
            self._momenta[group] = self._tilt(others, self._prior)
        row = self._momentum_rows.get(cell)
        if row is None:
            row = self._momentum_rows[cell] = tilted(self._prior(cell), self._momenta[group])
        return row

    def _of_band(self, cell: int) -> Sequence[float]:
        """The belief after the two outer rings."""
        banded = cell // DEPTHS
        if banded not in self._bands:
            others = [c for c in self._by_momentum.get(momentum_group(cell), ()) if c // DEPTHS != banded]
            self._bands[banded] = self._tilt(others, self._of_momentum)
        row = self._banded_rows.get(cell)
        if row is None:
            row = self._banded_rows[cell] = tilted(self._of_momentum(cell), self._bands[banded])
        return row

    def _tilt(self, cells: Iterable[int], belief: Outlook) -> Row | None:
        seen, expected = [0.0] * WIDTH, [0.0] * WIDTH
        for cell in cells:
            counts = self._counts[cell]
            total = sum(counts)
            seen = list(map(add, seen, counts))
            expected = [e + total * p for e, p in zip(expected, belief(cell), strict=True)]
        return tilt(seen, expected, self._strength)


def is_yes_no(cell: int) -> bool:
    """True for cells whose best score is exactly 0: those of a verifier that has not passed yet."""
    return (cell // DEPTHS) % BANDS == 0


def momentum_group(cell: int) -> int:
    """Cells of the same momentum, those at exactly 0 apart."""
    return _MOMENTUM_GROUPS[cell]


def kind_group(cell: int) -> int:
    """Cells after the first call, after a gain, after a stall; those at exactly 0 apart."""
    momentum = cell // (BANDS * DEPTHS)
    return 2 * (0 if momentum == 0 else 1 if momentum < FIRST_STALL else 2) + is_yes_no(cell)


_MOMENTUM_GROUPS = tuple(2 * (cell // (BANDS * DEPTHS)) + is_yes_no(cell) for cell in range(CELLS))
