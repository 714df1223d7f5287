"""An objective in money, from the first call of the first run on: both drivers, prices, budgets, what is reported."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from loopllm import AdaptivePriors, LoopConfig, LoopedLLM, Objective, Prices, Usage
from loopllm.preparing import _warn_of_unknown_money
from loopllm.priors import RoundObservation
from loopllm.providers.base import Completion

HOW = pytest.mark.parametrize("how", ["blocking", "awaiting"])
PRICES = Prices(prompt_per_million=10.0, completion_per_million=40.0)


@dataclass
class Metered:
    """A model that counts a token for every character it is sent, and 100 for its answer."""

    costs: float | None = None
    counts: bool = True
    model_id: str = "metered"
    asked: list[str] = field(default_factory=list)

    def complete(
        self, prompt: Any, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[str]:
        self.asked.append(prompt)
        usage = Usage(len(prompt), 100, self.costs) if self.counts else Usage()
        return Completion("the answer " * 10, usage=usage)

    async def acomplete(
        self, prompt: Any, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[str]:
        return self.complete(prompt, model)


def poor(output: str, context: Any = None) -> float:
    return 0.3


async def refined(loop: LoopedLLM[Any, Any], how: str, **settings: Any) -> Any:
    if how == "blocking":
        return loop.refine("a task", poor, **settings)
    return await loop.arefine("a task", poor, **settings)


def config(value: float, **settings: Any) -> LoopConfig:
    chosen = {"prices": PRICES, "explore": False, **settings}
    return LoopConfig(objective=Objective(value_of_success=value), convergence_delta=0.0, **chosen)


@HOW
async def test_the_first_run_of_all_knows_what_its_own_first_call_cost(how: str) -> None:
    """The first call costs 0.004. Twice the value of success is never worth paying; a thousandth is, five times."""
    calls = [
        (
            await refined(LoopedLLM(Metered(), config(value), priors=AdaptivePriors()), how)
        ).metrics.total_iterations
        for value in (0.002, 4.0)
    ]
    assert calls == [1, 5]


@HOW
async def test_the_first_run_says_in_its_reason_what_a_call_costs(how: str) -> None:
    run = await refined(LoopedLLM(Metered(), config(0.002), priors=AdaptivePriors()), how)
    reason = run.metrics.exit_reason
    assert reason.condition == "bayesian_exit"
    assert "guess" not in reason.message
    assert "USD" in reason.message


@HOW
async def test_what_was_learned_is_what_was_paid_by_way_of_asking(how: str) -> None:
    priors, provider = AdaptivePriors(), Metered()
    loop = LoopedLLM(provider, config(100.0, max_iterations=4, feedback="last"), priors=priors)
    runs = [await refined(loop, how) for _ in range(6)]
    paid = sum(run.metrics.usage.cost for run in runs)
    rows = priors._pair("default", "metered").costs.values()
    assert sum(row[3] for row in rows) == pytest.approx(paid)
    assert sum(row[0] for row in rows) == len(provider.asked) == 24
    waited = sum(record.latency_ms + record.evaluation_ms for run in runs for record in run.iterations)
    assert sum(row[9] for row in rows) == pytest.approx(waited)
    costs: Any = priors.report("default", "metered").call_costs
    assert costs["last"].money[1] > costs["first"].money[2]  # it shows the draft


class Heard:
    """Writes down the rounds it is told."""

    blocking = False
    mode = "act"
    continue_probability_threshold = 0.0

    def __init__(self, priors: AdaptivePriors) -> None:
        self._priors = priors
        self.rounds: list[RoundObservation] = []
        self.ends: list[Any] = []

    def observe_round(self, seen: RoundObservation) -> None:
        self.rounds.append(seen)

    def observe_end(self, seen: Any) -> None:
        self.ends.append(seen)

    def policy(self, *names: Any, **settings: Any) -> Any:
        return self._priors.policy(*names, **settings)


@HOW
async def test_both_drivers_tell_the_latency_and_the_usage_of_every_call(how: str) -> None:
    heard: Any = Heard(AdaptivePriors())
    await refined(LoopedLLM(Metered(), config(4.0, max_iterations=3, feedback="last"), priors=heard), how)
    assert len(heard.rounds) == 3
    for seen in heard.rounds:
        assert seen.latency_ms > 0.0
        assert seen.evaluation_ms > 0.0
        assert (seen.usage.completion_tokens, seen.usage.cost > 0.0) == (100, True)
    (end,) = heard.ends
    assert [usage.cost for usage in end.usages] == [seen.usage.cost for seen in heard.rounds]
    assert list(end.latencies_ms) == [seen.latency_ms for seen in heard.rounds]


def test_a_cost_that_the_provider_reports_goes_before_prices() -> None:
    priors = AdaptivePriors()
    LoopedLLM(Metered(costs=0.5), config(4.0, max_iterations=1), priors=priors).refine("a task", poor)
    costs: Any = priors.report("default", "metered").call_costs
    assert costs["first"].money[0] == pytest.approx(0.5, rel=0.2)


def test_a_cost_that_cannot_be_is_not_learned_and_ends_no_run() -> None:
    priors = AdaptivePriors()
    loop = LoopedLLM(Metered(costs=-1.0), LoopConfig(max_iterations=2), priors=priors)
    assert loop.refine("a task", poor).metrics.total_iterations == 2
    assert priors.report("default", "metered").call_costs["first"].money is None


def warnings_of(caplog: pytest.LogCaptureFixture) -> Sequence[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_when_no_call_tells_its_price_that_is_said_once_with_the_fix(
    caplog: pytest.LogCaptureFixture,
) -> None:
    _warn_of_unknown_money.cache_clear()
    loop = LoopedLLM(Metered(counts=False), config(0.02, prices=None), priors=AdaptivePriors())
    for _ in range(3):
        loop.refine("a task", poor)
    (warning,) = warnings_of(caplog)
    assert "set LoopConfig(prices=Prices(...))" in warning


def test_a_model_that_is_said_to_be_free_needs_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    _warn_of_unknown_money.cache_clear()
    free = Prices(prompt_per_million=0.0, completion_per_million=0.0)
    loop = LoopedLLM(Metered(), config(0.02, prices=free), priors=AdaptivePriors())
    assert [loop.refine("a task", poor).metrics.total_iterations for _ in range(3)] == [5, 5, 5]
    assert warnings_of(caplog) == []


def test_a_budget_and_an_objective_keep_their_own_limits_in_one_currency() -> None:
    generous = config(100.0, cost_budget=0.012, prices=PRICES)
    reason = (
        LoopedLLM(Metered(), generous, priors=AdaptivePriors()).refine("a task", poor).metrics.exit_reason
    )
    assert reason.condition == "cost_budget"
    assert "USD spent of 0.012" in reason.message
    mean = config(0.002, cost_budget=0.012, prices=PRICES)
    reason = LoopedLLM(Metered(), mean, priors=AdaptivePriors()).refine("a task", poor).metrics.exit_reason
    assert reason.condition == "bayesian_exit"


def test_a_run_that_was_moved_goes_on_with_the_cost_of_its_first_call() -> None:
    loop = LoopedLLM(Metered(), config(0.002), priors=AdaptivePriors())
    run = loop.begin("a task")
    run.next_step()
    again = loop.restore(run.to_dict())
    assert loop.refine(again, poor).metrics.total_iterations == 1


def test_many_first_runs_at_once_share_their_plans() -> None:
    priors = AdaptivePriors()
    loop = LoopedLLM(Metered(), config(0.05, max_iterations=3), priors=priors)
    runs = [loop.begin("a task") for _ in range(20)]  # all begin before any has learned
    for run in runs:
        loop.refine(run, poor)
    prepared = next(iter(priors._acting._plans.values()))
    assert len(prepared.told) <= 2
