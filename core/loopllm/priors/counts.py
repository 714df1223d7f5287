"""The sufficient statistic of the transitions: how often each outcome followed each cell.

`counts[cell][outcome]` with the cells and outcomes of `run_state`; sparse, since a pair visits a few dozen cells, and
of bounded size, since there are `CELLS` of them. Two tables merge by adding (a commutative monoid with the empty
table as identity), so processes and machines share by adding what each saw.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from loopllm.priors.run_state import OUTCOMES

Row = list[float]
"""One float per outcome."""

WIDTH = len(OUTCOMES)


class TransitionCounts:
    """Weighted counts of outcomes per cell.

    >>> a, b = TransitionCounts(), TransitionCounts()
    >>> a.add(7, 0); b.add(7, 11, 2.0)
    >>> (a + b).cells[7][0], (a + b).cells[7][11], (a + b).total(7)
    (1.0, 2.0, 3.0)

    Attributes:
        cells: The rows that hold anything, by cell.
    """

    __slots__ = ("cells",)

    def __init__(self, cells: Mapping[int, Row] | None = None) -> None:
        self.cells: dict[int, Row] = {cell: list(row) for cell, row in (cells or {}).items()}

    def add(self, cell: int, outcome: int, weight: float = 1.0) -> None:
        """Count one transition."""
        row = self.cells.get(cell)
        if row is None:
            row = self.cells[cell] = [0.0] * WIDTH
        row[outcome] += weight

    def merge(self, other: TransitionCounts, weight: float = 1.0) -> None:
        """Add `weight` times the other table, in place."""
        for cell, row in other.cells.items():
            mine = self.cells.get(cell)
            if mine is None:
                self.cells[cell] = [weight * count for count in row]
            else:
                self.cells[cell] = [have + weight * count for have, count in zip(mine, row, strict=True)]

    def __add__(self, other: TransitionCounts) -> TransitionCounts:
        """Return the sum of two tables."""
        total = TransitionCounts(self.cells)
        total.merge(other)
        return total

    def total(self, cell: int) -> float:
        """Weight of everything counted in a cell."""
        return sum(self.cells.get(cell, ()))

    @property
    def size(self) -> float:
        """Weight of everything counted."""
        return sum(map(sum, self.cells.values()))

    def items(self) -> Iterator[tuple[int, int, float]]:
        """Cell, outcome and weight of every entry that is not zero."""
        for cell, row in self.cells.items():
            for outcome, count in enumerate(row):
                if count:
                    yield cell, outcome, count

    def __eq__(self, other: object) -> bool:
        """Compare entry by entry; an absent entry is zero."""
        if not isinstance(other, TransitionCounts):
            return NotImplemented
        return sorted(self.items()) == sorted(other.items())

    __hash__ = None  # type: ignore[assignment]  # mutable, so not a key

    def __repr__(self) -> str:
        return f"TransitionCounts({len(self.cells)} cells, {self.size:g} transitions)"
