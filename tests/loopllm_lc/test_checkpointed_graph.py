"""The loop as a graph that goes on from its checkpoint."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import PydanticOutputParser, StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from loopllm import AdaptivePriors, CallTimeoutError, EvaluationResult, LoopConfig, MisuseError
from loopllm_lc import loop_graph

ASKED: Any = {"messages": [HumanMessage("Agree.")]}
THREAD: Any = {"configurable": {"thread_id": "1"}}
HOW = pytest.mark.parametrize("how", ["invoke", "ainvoke"])


class Person(BaseModel):
    name: str
    age: int


async def run(graph: Any, how: Any, given: Any = ASKED, config: Any = THREAD) -> Any:
    return graph.invoke(given, config) if how == "invoke" else await graph.ainvoke(given, config)


@HOW
async def test_a_graph_refines_as_the_loop_does(scripted: Any, says_yes: Any, how: Any) -> None:
    model = scripted("no", "yes")
    state = await run(loop_graph(model, says_yes).compile(), how)
    assert [message.text for message in state["messages"]] == ["Agree.", "yes"]
    assert state["loopllm"] == {
        "iterations": 2,
        "score": 1.0,
        "exit_reason": "quality_threshold",
        "best_iteration": 2,
        "trajectory": [0.2, 1.0],
    }
    assert state["messages"][-1].usage_metadata["total_tokens"] == 30
    assert "the answer must hold the word yes" in model.seen[1][-1].text


class Killed(BaseException):
    """Stands for the end of the process."""


@HOW
@pytest.mark.parametrize("killed_at", [1, 2, 3, 4])
async def test_a_graph_that_was_killed_at_any_node_pays_for_no_draft_twice(
    scripted: Any, how: Any, killed_at: Any
) -> None:
    verdicts: Any = []
    steps: Any = []

    def step() -> None:
        steps.append(1)
        if len(steps) == killed_at:
            raise Killed

    def judge(text: Any) -> Any:
        step()
        verdicts.append(text)
        return EvaluationResult(1.0 if text == "yes" else 0.2, deficiencies=["say yes"])

    scripted_model: Any = type(scripted("x"))

    class Dying(scripted_model):  # type: ignore[misc]  # the fixture's class is not known here
        def invoke(self, *args: Any, **kwargs: Any) -> Any:
            step()
            return super().invoke(*args, **kwargs)

        async def ainvoke(self, *args: Any, **kwargs: Any) -> Any:
            step()
            return await super().ainvoke(*args, **kwargs)

    saver, priors = InMemorySaver(), AdaptivePriors()

    dying = Dying(replies=["no", "maybe", "yes"], model_name="small")
    graph = loop_graph(dying, judge, priors=priors).compile(checkpointer=saver)
    with pytest.raises(Killed):
        await run(graph, how)
    again = loop_graph(dying, judge, priors=priors).compile(checkpointer=saver)
    state = await run(again, how, None)
    assert state["messages"][-1].text == "yes"
    assert len(dying.seen) == 3
    assert verdicts == ["no", "maybe", "yes"]
    assert state["loopllm"]["trajectory"] == [0.2, 0.2, 1.0]
    report = priors.report("default", "small")
    assert (report.total_calls, report.model_calls) == (1, 3)


@HOW
async def test_a_bound_chain_takes_an_input_and_gives_an_output(scripted: Any, how: Any) -> None:
    renders: Any = []
    head = RunnableLambda(lambda given: renders.append(given) or given)
    chain = (
        head
        | ChatPromptTemplate.from_template("{x}")
        | scripted("I am Al", '{"name": "Al", "age": 9}')
        | PydanticOutputParser(pydantic_object=Person)
    )
    state = await run(loop_graph(chain).compile(checkpointer=InMemorySaver()), how, {"input": {"x": "Who?"}})
    assert state["output"] == Person(name="Al", age=9)
    assert len(renders) == 1


@HOW
async def test_a_chain_no_draft_of_which_can_be_read_fails_with_the_parsers_error(
    scripted: Any, how: Any
) -> None:
    chain = (
        ChatPromptTemplate.from_template("{x}")
        | scripted("no")
        | PydanticOutputParser(pydantic_object=Person)
    )
    graph = loop_graph(chain, config=LoopConfig(max_iterations=2)).compile()
    with pytest.raises(OutputParserException):
        await run(graph, how, {"input": {"x": "Who?"}})


@HOW
async def test_an_answer_its_client_withholds_since_it_was_cut_off_is_a_deficiency(
    scripted: Any, cut_off: Any, how: Any
) -> None:
    model = scripted(cut_off('{"name": "Al'), '{"name": "Al", "age": 9}')
    chain = ChatPromptTemplate.from_template("{x}") | model | PydanticOutputParser(pydantic_object=Person)
    state = await run(loop_graph(chain).compile(checkpointer=InMemorySaver()), how, {"input": {"x": "Who?"}})
    assert state["output"] == Person(name="Al", age=9)
    assert "cut off" in model.seen[1][-1].text


@HOW
async def test_a_draft_that_calls_tools_leaves_the_graph_at_once(scripted: Any, how: Any) -> None:
    """T24."""
    calls = AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "1"}])
    state = await run(loop_graph(scripted(calls), lambda text: 0.0).compile(), how)
    assert state["messages"][-1].tool_calls
    assert state["loopllm"]["exit_reason"] == "tool_calls"


@HOW
async def test_the_best_draft_is_never_thrown_away_by_a_limit(scripted: Any, how: Any) -> None:
    """langgraph-reflection ends such a run with GraphRecursionError."""
    graph = loop_graph(
        scripted("a"), lambda text: 0.2, LoopConfig(max_iterations=4, convergence_delta=0.0)
    ).compile()
    state = await run(graph, how)
    assert state["messages"][-1].text == "a"
    assert state["loopllm"]["exit_reason"] == "max_iterations"


async def test_one_graph_serves_concurrent_runs(says_yes: Any, scripted: Any) -> None:
    """T10."""
    graph = loop_graph(scripted("no", *["yes"] * 20, delay=0.01), says_yes).compile(
        checkpointer=InMemorySaver()
    )
    states = await asyncio.gather(
        *(graph.ainvoke(ASKED, {"configurable": {"thread_id": str(n)}}) for n in range(10))
    )
    assert all(state["messages"][-1].text == "yes" for state in states)


@HOW
async def test_a_thread_goes_on_with_the_next_question(scripted: Any, says_yes: Any, how: Any) -> None:
    model = scripted("no", "yes", "yes again")
    graph = loop_graph(model, says_yes).compile(checkpointer=InMemorySaver())
    await run(graph, how)
    state = await run(graph, how, {"messages": [HumanMessage("Once more.")]})
    assert [message.text for message in state["messages"]] == ["Agree.", "yes", "Once more.", "yes again"]
    assert [message.text for message in model.seen[-1]] == ["Agree.", "yes", "Once more."]


@HOW
@pytest.mark.parametrize("killed_at", [1, 2])
async def test_a_new_question_in_a_thread_that_was_killed_is_not_answered_with_the_old_run(
    scripted: Any, says_yes: Any, how: Any, killed_at: Any
) -> None:
    """Only `invoke(None)` goes on; LangGraph itself begins anew with every input."""
    judged: Any = []

    def dying(text: Any) -> Any:
        judged.append(text)
        if len(judged) == killed_at:
            raise Killed
        return says_yes(text)

    model = scripted(*["no"] * killed_at, "yes, again")
    graph = loop_graph(model, dying).compile(checkpointer=InMemorySaver())
    with pytest.raises(Killed):
        await run(graph, how)
    state = await run(graph, how, {"messages": [HumanMessage("Sure?")]})
    assert [message.text for message in state["messages"]] == ["Agree.", "Sure?", "yes, again"]
    assert [message.text for message in model.seen[-1]] == ["Agree.", "Sure?"]
    assert state["loopllm"]["iterations"] == 1


@HOW
async def test_a_new_input_of_a_chain_that_failed_is_asked_about(scripted: Any, how: Any) -> None:
    chain = ChatPromptTemplate.from_template("{x}?") | scripted("no", "no", "4") | RunnableLambda(_number)
    graph = loop_graph(chain, None, LoopConfig(max_iterations=2)).compile(checkpointer=InMemorySaver())
    with pytest.raises(ValueError, match="invalid literal"):
        await run(graph, how, {"input": {"x": "first"}})
    assert (await run(graph, how, {"input": {"x": "second"}}))["output"] == 4


def _number(message: Any) -> int:
    return int(message.text)


@HOW
async def test_each_round_of_a_graph_is_told_of_once(
    scripted: Any, says_yes: Any, recorder: Any, how: Any
) -> None:
    await run(loop_graph(scripted("no", "yes"), says_yes).compile(), how, ASKED, {"callbacks": [recorder]})
    assert [(name, data["iteration"]) for name, data in recorder.events] == [
        ("loopllm.iteration.start", 1),
        ("loopllm.iteration.end", 1),
        ("loopllm.iteration.start", 2),
        ("loopllm.iteration.end", 2),
    ]


@HOW
async def test_drafts_and_the_judge_stay_out_of_the_message_stream(scripted: Any, how: Any) -> None:
    """T8."""
    judge = ChatPromptTemplate.from_template("{output}") | scripted("0.1", "0.9") | StrOutputParser()
    graph = loop_graph(scripted("bad one", "good two"), judge).compile()
    modes: Any = ["messages", "custom"]
    if how == "invoke":
        parts: Any = list(graph.stream(ASKED, stream_mode=modes))
    else:
        parts = [part async for part in graph.astream(ASKED, stream_mode=modes)]
    assert "".join(part[1][0].text for part in parts if part[0] == "messages") == "good two"
    told = [part[1]["type"] for part in parts if part[0] == "custom"]
    assert told.count("loopllm.iteration.end") == 2


@HOW
async def test_drafts_stand_below_their_node_in_a_trace(
    scripted: Any, says_yes: Any, recorder: Any, how: Any
) -> None:
    """T1."""
    await run(loop_graph(scripted("no", "yes"), says_yes).compile(), how, ASKED, {"callbacks": [recorder]})
    models = [each for each in recorder.runs.values() if each["kind"] == "model"]
    assert [recorder.parent_name(each) for each in models] == ["draft", "draft"]
    judged = [
        each for each in recorder.runs.values() if any("loopllm:evaluate" in tag for tag in each["tags"])
    ]
    assert {recorder.parent_name(each) for each in judged} == {"evaluate"}
    assert len(judged) == 2


def test_a_graphs_input_and_output_have_a_schema(scripted: Any) -> None:
    """LangGraph's server and studio ask for it."""
    graph = loop_graph(scripted("hi"), bool).compile()
    for schema in (graph.get_input_jsonschema(), graph.get_output_jsonschema()):
        assert {"messages", "input", "output", "loopllm"} <= set(schema["properties"])


