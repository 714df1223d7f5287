"""The loop where a chat model is demanded."""

from __future__ import annotations

import uuid
from contextvars import ContextVar
from typing import Any, ClassVar

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.tools import tool
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.context import register_configure_hook
from langchain_openai import ChatOpenAI
from openai import LengthFinishReasonError
from pydantic import BaseModel, ValidationError

from loopllm import AdaptivePriors, CallTimeoutError, ExitReason, LoopConfig
from loopllm.evaluators import LengthEvaluator, ThresholdEvaluator, as_evaluator
from loopllm.exits import after_iterations, stalls_for
from loopllm_lc import LoopedChatModel, LoopedRunnable

USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


class Person(BaseModel):
    name: str
    age: int


def told(text: Any) -> Any:
    return AIMessage(text, usage_metadata=USAGE, response_metadata={"model_name": "small"})


async def call(model: Any, how: Any, given: Any, config: Any = None) -> Any:
    if how == "invoke":
        return model.invoke(given, config)
    if how == "ainvoke":
        return await model.ainvoke(given, config)
    pieces = (
        list(model.stream(given, config))
        if how == "stream"
        else [p async for p in model.astream(given, config)]
    )
    assert all(isinstance(piece, AIMessageChunk) for piece in pieces)
    total = pieces[0]
    for piece in pieces[1:]:
        total = total + piece
    return total


HOW = pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])


@HOW
async def test_the_accepted_draft_comes_back_and_tokens_are_counted_once(
    scripted: Any, says_yes: Any, how: Any
) -> None:
    """T21."""
    counter = UsageMetadataCallbackHandler()
    model = LoopedChatModel(bound=scripted(told("no"), told("yes it is")), evaluator=says_yes)
    message = await call(model, how, "Agree.", {"callbacks": [counter]})
    assert message.text == "yes it is"
    assert message.usage_metadata["total_tokens"] == 30
    assert counter.usage_metadata["small"]["total_tokens"] == 30
    assert message.response_metadata["loopllm"]["trajectory"] == [0.2, 1.0]


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
async def test_the_whole_loop_is_one_model_run_with_its_evaluations_below(
    scripted: Any, says_yes: Any, recorder: Any, how: Any
) -> None:
    model = LoopedChatModel(bound=scripted("no", "yes"), evaluator=says_yes)
    await call(model, how, "Agree.", {"callbacks": [recorder]})
    models = [run for run in recorder.runs.values() if run["kind"] == "model"]
    assert [run["name"] for run in models] == ["LoopedChatModel"]
    assert [recorder.parent_name(run) for run in recorder.named("evaluate")] == ["LoopedChatModel"] * 2
    assert [name for name, _ in recorder.events][-1] == "loopllm.exit"


@HOW
async def test_evaluations_stand_below_the_models_run_and_progress_is_told_even_of_a_stream(
    scripted: Any, says_yes: Any, recorder: Any, how: Any
) -> None:
    """T1: langchain does not hand a stream's run over to the model."""
    model = LoopedChatModel(bound=scripted("no", "yes"), evaluator=says_yes)
    config: Any = {"callbacks": [recorder], "run_name": "mine", "tags": ["a"], "metadata": {"user": "u1"}}
    await call(model, how, "Agree.", config)
    assert [run["name"] for run in recorder.roots] == ["mine"]
    judged = recorder.named("evaluate")
    assert [recorder.parent_name(run) for run in judged] == ["mine", "mine"]
    assert all("a" in run["tags"] and run["metadata"]["user"] == "u1" for run in judged)
    assert [name for name, _ in recorder.events][-1] == "loopllm.exit"
    assert config == {
        "callbacks": [recorder],
        "run_name": "mine",
        "tags": ["a"],
        "metadata": {"user": "u1"},
    }


@pytest.mark.parametrize("how", ["stream", "astream"])
async def test_a_stream_keeps_the_run_id_it_is_given(scripted: Any, recorder: Any, how: Any) -> None:
    run_id = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")
    model = LoopedChatModel(bound=scripted("hi"), evaluator=lambda text: 1.0)
    await call(model, how, "?", {"callbacks": [recorder], "run_id": run_id})
    assert recorder.runs[run_id]["name"] == "LoopedChatModel"


@HOW
async def test_the_models_own_error_passes_through(scripted: Any, how: Any) -> None:
    model = LoopedChatModel(bound=scripted(ZeroDivisionError("boom")), evaluator=lambda text: 1.0)
    with pytest.raises(ZeroDivisionError):
        await call(model, how, "?")


