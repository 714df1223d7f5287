"""What do rules reach that learn nothing, or are tuned in hindsight, or see the future?

Every rule maps runs to the number of calls it makes, shape (n,).
"""

from collections.abc import Sequence

import numpy as np
from benchmarks.stopping_lab.trajectories import THRESHOLD, Bools, Floats, Ints, Runs, Utility, earned

PLATEAU = 0.01  # `convergence_delta` of LoopConfig
LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 2.0)  # 2.0: never satisfied


def first_stop(wants: Bools, length: Ints) -> Ints:
    """1-based call after which a rule first wants to stop, at most the end of the run; `wants` is (n, K)."""
    horizon = wants.shape[1]
    asked = np.where(wants.any(axis=1), wants.argmax(axis=1) + 1, horizon)
    return np.asarray(np.minimum(asked, length))


def fixed(runs: Runs, calls: int) -> Ints:
    return np.asarray(np.minimum(min(calls, runs.horizon), runs.length))


def threshold(runs: Runs) -> Ints:
    return first_stop(runs.observed >= THRESHOLD, runs.length)


def flat(observed: Floats) -> Bools:
    """Two successive changes below `PLATEAU`."""
    still = np.abs(np.diff(observed, axis=1)) < PLATEAU
    wants = np.zeros(observed.shape, dtype=bool)
    wants[:, 2:] = still[:, 1:] & still[:, :-1]
    return wants


def threshold_or_plateau(runs: Runs) -> Ints:
    return first_stop((runs.observed >= THRESHOLD) | flat(runs.observed), runs.length)


def stalled(observed: Floats) -> Ints:
    """Calls since the best score was first reached, shape (n, K)."""
    n, horizon = observed.shape
    best = np.maximum.accumulate(observed, axis=1)
    new = np.zeros((n, horizon), dtype=np.int64)
    new[:, 1:] = np.where(observed[:, 1:] > best[:, :-1], np.arange(1, horizon), 0)
    return np.arange(horizon)[None, :] - np.maximum.accumulate(new, axis=1)


def reactive(runs: Runs, level: float, patience: int) -> Ints:
    """Stop at `level`, or after `patience` calls without a new best."""
    return first_stop((runs.observed >= level) | (stalled(runs.observed) >= patience), runs.length)


def all_reactive(runs: Runs) -> dict[tuple[float, int], Ints]:
    """`reactive` for every level and patience: the earlier of two first calls, each found once."""
    stall = stalled(runs.observed)
    reached = {level: first_stop(runs.observed >= level, runs.length) for level in LEVELS}
    bored = {patience: first_stop(stall >= patience, runs.length) for patience in range(1, runs.horizon + 1)}
    return {
        (level, patience): np.minimum(first, second)
        for level, first in reached.items()
        for patience, second in bored.items()
    }


def clairvoyant(runs: Runs, utility: Utility) -> Ints:
    return np.asarray(runs.payoff(utility).argmax(axis=1) + 1)


def best_fixed(sets: Sequence[Runs], utility: Utility) -> int:
    """The one k for all pairs that would have been best on these very runs."""
    horizon = max(runs.horizon for runs in sets)
    mean = [
        np.mean([earned(runs.payoff(utility), fixed(runs, k)).mean() for runs in sets])
        for k in range(1, horizon + 1)
    ]
    return int(np.argmax(mean)) + 1


def best_reactive(sets: Sequence[Runs], utilities: Sequence[Utility]) -> list[tuple[float, int]]:
    """Per utility the one (level, patience) for all pairs that would have been best on these very runs."""
    rules = [(level, patience) for level in LEVELS for patience in range(1, max(r.horizon for r in sets) + 1)]
    stops = [all_reactive(runs) for runs in sets]
    found = []
    for utility in utilities:
        payoffs = [runs.payoff(utility) for runs in sets]
        means = [
            np.mean([earned(p, own(s, rule)).mean() for p, s in zip(payoffs, stops, strict=True)])
            for rule in rules
        ]
        found.append(rules[int(np.argmax(means))])
    return found


def own(stops: dict[tuple[float, int], Ints], rule: tuple[float, int]) -> Ints:
    """The rule's stops; a patience beyond this pair's horizon is never used up."""
    level, patience = rule
    return stops[level, min(patience, max(p for _, p in stops))]
