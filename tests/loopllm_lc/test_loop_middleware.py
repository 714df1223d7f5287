"""The loop inside an agent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, StructuredOutputValidationError, ToolStrategy
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from loopllm import AdaptivePriors, CallTimeoutError, LoopConfig, MisuseError
from loopllm_lc import LoopMiddleware

ASKED: Any = {"messages": [HumanMessage("How old is Al?")]}
HOW = pytest.mark.parametrize("how", ["invoke", "ainvoke"])


class Person(BaseModel):
    name: str
    age: int


@tool
def lookup(name: str) -> str:
    """Look a name up."""
    return f"{name} is 9"


def calling(name: Any, args: Any, call_id: Any = "1") -> Any:
    return AIMessage("", tool_calls=[{"name": name, "args": args, "id": call_id}])


async def run(agent: Any, how: Any, given: Any = None, config: Any = None) -> Any:
    given = ASKED if given is None else given
    return agent.invoke(given, config) if how == "invoke" else await agent.ainvoke(given, config)


@HOW
async def test_only_the_accepted_draft_enters_the_history(scripted: Any, says_yes: Any, how: Any) -> None:
    """T25: with a blocking hook alone `ainvoke` fails."""
    model = scripted(calling("lookup", {"name": "Al"}), "no", "yes, Al is 9")
    agent = create_agent(model, tools=[lookup], middleware=[LoopMiddleware(says_yes)])
    state = await run(agent, how)
    assert [message.type for message in state["messages"]] == ["human", "ai", "tool", "ai"]
    answer = state["messages"][-1]
    assert answer.text == "yes, Al is 9"
    assert answer.usage_metadata["total_tokens"] == 30
    assert answer.response_metadata["loopllm"]["trajectory"] == [0.2, 1.0]
    assert "the answer must hold the word yes" in model.seen[-1][-1].text


@HOW
async def test_a_draft_that_calls_tools_is_not_judged(scripted: Any, how: Any) -> None:
    """T24."""
    judged: Any = []
    model = scripted(calling("lookup", {"name": "Al"}), "Al is 9")
    agent = create_agent(
        model, tools=[lookup], middleware=[LoopMiddleware(lambda text: judged.append(text) or 1.0)]
    )
    state = await run(agent, how)
    assert judged == ["Al is 9"]
    assert state["messages"][1].response_metadata["loopllm"]["exit_reason"] == "tool_calls"


@HOW
async def test_an_earlier_better_draft_is_kept(scripted: Any, how: Any) -> None:
    """T28: the strongest peer returns the last answer."""
    scores = iter([0.6, 0.1, 0.2])
    middleware = LoopMiddleware(lambda text: next(scores), LoopConfig(max_iterations=3))
    state = await run(create_agent(scripted("good", "bad", "worse"), middleware=[middleware]), how)
    assert [message.text for message in state["messages"]] == ["How old is Al?", "good"]


async def streamed(agent: Any, how: Any, modes: Any) -> Any:
    if how == "invoke":
        return list(agent.stream(ASKED, stream_mode=modes))
    return [part async for part in agent.astream(ASKED, stream_mode=modes)]


@HOW
async def test_drafts_and_the_judge_stay_out_of_the_message_stream(scripted: Any, how: Any) -> None:
    """T8."""
    judge = ChatPromptTemplate.from_template("{output}") | scripted("0.1", "0.9") | StrOutputParser()
    agent = create_agent(scripted("bad one", "good two"), middleware=[LoopMiddleware(judge)])
    parts = await streamed(agent, how, ["messages", "custom"])
    messages = [part[1][0] for part in parts if part[0] == "messages"]
    assert "".join(message.text for message in messages) == "good two"
    told = [part[1] for part in parts if part[0] == "custom"]
    assert [event["type"] for event in told] == [
        "loopllm.iteration.start",
        "loopllm.iteration.end",
        "loopllm.iteration.start",
        "loopllm.iteration.end",
        "loopllm.exit",
    ]


@HOW
async def test_the_loop_stands_below_the_agents_step_in_a_trace(
    scripted: Any, says_yes: Any, recorder: Any, how: Any
) -> None:
    agent = create_agent(scripted("no", "yes"), middleware=[LoopMiddleware(says_yes)])
    await run(agent, how, config={"callbacks": [recorder]})
    (loop,) = recorder.named("LoopMiddleware")
    assert recorder.parent_name(loop) == "model"
    models = [each for each in recorder.runs.values() if each["kind"] == "model"]
    assert [recorder.parent_name(each) for each in models] == ["LoopMiddleware", "LoopMiddleware"]
    assert "loopllm:iteration:2" in models[1]["tags"] or models[1]["parent"] is not None
    assert [recorder.parent_name(each) for each in recorder.named("evaluate")] == ["LoopMiddleware"] * 2


@HOW
async def test_a_structure_by_tool_is_judged_parsed_and_its_failures_are_bounded(
    scripted: Any, how: Any
) -> None:
    good = calling("Person", {"name": "Al", "age": 9})
    model = scripted(calling("Person", {"name": "Al"}), good)
    agent = create_agent(model, response_format=ToolStrategy(Person), middleware=[LoopMiddleware()])
    state = await run(agent, how)
    assert state["structured_response"] == Person(name="Al", age=9)
    assert [message.type for message in state["messages"]] == ["human", "ai", "tool"]
    assert model.seen[1][-1].type == "tool"
    assert "age" in model.seen[1][-1].text


@HOW
async def test_a_structure_that_never_comes_ends_after_the_budget(scripted: Any, how: Any) -> None:
    """langchain's own retries have no limit: create_agent sets a recursion limit of 9999."""
    model = scripted(calling("Person", {"name": "Al"}))
    middleware = LoopMiddleware(config=LoopConfig(max_iterations=3, convergence_delta=0.0))
    agent = create_agent(model, response_format=ToolStrategy(Person), middleware=[middleware])
    with pytest.raises((OutputParserException, StructuredOutputValidationError, ValueError)):
        await run(agent, how)
    assert len(model.seen) == 3


