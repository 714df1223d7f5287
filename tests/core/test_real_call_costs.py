"""What calls of the embedded real model cost is learned to the last digit, and shown drafts cost more."""

from typing import Any

import pytest

from loopllm import AdaptivePriors, LoopConfig, LoopedLLM, Objective, Prices
from loopllm.providers.local import LocalProvider

pytestmark = pytest.mark.real_model

PRICES = Prices(prompt_per_million=0.5, completion_per_million=1.5)


def test_learned_costs_are_what_was_paid_and_a_shown_draft_costs_more_than_asking_afresh() -> None:
    priors, provider = AdaptivePriors(), LocalProvider(temperature=0, max_tokens=24, seed=1)
    records: list[Any] = []
    for way in ("last", "fresh"):
        config = LoopConfig(
            max_iterations=3,
            convergence_delta=0.0,
            timeout_ms=None,
            feedback=way,
            prices=PRICES,
            explore=False,
        )
        loop = LoopedLLM(provider, config, priors=priors)
        for topic in ("tides", "bread"):
            run = loop.refine(f"Explain {topic} in one sentence.", lambda output: 0.3, task_type="lines")
            records += run.iterations
    model = str(provider.model_id)
    rows = priors._pair("lines", model).costs
    assert sum([row[0] for row in rows.values()]) == len(records)
    assert sum(row[3] for row in rows.values()) == pytest.approx(sum(r.usage.cost or 0.0 for r in records))
    waited = sum(record.latency_ms + record.evaluation_ms for record in records)
    assert sum(row[9] for row in rows.values()) == pytest.approx(waited)
    costs: Any = priors.report("lines", model).call_costs
    assert costs["last"].tokens[0] > 1.2 * costs["fresh"].tokens[0]
    assert costs["last"].money[0] > costs["fresh"].money[0]
    aim = Objective(value_of_success=0.001, cost_per_second=0.00001)
    policy = priors.policy("lines", model, objective=aim, ways=("last", "fresh"))
    assert policy.costs.of("last", 2) > 0.0
    assert not policy.costs.guessed
