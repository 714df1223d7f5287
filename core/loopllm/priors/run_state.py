"""The statistic of a run: where it stands after k calls, and what one more call did to it.

After k calls a run stands at (depth k, best score b, momentum m). The momentum says how it got there: the first call, a
new best by so much, or so many calls without a new best and how far the last one fell. What one more call can do is
one of twelve outcomes: no new best (equal, a little lower, far lower), a new best that closes a given part of the
remaining gap 1 - b, or a perfect score. Relative gain ("closes 40 % of what is missing") carries over between tasks.

Rule 1: state and outcome are functions of the scores alone, so that stopping, which depends on the same scores, leaves
the outcome given the state unbiased (missing at random: Rubin 1976, Biometrika 63:581).
Rule 2: the first call is depth 1.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

EQUAL_WITHIN = 0.002
"""Scores closer than this count as equal."""

NEAR_WITHIN = 0.1
"""A score at most this far below the best fell "a little"."""

GAIN_EDGES = (0.02, 0.05, 0.1, 0.17, 0.27, 0.42, 0.65)
"""Borders between the eight classes of relative gain (s - b) / (1 - b)."""

OUTCOMES = (
    "equal", "lower", "far lower",
    "gain <2%", "gain <5%", "gain <10%", "gain <17%", "gain <27%", "gain <42%", "gain <65%", "gain >65%", "perfect",
)  # fmt: skip
"""What one more call can do to the best score; gains are shares of what was missing."""

FIRST_GAIN, PERFECT = 3, 11
GAIN_MOMENTUM = (1, 1, 2, 2, 3, 3, 4, 4, 4)
"""Momentum after each gaining outcome, from `gain <2%` to `perfect`."""

MOMENTA = (
    "first", "tiny gain", "small gain", "gain", "big gain",
    "1 equal", "1 lower", "1 far lower",
    "2 equal", "2 lower", "2 far lower, 1 near", "2 far lower",
    "3+ equal", "3+ lower", "3+ far lower, 1+ near", "3+ far lower",
)  # fmt: skip
"""How the run got where it stands: "2 lower" is two calls without a new best, the last a little below it. A best score
that another draft came near is a level that this loop reaches, and hardly luck: hence "1 near"."""

FIRST_STALL, SECOND_STALL, LATER_STALL = 5, 8, 12
BAND_EDGES = (0.0, 0.3, 0.5, 0.65, 0.8, 0.9)
"""Exactly 0 is a band of its own, and so is exactly 1: a yes-or-no verifier lives in those two."""

BANDS = len(BAND_EDGES) + 2
DEPTH_EDGES = (1, 2, 3, 5)
"""Depths 1, 2, 3, 4 to 5, and 6 or more are told apart."""

DEPTHS = len(DEPTH_EDGES) + 1
CELLS = len(MOMENTA) * BANDS * DEPTHS


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run stands.

    Attributes:
        depth: Calls made.
        best: Highest score so far.
        momentum: Index into `MOMENTA`.
        last: Score of the last call.
    """

    depth: int
    best: float
    momentum: int
    last: float

    @property
    def cell(self) -> int:
        """The cell of the table of counts that this state falls into."""
        return cell_of(self.momentum, self.best, self.depth)


def band_of(best: float) -> int:
    """Band of a best score: 0 is exactly 0, the last is exactly 1.

    >>> [band_of(b) for b in (0.0, 0.1, 0.3, 0.79, 0.8, 0.95, 1.0)]
    [0, 1, 1, 4, 4, 6, 7]
    """
    return BANDS - 1 if best >= 1.0 else bisect_left(BAND_EDGES, best)


def cell_of(momentum: int, best: float, depth: int) -> int:
    """Index of the cell (momentum, band of the best, band of the depth)."""
    return (momentum * BANDS + band_of(best)) * DEPTHS + bisect_left(DEPTH_EDGES, depth)


def split_cell(cell: int) -> tuple[int, int, int]:
    """Momentum, band and depth band of a cell.

    >>> split_cell(cell_of(6, 0.4, 3))
    (6, 2, 2)
    """
    momentum, rest = divmod(cell, BANDS * DEPTHS)
    return momentum, rest // DEPTHS, rest % DEPTHS


