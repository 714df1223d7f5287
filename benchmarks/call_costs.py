"""What do calls of a real model cost by way of asking, and how soon is it known?

Loops on the embedded model, with its real tokens and latencies and stated prices. The priors learn from the first half
of the runs; the second half is what they are held against: the ratio of what was paid to what was expected. Sums over
all calls must be what was paid, to the last digit.

    PYTHONPATH=core python benchmarks/call_costs.py [--runs 4] [--json]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from loopllm import AdaptivePriors, LoopConfig, LoopedLLM, Objective, Prices, RefinementResult
from loopllm.evaluators import CompositeEvaluator, LengthEvaluator, RegexEvaluator
from loopllm.feedback import FeedbackName
from loopllm.providers.local import LocalProvider
from loopllm.tables import text_table

WAYS: tuple[FeedbackName, ...] = ("last", "best", "deficiencies", "fresh")
PRICES = Prices(prompt_per_million=0.50, completion_per_million=1.50)
AIM = Objective(value_of_success=1.0, cost_per_second=0.0001)
TASKS = (
    "Explain tides to a child in 30 to 45 words and name the moon.",
    "Write a product text for a bicycle lamp in 30 to 45 words and give its price in USD.",
    "Describe how bread is baked in 30 to 45 words and say how long it takes in minutes.",
)
JUDGE = CompositeEvaluator(
    [LengthEvaluator(min_words=30, max_words=45), RegexEvaluator(required=[r"moon|USD|minutes", "xyzzy"])]
)
"""Never satisfied, so that every run makes all its calls."""


def run_all(
    priors: AdaptivePriors, provider: LocalProvider, runs: Sequence[int]
) -> list[RefinementResult[Any, str]]:
    """One run of each way for each number."""
    results = []
    for n in runs:
        for way in WAYS:
            config = LoopConfig(
                max_iterations=4,
                convergence_delta=0.0,
                timeout_ms=None,
                feedback=way,
                prices=PRICES,
                learning="observe",
            )
            loop = LoopedLLM(provider, config, priors=priors)
            results.append(loop.refine(TASKS[n % len(TASKS)], JUDGE, task_type="texts"))
    return results


def paid_by_way(results: Sequence[RefinementResult[Any, str]]) -> dict[str, list[tuple[float, float, float]]]:
    """Money, seconds and tokens of every call."""
    paid: dict[str, list[tuple[float, float, float]]] = {}
    for record in (record for result in results for record in result.iterations):
        seconds = (record.latency_ms + record.evaluation_ms) / 1000.0
        usage = record.usage
        paid.setdefault(record.action, []).append((usage.cost or 0.0, seconds, usage.total_tokens or 0))
    return paid


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def rows_of(
    learned: Mapping[str, Any], paid: Mapping[str, Sequence[Sequence[float]]]
) -> list[dict[str, Any]]:
    """For each way: what was expected, its interval, and what was paid afterwards."""
    rows = []
    for way in ("first", *WAYS):
        money, seconds, tokens = (mean([call[i] for call in paid[way]]) for i in range(3))
        cost = learned[way]
        rows.append(
            {
                "way": way,
                "calls": cost.calls,
                "expected": cost.money,
                "paid": money,
                "money ratio": money / cost.money[0],
                "seconds": cost.seconds,
                "seconds ratio": seconds / cost.seconds[0],
                "tokens": cost.tokens[0],
                "tokens ratio": tokens / cost.tokens[0],
            }
        )
    return rows


def measure(runs: int) -> dict[str, Any]:
    priors, provider = AdaptivePriors(), LocalProvider(temperature=0.8, max_tokens=48, seed=None)
    half = runs // 2
    before = run_all(priors, provider, range(half))
    model = str(provider.model_id)
    learned = priors.report("texts", model).call_costs
    after = run_all(priors, provider, range(half, runs))
    whole = [call for calls in paid_by_way([*before, *after]).values() for call in calls]
    counters: Any = priors.report("texts", model).call_costs
    policy = priors.policy("texts", model, objective=AIM, ways=WAYS)
    return {
        "rows": rows_of(learned, paid_by_way(after)),
        "paid": sum(call[0] for call in whole),
        "learned": sum(cost.calls * cost.money[0] for cost in counters.values()),
        "in units": {way: policy.costs.of(way, 2) for way in WAYS},
    }


def table(found: Mapping[str, Any]) -> str:
    header = ("way", "calls", "expected 1e-6 USD", "80 % interval", "paid/expected", "s", "paid/expected",
              "tokens", "paid/expected")  # fmt: skip
    rows = [
        (
            row["way"],
            f"{row['calls']:.0f}",
            f"{row['expected'][0] * 1e6:.1f}",
            f"{row['expected'][1] * 1e6:.1f} to {row['expected'][2] * 1e6:.1f}",
            f"{row['money ratio']:.2f}",
            f"{row['seconds'][0]:.2f}",
            f"{row['seconds ratio']:.2f}",
            f"{row['tokens']:.0f}",
            f"{row['tokens ratio']:.2f}",
        )
        for row in found["rows"]
    ]
    total = f"paid {found['paid']:.6f} USD in all; learned mean times calls {found['learned']:.6f} USD"
    return f"{text_table(header, rows)}\n{total}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4, help="runs of each way, half of them to learn from")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = measure(asked.runs)
    print(json.dumps(found) if asked.json else table(found))


if __name__ == "__main__":
    main()
