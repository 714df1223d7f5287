"""The loop inside an agent that goes on after a crash."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from loopllm import AdaptivePriors, LoopConfig, MisuseError
from loopllm_lc import CheckpointedLoopMiddleware

ASKED: Any = {"messages": [HumanMessage("How old is Al?")]}
THREAD: Any = {"configurable": {"thread_id": "1"}}
HOW = pytest.mark.parametrize("how", ["invoke", "ainvoke"])


@tool
def lookup(name: str) -> str:
    """Look a name up."""
    return f"{name} is 9"


async def run(agent: Any, how: Any, given: Any = ASKED, config: Any = THREAD) -> Any:
    return agent.invoke(given, config) if how == "invoke" else await agent.ainvoke(given, config)


@HOW
async def test_only_the_accepted_draft_stays_in_the_history(scripted: Any, says_yes: Any, how: Any) -> None:
    call = AIMessage("", tool_calls=[{"name": "lookup", "args": {"name": "Al"}, "id": "1"}])
    model = scripted(call, "no", "never", "yes, Al is 9")
    agent = create_agent(model, tools=[lookup], middleware=[CheckpointedLoopMiddleware(says_yes)])
    state = await run(agent, how)
    assert [message.type for message in state["messages"]] == ["human", "ai", "tool", "ai"]
    answer = state["messages"][-1]
    assert answer.text == "yes, Al is 9"
    assert answer.response_metadata["loopllm"]["trajectory"] == [0.2, 0.2, 1.0]
    assert answer.usage_metadata["total_tokens"] == 45
    assert [message.type for message in model.seen[-1]] == ["human", "ai", "tool", "ai", "human"]
    assert "loopllm_run" not in state


def test_a_blocking_agent_says_that_its_evaluator_is_async_before_the_model_is_paid(scripted: Any) -> None:
    async def judge(output: str) -> float:
        return 1.0

    model = scripted("hi")
    with pytest.raises(MisuseError, match="'judge' is async"):
        create_agent(model, middleware=[CheckpointedLoopMiddleware(judge)]).invoke(ASKED)
    assert model.seen == []


@HOW
async def test_a_tool_call_after_a_rejected_draft_carries_what_both_cost(
    scripted: Any, says_yes: Any, how: Any
) -> None:
    usage = {"input_tokens": 2, "output_tokens": 1, "total_tokens": 3}
    called = {"name": "lookup", "args": {"name": "Al"}, "id": "1"}
    model = scripted("no", AIMessage("", tool_calls=[called], usage_metadata=usage), "yes, Al is 9")
    agent = create_agent(
        model,
        tools=[lookup],
        middleware=[CheckpointedLoopMiddleware(says_yes)],
        checkpointer=InMemorySaver(),
    )
    state = await run(agent, how)
    assert [message.type for message in state["messages"]] == ["human", "ai", "tool", "ai"]
    call, answer = state["messages"][1], state["messages"][-1]
    assert call.usage_metadata["total_tokens"] == 15 + 3
    assert call.response_metadata["loopllm"] == {
        "iterations": 2,
        "score": None,
        "exit_reason": "tool_calls",
        "best_iteration": 2,
        "trajectory": [0.2, None],
    }
    assert answer.usage_metadata["total_tokens"] == 15
    assert answer.response_metadata["loopllm"]["iterations"] == 1


@HOW
async def test_a_refusal_after_a_rejected_draft_says_why_the_loop_ended(
    scripted: Any, says_yes: Any, how: Any
) -> None:
    refusal = AIMessage("No.", response_metadata={"finish_reason": "content_filter"})
    agent = create_agent(scripted("no", refusal), middleware=[CheckpointedLoopMiddleware(says_yes)])
    answer = (await run(agent, how))["messages"][-1]
    assert answer.response_metadata["loopllm"]["exit_reason"] == "refusal"
    assert answer.usage_metadata["total_tokens"] == 15


@HOW
async def test_an_earlier_better_draft_is_put_back(scripted: Any, how: Any) -> None:
    """T28."""
    scores = iter([0.6, 0.1, 0.2])
    middleware = CheckpointedLoopMiddleware(lambda text: next(scores), LoopConfig(max_iterations=3))
    state = await run(create_agent(scripted("good", "bad", "worse"), middleware=[middleware]), how)
    assert [message.text for message in state["messages"]] == ["How old is Al?", "good"]


class Killed(BaseException):
    """Stands for the end of the process."""


@HOW
@pytest.mark.parametrize("killed_at", [1, 2, 3])
async def test_after_a_crash_no_draft_is_paid_twice(
    scripted: Any, says_yes: Any, how: Any, killed_at: Any
) -> None:
    judged: Any = []

    def dying(text: Any) -> Any:
        judged.append(text)
        if len(judged) == killed_at:
            raise Killed
        return says_yes(text)

    model, saver = scripted("no", "never", "yes"), InMemorySaver()
    make = lambda: create_agent(model, middleware=[CheckpointedLoopMiddleware(dying)], checkpointer=saver)  # noqa: E731
    with pytest.raises(Killed):
        await run(make(), how)
    state = await run(make(), how, None)
    assert [message.text for message in state["messages"]] == ["How old is Al?", "yes"]
    assert len(model.seen) == 3
    assert state["messages"][-1].response_metadata["loopllm"]["trajectory"] == [0.2, 0.2, 1.0]


@HOW
async def test_a_new_question_after_a_crash_is_not_answered_with_the_old_run(
    scripted: Any, says_yes: Any, how: Any
) -> None:
    """Only `invoke(None)` goes on with it."""
    model = scripted("no", ZeroDivisionError("boom"), "yes, again")
    agent = create_agent(
        model, middleware=[CheckpointedLoopMiddleware(says_yes)], checkpointer=InMemorySaver()
    )
    with pytest.raises(ZeroDivisionError):
        await run(agent, how)
    state = await run(agent, how, {"messages": [HumanMessage("Sure?")]})
    assert [message.text for message in model.seen[-1]] == ["How old is Al?", "Sure?"]
    assert [message.text for message in state["messages"]] == ["How old is Al?", "Sure?", "yes, again"]
    assert state["messages"][-1].response_metadata["loopllm"]["trajectory"] == [1.0]


@HOW
async def test_a_thread_goes_on_with_the_next_question(scripted: Any, says_yes: Any, how: Any) -> None:
    agent = create_agent(
        scripted("no", "yes", "no", "yes again"),
        middleware=[CheckpointedLoopMiddleware(says_yes)],
        checkpointer=InMemorySaver(),
    )
    await run(agent, how)
    state = await run(agent, how, {"messages": [HumanMessage("Sure?")]})
    assert [message.text for message in state["messages"]] == ["How old is Al?", "yes", "Sure?", "yes again"]


@HOW
async def test_the_judge_stays_out_of_the_message_stream_and_drafts_appear_whole(
    scripted: Any, how: Any
) -> None:
    """T8."""
    judge = ChatPromptTemplate.from_template("{output}") | scripted("0.1", "0.9") | StrOutputParser()
    agent = create_agent(scripted("bad one", "good two"), middleware=[CheckpointedLoopMiddleware(judge)])
    if how == "invoke":
        parts: Any = list(agent.stream(ASKED, stream_mode="messages"))
    else:
        parts = [part async for part in agent.astream(ASKED, stream_mode="messages")]
    assert [message.text for message, _ in parts] == ["bad one", "good two"]


def test_what_is_learned_is_kept_under_the_name_given(scripted: Any, says_yes: Any) -> None:
    priors = AdaptivePriors()
    middleware = CheckpointedLoopMiddleware(says_yes, priors=priors, task_type="ages", model_id="small")
    create_agent(scripted("no", "yes"), middleware=[middleware]).invoke(ASKED)
    report = priors.report("ages", "small")
    assert (report.total_calls, report.model_calls) == (1, 2)


@pytest.mark.parametrize("wrong", [{"evaluator": None}, {"evaluator": bool, "priors": AdaptivePriors()}])
def test_what_it_needs_is_said_when_it_is_built(wrong: Any) -> None:
    with pytest.raises(MisuseError, match="needs an evaluator"):
        CheckpointedLoopMiddleware(**wrong)


@HOW
async def test_the_time_that_the_model_takes_counts(scripted: Any, says_yes: Any, how: Any) -> None:
    model = scripted("no", delay=0.05)
    config = LoopConfig(max_iterations=40, convergence_delta=0.0, timeout_ms=200)
    agent = create_agent(model, middleware=[CheckpointedLoopMiddleware(says_yes, config)])
    answer = (await run(agent, how))["messages"][-1]
    assert answer.response_metadata["loopllm"]["exit_reason"] == "timeout_ms"
    assert len(model.seen) < 10


@HOW
async def test_the_seconds_of_a_call_are_learned_and_stand_on_no_message(
    scripted: Any, says_yes: Any, how: Any
) -> None:
    priors, call = (
        AdaptivePriors(),
        AIMessage("", tool_calls=[{"name": "lookup", "args": {"name": "Al"}, "id": "1"}]),
    )
    middleware = CheckpointedLoopMiddleware(says_yes, priors=priors, task_type="ages", model_id="small")
    agent = create_agent(scripted(call, "no", "yes", delay=0.01), tools=[lookup], middleware=[middleware])
    state = await run(agent, how)
    assert priors.report("ages", "small").call_costs["first"].seconds is not None
    assert all("loopllm_seconds" not in message.response_metadata for message in state["messages"])