def outcome_of(best: float, score: float) -> int:
    """What a call that scored `score` did to a best of `best`: an index into `OUTCOMES`.

    >>> OUTCOMES[outcome_of(0.5, 0.6)], OUTCOMES[outcome_of(0.5, 1.0)], OUTCOMES[outcome_of(0.5, 0.3)]
    ('gain <27%', 'perfect', 'far lower')
    """
    if score > best:
        if score >= 1.0:
            return PERFECT
        return FIRST_GAIN + bisect_right(GAIN_EDGES, (score - best) / (1.0 - best))
    return fall_of(best, score)


def fall_of(best: float, score: float) -> int:
    """0, 1, 2: a score not above the best is equal to it, a little lower, or far lower."""
    fall = best - score
    return 0 if fall <= EQUAL_WITHIN else 1 if fall <= NEAR_WITHIN else 2


_NEVER_NEAR = (SECOND_STALL - 1, LATER_STALL - 1, len(MOMENTA) - 1)
"""Momenta of a run whose drafts since the best one were all far below it."""


def next_momentum(momentum: int, outcome: int) -> int:
    """Momentum after an outcome.

    >>> MOMENTA[next_momentum(0, 1)], MOMENTA[next_momentum(7, PERFECT)]
    ('1 lower', 'big gain')
    >>> MOMENTA[next_momentum(5, 2)], MOMENTA[next_momentum(7, 2)]
    ('2 far lower, 1 near', '2 far lower')
    """
    if outcome >= FIRST_GAIN:
        return GAIN_MOMENTUM[outcome - FIRST_GAIN]
    if momentum < FIRST_STALL:
        return FIRST_STALL + outcome
    stall = SECOND_STALL if momentum < SECOND_STALL else LATER_STALL
    far = outcome == FIRST_GAIN - 1
    return stall + outcome + (far and momentum in _NEVER_NEAR)


def start(score: float) -> RunState:
    """State after the first call."""
    return RunState(1, score, 0, score)


def advance(state: RunState, score: float) -> RunState:
    """State after one more call.

    >>> state = advance(advance(start(0.3), 0.5), 0.45)
    >>> state.depth, state.best, MOMENTA[state.momentum]
    (3, 0.5, '1 lower')
    """
    momentum = next_momentum(state.momentum, outcome_of(state.best, score))
    return RunState(state.depth + 1, max(state.best, score), momentum, score)


def state_of(scores: Sequence[float]) -> RunState:
    """State after all of `scores` (at least one)."""
    best = scores[0]
    momentum = 0
    for score in scores[1:]:
        momentum = next_momentum(momentum, outcome_of(best, score))
        best = max(best, score)
    return RunState(len(scores), best, momentum, scores[-1])


def transitions(scores: Sequence[float]) -> Iterator[tuple[int, int]]:
    """Cell before and outcome of each call after the first.

    >>> [(split_cell(cell), OUTCOMES[outcome]) for cell, outcome in transitions([0.0, 0.0, 1.0])]
    [((0, 0, 0), 'equal'), ((5, 0, 1), 'perfect')]
    """
    best = scores[0]
    momentum = 0
    for depth in range(1, len(scores)):
        outcome = outcome_of(best, scores[depth])
        yield cell_of(momentum, best, depth), outcome
        momentum = next_momentum(momentum, outcome)
        best = max(best, scores[depth])


def complete_scores(iteration: int, current: float, so_far: Sequence[float]) -> Sequence[float]:
    """All scores of a run, whether or not `so_far` already ends with the current one.

    >>> complete_scores(2, 0.6, [0.3]), complete_scores(2, 0.6, [0.3, 0.6]), complete_scores(2, 0.6, [0.6])
    ([0.3, 0.6], [0.3, 0.6], [0.6, 0.6])
    >>> complete_scores(1, 0.95, [0.2])  # counted from 0
    [0.2, 0.95]
    """
    ends_with_it = len(so_far) >= max(1, iteration) and so_far[-1] == current
    return so_far if ends_with_it else [*so_far, current]