def test_two_loops_with_other_evaluators_share_no_cache_entry(scripted: Any) -> None:
    """T22: a key that does not know the evaluator gives one loop's accepted draft to the other."""
    cache = InMemoryCache()
    bound = scripted("no", "no", "yes")
    easy = LoopedChatModel(bound=bound, evaluator=lambda text: 1.0, cache=cache)
    hard = LoopedChatModel(bound=bound, evaluator=lambda text: float(text == "yes"), cache=cache)
    assert [easy.invoke("Agree.").text, hard.invoke("Agree.").text] == ["no", "yes"]
    assert [easy.invoke("Agree.").text, hard.invoke("Agree.").text] == ["no", "yes"]
    assert len(bound.seen) == 3


def test_two_loops_with_equal_settings_share_a_cache(scripted: Any) -> None:
    cache = InMemoryCache()
    bound = scripted("one two")
    for words in (2, 2, 9):
        LoopedChatModel(bound=bound, evaluator=LengthEvaluator(max_words=words), cache=cache).invoke("?")
    assert len(bound.seen) == 2


@HOW
async def test_what_is_told_to_the_bound_model_of_listeners_holds_for_the_loop(
    scripted: Any, says_yes: Any, how: Any
) -> None:
    """A draft has no run of its own here, so that nobody else would tell them."""
    counter, other = UsageMetadataCallbackHandler(), UsageMetadataCallbackHandler()
    bound = scripted(told("no"), told("yes"), callbacks=[counter], tags=["mine"], metadata={"team": "a"})
    model = LoopedChatModel(bound=bound, evaluator=says_yes)
    await call(model, how, "?")
    assert counter.usage_metadata["small"]["total_tokens"] == 30
    assert (model.tags, (model.metadata or {})["team"]) == (["mine"], "a")
    assert LoopedChatModel(bound=bound, evaluator=says_yes, callbacks=[other]).callbacks == [other]


@HOW
async def test_content_blocks_that_the_bound_model_is_asked_for_come_in_a_stream_too(
    scripted: Any, how: Any
) -> None:
    model = LoopedChatModel(bound=scripted("it is", output_version="v1"), evaluator=lambda text: 1.0)
    assert (await call(model, how, "?")).content == [{"type": "text", "text": "it is"}]


class Own(BaseTracer):
    """A tracer of which each callback manager gets one of its own, as of LangSmith's by the environment."""

    roots: ClassVar[list[Any]] = []

    def _persist_run(self, run: Any) -> None:
        self.roots.append(run)


@HOW
async def test_a_tracer_that_the_environment_asks_for_sees_one_trace(
    scripted: Any, says_yes: Any, monkeypatch: Any, how: Any
) -> None:
    """T1."""
    register_configure_hook(ContextVar("unset", default=None), True, Own, "LOOPLLM_TEST_TRACING")
    monkeypatch.setenv("LOOPLLM_TEST_TRACING", "true")
    Own.roots.clear()
    await call(LoopedChatModel(bound=scripted("no", "yes"), evaluator=says_yes), how, "?")
    assert [run.name for run in Own.roots] == ["LoopedChatModel"]
    assert [run.name for run in Own.roots[0].child_runs] == ["evaluate", "evaluate"]


def test_two_loops_that_end_otherwise_share_no_cache_entry(scripted: Any, says_yes: Any) -> None:
    """T22."""
    cache, bound = InMemoryCache(), scripted("no", "no", "yes")
    hasty: Any = [lambda view: ExitReason("hasty", "one is enough")]
    settings: Any = {"bound": bound, "evaluator": says_yes, "cache": cache}
    assert LoopedChatModel(**settings, exit_conditions=hasty).invoke("?").text == "no"
    assert LoopedChatModel(**settings).invoke("?").text == "yes"


@pytest.mark.parametrize(
    "settings",
    [
        {"evaluator": LengthEvaluator(), "exit_conditions": [after_iterations(2) | stalls_for(2)]},
        {"evaluator": ThresholdEvaluator(len)},
        {"evaluator": as_evaluator(bool)},
    ],
    ids=["conditions", "threshold", "bound"],
)
def test_a_loop_finds_again_in_its_cache_what_it_put_there(scripted: Any, settings: Any) -> None:
    bound = scripted("?", "never")
    looped = LoopedChatModel(bound=bound, cache=InMemoryCache(), **settings)
    assert [looped.invoke("?").text for _ in range(2)] == ["?", "?"]
    assert len(bound.seen) == 1


