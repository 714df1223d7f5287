"""What learning costs: a decision, an observation, and how often and how long is planned.

CPU time of this process, the best of several rounds, beside a unit that every machine has: 100 updates of a dictionary.
Everything is in memory, with many keys already known. Planning is counted in a run of 100 runs that are decided after
every call and learned.

    python benchmarks/decision_cost.py [--json]
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable

from loopllm import AdaptivePriors, CallObservation

KEYS, RUNS, CALLS = 300, 100, 5
LOOKED_UP_MS = 0.5  # a policy that took longer was planned anew
ROUNDS, TIMES = 5, 2_000


def cpu_us(work: Callable[[], object], times: int = TIMES) -> float:
    """Microseconds of CPU of one call, the best of several rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(times):
            work()
        best = min(best, time.process_time() - began)
    return best / times * 1e6


def run_of(draw: random.Random) -> list[float]:
    """A run that climbs by fits and starts."""
    scores = [draw.random() * 0.6]
    while len(scores) < CALLS:
        scores.append(min(1.0, max(0.0, scores[-1] + draw.choice((0.0, 0.0, 0.1, 0.3, -0.1)))))
    return scores


def taught() -> AdaptivePriors:
    """Priors that know many pairs, and one of them well."""
    priors, draw = AdaptivePriors(), random.Random(1)
    for n in range(KEYS):
        priors.observe(CallObservation(f"task {n % 30}", f"model {n // 30}", run_of(draw)))
    for _ in range(RUNS):
        priors.observe(CallObservation("task 0", "model 0", run_of(draw)))
    return priors


def planning() -> dict[str, float]:
    """Plans that 100 runs of a new pair need, and milliseconds of CPU of each."""
    priors, draw, spent = AdaptivePriors(), random.Random(2), []
    for _ in range(RUNS):
        began = time.process_time()
        policy = priors.policy("t", "m", explore=True)
        asked = (time.process_time() - began) * 1e3
        if asked > LOOKED_UP_MS:
            spent.append(asked)
        policy.decide([0.3])
        priors.observe(CallObservation("t", "m", run_of(draw)))
    return {
        "plans_per_100_runs": len(spent),
        "plan_ms_median": sorted(spent)[len(spent) // 2],
        "plan_ms_longest": max(spent),
        "plan_ms_per_run": sum(spent) / RUNS,
    }


def measure() -> dict[str, float]:
    """All figures."""
    priors, draw = taught(), random.Random(3)
    policy = priors.policy("task 0", "model 0")
    observations = iter([CallObservation("task 0", "model 0", run_of(draw)) for _ in range(ROUNDS * TIMES)])
    run, table = run_of(draw), dict.fromkeys(range(100), 0)

    def unit() -> None:
        for key in range(100):
            table[key] += 1

    return {
        "unit_us": cpu_us(unit),
        "decision_us": cpu_us(lambda: policy.decide(run[:4])),
        "observe_us": cpu_us(lambda: priors.observe(next(observations))),
        "explanation_us": cpu_us(lambda: policy.decide(run[:4]).message, 50),
        **planning(),
    }


def main() -> None:
    figures = measure()
    if "--json" in sys.argv[1:]:
        print(json.dumps(figures))
        return
    unit = figures["unit_us"]
    for name in ("decision", "observe", "explanation"):
        spent = figures[f"{name}_us"]
        print(f"{name:12}{spent:8.1f} us of CPU, {spent / unit:6.1f} times 100 dictionary updates")
    plans, longest = figures["plans_per_100_runs"], figures["plan_ms_longest"]
    print(
        f"planning    {plans:.0f} plans in {RUNS} runs, {figures['plan_ms_median']:.0f} ms each "
        f"(longest {longest:.0f}), {figures['plan_ms_per_run']:.1f} ms a run"
    )


if __name__ == "__main__":
    main()
