"""What a call cost reaches the priors through every way that LangChain runs a loop."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from loopllm import AdaptivePriors, LoopConfig, Objective, Prices
from loopllm_lc import LoopedRunnable, LoopMiddleware, loop_graph

PRICES = Prices(prompt_per_million=1.0, completion_per_million=4.0)
CONFIG = LoopConfig(
    max_iterations=3,
    prices=PRICES,
    objective=Objective(value_of_success=100.0),
    feedback="last",
    explore=False,
    convergence_delta=0.0,
)
COST = (10 * 1.0 + 5 * 4.0) / 1e6
ASKED: Any = {"messages": [HumanMessage("Agree.")]}


def costs_in(priors: AdaptivePriors) -> Any:
    (report,) = priors.report_all()
    assert report.call_costs, "no call told what it cost"
    return report.call_costs


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
async def test_a_looped_runnable_tells_money_tokens_and_time(scripted: Any, says_yes: Any, how: Any) -> None:
    priors = AdaptivePriors()
    model = scripted("no", "maybe", "yes", model_name="small")
    looped = LoopedRunnable(bound=model, evaluator=says_yes, config=CONFIG, priors=priors)
    if how == "invoke":
        looped.invoke("Agree.")
    elif how == "ainvoke":
        await looped.ainvoke("Agree.")
    elif how == "stream":
        list(looped.stream("Agree."))
    else:
        [piece async for piece in looped.astream("Agree.")]
    costs = costs_in(priors)
    for way, calls in (("first", 1.0), ("last", 2.0)):
        assert costs[way].calls == calls
        assert costs[way].money[0] == pytest.approx(COST, rel=0.1)
        assert costs[way].tokens[0] == pytest.approx(15.0, rel=0.1)
        assert costs[way].seconds[0] > 0.0


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
async def test_a_graph_tells_money_tokens_and_time(scripted: Any, says_yes: Any, how: Any) -> None:
    priors = AdaptivePriors()
    model = scripted("no", "yes", model_name="small")
    graph = loop_graph(model, says_yes, priors=priors, config=CONFIG).compile()
    if how == "invoke":
        graph.invoke(ASKED)
    else:
        await graph.ainvoke(ASKED)
    costs = costs_in(priors)
    assert costs["last"].money[0] == pytest.approx(COST, rel=0.2)
    assert costs["last"].seconds[0] > 0.0


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
async def test_an_agent_that_is_looped_tells_them_too(scripted: Any, says_yes: Any, how: Any) -> None:
    from langchain.agents import create_agent

    priors = AdaptivePriors()
    model = scripted("no", "yes", model_name="small")
    loop = LoopMiddleware(evaluator=says_yes, priors=priors, config=CONFIG)
    agent: Any = create_agent(model, middleware=[loop])
    if how == "invoke":
        agent.invoke(ASKED)
    else:
        await agent.ainvoke(ASKED)
    costs = costs_in(priors)
    assert costs["last"].money[0] == pytest.approx(COST, rel=0.2)
    assert costs["last"].seconds[0] > 0.0


def test_a_checkpointed_agent_tells_money_and_time(scripted: Any, says_yes: Any) -> None:
    from langchain.agents import create_agent

    from loopllm_lc import CheckpointedLoopMiddleware

    priors = AdaptivePriors()
    model = scripted("no", "yes", model_name="small")
    loop = CheckpointedLoopMiddleware(evaluator=says_yes, priors=priors, config=CONFIG, model_id="small")
    agent: Any = create_agent(model, middleware=[loop])
    agent.invoke(ASKED)
    costs = costs_in(priors)
    assert costs["last"].money[0] == pytest.approx(COST, rel=0.2)
    assert costs["last"].seconds[0] > 0.0
