"""What is kept of what calls cost: power sums by way of asking, a row of fixed size each.

For each quantity x (money, milliseconds, tokens) a row holds

    n, sum k, sum k^2, sum x, sum x^2, sum k x

over the calls that reported it, k being 0 for the second call of a run, 1 for the third and so on. That is all that a
mean, its spread and a straight line over k need (least squares: Gauss 1823; the spread is read through `moments`),
and a merge is a sum. The first call of a run is a way of its own, `first`: it shows no draft and no deficiencies.

An additive store cannot decay what it holds, so the rows of a pair are kept by era (40 runs each) and a reader weights
an era by its age. What a call costs is known from a few of them, to a tenth from about 25, so it may fade ten times as
fast as what a call achieves: a new price is followed within some 100 runs. After `KEPT_ERAS` an era is folded into
the oldest, era 0, as in `forgetting`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

QUANTITIES = ("money", "ms", "tokens")
POWERS = ("n", "k", "kk", "x", "xx", "kx")
WIDTH = len(POWERS)

_TOTALS = tuple((at * WIDTH, at * WIDTH + POWERS.index("x")) for at in range(len(QUANTITIES)))

Era = tuple[int, str]
"""Era and way of asking."""

CostRow = list[float]
"""`QUANTITIES` times `POWERS`."""

FIRST_WAY = "first"
"""The way in which the first call of a run is asked for."""

GENERATIONS_PER_ERA, KEPT_ERAS = 4, 4
ERA = 40
"""Runs of a pair that share an era."""

FASTER = 10.0
"""How many times faster than outcomes costs fade."""


def empty_row() -> CostRow:
    """A row in which nothing was counted."""
    return [0.0] * (WIDTH * len(QUANTITIES))


def add_call(row: CostRow, k: int, money: float | None, ms: float | None, tokens: float | None) -> None:
    """Count a call; None where nobody said.

    >>> row = empty_row()
    >>> add_call(row, 2, None, 1500.0, 420)
    >>> row[6:12], row[12:15]
    ([1.0, 2.0, 4.0, 1500.0, 2250000.0, 3000.0], [1.0, 2.0, 4.0])
    """
    for at, x in ((0, money), (WIDTH, ms), (2 * WIDTH, tokens)):
        if x is None:
            continue
        row[at] += 1.0
        row[at + 3] += x
        row[at + 4] += x * x
        if k:
            row[at + 1] += k
            row[at + 2] += k * k
            row[at + 5] += k * x


def add_row(row: CostRow, other: CostRow, weight: float = 1.0) -> None:
    """Add `weight` times another row, in place."""
    for at, x in enumerate(other):
        if x:
            row[at] += weight * x


def add_totals(row: CostRow, other: CostRow) -> None:
    """Add the n and sum x of another row: all that relatives are asked for."""
    for n, x in _TOTALS:
        if other[n]:
            row[n] += other[n]
            row[x] += other[x]


def era_of(generation: int) -> int:
    """Era of a generation of runs; generation 0, the oldest, is era 0.

    >>> [era_of(g) for g in (0, 1, 4, 5, 8, 9)]
    [0, 1, 1, 2, 2, 3]
    """
    return (generation + GENERATIONS_PER_ERA - 1) // GENERATIONS_PER_ERA


@lru_cache(maxsize=512)
def counter_names(era: int, way: str) -> tuple[str, ...]:
    """Names of a row's counters in a store.

    >>> counter_names(0, "last")[3], counter_names(2, "fresh")[6]
    ('c/0/money/x/last', 'c/2/ms/n/fresh')
    """
    return tuple(f"c/{era}/{quantity}/{power}/{way}" for quantity in QUANTITIES for power in POWERS)


def position(quantity: str, power: str) -> int | None:
    """Where a counter is in its row; None for one of a newer version."""
    if quantity not in QUANTITIES or power not in POWERS:
        return None
    return QUANTITIES.index(quantity) * WIDTH + POWERS.index(power)


def totals(rows: Mapping[Era, CostRow]) -> dict[str, CostRow]:
    """Rows of all eras by way of asking, as if none were old."""
    return _summed((way, row, 1.0) for (_, way), row in rows.items())


def faded_rows(rows: Mapping[Era, CostRow], current: int, half_life: float) -> dict[str, CostRow]:
    """Rows of all eras by way of asking, each weighted by its age.

    >>> old, new = empty_row(), empty_row()
    >>> add_call(old, 0, 1.0, None, None); add_call(new, 0, 3.0, None, None)
    >>> faded = faded_rows({(1, "last"): old, (2, "last"): new}, current=2, half_life=400.0)
    >>> faded["last"][0], faded["last"][3]
    (1.5, 3.5)

    Args:
        rows: By era and way.
        current: The era of now.
        half_life: Runs after which an *outcome* counts half; a cost fades `FASTER`.
    """
    oldest = max(current - KEPT_ERAS, 0)
    return _summed(
        (way, row, 2.0 ** (-max(0, current - max(era, oldest)) * ERA * FASTER / half_life))
        for (era, way), row in rows.items()
    )


def fold_rows(rows: Mapping[Era, CostRow], current: int) -> dict[Era, CostRow]:
    """What to add so that eras too old to be kept apart become part of the oldest; usually nothing."""
    changes: dict[Era, CostRow] = {}
    for (era, way), row in rows.items():
        if 0 < era <= current - KEPT_ERAS:
            add_row(changes.setdefault((era, way), empty_row()), row, -1.0)
            add_row(changes.setdefault((0, way), empty_row()), row)
    return changes


def _summed(parts: Iterable[tuple[str, CostRow, float]]) -> dict[str, CostRow]:
    found: dict[str, CostRow] = {}
    for way, row, weight in parts:
        add_row(found.setdefault(way, empty_row()), row, weight)
    return found
