"""When is one more call worth its cost: optimal stopping with recall, by backward induction.

With v(b) the value of stopping at best score b, c the cost of a call and K the most calls,

    V_K = v(b);   Q_k(b, m, way) = -c + sum_o p(o | way, m, b, k) V_{k+1}(b_o, m_o);   V_k = max(v(b), max_way Q_k)

(DeGroot 1970, Optimal Statistical Decisions, chapters 12 and 13; search with recall: Weitzman 1979, Econometrica
47:641). Where the judge errs, v depends on the cell, and after a call without a new best o the draft that stays the
best one is believed to be worth v_{k+1}(b, m_o) and no longer v_k(b, m). Over all that a call can do such changes of
belief cancel (they are a martingale: Doob 1953, Stochastic Processes, chapter VII), but a mixture of tables does not
know that, and a call would seem to lower what is held. So a part of the change is taken back,

    V_{k+1}(b, m_o) + S (v_k(b, m) - v_{k+1}(b, m_o)),   S = 1/2.

The best score that makes stopping as good as going on is the reservation score of that depth and momentum.

What may be done instead of stopping is a move: a name, an outlook (what it may do, by cell) and a price (by momentum
and depth). The ways of asking again are the moves there are; the planner asks no more of them than these three, so that
others enter beside them: a stronger model is a way whose outlook was learned under a name of its own and whose price is
higher; several drafts at once are a way whose outlook is that of the best of them, at the price of all; judging again
leaves the drafts alone and moves the cell, where the value of stopping depends on it (`StopValue.by_cell`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import mul
from typing import Protocol

from loopllm.priors.exploration import Price
from loopllm.priors.run_state import (
    BANDS,
    DEPTH_EDGES,
    DEPTHS,
    FIRST_GAIN,
    GAIN_MOMENTUM,
    MOMENTA,
    cell_of,
    next_momentum,
)
from loopllm.priors.score_grid import ScoreGrid
from loopllm.priors.tilting import Outlook


class StopValue(Protocol):
    """v: what it is worth to stop in a cell with a best score."""

    @property
    def by_cell(self) -> bool:
        """False when the cell does not matter."""
        ...

    def __call__(self, cell: int, best: float) -> float:
        """Value of stopping."""
        ...


GAINS = len(GAIN_MOMENTUM) - 1

LOOKAHEAD = 24
"""Calls that a plan is made for. Beyond some twenty the value of going on hardly changes, and a limit of a thousand
calls must not take a hundred times as long to plan as one of ten."""

STEADY = 0.5
"""S. On eight simulated environments of judges that err and of independent drafts, which look alike, 1/2 earned more
than 0 (share of the gap .85 against .81 after 100 runs, .77 against .74 after 30), and than 1 (.83)."""

_LAST_APART = DEPTH_EDGES[-1] + 1
"""From this depth on states do not differ by depth."""

AFTER_STALL = tuple(tuple(next_momentum(m, o) for o in range(FIRST_GAIN)) for m in range(len(MOMENTA)))


def momenta_at(depth: int) -> range:
    """Momenta that a run can have after `depth` calls.

    >>> [len(momenta_at(k)) for k in (1, 2, 3, 4, 9)]
    [1, 7, 11, 15, 15]
    """
    return range(1) if depth == 1 else range(1, min(len(MOMENTA), 4 * depth))


@dataclass(frozen=True, slots=True)
class Plan:
    """What going on is worth.

    Attributes:
        grid: The best scores at which `ahead` is known.
        ahead: `ahead[row][momentum][node]`, the value of one more call and deciding well later, cost paid.
        way: `way[row][momentum][node]`, the way of asking that attains it; None when there is one only.
        ways: The ways of asking.
        horizon: The most calls a run may make.
    """

    grid: ScoreGrid
    ahead: Mapping[int, Mapping[int, Sequence[float]]]
    way: Mapping[int, Mapping[int, Sequence[int]]] | None
    ways: Sequence[str]
    horizon: int

    def going_on(self, depth: int, momentum: int, best: float) -> float:
        """Value of going on, cost paid, linear between the nodes."""
        values = self.ahead[self.row(depth)][momentum]
        node, share = self.grid.place(best)
        value = values[node]
        return value if not share else value + share * (values[node + 1] - value)

    def next_way(self, depth: int, momentum: int, best: float) -> str:
        """The way of asking again that is worth most."""
        if self.way is None:
            return self.ways[0]
        return self.ways[self.way[self.row(depth)][momentum][self.grid.place(best)[0]]]

    def row(self, depth: int) -> int:
        """The depth of the plan that stands for `depth`: itself, unless more than `LOOKAHEAD` calls are allowed.

        Then it is one with as many calls left, or, where more are left than the plan looks ahead, the first from which
        on depths do not differ.
        """
        calls_left = self.horizon - depth
        return max(min(depth, _LAST_APART), len(self.ahead) + 1 - calls_left)


def make_plan(
    outlooks: Mapping[str, Outlook],
    stopping: Stopping,
    prices: Mapping[str, Price],
    horizon: int,
) -> Plan:
    """Backward induction from depth `horizon`, or from `LOOKAHEAD` where that is less.

    Args:
        outlooks: For each way of asking, the probabilities of the outcomes of one more call given the cell.
        stopping: v, what it is worth to stop in a cell with a best score, at the nodes; plans may share it.
        prices: c, in the same unit, for each way of asking.
        horizon: K, the most calls of a run.

    A call that makes the draft perfect half of the time, from 0, and costs 0.2 is worth 0.5 - 0.2 with one call left,
    and 0.5 + 0.5 * 0.3 - 0.2 with two:

    >>> from loopllm.priors.score_grid import score_grid
    >>> coin = lambda cell: [0.5] + 10 * [0.0] + [0.5]
    >>> from loopllm.priors.worth import Worth
    >>> stopping = Stopping(Worth("quality", 1.0), score_grid(None))
    >>> plan = make_plan({"last": coin}, stopping, {"last": lambda m, k: 0.2}, 3)
    >>> round(plan.going_on(2, 5, 0.0), 9), round(plan.going_on(1, 0, 0.0), 9)
    (0.3, 0.45)
    """
    grid = stopping.grid
    planned = min(horizon, LOOKAHEAD)
    value = {m: stopping.values(m, planned) for m in range(len(MOMENTA))}
    ahead: dict[int, dict[int, list[float]]] = {}
    chosen: dict[int, dict[int, list[int]]] = {}
    for depth in range(planned - 1, 0, -1):
        gains = _gain_values(value, grid)
        ahead[depth], chosen[depth] = {}, {}
        for m in momenta_at(depth):
            cells = cells_at(m, depth)
            stalls = [_after_stall(value[after], stopping, m, after, depth) for after in AFTER_STALL[m]]
            per_way = [
                _one_way([look(cell) for cell in cells], stalls, gains, prices[way](m, depth), grid)
                for way, look in outlooks.items()
            ]
            ahead[depth][m], chosen[depth][m] = _best_way(per_way)
        value |= {m: list(map(max, stopping.values(m, depth), on)) for m, on in ahead[depth].items()}
    return Plan(grid, ahead, chosen if len(outlooks) > 1 else None, tuple(outlooks), horizon)


def cells_at(momentum: int, depth: int) -> list[int]:
    """The cell of each band, at one momentum and depth."""
    offset = bisect_left(DEPTH_EDGES, depth)
    return [(momentum * BANDS + band) * DEPTHS + offset for band in range(BANDS)]


class Stopping:
    """Values of stopping per node, each worked out once.

    Args:
        worth: v, what it is worth to stop in a cell with a best score.
        grid: The nodes.
    """

    def __init__(self, worth: StopValue, grid: ScoreGrid) -> None:
        self._worth = worth
        self.grid = grid
        self._known: dict[int, list[float]] = {}

    @property
    def by_cell(self) -> bool:
        """False when the momentum and the depth do not matter."""
        return self._worth.by_cell

    def values(self, momentum: int, depth: int) -> list[float]:
        """Value of stopping at each node, with a momentum at a depth."""
        key = cell_of(momentum, 0.0, depth) if self._worth.by_cell else 0
        known = self._known.get(key)
        if known is None:
            worth, grid, cells = self._worth, self.grid, cells_at(momentum, depth)
            pairs = zip(grid.bands, grid.nodes, strict=True)
            known = self._known[key] = [worth(cells[band], best) for band, best in pairs]
        return known


def _after_stall(
    value: list[float], stopping: Stopping, momentum: int, after: int, depth: int
) -> list[float]:
    """Values after a call without a new best, a part of the change of belief in the draft that is held taken back."""
    if not stopping.by_cell:
        return value
    before, then = stopping.values(momentum, depth), stopping.values(after, depth + 1)
    return [v + STEADY * (b - t) for v, b, t in zip(value, before, then, strict=True)]


def _best_way(per_way: Sequence[list[float]]) -> tuple[list[float], list[int]]:
    """The highest of several values per node, and whose it is."""
    if len(per_way) == 1:
        return per_way[0], []
    columns = list(zip(*per_way, strict=True))
    best = [max(column) for column in columns]
    return best, [column.index(top) for column, top in zip(columns, best, strict=True)]


def _gain_values(value: Mapping[int, Sequence[float]], grid: ScoreGrid) -> list[list[float]]:
    """Mean value after each gaining outcome, per node; the last column is a perfect score."""
    after = [value[m] for m in GAIN_MOMENTUM]
    perfect = after[-1][-1]
    rows: list[list[float]] = []
    for landing in grid.landing[:-1]:
        row = [sum([w * v[n] for n, w in weights]) for weights, v in zip(landing, after, strict=False)]
        row.append(perfect)
        rows.append(row)
    rows.append([perfect] * (GAINS + 1))
    return rows


def _one_way(
    rows: Sequence[Sequence[float]],
    stalls: Sequence[Sequence[float]],
    gains: Sequence[Sequence[float]],
    call_cost: float,
    grid: ScoreGrid,
) -> list[float]:
    """-c + expected value of the next state, per node; `rows[band]` are the probabilities of the outcomes."""
    split = [(row[0], row[1], row[2], row[FIRST_GAIN:]) for row in rows]
    return [
        p0 * v0 + p1 * v1 + p2 * v2 + sum(map(mul, up, gain)) - call_cost
        for (p0, p1, p2, up), v0, v1, v2, gain in zip(
            [split[band] for band in grid.bands], *stalls, gains, strict=True
        )
    ]
