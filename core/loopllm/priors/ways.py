"""What asking in one way is expected to do: what is believed of all ways, and how far this one departs from it.

Three things make a way known after a few calls. It suits a model, or not, after any call: what it did after the first
call says something of what it will do after a stall, so its counts correct the belief in one more ring than `tilting`
has, outside of the others (`OtherKinds`). It differs from other ways by more than a pair differs from its archetype, so
that the belief it corrects is worth less (`WAY_STRENGTH`). And as long as the latest draft is the best one, `last` and
`best` send the same prompt, so that each learns from the other (`TWINS`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import add

from loopllm.priors.counts import WIDTH, Row, TransitionCounts
from loopllm.priors.run_state import BANDS, DEPTHS, FIRST_STALL
from loopllm.priors.tilting import Corrected, Outlook, kind_group, tilt, tilted

WAY_STRENGTH = 0.4
"""What the belief in all ways is worth against what was seen of one, as a multiple of the usual."""

TWINS = {"last": "best", "best": "last"}
"""Ways that send the same prompt as long as the latest draft is the best one."""

_FIRST_STALLED_CELL = FIRST_STALL * BANDS * DEPTHS


def common_part(counts: TransitionCounts) -> TransitionCounts:
    """The calls that a way's twin would have made as well: after a first draft or a new best."""
    return TransitionCounts({cell: row for cell, row in counts.cells.items() if cell < _FIRST_STALLED_CELL})


def with_twin(table: Callable[[str], TransitionCounts], way: str) -> TransitionCounts:
    """What `table` holds of a way, and what it holds of the same prompt under its other name.

    >>> from loopllm.priors.run_state import cell_of
    >>> best = TransitionCounts()
    >>> best.add(cell_of(0, 0.5, 1), 11); best.add(cell_of(6, 0.5, 2), 11)
    >>> with_twin({"last": TransitionCounts(), "best": best}.__getitem__, "last").items().__next__()
    (10, 11, 1.0)
    """
    counts = table(way)
    return counts + common_part(table(TWINS[way])) if way in TWINS else counts


class OtherKinds:
    """A belief corrected, in each cell, by what happened in the cells of the other kinds.

    Args:
        belief: The belief to correct.
        counts: What was seen.
        strength: What the belief is worth, as a multiple of the usual.
    """

    __slots__ = ("_belief", "_counts", "_factors", "_rows", "_strength")

    def __init__(self, belief: Outlook, counts: TransitionCounts, strength: float = 1.0) -> None:
        self._belief = belief
        self._counts = counts.cells
        self._strength = strength
        self._factors: dict[int, Row | None] = {}
        self._rows: dict[int, Sequence[float]] = {}

    def __call__(self, cell: int) -> Sequence[float]:
        """Probabilities of the outcomes in `cell`."""
        row = self._rows.get(cell)
        if row is None:
            kind = kind_group(cell)
            if kind not in self._factors:
                self._factors[kind] = self._tilt(kind)
            row = self._rows[cell] = tilted(self._belief(cell), self._factors[kind])
        return row

    def _tilt(self, kind: int) -> Row | None:
        seen, expected = [0.0] * WIDTH, [0.0] * WIDTH
        for cell, counts in self._counts.items():
            if kind_group(cell) != kind:
                total = sum(counts)
                seen = list(map(add, seen, counts))
                expected = [e + total * p for e, p in zip(expected, self._belief(cell), strict=True)]
        return tilt(seen, expected, self._strength)


def departing(belief: Outlook, counts: TransitionCounts) -> Outlook:
    """A belief corrected by what was seen of one way."""
    if not counts.cells:
        return belief
    return Corrected(OtherKinds(belief, counts, WAY_STRENGTH), counts, WAY_STRENGTH)
