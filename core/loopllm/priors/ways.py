"""What asking in one way is expected to do: what all ways do, and by how much this one departs from it.

The belief in a pair is formed as if there were one way only, from all its runs. Then each way leans on it: over all of
the model's calls, whatever the task, the outcomes seen in that way against those expected on the average of the ways,

    t_w(o) = f_w(o) tilt(n_w(o), e_w(o)),   e_w(o) = sum_cells N_w(cell) f_w(o) p_average(o | cell)

(see `tilting`; an additive model on the log scale, fitted stage by stage: Hastie & Tibshirani 1990, Generalized
Additive Models, section 4.4). A weak model fails with one way on every task, so that this is known after a few calls.
f_w is what is believed of a way before it was tried, see `before_trial`. What the way did on this very task corrects
the rest, cautiously, since it was counted in the stages before as well.

As long as the latest draft is the best one, `last` and `best` send the same prompt, so that each learns from the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import exp
from operator import add, mul

from loopllm.priors.counts import WIDTH, Row, TransitionCounts
from loopllm.priors.observation import USUAL_WAY
from loopllm.priors.run_state import BANDS, DEPTHS, FIRST_GAIN, FIRST_STALL
from loopllm.priors.tilting import Outlook, tilt, tilted

MODEL_STRENGTH = 0.8
"""What the average of all ways is worth against what a model was seen to do in one, as a multiple of the usual."""

OWN_STRENGTH = 1.5
"""What that is worth against what was seen in this way on this task."""

TWINS = {"last": "best", "best": "last"}
"""Ways that send the same prompt as long as the latest draft is the best one."""

BEFOREHAND = {"deficiencies": 0.15, "fresh": 0.1, "last": -0.15, "best": -0.15}
"""Logarithm of the factor by which a new best is likelier in a way than on the average of them all, before any was
tried; 0 for a caller's own. Half of what one small model showed on 250 items (`benchmarks/next_move_lab`, replicate 0,
six calls without stopping: .29, .20, -.32 and -.29): half, since one weak model is not all models."""

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


def before_trial(tried: Mapping[str, float]) -> dict[str, Row | None]:
    """Factors by which each way is believed to depart from the average of the ways, before it was tried.

    The average is over the calls that were made, one more in each way, so that they are 1 for a way that was nearly the
    only one, and all others depart from that one. A way that the caller puts first, in the place of the usual one, is
    believed to be as good as the best. None where there is no choice.

    >>> new, used = before_trial({"last": 0.0, "fresh": 0.0}), before_trial({"last": 0.0, "fresh": 98.0})
    >>> [round(new[way][-1], 3) for way in new], [round(used[way][-1], 3) for way in used]
    ([0.882, 1.133], [0.781, 1.003])
    >>> before_trial({"last": 5.0})
    {'last': None}

    Args:
        tried: Transitions that speak of each way, in the order in which the caller names them.
    """
    if len(tried) == 1:
        return dict.fromkeys(tried)
    logs = {way: BEFOREHAND.get(way, 0.0) for way in tried}
    if (first := next(iter(tried))) != USUAL_WAY:
        logs[first] = max(logs.values())
    average = sum((n + 1.0) * logs[way] for way, n in tried.items()) / (sum(tried.values()) + len(tried))
    return {way: hoping(exp(value - average)) for way, value in logs.items()}


def lean(counts: TransitionCounts, average: Outlook, before: Row | None = None) -> Row | None:
    """By how much a way makes the outcomes more or less likely than the average of all ways has it.

    Args:
        counts: What the model was seen to do in this way.
        average: What is expected of all ways.
        before: What was believed of this way before.
    """
    seen, expected = [0.0] * WIDTH, [0.0] * WIDTH
    for cell, row in counts.cells.items():
        total = sum(row)
        seen = list(map(add, seen, row))
        expected = [e + total * p for e, p in zip(expected, tilted(average(cell), before), strict=True)]
    told = tilt(seen, expected, MODEL_STRENGTH)
    if told is None or before is None:
        return told or before
    return list(map(mul, before, told))
