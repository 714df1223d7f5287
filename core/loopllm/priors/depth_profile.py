"""What calls 1, 2, 3, ... have done: the sums per depth, read back."""

from __future__ import annotations

from dataclasses import dataclass

from loopllm.priors.learning import DEEPEST
from loopllm.priors.statistics import Statistics


@dataclass(frozen=True, slots=True)
class DepthRecord:
    """What was seen at one depth.

    Attributes:
        depth: Number of the call, the first is 1.
        runs: Runs that made this call.
        mean_score: Mean score of this call.
        mean_best: Mean best score after it.
        improved: Runs in which it was a new best.
        mean_gain: Mean rise of the best score by it, over all runs that made it.
        reached: Runs that first reached their threshold with it.
    """

    depth: int
    runs: float
    mean_score: float
    mean_best: float
    improved: float
    mean_gain: float
    reached: float


def depth_profile(statistics: Statistics) -> list[DepthRecord]:
    """The records of all depths that were reached, from depth 1 on."""
    records: list[DepthRecord] = []
    for depth in range(1, DEEPEST):  # what is summed under the deepest are calls of many depths, and no runs
        runs = statistics.get(f"d/{depth}/n")
        if runs <= 0:
            break
        score, best, up, gain, reached = (
            statistics.get(f"d/{depth}/{what}") for what in ("score", "best", "up", "gain", "reached")
        )
        records.append(DepthRecord(depth, runs, score / runs, best / runs, up, gain / runs, reached))
    return records


def deepest_success(statistics: Statistics) -> int:
    """A depth at or above every one at which a run first reached its threshold; 0 when none did.

    It is exact up to depth 64, and beyond that the next power of two.
    """
    prefix = "s/success/"
    beyond = (int(name.removeprefix(prefix)) for name in statistics.sums if name.startswith(prefix))
    reached = (depth for depth in range(1, DEEPEST + 1) if statistics.get(f"d/{depth}/reached") > 0)
    return max((*reached, *beyond), default=0)


def paying_depth(profile: list[DepthRecord], cost: float) -> int:
    """The depth up to which calls have raised the best score by more than they cost, at least 1.

    A call that gains nothing may lie on the way to one that does: depth k is taken when the gains up to it, in sum,
    exceed the cost of the calls that lead there.
    """
    best_depth, best_total, total = 1, 0.0, 0.0
    for record in profile[1:]:
        total += record.mean_gain - cost
        if total > best_total:
            best_depth, best_total = record.depth, total
    return best_depth
