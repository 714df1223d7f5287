"""What a call cost reaches the priors through every way that LlamaIndex runs a loop."""

from typing import Any

import pytest
from llama_index.core.base.llms.types import CompletionResponse
from tests.loopllm_li.conftest import ScriptedCompletions, ScriptedEngine, ShelfRetriever

from loopllm import AdaptivePriors, EvaluationResult, LoopConfig, LoopedLLM, Objective, Prices
from loopllm_li import LoopedLlamaLLM, LoopedQueryEngine, LoopedQueryTransform

PRICES = Prices(prompt_per_million=1.0, completion_per_million=4.0)
CONFIG = LoopConfig(
    max_iterations=3,
    prices=PRICES,
    objective=Objective(value_of_success=100.0),
    feedback="last",
    explore=False,
    convergence_delta=0.0,
)
COST = (30 * 1.0 + 4 * 4.0) / 1e6
HOW = pytest.mark.parametrize("how", ["blocking", "awaiting"])


def metered(*texts: str) -> ScriptedCompletions:
    usage = {"prompt_tokens": 30, "completion_tokens": 4}
    return ScriptedCompletions(
        name="small", replies=[CompletionResponse(text=text, additional_kwargs=usage) for text in texts]
    )


def poor(output: Any, context: Any = None) -> EvaluationResult:
    return EvaluationResult(0.3, deficiencies=["poor"])


def the_costs_in(priors: AdaptivePriors) -> Any:
    (report,) = priors.report_all()
    return report.call_costs


@HOW
async def test_a_looped_model_tells_money_tokens_and_time(how: str) -> None:
    priors = AdaptivePriors()
    llm = LoopedLlamaLLM(llm=metered("a", "b", "c"), evaluator=poor, config=CONFIG, priors=priors)
    llm.complete("Agree.") if how == "blocking" else await llm.acomplete("Agree.")
    costs = the_costs_in(priors)
    for way, calls in (("first", 1.0), ("last", 2.0)):
        assert costs[way].calls == calls
        assert costs[way].money[0] == pytest.approx(COST, rel=0.1)
        assert costs[way].tokens[0] == pytest.approx(34.0, rel=0.1)
        assert costs[way].seconds[0] > 0.0


@HOW
async def test_a_loop_over_a_llama_index_model_tells_them_too(how: str) -> None:
    priors, llm = AdaptivePriors(), metered("a", "b", "c")
    loop = LoopedLLM(llm, CONFIG, priors=priors)
    loop.refine("Agree.", poor) if how == "blocking" else await loop.arefine("Agree.", poor)
    assert the_costs_in(priors)["last"].money[0] == pytest.approx(COST, rel=0.1)


@HOW
async def test_a_query_transform_tells_that_the_query_as_it_stands_costs_no_call(how: str) -> None:
    priors = AdaptivePriors()
    shelf = ShelfRetriever({}, otherwise=["nothing of use"])
    transform = LoopedQueryTransform(
        llm=metered("one", "two", "three"), retriever=shelf, evaluator=poor, config=CONFIG, priors=priors
    )
    transform.run("why tides") if how == "blocking" else await transform.arun("why tides")
    costs = the_costs_in(priors)
    assert costs["first"].money[0] == 0.0
    asked = [cost for way, cost in costs.items() if way != "first" and cost.calls]
    assert sum(cost.calls for cost in asked) == 2.0
    for cost in asked:
        assert cost.money[0] == pytest.approx(COST, rel=0.2)
        assert cost.seconds[0] > 0.0


@HOW
async def test_a_query_engine_tells_its_time(how: str) -> None:
    priors = AdaptivePriors()
    looped = LoopedQueryEngine(
        query_engine=ScriptedEngine(["a", "b", "c"]),
        evaluator=poor,
        config=CONFIG,
        priors=priors,
        model_id="small",
    )
    looped.query("why tides") if how == "blocking" else await looped.aquery("why tides")
    costs = the_costs_in(priors)
    assert costs["first"].seconds[0] > 0.0
    assert any(cost.calls and cost.seconds[0] > 0.0 for way, cost in costs.items() if way != "first")
