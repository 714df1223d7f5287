"""Where the runs of a loop stand in a trace."""

from __future__ import annotations

import asyncio
import threading
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda

from loopllm import LoopConfig
from loopllm_lc import LoopedRunnable

CALLS = ["invoke", "ainvoke", "batch", "abatch", "stream", "astream"]


async def call(looped: Any, how: Any, given: Any, config: Any) -> Any:
    if how == "invoke":
        return looped.invoke(given, config)
    if how == "ainvoke":
        return await looped.ainvoke(given, config)
    if how == "batch":
        return looped.batch([given], config)
    if how == "abatch":
        return await looped.abatch([given], config)
    if how == "stream":
        return list(looped.stream(given, config))
    return [piece async for piece in looped.astream(given, config)]


@pytest.mark.parametrize("how", CALLS)
async def test_drafts_and_evaluations_are_children_of_the_loop_with_their_round_in_a_tag(
    scripted: Any, says_yes: Any, recorder: Any, how: Any
) -> None:
    """T1, T3: callbacks given explicitly must not make the children roots, nor give them the parent's name."""
    looped = LoopedRunnable(bound=scripted("no", "yes"), evaluator=says_yes)
    await call(looped, how, "Agree.", {"callbacks": [recorder], "run_name": "mine"})
    assert [run["name"] for run in recorder.roots] == ["mine"]
    models = [run for run in recorder.runs.values() if run["kind"] == "model"]
    assert [recorder.parent_name(run) for run in models] == ["mine", "mine"]
    assert [run["name"] for run in models] == ["ScriptedModel", "ScriptedModel"]
    assert ["loopllm:iteration:1" in models[0]["tags"], "loopllm:iteration:2" in models[1]["tags"]] == [
        True,
        True,
    ]
    judged = recorder.named("evaluate")
    assert [recorder.parent_name(run) for run in judged] == ["mine", "mine"]
    assert [f"loopllm:evaluate:{n}" in run["tags"] for n, run in enumerate(judged, 1)] == [True, True]
    assert [run["outputs"]["score"] for run in judged] == [0.2, 1.0]


@pytest.mark.parametrize("how", CALLS)
async def test_the_name_of_a_bound_chains_run_is_not_its_steps(
    scripted: Any, says_yes: Any, recorder: Any, how: Any
) -> None:
    """T1: nor is its id, which two runs cannot share."""
    chain = ChatPromptTemplate.from_template("{x}") | scripted("no", "yes") | StrOutputParser()
    bound = chain.with_config(run_name="mine", run_id=uuid4(), tags=["kept"])
    await call(LoopedRunnable(bound=bound, evaluator=says_yes), how, {"x": "?"}, {"callbacks": [recorder]})
    models = recorder.named("ScriptedModel")
    assert len(models) == 2
    assert all("kept" in run["tags"] for run in models)
    assert recorder.named("mine") == []


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
async def test_in_a_chain_the_loop_is_a_step_and_the_drafts_are_below_it(
    scripted: Any, says_yes: Any, recorder: Any, how: Any
) -> None:
    """T1."""
    prompt = ChatPromptTemplate.from_template("{x}")
    looped = LoopedRunnable(bound=scripted("no", "yes"), evaluator=says_yes)
    await call(prompt | looped | StrOutputParser(), how, {"x": "Agree."}, {"callbacks": [recorder]})
    (loop,) = recorder.named("LoopedRunnable")
    assert recorder.parent_name(loop) == "RunnableSequence"
    models = [run for run in recorder.runs.values() if run["kind"] == "model"]
    assert [recorder.parent_name(run) for run in models] == ["LoopedRunnable"] * 2


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
async def test_the_steps_of_a_bound_chain_are_children_of_the_loop(
    scripted: Any, says_yes: Any, recorder: Any, how: Any
) -> None:
    chain = ChatPromptTemplate.from_template("{x}") | scripted("no", "yes") | StrOutputParser()
    await call(
        LoopedRunnable(bound=chain, evaluator=says_yes), how, {"x": "Agree."}, {"callbacks": [recorder]}
    )
    children = [
        run["name"] for run in recorder.runs.values() if recorder.parent_name(run) == "LoopedRunnable"
    ]
    assert children.count("ChatPromptTemplate") == 1
    assert children.count("ScriptedModel") == 2
    assert children.count("StrOutputParser") == 2


