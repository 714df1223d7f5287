"""A loop as a step of somebody else's LangGraph graph."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langgraph.graph import START, MessagesState, StateGraph

from loopllm_lc import LoopedChatModel, LoopedRunnable

ASKED: Any = {"messages": [HumanMessage("Write.")]}
TOLD = [
    "loopllm.iteration.start",
    "loopllm.iteration.end",
    "loopllm.iteration.start",
    "loopllm.iteration.end",
    "loopllm.exit",
]
CALLS = ["invoke", "ainvoke", "stream", "astream"]


def graph_around(model: Any, how: str) -> Any:
    def node(state: Any) -> Any:
        given = state["messages"]
        return {"messages": [model.invoke(given) if how == "invoke" else _sum(list(model.stream(given)))]}

    async def anode(state: Any) -> Any:
        given = state["messages"]
        if how == "ainvoke":
            return {"messages": [await model.ainvoke(given)]}
        return {"messages": [_sum([piece async for piece in model.astream(given)])]}

    builder = StateGraph(MessagesState)
    builder.add_node("write", anode if how.startswith("a") else node)
    builder.add_edge(START, "write")
    return builder.compile()


def _sum(pieces: Any) -> Any:
    total = pieces[0]
    for piece in pieces[1:]:
        total = total + piece
    return total


async def streamed(graph: Any, how: str) -> Any:
    modes: Any = ["messages", "custom"]
    if how.startswith("a"):
        return [part async for part in graph.astream(ASKED, stream_mode=modes)]
    return list(graph.stream(ASKED, stream_mode=modes))


@pytest.mark.parametrize("how", CALLS)
@pytest.mark.parametrize("kind", [LoopedRunnable, LoopedChatModel])
async def test_the_chat_shows_the_accepted_answer_alone_and_progress_goes_to_the_stream_writer(
    scripted: Any, kind: Any, how: str
) -> None:
    """T8."""
    judge = ChatPromptTemplate.from_template("{output}") | scripted("0.1", "0.9") | StrOutputParser()
    model = kind(bound=scripted("bad one", "good two"), evaluator=judge)
    parts = await streamed(graph_around(model, how), how)
    assert "".join(part[1][0].text for part in parts if part[0] == "messages") == "good two"
    told = [part[1] for part in parts if part[0] == "custom"]
    assert [event["type"] for event in told] == TOLD
    assert [event["score"] for event in told if event["type"] == "loopllm.iteration.end"] == [0.1, 0.9]


async def test_a_loop_is_a_node_as_it_stands(scripted: Any, says_yes: Any) -> None:
    looped = LoopedRunnable(bound=scripted("no", "yes"), evaluator=says_yes)
    builder = StateGraph(MessagesState)
    builder.add_node(
        "write", (lambda state: state["messages"]) | looped | (lambda message: {"messages": [message]})
    )
    builder.add_edge(START, "write")
    assert (await builder.compile().ainvoke(ASKED))["messages"][-1].text == "yes"
