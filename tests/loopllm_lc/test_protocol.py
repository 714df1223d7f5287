"""The loop as a Runnable like any other: batches, bindings, schemas, graphs, tools."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda
from pydantic import BaseModel, ValidationError

from loopllm import LoopConfig, MisuseError
from loopllm_lc import LoopedRunnable

PROMPT = ChatPromptTemplate.from_template("{x}")


class Person(BaseModel):
    name: str
    age: int


def echo_until_long(wanted: int) -> RunnableLambda[str, str]:
    """Return a runnable whose answer grows with each round of its own input, whatever else runs beside it."""

    def answer(text: str) -> str:
        task = text.split("\n", maxsplit=1)[0]
        rounds = text.count("Your previous answer") + text.count("+")
        return f"{task}{'+' * min(rounds + 1, wanted)}"

    return RunnableLambda(answer)


def looped_echo() -> LoopedRunnable[Any, Any]:
    def judge(text: str) -> float:
        return min(1.0, text.count("+") / 3)

    return LoopedRunnable(bound=echo_until_long(3), evaluator=judge, config=LoopConfig(quality_threshold=0.9))


async def test_a_batch_keeps_its_inputs_apart() -> None:
    """T10: state kept on the instance would mix them."""
    looped = looped_echo()
    inputs = [f"task {n}" for n in range(20)]
    expected = [f"{each}+++" for each in inputs]
    assert looped.batch(inputs) == expected
    assert await looped.abatch(inputs, {"max_concurrency": 7}) == expected
    histories = [
        result.iterations for result in await asyncio.gather(*(looped.arefine(each) for each in inputs))
    ]
    assert all(
        record.prompt.startswith(f"task {n}") for n, rounds in enumerate(histories) for record in rounds
    )


async def test_a_batch_hands_over_results_as_they_come() -> None:
    looped = looped_echo()
    assert dict(looped.batch_as_completed(["a", "b"])) == {0: "a+++", 1: "b+++"}
    assert {n: text async for n, text in looped.abatch_as_completed(["a", "b"])} == {0: "a+++", 1: "b+++"}


async def test_one_failure_in_a_batch_leaves_the_others_alone(recorder: Any) -> None:
    """T12."""

    def answer(text: str) -> str:
        if text == "bad":
            raise ZeroDivisionError("boom")
        return text

    looped: Any = LoopedRunnable(bound=RunnableLambda(answer), evaluator=lambda text: 1.0)
    config: Any = {"callbacks": [recorder]}
    for results in (
        looped.batch(["a", "bad", "c"], config, return_exceptions=True),
        await looped.abatch(["a", "bad", "c"], config, return_exceptions=True),
    ):
        assert (results[0], results[2]) == ("a", "c")
        assert isinstance(results[1], ZeroDivisionError)
    assert recorder.ends.count(("error", "LoopedRunnable")) == 2
    assert recorder.ends.count(("end", "LoopedRunnable")) == 4


async def test_siblings_of_a_failed_batch_can_be_cancelled_so_that_they_stop_spending(scripted: Any) -> None:
    """T13: LangChain's own abatch lets them go on; cancelling the batch stops them."""
    model = scripted("no", delay=0.1)
    looped = LoopedRunnable(bound=model, evaluator=lambda text: 0.1)
    batch = asyncio.create_task(looped.abatch(["a", "b", "c"]))
    while len(model.seen) < 3:
        await asyncio.sleep(0.01)
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch
    calls = len(model.seen)
    await asyncio.sleep(0.25)
    assert len(model.seen) == calls


def test_one_loop_serves_threads_and_event_loops() -> None:
    """T29."""
    looped = looped_echo()
    got: list[str] = []

    def work(n: int) -> None:
        got.append(looped.invoke(f"t{n}"))
        got.append(asyncio.run(looped.ainvoke(f"a{n}")))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(f"{kind}{n}+++" for kind in "ta" for n in range(8))


def test_in_a_running_event_loop_the_blocking_call_works_too(scripted: Any, says_yes: Any) -> None:
    async def inside() -> Any:
        return LoopedRunnable(bound=scripted("no", "yes"), evaluator=says_yes).invoke("?")

    assert asyncio.run(inside()).text == "yes"


async def test_awaited_loops_run_side_by_side(scripted: Any) -> None:
    looped = LoopedRunnable(bound=scripted("hi", barrier=asyncio.Barrier(20)), evaluator=lambda text: 1.0)
    messages = await asyncio.gather(*(looped.ainvoke("?") for _ in range(20)))
    assert [message.text for message in messages] == ["hi"] * 20


def test_schemas_and_types_are_those_of_what_is_bound(scripted: Any) -> None:
    """T18."""
    model = scripted("hi")
    looped = LoopedRunnable(bound=model, evaluator=bool)
    assert looped.InputType == model.InputType
    assert looped.OutputType == model.OutputType
    chain = PROMPT | model | StrOutputParser()
    looped = LoopedRunnable(bound=chain, evaluator=bool)
    assert looped.get_input_jsonschema() == chain.get_input_jsonschema()
    assert looped.get_output_jsonschema() == chain.get_output_jsonschema()
    assert set(looped.get_input_jsonschema()["properties"]) == {"x"}