@pytest.mark.parametrize("how", CALLS)
async def test_what_an_evaluator_runs_is_below_the_evaluation(scripted: Any, recorder: Any, how: Any) -> None:
    """T2: a blocking evaluator under `ainvoke` runs in a thread, and must not lose the run."""
    judge = RunnableLambda(lambda text: 1.0).with_config(run_name="judge")
    threads: Any = []

    def evaluate(text: Any, context: Any = None) -> Any:
        threads.append(threading.current_thread())
        return judge.invoke(text)

    looped = LoopedRunnable(bound=scripted("hi"), evaluator=evaluate)
    await call(looped, how, "Hi?", {"callbacks": [recorder]})
    assert [recorder.parent_name(run) for run in recorder.named("judge")] == ["evaluate"]
    assert recorder.roots[0]["name"] == "LoopedRunnable"
    if how in {"ainvoke", "abatch", "astream"}:
        assert threads[0] is not threading.main_thread()


async def test_what_an_async_evaluator_runs_is_below_the_evaluation(scripted: Any, recorder: Any) -> None:
    """T2."""
    judge = RunnableLambda(lambda text: 1.0).with_config(run_name="judge")

    async def evaluate(text: Any, context: Any = None) -> Any:
        return await judge.ainvoke(text)

    looped = LoopedRunnable(bound=scripted("hi"), evaluator=evaluate)
    await looped.ainvoke("Hi?", {"callbacks": [recorder]})
    assert [recorder.parent_name(run) for run in recorder.named("judge")] == ["evaluate"]


@pytest.mark.parametrize("how", CALLS)
async def test_tokens_are_counted_once(scripted: Any, says_yes: Any, how: Any) -> None:
    """T21."""
    counter = UsageMetadataCallbackHandler()
    model = scripted("no", "yes")
    model.model_name = "small"
    looped = LoopedRunnable(bound=_named(model), evaluator=says_yes)
    got = await call(looped, how, "Agree.", {"callbacks": [counter]})
    message = got if not isinstance(got, list) else got[-1]
    total = sum(usage["total_tokens"] for usage in counter.usage_metadata.values())
    assert total == 30
    assert message.usage_metadata["total_tokens"] == 30


def _named(model: Any) -> Any:
    """Make the replies tell their model's name, which the counting handler goes by."""
    from langchain_core.messages import AIMessage

    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    model.replies = [
        AIMessage(text, usage_metadata=usage, response_metadata={"model_name": "small"})
        for text in model.replies
    ]
    return model


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
async def test_progress_goes_out_as_custom_events(
    scripted: Any, says_yes: Any, recorder: Any, how: Any
) -> None:
    looped = LoopedRunnable(bound=scripted("no", "yes"), evaluator=says_yes)
    await call(looped, how, "Agree.", {"callbacks": [recorder]})
    names = [name for name, _ in recorder.events]
    assert names == [
        "loopllm.iteration.start",
        "loopllm.iteration.end",
        "loopllm.iteration.start",
        "loopllm.iteration.end",
        "loopllm.exit",
    ]
    first, last = recorder.events[1][1], recorder.events[-1][1]
    assert (first["iteration"], first["score"], first["passed"]) == (1, 0.2, False)
    assert first["deficiencies"] == ["the answer must hold the word yes"]
    assert first["usage"] == {"prompt_tokens": 10, "completion_tokens": 5}
    assert (last["exit_reason"], last["iterations"], last["best_iteration"]) == ("quality_threshold", 2, 2)