def test_a_state_in_a_checkpoint_is_plain_data(scripted: Any, says_yes: Any) -> None:
    import json

    graph = loop_graph(scripted("no", "yes"), says_yes).compile(checkpointer=InMemorySaver())
    states = (
        [state.values for state in graph.get_state_history(THREAD) if state.values]
        if graph.invoke(ASKED, THREAD)
        else []
    )
    runs = [state["loopllm_run"] for state in states if state.get("loopllm_run")]
    assert runs
    assert all(json.loads(json.dumps(each)) == each for each in runs)


@HOW
@pytest.mark.parametrize("parses", [False, True])
async def test_a_graph_whose_time_ran_out_raises_instead_of_answering_nothing(
    scripted: Any, how: Any, parses: Any
) -> None:
    model = scripted("late", delay=120.0)
    bound = ChatPromptTemplate.from_template("{x}") | model | StrOutputParser() if parses else model
    graph = loop_graph(bound, lambda text: 1.0, LoopConfig(timeout_ms=50)).compile()
    with pytest.raises(CallTimeoutError, match="timeout_ms"):
        await run(graph, how, {"input": {"x": "?"}} if parses else ASKED)


@HOW
async def test_what_follows_the_model_goes_over_each_draft_once_the_accepted_one_included(
    scripted: Any, says_yes: Any, how: Any
) -> None:
    read: Any = []

    def shout(message: Any) -> Any:
        read.append(message.text)
        return message.text.upper()

    chain = ChatPromptTemplate.from_template("{x}") | scripted("no", "yes") | RunnableLambda(shout)
    graph = loop_graph(chain, lambda text: says_yes(text.lower())).compile(checkpointer=InMemorySaver())
    state = await run(graph, how, {"input": {"x": "Agree."}})
    assert state["output"] == "YES"
    assert read == ["no", "yes"]