def test_what_is_bound_can_be_configured_through_the_loop(scripted: Any, says_yes: Any) -> None:
    model = FakeListChatModel(responses=["no"]).configurable_alternatives(
        ConfigurableField(id="which"), default_key="poor", good=FakeListChatModel(responses=["yes"])
    )
    looped = LoopedRunnable(bound=PROMPT | model, evaluator=says_yes, config=LoopConfig(max_iterations=2))
    assert "which" in [spec.id for spec in looped.config_specs]
    assert looped.invoke({"x": "?"}).text == "no"
    assert looped.with_config(configurable={"which": "good"}).invoke({"x": "?"}).text == "yes"


def test_the_loops_own_settings_can_be_configured(scripted: Any) -> None:
    model = scripted("a")
    looped = LoopedRunnable(bound=model, evaluator=lambda text: 0.1, config=LoopConfig(max_iterations=4))
    flexible = looped.configurable_fields(config=ConfigurableField(id="loop"))
    configured = flexible.with_config(configurable={"loop": {"max_iterations": 2}})
    assert configured.invoke("?").response_metadata["loopllm"]["iterations"] == 2
    assert configured.invoke("?").response_metadata["loopllm"]["exit_reason"] == "max_iterations"


def test_a_retry_around_the_loop_repeats_the_whole_of_it(scripted: Any) -> None:
    """T32: so put `with_retry` on what is bound, or leave it to the loop, which retries transient failures itself."""
    model = scripted(ZeroDivisionError("boom"), "fine")
    looped = LoopedRunnable(bound=model, evaluator=lambda text: 1.0)
    again = looped.with_retry(retry_if_exception_type=(ZeroDivisionError,), wait_exponential_jitter=False)
    assert again.invoke("?").text == "fine"


def test_the_loop_itself_repeats_a_call_that_failed_for_the_moment(scripted: Any) -> None:
    """T32."""
    model = scripted(ConnectionError("reset"), "fine")
    config = LoopConfig(retry_base_s=0.0)
    message = LoopedRunnable(bound=model, evaluator=lambda text: 1.0, config=config).invoke("?")
    assert message.text == "fine"
    assert message.response_metadata["loopllm"]["iterations"] == 1


def test_a_retry_on_what_is_bound_works_inside_the_loop(scripted: Any, recorder: Any, says_yes: Any) -> None:
    """T32."""
    model = scripted(ZeroDivisionError("boom"), "no", "yes").with_retry(wait_exponential_jitter=False)
    looped = LoopedRunnable(bound=model, evaluator=says_yes)
    assert looped.invoke("?", {"callbacks": [recorder]}).text == "yes"
    assert len([run for run in recorder.runs.values() if run["kind"] == "model"]) == 3


def test_mapping_and_tools_work_as_for_any_runnable(scripted: Any) -> None:
    assert looped_echo().map().invoke(["a", "b"]) == ["a+++", "b+++"]
    looped = LoopedRunnable(bound=PROMPT | scripted("hi") | StrOutputParser(), evaluator=lambda text: 1.0)
    tool = looped.as_tool(name="greet", description="Greets.")
    assert tool.invoke({"x": "you"}) == "hi"


def test_a_tool_of_a_loop_with_a_key_for_feedback_is_called_without_it(scripted: Any) -> None:
    prompt = ChatPromptTemplate.from_template("{x} {feedback}")
    looped = LoopedRunnable(
        bound=prompt | scripted("hi") | StrOutputParser(), evaluator=bool, feedback_key="feedback"
    )
    assert looped.get_input_jsonschema()["required"] == ["x"]
    assert looped.as_tool(name="greet", description="Greet.").invoke({"x": "you"}) == "hi"


def test_the_graph_shows_the_bound_chain_and_the_way_back(scripted: Any) -> None:
    looped = LoopedRunnable(bound=PROMPT | scripted("hi") | StrOutputParser(), evaluator=bool)
    drawn = looped.get_graph()
    assert "ask again" in drawn.draw_mermaid().replace("&nbsp;", " ")
    names = [node.name for node in drawn.nodes.values()]
    assert [
        name
        for name in names
        if name in {"ChatPromptTemplate", "ScriptedModel", "StrOutputParser", "evaluate"}
    ] == ["ChatPromptTemplate", "ScriptedModel", "StrOutputParser", "evaluate"]
    back = next(edge for edge in drawn.edges if edge.data == "ask again")
    assert drawn.nodes[back.target].name == "ScriptedModel"
    assert looped.get_prompts() == [PROMPT]