def test_two_loops_over_models_of_other_servers_share_no_cache_entry(answering: Any) -> None:
    """T22: the parameters that a model tells of itself need not tell its server."""
    cache, here, there = InMemoryCache(), answering("here"), answering("there")
    said = [
        LoopedChatModel(
            bound=ChatOpenAI(model="small", base_url=server, api_key="local"),
            evaluator=LengthEvaluator(min_words=1),
            cache=cache,
        ).invoke("?")
        for server in (here, there, here)
    ]
    assert [message.text for message in said] == ["here", "there", "here"]


def test_the_bound_models_profile_and_names_are_its_own(scripted: Any) -> None:
    bound = scripted("hi", model_name="small", profile={"structured_output": True})
    model = LoopedChatModel(bound=bound, evaluator=bool)
    assert model.profile == {"structured_output": True}
    assert model._get_ls_params()["ls_model_name"] == "small"


def test_what_is_learned_is_kept_under_the_bound_models_name(scripted: Any, says_yes: Any) -> None:
    priors = AdaptivePriors()
    bound = scripted("no", "yes", model_name="small")
    LoopedChatModel(bound=bound, evaluator=says_yes, priors=priors).invoke("Agree.")
    assert priors.report("default", "small").total_calls == 1


def test_settings_given_here_reach_the_bound_model(scripted: Any) -> None:
    bound = scripted("hi")
    LoopedChatModel(bound=bound, evaluator=lambda text: 1.0, temperature=0.3, stop=["END"]).invoke(
        "?", max_tokens=7
    )
    assert bound.seen_kwargs[0] == {"temperature": 0.3, "stop": ["END"], "max_tokens": 7}


def test_an_unknown_setting_is_refused(scripted: Any) -> None:
    """T17."""
    misspelt: Any = {"treshold": 0.9}
    with pytest.raises(ValidationError, match="treshold"):
        LoopedChatModel(bound=scripted("hi"), evaluator=bool, **misspelt)


def test_a_structure_is_asked_for_until_it_can_be_read(scripted: Any) -> None:
    good = AIMessage("", tool_calls=[{"name": "Person", "args": {"name": "Al", "age": 9}, "id": "1"}])
    model = LoopedChatModel(bound=scripted("who?", good), evaluator=lambda text: 0.1)
    assert model.with_structured_output(Person).invoke("?") == Person(name="Al", age=9)


@HOW
async def test_an_answer_its_client_withholds_since_it_was_cut_off_is_a_deficiency(
    scripted: Any, cut_off: Any, how: Any
) -> None:
    bound = scripted(cut_off("Al"), "yes")
    message = await call(LoopedChatModel(bound=bound, evaluator=lambda text: 1.0), how, "?")
    assert message.text == "yes"
    assert "cut off" in bound.seen[1][-1].text


@HOW
async def test_when_every_answer_was_cut_off_the_clients_error_is_raised(
    scripted: Any, cut_off: Any, how: Any
) -> None:
    model = LoopedChatModel(
        bound=scripted(cut_off("Al")), evaluator=bool, config=LoopConfig(max_iterations=2)
    )
    with pytest.raises(LengthFinishReasonError):
        await call(model, how, "?")


def test_its_own_settings_hold_for_a_structure_too(scripted: Any) -> None:
    good = AIMessage("", tool_calls=[{"name": "Person", "args": {"name": "Al", "age": 9}, "id": "1"}])
    bound = scripted(good)
    model = LoopedChatModel(bound=bound, evaluator=lambda text: 1.0, temperature=0.3, stop=["END"])
    assert model.with_structured_output(Person).invoke("?").age == 9
    assert (bound.seen_kwargs[0]["temperature"], bound.seen_kwargs[0]["stop"]) == (0.3, ["END"])


class Keeper:
    def __init__(self) -> None:
        self.key = "sk-judge-secret"

    def __repr__(self) -> str:
        return f"Keeper({self.key})"

    def evaluate(self, output: Any, context: Any = None) -> float:
        return 1.0

    def __call__(self, view: Any) -> None:
        """Be an exit condition, too."""


def test_an_evaluators_secret_is_in_no_repr_no_json_and_no_trace(scripted: Any) -> None:
    """T16: langchain writes a model's repr into its JSON and its traces."""
    seen: list[str] = []

    class Listener(BaseCallbackHandler):
        def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
            seen.append(f"{serialized} {kwargs}")

    model = LoopedChatModel(bound=scripted("hi"), evaluator=Keeper(), exit_conditions=[Keeper()])
    model.invoke("?", {"callbacks": [Listener()]})
    assert "Keeper" in repr(model)
    assert not [text for text in (repr(model), dumps(model), *seen) if "sk-judge-secret" in text]
    assert seen


