"""What asking in one way is expected to do: what all ways do, and by how much this one departs from it.

The belief in a pair is formed as if there were one way only, from all its runs. Then each way leans on it: over all of
the model's calls, whatever the task, the outcomes seen in that way against those expected on the average of the ways,

    t_w(o) = tilt(n_w(o), e_w(o)),   e_w(o) = sum_cells N_w(cell) p_average(o | cell)

(see `tilting`; an additive model on the log scale, fitted stage by stage: Hastie & Tibshirani 1990, Generalized
Additive Models, section 4.4). A weak model fails with one way on every task, so that this is known after a few calls.
What the way did on this very task corrects the rest, cautiously, since it was counted in the stages before as well.

As long as the latest draft is the best one, `last` and `best` send the same prompt, so that each learns from the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import add

from loopllm.priors.counts import WIDTH, Row, TransitionCounts
from loopllm.priors.run_state import BANDS, DEPTHS, FIRST_GAIN, FIRST_STALL
from loopllm.priors.tilting import Outlook, tilt, tilted

MODEL_STRENGTH = 0.8
"""What the average of all ways is worth against what a model was seen to do in one, as a multiple of the usual."""

OWN_STRENGTH = 1.5
"""What that is worth against what was seen in this way on this task."""

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
    >>> found = with_twin({"last": TransitionCounts(), "best": best}.__getitem__, "last")
    >>> list(found.items()) == [(cell_of(0, 0.5, 1), 11, 1.0)]
    True
    """
    counts = table(way)
    return counts + common_part(table(TWINS[way])) if way in TWINS else counts


class Leaning:
    """A belief in whose every cell the outcomes are more or less likely by the same factors.

    Args:
        belief: The belief.
        factors: One factor per outcome; None: nothing changes.
    """

    __slots__ = ("_belief", "_factors", "_rows")

    def __init__(self, belief: Outlook, factors: Row | None) -> None:
        self._belief = belief
        self._factors = factors
        self._rows: dict[int, Sequence[float]] = {}

    def __call__(self, cell: int) -> Sequence[float]:
        """Probabilities of the outcomes in `cell`."""
        row = self._rows.get(cell)
        if row is None:
            row = self._rows[cell] = tilted(self._belief(cell), self._factors)
        return row


def hoping(factor: float) -> Row:
    """Factors that make a new best more likely by one, before the probabilities sum to 1 again."""
    return [1.0] * FIRST_GAIN + [factor] * (WIDTH - FIRST_GAIN)


def lean(counts: TransitionCounts, average: Outlook, strength: float = MODEL_STRENGTH) -> Row | None:
    """By how much a way makes the outcomes more or less likely than the average of all ways has it."""
    seen, expected = [0.0] * WIDTH, [0.0] * WIDTH
    for cell, row in counts.cells.items():
        total = sum(row)
        seen = list(map(add, seen, row))
        expected = [e + total * p for e, p in zip(expected, average(cell), strict=True)]
    return tilt(seen, expected, strength)