def test_a_loop_around_a_loop_can_be_drawn(scripted: Any) -> None:
    inner = PROMPT | LoopedRunnable(bound=scripted("hi"), evaluator=bool) | StrOutputParser()
    drawn = LoopedRunnable(bound=inner, evaluator=bool, feedback_key="x").get_graph()
    assert [node.name for node in drawn.nodes.values()].count("evaluate") == 2
    assert drawn.draw_mermaid()


def test_a_loop_in_a_chain_can_be_drawn(scripted: Any) -> None:
    chain = PROMPT | LoopedRunnable(bound=scripted("hi"), evaluator=bool) | StrOutputParser()
    assert "evaluate" in chain.get_graph().draw_mermaid()


def test_a_loop_with_tools_is_a_loop(scripted: Any) -> None:
    call = {"name": "f", "args": {}, "id": "1", "type": "tool_call"}
    model = scripted(AIMessage("", tool_calls=[call]))
    looped = LoopedRunnable(bound=PROMPT | model, evaluator=bool, task_type="t").bind_tools([{"name": "f"}])
    assert isinstance(looped, LoopedRunnable)
    assert looped.task_type == "t"
    assert looped.invoke({"x": "?"}).tool_calls == [call]
    assert model.seen_kwargs[0]["tools"] == [{"name": "f"}]


def test_a_loop_with_fallbacks_takes_tools_as_a_model_with_fallbacks_does(scripted: Any) -> None:
    call = {"name": "f", "args": {}, "id": "1", "type": "tool_call"}
    failing = LoopedRunnable(bound=scripted(ZeroDivisionError("boom")), evaluator=bool)
    standing_in = LoopedRunnable(bound=scripted(AIMessage("", tool_calls=[call])), evaluator=bool)
    either: Any = failing.with_fallbacks([standing_in])
    assert either.bind_tools([{"name": "f"}]).invoke("?").tool_calls == [call]


def test_a_loop_is_as_generic_when_it_runs_as_a_checker_sees_it(scripted: Any) -> None:
    looped = LoopedRunnable[str, AIMessage](bound=scripted("hi"), evaluator=bool)
    assert isinstance(looped, LoopedRunnable)
    assert (looped.get_name(), looped.invoke("?").text) == ("LoopedRunnable", "hi")


def test_a_loop_with_a_structure_is_a_loop(scripted: Any) -> None:
    good = AIMessage("", tool_calls=[{"name": "Person", "args": {"name": "Al", "age": 9}, "id": "1"}])
    plain = LoopedRunnable(
        bound=PROMPT | scripted("who?", good), evaluator=len, config=LoopConfig(max_iterations=3)
    )
    looped = plain.with_structured_output(Person)
    assert looped.config.max_iterations == 3
    assert looped.invoke({"x": "?"}) == Person(name="Al", age=9)
    ages = plain.with_structured_output(Person, evaluator=lambda person: 1.0 if person.age == 9 else 0.0)
    assert ages.invoke({"x": "?"}).age == 9


def test_tools_behind_a_parser_are_refused_with_the_way_to_do_it(scripted: Any) -> None:
    looped = LoopedRunnable(bound=PROMPT | scripted("hi") | StrOutputParser(), evaluator=bool)
    with pytest.raises(MisuseError, match="call it on the model"):
        looped.bind_tools([])


def test_a_cache_does_not_hide_the_feedback(says_yes: Any) -> None:
    """T22: with feedback each round is another prompt, so a cache keeps whole runs, not the first draft alone."""
    set_llm_cache(InMemoryCache())
    try:
        model = FakeListChatModel(responses=["no", "yes"])
        looped = LoopedRunnable(bound=model, evaluator=says_yes)
        assert [looped.invoke("Agree.").text, looped.invoke("Agree.").text] == ["yes", "yes"]
        assert model.i == 0
        eager = LoopedRunnable(bound=model, evaluator=lambda text: 1.0)
        assert eager.invoke("Agree.").text == "no"
    finally:
        set_llm_cache(None)


def test_an_exit_condition_that_cannot_be_asked_is_refused_when_it_is_built(scripted: Any) -> None:
    with pytest.raises(ValidationError, match="should_exit"):
        LoopedRunnable(bound=scripted("hi"), evaluator=bool, exit_conditions=[7])


def test_a_wrong_bound_is_refused_naming_the_field() -> None:
    with pytest.raises(ValidationError, match="bound"):
        LoopedRunnable(bound="gpt-4o", evaluator=bool)  # type: ignore[arg-type]  # the mistake under test


def test_what_are_no_priors_is_refused_when_it_is_built(scripted: Any) -> None:
    with pytest.raises(ValidationError, match="AdaptivePriors"):
        LoopedRunnable(bound=scripted("hi"), evaluator=bool, priors="p.json")  # type: ignore[arg-type]  # as above


def test_an_evaluator_that_cannot_score_is_refused_when_it_is_built(scripted: Any) -> None:
    with pytest.raises(ValidationError, match="evaluator"):
        LoopedRunnable(bound=scripted("hi"), evaluator=7)