def test_an_agent_asks_for_a_structure_in_the_way_the_bound_model_can(scripted: Any) -> None:
    """The model's profile tells the agent that it needs no tool for it."""
    bound = scripted('{"name": "Al", "age": 9}', profile={"structured_output": True})
    model = LoopedChatModel(bound=bound, evaluator=lambda text: 1.0)
    state = create_agent(model, response_format=Person).invoke({"messages": [HumanMessage("Who?")]})
    assert state["structured_response"] == Person(name="Al", age=9)
    assert not bound.seen_kwargs[0].get("tools")


@tool
def lookup(name: str) -> str:
    """Look a name up."""
    return f"{name} is 9"


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
async def test_an_agent_can_use_it_as_its_model(scripted: Any, says_yes: Any, how: Any) -> None:
    """T34: a plain Runnable fails there as soon as there are tools."""
    call_tool = AIMessage("", tool_calls=[{"name": "lookup", "args": {"name": "Al"}, "id": "1"}])
    bound = scripted(call_tool, "no", "yes, Al is 9")
    agent = create_agent(LoopedChatModel(bound=bound, evaluator=says_yes), tools=[lookup])
    given: Any = {"messages": [HumanMessage("How old is Al?")]}
    state = agent.invoke(given) if how == "invoke" else await agent.ainvoke(given)
    assert [message.type for message in state["messages"]] == ["human", "ai", "tool", "ai"]
    assert state["messages"][-1].text == "yes, Al is 9"
    assert bound.seen_kwargs[0]["tools"]


def test_a_looped_runnable_works_as_an_agents_model_too(scripted: Any, says_yes: Any) -> None:
    """T34."""
    call_tool = AIMessage("", tool_calls=[{"name": "lookup", "args": {"name": "Al"}, "id": "1"}])
    looped: Any = LoopedRunnable(bound=scripted(call_tool, "no", "yes, Al is 9"), evaluator=says_yes)
    state = create_agent(looped, tools=[lookup]).invoke({"messages": [HumanMessage("How old is Al?")]})
    assert [message.type for message in state["messages"]] == ["human", "ai", "tool", "ai"]
    assert state["messages"][-1].text == "yes, Al is 9"


@pytest.mark.parametrize("how", ["stream", "astream"])
async def test_what_stands_beside_a_chunk_is_kept(scripted: Any, how: Any) -> None:
    """The finish reason and the model's name come in a chunk's `generation_info`, not in its message."""
    from langchain_core.outputs import ChatGenerationChunk

    beside = {"finish_reason": "stop", "model_name": "small-2026"}
    scripted_model: Any = type(scripted("x"))

    class Beside(scripted_model):  # type: ignore[misc]  # the fixture's class is not known here
        def _stream(self, *args: Any, **kwargs: Any) -> Any:
            yield ChatGenerationChunk(message=AIMessageChunk(content="hi"))
            yield ChatGenerationChunk(message=AIMessageChunk(content=""), generation_info=beside)

        async def _astream(self, *args: Any, **kwargs: Any) -> Any:
            for chunk in self._stream():
                yield chunk

    message = await call(LoopedChatModel(bound=Beside(replies=["x"]), evaluator=lambda text: 1.0), how, "?")
    assert {name: message.response_metadata[name] for name in beside} == beside


@HOW
async def test_a_loop_whose_time_ran_out_has_no_answer_to_give(scripted: Any, how: Any) -> None:
    model = LoopedChatModel(
        bound=scripted("late", delay=120.0), evaluator=lambda text: 1.0, config=LoopConfig(timeout_ms=50)
    )
    with pytest.raises(CallTimeoutError, match="timeout_ms"):
        await call(model, how, "?")


def test_an_evaluator_of_a_structure_is_asked_about_the_structure(scripted: Any) -> None:
    ages = [
        AIMessage("", tool_calls=[{"name": "Person", "args": {"name": "Al", "age": age}, "id": str(age)}])
        for age in (8, 9)
    ]
    bound = scripted(*ages)
    model = LoopedChatModel(bound=bound, evaluator=bool)
    judge = lambda person: 1.0 if person.age == 9 else 0.2  # noqa: E731
    assert model.with_structured_output(Person, evaluator=judge).invoke("?").age == 9
    assert "evaluator" not in bound.seen_kwargs[0]