async def test_progress_shows_in_the_event_stream(scripted: Any, says_yes: Any) -> None:
    looped = LoopedRunnable(bound=scripted("no", "yes"), evaluator=says_yes)
    events = [event async for event in looped.astream_events("Agree.", version="v2")]
    told = [event["name"] for event in events if event["event"] == "on_custom_event"]
    assert told[-1] == "loopllm.exit"
    roots = [event for event in events if event["name"] == "LoopedRunnable"]
    assert {event["event"] for event in roots} == {"on_chain_start", "on_chain_stream", "on_chain_end"}
    assert roots[-1]["data"]["output"].text == "yes"
    drafts = [event for event in events if event["event"] == "on_chat_model_end"]
    assert [event["data"]["output"].text for event in drafts] == ["no", "yes"]


def test_nobody_is_told_outside_of_a_run_and_nothing_breaks(scripted: Any, says_yes: Any) -> None:
    """T31: a custom event without a parent run raises."""
    assert LoopedRunnable(bound=scripted("no", "yes"), evaluator=says_yes).invoke("Agree.").text == "yes"


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
async def test_a_failed_run_ends_with_its_error(scripted: Any, recorder: Any, how: Any) -> None:
    looped = LoopedRunnable(bound=scripted(ZeroDivisionError("boom")), evaluator=lambda text: 1.0)
    with pytest.raises(ZeroDivisionError):
        await call(looped, how, "?", {"callbacks": [recorder]})
    assert recorder.ends[-1] == ("error", "LoopedRunnable")


async def test_a_cancelled_run_ends_with_the_cancellation_and_calls_no_more(
    scripted: Any, recorder: Any
) -> None:
    """T14."""
    model = scripted("no", delay=0.2)
    looped = LoopedRunnable(bound=model, evaluator=lambda text: 0.1)
    task = asyncio.create_task(looped.ainvoke("?", {"callbacks": [recorder]}))
    while not model.seen:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    calls = len(model.seen)
    assert isinstance(recorder.named("LoopedRunnable")[0]["error"], asyncio.CancelledError)
    await asyncio.sleep(0.3)
    assert len(model.seen) == calls


def test_the_callers_config_is_only_read(scripted: Any, says_yes: Any, recorder: Any) -> None:
    """T9."""
    config: Any = {
        "callbacks": [recorder],
        "tags": ["a"],
        "metadata": {"list": [1]},
        "run_name": "mine",
        "configurable": {"k": 1},
    }
    looped = LoopedRunnable(bound=scripted("no", "yes"), evaluator=says_yes)
    looped.invoke("Agree.", config)
    looped.invoke("Agree.", config)
    assert config == {
        "callbacks": [recorder],
        "tags": ["a"],
        "metadata": {"list": [1]},
        "run_name": "mine",
        "configurable": {"k": 1},
    }
    assert [run["name"] for run in recorder.roots] == ["mine", "mine"]


def test_tags_and_metadata_reach_every_run_of_the_loop(scripted: Any, says_yes: Any, recorder: Any) -> None:
    config: Any = {"callbacks": [recorder], "tags": ["a"], "metadata": {"user": "u1"}}
    LoopedRunnable(bound=scripted("no", "yes"), evaluator=says_yes).invoke("Agree.", config)
    assert all("a" in run["tags"] for run in recorder.runs.values())
    assert all(run["metadata"]["user"] == "u1" for run in recorder.runs.values())


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
async def test_control_flow_of_a_graph_passes_through_unjudged(scripted: Any, how: Any) -> None:
    """T11: GraphInterrupt is an Exception."""
    from langgraph.errors import GraphInterrupt

    judged: Any = []
    looped = LoopedRunnable(
        bound=RunnableLambda(_interrupt),
        evaluator=lambda text: judged.append(text) or 1.0,
        config=LoopConfig(max_retries=3),
    )
    with pytest.raises(GraphInterrupt):
        await call(looped, how, "?", {})
    assert judged == []


def _interrupt(given: Any) -> None:
    from langgraph.errors import GraphInterrupt

    raise GraphInterrupt


def test_an_evaluator_may_interrupt_too(scripted: Any) -> None:
    """T11."""
    from langgraph.errors import GraphInterrupt

    with pytest.raises(GraphInterrupt):
        LoopedRunnable(bound=scripted("a"), evaluator=_interrupt).invoke("?")