@HOW
async def test_plain_words_instead_of_a_structure_by_tool_are_a_deficiency(scripted: Any, how: Any) -> None:
    model = scripted("Al is 9", calling("Person", {"name": "Al", "age": 9}))
    agent = create_agent(model, response_format=ToolStrategy(Person), middleware=[LoopMiddleware()])
    state = await run(agent, how)
    assert state["structured_response"] == Person(name="Al", age=9)
    assert "structure" in model.seen[1][-1].text
    assert state["messages"][1].response_metadata["loopllm"]["trajectory"] == [0.0, 1.0]


@HOW
async def test_plain_words_for_ever_instead_of_a_structure_end_after_the_budget(
    scripted: Any, how: Any
) -> None:
    """The agent alone goes on to its recursion limit of 9999."""
    model = scripted("Al is 9")
    middleware = LoopMiddleware(config=LoopConfig(max_iterations=3, convergence_delta=0.0))
    agent = create_agent(model, response_format=ToolStrategy(Person), middleware=[middleware])
    with pytest.raises(OutputParserException, match="no draft of 3"):
        await run(agent, how, config={"recursion_limit": 25})
    assert len(model.seen) == 3


@HOW
async def test_before_a_structure_the_agents_own_tools_are_called_unjudged(scripted: Any, how: Any) -> None:
    model = scripted(calling("lookup", {"name": "Al"}), calling("Person", {"name": "Al", "age": 9}, "2"))
    agent = create_agent(
        model, tools=[lookup], response_format=ToolStrategy(Person), middleware=[LoopMiddleware()]
    )
    state = await run(agent, how)
    assert state["structured_response"] == Person(name="Al", age=9)
    assert state["messages"][1].response_metadata["loopllm"]["exit_reason"] == "tool_calls"


@HOW
async def test_an_agent_whose_time_ran_out_raises_instead_of_answering_nothing(
    scripted: Any, how: Any
) -> None:
    middleware = LoopMiddleware(lambda text: 1.0, LoopConfig(timeout_ms=50))
    agent = create_agent(scripted("late", delay=120.0), middleware=[middleware])
    with pytest.raises(CallTimeoutError, match="timeout_ms"):
        await run(agent, how)


@HOW
async def test_a_structure_by_provider_is_repaired_instead_of_raising_at_once(
    scripted: Any, how: Any
) -> None:
    model = scripted("not json", '{"name": "Al", "age": 9}')
    agent = create_agent(model, response_format=ProviderStrategy(Person), middleware=[LoopMiddleware()])
    assert (await run(agent, how))["structured_response"] == Person(name="Al", age=9)
    assert "could not be read" in model.seen[1][-1].text


