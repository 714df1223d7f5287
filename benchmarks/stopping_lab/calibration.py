"""Does what it expects come true? P(the next call improves on the best) against what happened, on held-out runs.

The expected calibration error is the mean over ten equal bins of |forecast - frequency|, weighted by the forecasts in
a bin (Naeini, Cooper & Hauskrecht 2015, AAAI).
"""

from collections.abc import Iterable
from typing import Any

from benchmarks.stopping_lab.trajectories import THRESHOLD, Utility
from benchmarks.stopping_lab.trial import Pair, Trial

BINS = 10

Forecast = tuple[float, int]
Tally = list[list[float]]  # per bin: number, sum of forecasts, sum of improvements


def forecasts(priors: Any, trial: Trial, utility: Utility) -> list[Forecast]:
    """(P(improve), 1 if it did) after every call of the test runs that another call followed."""
    return [f for pair in trial.pairs for f in of_pair(priors, pair, utility)]


def of_pair(priors: Any, pair: Pair, utility: Utility) -> list[Forecast]:
    policy = priors.policy(
        pair.task_type,
        pair.model_id,
        quality_threshold=THRESHOLD,
        objective=utility.objective,
        call_cost=utility.cost,
        max_iterations=pair.train.horizon,
    )
    known: dict[tuple[float, ...], float] = {}
    runs = pair.tests[0]
    found: list[Forecast] = []
    for scores, length in zip(runs.observed.tolist(), runs.length.tolist(), strict=True):
        for k in range(1, length):
            seen = tuple(scores[:k])
            if max(seen) >= 1.0:
                break
            if seen not in known:
                known[seen] = float(policy.decide(list(seen)).probability_of_improvement)
            found.append((known[seen], int(scores[k] > max(seen))))
    return found


def tallied(found: Iterable[Forecast]) -> Tally:
    """Number, sum of forecasts and of improvements in each of ten equal bins; tallies add up.

    >>> tallied([(0.12, 0), (0.18, 1), (0.9, 1)])[1]
    [2.0, 0.3, 1.0]
    """
    bins: Tally = [[0.0, 0.0, 0.0] for _ in range(BINS)]
    for chance, happened in found:
        row = bins[min(int(chance * BINS), BINS - 1)]
        row[:] = [row[0] + 1, row[1] + chance, row[2] + happened]
    return bins


def added(tallies: Iterable[Tally]) -> Tally:
    return [[sum(column) for column in zip(*rows, strict=True)] for rows in zip(*tallies, strict=True)]


def calibration_error(tally: Tally) -> float:
    """Expected calibration error.

    >>> round(calibration_error(tallied([(0.12, 0), (0.18, 1), (0.9, 1)])), 3)
    0.267
    """
    return sum(abs(chance - happened) for _, chance, happened in tally) / max(
        1.0, sum(n for n, _, _ in tally)
    )