async def test_what_follows_the_model_is_awaited_for_an_earlier_draft_as_well(scripted: Any) -> None:
    """A function that is async alone cannot be called in any other way."""
    read: Any = []

    async def shout(message: Any) -> Any:
        read.append(message.text)
        return message.text.upper()

    scores = iter([0.6, 0.2])
    chain = ChatPromptTemplate.from_template("{x}") | scripted("good", "bad") | RunnableLambda(shout)
    graph = loop_graph(chain, lambda text: next(scores), LoopConfig(max_iterations=2)).compile()
    assert (await run(graph, "ainvoke", {"input": {"x": "?"}}))["output"] == "GOOD"
    assert read == ["good", "bad", "good"]


@HOW
async def test_of_two_models_in_a_graph_the_last_one_is_looped(
    scripted: Any, says_yes: Any, how: Any
) -> None:
    outliner, writer = scripted("an outline"), scripted("no", "yes")
    essay = ChatPromptTemplate.from_template("Essay from {outline}")
    outline = ChatPromptTemplate.from_template("{x}") | outliner | StrOutputParser()
    chain = outline | {"outline": RunnablePassthrough()} | essay | writer
    state = await run(loop_graph(chain, says_yes).compile(), how, {"input": {"x": "Agree."}})
    assert state["messages"][-1].usage_metadata["total_tokens"] == 30
    assert (len(outliner.seen), len(writer.seen)) == (1, 2)