@HOW
async def test_a_structure_its_client_withholds_since_it_was_cut_off_is_asked_for_again(
    scripted: Any, cut_off: Any, how: Any
) -> None:
    model = scripted(cut_off('{"name": "Al'), '{"name": "Al", "age": 9}')
    agent = create_agent(model, response_format=ProviderStrategy(Person), middleware=[LoopMiddleware()])
    assert (await run(agent, how))["structured_response"] == Person(name="Al", age=9)
    assert "cut off" in model.seen[1][-1].text


@HOW
async def test_an_evaluator_judges_the_parsed_structure(scripted: Any, how: Any) -> None:
    ages = [calling("Person", {"name": "Al", "age": age}, str(age)) for age in (8, 9)]
    middleware = LoopMiddleware(lambda person: 1.0 if person.age == 9 else 0.2)
    agent = create_agent(scripted(*ages), response_format=ToolStrategy(Person), middleware=[middleware])
    assert (await run(agent, how))["structured_response"].age == 9


@HOW
async def test_an_interrupt_passes_through_and_the_agent_resumes(scripted: Any, how: Any) -> None:
    """T11: GraphInterrupt is an Exception."""

    @tool
    def ask(question: str) -> str:
        """Ask a person."""
        return str(interrupt(question))

    model = scripted(calling("ask", {"question": "age?"}), "no", "yes 9")
    middleware = LoopMiddleware(lambda text: 1.0 if "yes" in text else 0.1)
    agent = create_agent(model, tools=[ask], middleware=[middleware], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    state = await run(agent, how, config=config)
    assert state["__interrupt__"][0].value == "age?"
    assert (await run(agent, how, Command(resume="9"), config))["messages"][-1].text == "yes 9"


@HOW
async def test_an_evaluator_that_interrupts_interrupts_the_agent(scripted: Any, how: Any) -> None:
    """T11."""

    def ask_a_person(text: Any, context: Any = None) -> Any:
        return float(interrupt(text))

    middleware = LoopMiddleware(ask_a_person)
    agent = create_agent(scripted("draft"), middleware=[middleware], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    assert (await run(agent, how, config=config))["__interrupt__"][0].value == "draft"
    assert (await run(agent, how, Command(resume="0.9"), config))["messages"][-1].text == "draft"


@HOW
async def test_the_models_own_error_reaches_the_agents_other_middleware(
    scripted: Any, says_yes: Any, how: Any
) -> None:
    from langchain.agents.middleware import ModelFallbackMiddleware

    bad, good = scripted(ZeroDivisionError("boom")), scripted("yes")
    agent = create_agent(bad, middleware=[ModelFallbackMiddleware(good), LoopMiddleware(says_yes)])
    assert (await run(agent, how))["messages"][-1].text == "yes"
    alone = create_agent(bad, middleware=[LoopMiddleware(says_yes)])
    with pytest.raises(ZeroDivisionError):
        await run(alone, how)


async def test_one_middleware_serves_many_agents_at_once(says_yes: Any, scripted: Any) -> None:
    """T10."""
    middleware = LoopMiddleware(says_yes)
    agents = [create_agent(scripted("no", f"yes {n}", delay=0.02), middleware=[middleware]) for n in range(8)]
    states = await asyncio.gather(*(agent.ainvoke(ASKED) for agent in agents))
    assert [state["messages"][-1].text for state in states] == [f"yes {n}" for n in range(8)]


def test_what_is_learned_is_kept_under_the_models_name(scripted: Any, says_yes: Any) -> None:
    priors = AdaptivePriors()
    model = scripted("no", "yes", model_name="small")
    create_agent(model, middleware=[LoopMiddleware(says_yes, priors=priors, task_type="ages")]).invoke(ASKED)
    assert priors.report("ages", "small").total_calls == 1


def test_without_an_evaluator_and_without_a_structure_it_says_what_is_missing(scripted: Any) -> None:
    with pytest.raises(MisuseError, match="evaluator"):
        create_agent(scripted("hi"), middleware=[LoopMiddleware()]).invoke(ASKED)


def test_the_callers_messages_are_left_alone(scripted: Any, says_yes: Any) -> None:
    """T9."""
    given: Any = [HumanMessage("How old is Al?", id="q")]
    create_agent(scripted("no", "yes"), middleware=[LoopMiddleware(says_yes)]).invoke({"messages": given})
    assert given == [HumanMessage("How old is Al?", id="q")]
