"""What one extra iteration of `LoopedRunnable.invoke` costs, beside a bare loop of `model.invoke` calls and peers.

All loops call one fake chat model that answers at once, under the same callback handler, which counts model calls.
The bare loop is what one would write by hand: it sends the same messages (task, draft, feedback) and scores with the
same function. CPU time of the process; the loops are measured in turns and the least of many repetitions is
reported, since other work on the machine only ever adds.

    python benchmarks/langchain_overhead.py [--json]
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, TypedDict

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.output_parsers import BaseOutputParser, StrOutputParser
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import RunnableConfig, RunnableLambda

from loopllm import LoopConfig
from loopllm_lc import LoopedRunnable, loop_graph

EXTRA = 4  # short runs, so that some of them are left alone by whatever else runs on the machine
REPETITIONS = 150
MODEL = FakeListChatModel(responses=["a draft"])
TASK = "the task"


class CountCalls(BaseCallbackHandler):
    """Counts finished model calls, as a token counter does."""

    def __init__(self) -> None:
        self.calls = 0

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        self.calls += 1


def config_of() -> RunnableConfig:
    return {"callbacks": [CountCalls()], "recursion_limit": 10_000}


def judge(text: str) -> float:
    return 0.5


judge.inline = True  # type: ignore[attr-defined]  # says that it never blocks


def bare(iterations: int) -> None:
    config, task = config_of(), [HumanMessage(TASK)]
    messages: list[BaseMessage] = list(task)
    for _ in range(iterations):
        reply = MODEL.invoke(messages, config)
        score = judge(str(reply.text))
        if score >= 0.8:
            return
        messages = [
            *task,
            reply,
            HumanMessage(f"That answer scored {score:.2f} out of 1. Write a better one."),
        ]


def looped(timeout_ms: float | None) -> Callable[[int], None]:
    def run(iterations: int) -> None:
        settings = LoopConfig(max_iterations=iterations, convergence_delta=0.0, timeout_ms=timeout_ms)
        runnable: Any = LoopedRunnable(bound=MODEL, evaluator=judge, config=settings)
        runnable.invoke(TASK, config_of())

    return run


def graph_of_ours(iterations: int) -> None:
    settings = LoopConfig(max_iterations=iterations, convergence_delta=0.0, timeout_ms=None)
    graph = loop_graph(MODEL, judge, settings).compile()
    graph.invoke({"messages": [HumanMessage(TASK)]}, config_of())


def retried(iterations: int) -> None:
    """`with_retry` around a model and a check that fails: no feedback, the same prompt again."""

    def refuse(message: BaseMessage) -> None:
        if judge(str(message.text)) < 0.8:
            raise ValueError

    retrying = (MODEL | RunnableLambda(refuse)).with_retry(
        stop_after_attempt=iterations, wait_exponential_jitter=False
    )
    try:
        retrying.invoke(TASK, config_of())
    except ValueError:
        return


class State(TypedDict, total=False):
    messages: list[BaseMessage]
    score: float
    rounds: int


def langgraph_loop(iterations: int) -> None:
    """Two nodes, draft and evaluate, and a conditional edge back."""
    from langgraph.graph import END, START, StateGraph  # noqa: PLC0415 - a peer, loaded when measured

    def draft(state: State, config: RunnableConfig) -> State:
        reply = MODEL.invoke(state["messages"], config)
        return {"messages": [state["messages"][0], reply], "rounds": state["rounds"] + 1}

    def evaluate(state: State) -> State:
        score = judge(str(state["messages"][-1].text))
        return {"messages": [*state["messages"], HumanMessage(f"It scored {score:.2f}.")], "score": score}

    def route(state: State) -> str:
        return END if state["score"] >= 0.8 or state["rounds"] >= iterations else "draft"

    builder = StateGraph(State)
    builder.add_node("draft", draft)
    builder.add_node("evaluate", evaluate)
    builder.add_edge(START, "draft")
    builder.add_edge("draft", "evaluate")
    builder.add_conditional_edges("evaluate", route, ["draft", END])
    builder.compile().invoke({"messages": [HumanMessage(TASK)], "rounds": 0}, config_of())


class NeverParses(BaseOutputParser[str]):
    def parse(self, text: str) -> str:
        raise OutputParserException("no", llm_output=text)

    def get_format_instructions(self) -> str:
        return "the right format"


def fixing_parser(iterations: int) -> None:
    """`OutputFixingParser`: a chain of prompt, model and parser for each fix; the task itself is not sent again."""
    from langchain_classic.output_parsers import OutputFixingParser  # noqa: PLC0415 - a peer, loaded when measured

    prompt = PromptTemplate.from_template("{instructions} {completion} {error}")
    chain = prompt | MODEL | StrOutputParser()
    parser: Any = OutputFixingParser(parser=NeverParses(), retry_chain=chain, max_retries=iterations - 1)
    try:
        parser.invoke("a draft", config_of())
    except OutputParserException:
        return


LOOPS: dict[str, Callable[[int], None]] = {
    "bare loop of model.invoke": bare,
    "LoopedRunnable, no time limit": looped(None),
    "LoopedRunnable, time limit 30 s": looped(30_000.0),
    "loop_graph (LangGraph, ours)": graph_of_ours,
    "RunnableRetry (no feedback)": retried,
    "LangGraph two-node loop": langgraph_loop,
    "OutputFixingParser": fixing_parser,
}


def cpu_microseconds(loop: Callable[[int], None], iterations: int) -> float:
    began = time.process_time()
    loop(iterations)
    return (time.process_time() - began) * 1e6


def measure() -> dict[str, dict[str, float]]:
    """Microseconds of CPU per run and per extra iteration, and the ratio to the bare loop, by loop."""
    one = dict.fromkeys(LOOPS, float("inf"))
    many = dict.fromkeys(LOOPS, float("inf"))
    for loop in LOOPS.values():
        loop(2)  # what is loaded on first use is not measured
    for _ in range(REPETITIONS):
        for name, loop in LOOPS.items():
            one[name] = min(one[name], cpu_microseconds(loop, 1))
            many[name] = min(many[name], cpu_microseconds(loop, 1 + EXTRA))
    per = {name: (many[name] - one[name]) / EXTRA for name in LOOPS}
    first = next(iter(LOOPS))
    return {
        name: {"us_per_run": one[name], "us_per_extra_iteration": per[name], "ratio": per[name] / per[first]}
        for name in LOOPS
    }


def main() -> None:
    measured = measure()
    if "--json" in sys.argv:
        print(json.dumps(measured, indent=2))
        return
    print(f"{'loop':34}{'µs / run':>10}{'µs / extra iteration':>22}{'ratio':>8}")
    for name, row in measured.items():
        print(f"{name:34}{row['us_per_run']:10.0f}{row['us_per_extra_iteration']:22.0f}{row['ratio']:8.2f}")


if __name__ == "__main__":
    main()
