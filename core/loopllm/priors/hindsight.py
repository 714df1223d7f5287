"""What acting would have changed in a run that was only observed.

The plan is replayed on the scores that were seen. A run that ended before the plan would have stopped says
nothing of what the plan would have done, so it is counted apart (`unknown`) instead of being taken for a run without
savings.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from loopllm.priors.moments import Moments
from loopllm.priors.policy import Policy
from loopllm.priors.report import SavedReport
from loopllm.priors.run_state import state_of
from loopllm.priors.statistics import Statistics

NORMAL_80 = 1.2816
"""Half-width of a central 80 % interval of a normal distribution, in standard deviations."""


def learn_hindsight(statistics: Statistics, policy: Policy, scores: Sequence[float]) -> None:
    """Add what the policy would have saved in a run that is over."""
    stop = next((k for k in range(1, len(scores) + 1) if policy.decide(scores[:k]).advised is None), None)
    if stop is None:
        statistics.bump("s/hindsight/unknown")
        return
    then, end = state_of(scores[:stop]), state_of(scores)
    statistics.bump("s/hindsight/n")
    saved, lost = len(scores) - stop, policy.worth(end.cell, end.best) - policy.worth(then.cell, then.best)
    for name, amount in (("calls", float(saved)), ("value", lost)):
        statistics.bump(f"s/hindsight/{name}/sum", amount)
        statistics.bump(f"s/hindsight/{name}/square", amount * amount)


def saved_report(statistics: Statistics) -> SavedReport | None:
    """Means per known run with their 80 % intervals; None when no run was only observed."""
    n, unknown = statistics.get("s/hindsight/n"), statistics.get("s/hindsight/unknown")
    if n + unknown <= 0:
        return None
    calls, value = (_mean_and_interval(statistics, n, name) for name in ("calls", "value"))
    return SavedReport(int(n), int(unknown), calls, value)


def _mean_and_interval(statistics: Statistics, n: float, name: str) -> tuple[float, float, float]:
    sums = (statistics.get(f"s/hindsight/{name}/{what}") for what in ("sum", "square"))
    moments = Moments.from_sums(n, *sums)
    half = NORMAL_80 * moments.sd / sqrt(n) if n > 0 else 0.0
    return moments.mean, moments.mean - half, moments.mean + half
