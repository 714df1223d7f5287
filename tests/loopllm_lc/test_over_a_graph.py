"""A loop over somebody else's LangGraph graph, for example an agent: asked again with feedback in its messages."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from loopllm import LoopConfig
from loopllm_lc import LLMJudge, LoopedRunnable

ASKED: Any = {"messages": [HumanMessage("Agree.")]}
HOW = pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])


async def call(looped: Any, how: Any, given: Any = ASKED) -> Any:
    """Return the one thing that comes out."""
    match how:
        case "invoke":
            return looped.invoke(given)
        case "ainvoke":
            return await looped.ainvoke(given)
        case "stream":
            (state,) = looped.stream(given)
        case _:
            (state,) = [piece async for piece in looped.astream(given)]
    return state


def says_yes(state: Any) -> float:
    return 1.0 if "yes" in state["messages"][-1].text else 0.2


@HOW
@pytest.mark.parametrize("wrapped", ["bare", "configured", "in a chain"])
async def test_an_agent_hears_its_answer_and_the_feedback_and_gives_its_whole_state(
    scripted: Any, how: Any, wrapped: Any
) -> None:
    """A graph streams what its steps wrote, which is not what it answers."""
    model = scripted("no", "yes")
    agent: Any = create_agent(model)
    if wrapped == "configured":
        agent = agent.with_config(tags=["mine"])
    elif wrapped == "in a chain":
        agent = RunnablePassthrough() | agent
    state = await call(LoopedRunnable(bound=agent, evaluator=says_yes), how)
    assert [message.text for message in state["messages"]][-1] == "yes"
    assert [message.text for message in model.seen[1]][:2] == ["Agree.", "no"]
    assert "scored 0.20" in model.seen[1][2].text


async def test_a_judge_of_an_agent_is_shown_the_task_and_the_answer_as_text(scripted: Any) -> None:
    judge = scripted('{"clear": 9}')
    looped = LoopedRunnable(bound=create_agent(scripted("It is so.")), evaluator=LLMJudge(judge, ["clear"]))
    asked: Any
    for asked in (ASKED, {"messages": [("user", "Agree.")]}):
        looped.invoke(asked)
        question = judge.seen[-1][1].text
        assert question.startswith("The task was:\nAgree.\n")
        assert "\nIt is so.\n" in question
        assert "messages" not in question


@pytest.mark.parametrize(
    "given", [{"messages": [7]}, {"messages": []}, {"messages": ["?"], "topic": "tides"}]
)
def test_an_input_that_is_no_conversation_is_the_task_as_it_prints(given: Any) -> None:
    tasks: Any = []

    def judge(text: Any, context: Any) -> float:
        tasks.append(context["prompt"])
        return 1.0

    config = LoopConfig(feedback="fresh")
    LoopedRunnable(bound=RunnableLambda(lambda given: "hi"), evaluator=judge, config=config).invoke(given)
    assert tasks == [str(given)]