def test_a_graph_with_a_time_limit_calls_a_plain_evaluator_on_its_own_thread(scripted: Any) -> None:
    threads: Any = []

    def evaluate(text: Any) -> Any:
        threads.append(threading.current_thread())
        return 1.0

    loop_graph(scripted("hi"), evaluate, LoopConfig(timeout_ms=60_000)).compile().invoke(ASKED)
    assert threads == [threading.current_thread()]


def test_what_holds_no_chat_model_is_refused() -> None:
    with pytest.raises(MisuseError, match="chat model"):
        loop_graph(RunnableLambda(str), lambda text: 1.0)


@HOW
async def test_a_judge_that_states_its_spread_is_asked_again_in_the_same_node(
    scripted: Any, how: Any
) -> None:
    class Wavering:
        test_retest_sd = 0.1
        scores = iter([0.82, 0.96, 0.96])

        def evaluate(self, text: Any, context: Any = None) -> float:
            return next(self.scores)

    config = LoopConfig(judge_cost=0.0, explore=False)
    model = scripted("a draft", model_name="small")
    graph = loop_graph(model, Wavering(), config=config, priors=AdaptivePriors())
    state = await run(graph.compile(checkpointer=InMemorySaver()), how)
    assert len(model.seen) == 1
    assert state["loopllm"]["trajectory"][0] > 0.88
