"""What is a set of runs, and what is stopping after call k worth?

Stopping after k calls pays value(best of k) - c * k. The best draft is the first whose *observed* score is the
highest; its *true* quality is what it is worth, so a lucky score of a noisy judge earns nothing (winner's curse).
A run of the real collections may end by itself after `length` calls: nothing can be bought after that.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Objective = Literal["quality", "threshold"]

THRESHOLD = 0.8


@dataclass(frozen=True, slots=True)
class Utility:
    """Value of the best draft minus `cost` for each call.

    >>> Utility("threshold", 0.05).name
    'pass.05'
    """

    objective: Objective
    cost: float

    @property
    def name(self) -> str:
        kind = "quality" if self.objective == "quality" else "pass"
        return f"{kind}{self.cost:.2f}".replace("0.", ".")


UTILITIES: tuple[Utility, ...] = (
    *(Utility("quality", c) for c in (0.01, 0.03, 0.08)),
    *(Utility("threshold", c) for c in (0.02, 0.05, 0.12)),
)


@dataclass(frozen=True, slots=True)
class Runs:
    """n runs of up to K calls.

    Attributes:
        observed: Scores that the evaluator gives, shape (n, K), in [0, 1]; after `length` the last one repeats.
        true: Quality of each draft, same shape; equal to `observed` when the judge does not err.
        length: Calls after which each run ends by itself, shape (n,); K for simulated runs.
    """

    observed: Floats
    true: Floats
    length: Ints

    @property
    def horizon(self) -> int:
        return int(self.observed.shape[1])

    def __len__(self) -> int:
        return int(self.observed.shape[0])

    def take(self, rows: Ints | slice) -> "Runs":
        return Runs(self.observed[rows], self.true[rows], self.length[rows])

    def calls(self) -> Ints:
        """Calls paid for when the rule asks for k = 1..K, shape (n, K)."""
        return np.minimum(np.arange(1, self.horizon + 1)[None, :], self.length[:, None])

    def value(self, objective: Objective) -> Floats:
        """Value of the draft returned after k = 1..K calls, shape (n, K).

        >>> runs = simulated(np.array([[0.5, 0.9, 0.7]]), np.array([[0.6, 0.4, 0.7]]))
        >>> runs.value("quality").tolist()
        [[0.6, 0.4, 0.4]]
        """
        quality = np.take_along_axis(self.true, best_draft(self.observed), axis=1)
        worth = quality if objective == "quality" else (quality >= THRESHOLD).astype(np.float64)
        return np.asarray(np.take_along_axis(worth, self.calls() - 1, axis=1))

    def payoff(self, utility: Utility) -> Floats:
        """Utility of stopping after k = 1..K calls, shape (n, K)."""
        return self.value(utility.objective) - utility.cost * self.calls()


def simulated(observed: Floats, true: Floats | None = None) -> Runs:
    """Runs that last the whole horizon."""
    length = np.full(observed.shape[0], observed.shape[1], dtype=np.int64)
    return Runs(observed, observed if true is None else true, length)


def stacked(parts: list[Runs]) -> Runs:
    return Runs(
        np.concatenate([part.observed for part in parts]),
        np.concatenate([part.true for part in parts]),
        np.concatenate([part.length for part in parts]),
    )


def best_draft(observed: Floats) -> Ints:
    """0-based index of the first highest observed score among the first k, shape (n, K).

    >>> best_draft(np.array([[0.2, 0.5, 0.5, 0.1]])).tolist()
    [[0, 1, 1, 1]]
    """
    n, horizon = observed.shape
    best = np.maximum.accumulate(observed, axis=1)
    new = np.zeros((n, horizon), dtype=np.int64)
    new[:, 1:] = np.where(observed[:, 1:] > best[:, :-1], np.arange(1, horizon), 0)
    return np.asarray(np.maximum.accumulate(new, axis=1))


def earned(payoff: Floats, stops: Ints) -> Floats:
    """Payoff of each run when it stops after `stops` calls (1-based), shape (n,)."""
    return np.asarray(np.take_along_axis(payoff, stops[:, None] - 1, axis=1)[:, 0])
