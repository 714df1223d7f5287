"""What it is worth to stop: the value of the draft that would be returned.

goal `quality`: the best score; goal `threshold`: 1 when the best score reaches the threshold, else 0. A judge
that errs makes the best of several scores look better than the draft is (the winner's curse: Capen, Clapp & Campbell
1971; Smith & Winkler 2006, Management Science 52:311). With probability z that the judge errs, and then with the best
score b exceeding the true quality by m on average with standard deviation s,

    quality:    v(b) = b - z m
    threshold:  v(b) = (1 - z) 1[b >= t] + z Phi((b - m - t) / s)
"""

from __future__ import annotations

from collections.abc import Callable
from math import erf, sqrt

from loopllm.priors.objective import Goal

Optimism = Callable[[int], tuple[float, float, float]]
"""(z, m, s) for a cell."""

_ROOT_TWO = sqrt(2.0)


class Worth:
    """Value of stopping in a cell with a best score.

    >>> Worth("threshold", 0.8)(0, 0.85), Worth("quality", 0.8)(0, 0.85)
    (1.0, 0.85)
    >>> sure_to_err = lambda cell: (1.0, 0.05, 0.05)
    >>> round(Worth("threshold", 0.8, sure_to_err)(0, 0.85), 6), round(Worth("quality", 0.8, sure_to_err)(0, 0.85), 6)
    (0.5, 0.8)

    Args:
        goal: See above.
        threshold: The score that is good enough.
        optimism: How the judge errs; None: it does not.
    """

    __slots__ = ("_known", "goal", "optimism", "threshold")

    def __init__(self, goal: Goal, threshold: float, optimism: Optimism | None = None) -> None:
        self.goal: Goal = goal
        self.threshold = threshold
        self.optimism = optimism
        self._known: dict[int, tuple[float, float, float]] = {}

    @property
    def by_cell(self) -> bool:
        """False when the cell does not matter, since the judge does not err."""
        return self.optimism is not None

    def __call__(self, cell: int, best: float) -> float:
        """Value of stopping."""
        if self.optimism is None:
            return best if self.goal == "quality" else float(best >= self.threshold)
        errs, mean, sd = self._optimism(cell)
        if self.goal == "quality":
            return best - errs * mean
        beyond = 0.5 * (1.0 + erf((best - mean - self.threshold) / (sd * _ROOT_TWO)))
        return (1.0 - errs) * (best >= self.threshold) + errs * beyond

    def _optimism(self, cell: int) -> tuple[float, float, float]:
        known = self._known.get(cell)
        if known is None:
            assert self.optimism is not None  # noqa: S101  (the caller asked)
            known = self._known[cell] = self.optimism(cell)
        return known
