"""What a stream of a loop yields: the accepted draft only, in its own pieces."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.output_parsers import JsonOutputParser, StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableGenerator, RunnableLambda
from pydantic import BaseModel

from loopllm import CallTimeoutError, LoopConfig
from loopllm_lc import LoopedRunnable

PROMPT = ChatPromptTemplate.from_template("{x}")


class Person(BaseModel):
    name: str
    age: int


async def streamed(runnable: Any, given: Any, how: Any, **kwargs: Any) -> Any:
    if how == "stream":
        return list(runnable.stream(given, **kwargs))
    return [piece async for piece in runnable.astream(given, **kwargs)]


HOW = pytest.mark.parametrize("how", ["stream", "astream"])


@HOW
async def test_the_accepted_drafts_own_chunks_are_yielded(scripted: Any, says_yes: Any, how: Any) -> None:
    """T4."""
    looped = LoopedRunnable(bound=scripted("no no no", "yes it is"), evaluator=says_yes)
    pieces = await streamed(looped, "Agree.", how)
    assert [type(piece) for piece in pieces] == [AIMessageChunk] * len(pieces)
    assert [piece.text for piece in pieces if piece.text] == ["yes", " it", " is"]
    assert [piece.chunk_position for piece in pieces] == [None] * (len(pieces) - 1) + ["last"]
    assert len({piece.id for piece in pieces}) == 1


@HOW
async def test_the_chunks_add_up_to_what_invoke_returns(scripted: Any, says_yes: Any, how: Any) -> None:
    """T4."""
    looped = LoopedRunnable(bound=scripted("no", "yes it is"), evaluator=says_yes)
    total: Any = None
    for piece in await streamed(looped, "Agree.", how):
        total = piece if total is None else total + piece
    message = LoopedRunnable(bound=scripted("no", "yes it is"), evaluator=says_yes).invoke("Agree.")
    assert total.text == message.text
    assert total.usage_metadata == message.usage_metadata
    assert total.response_metadata["loopllm"] == message.response_metadata["loopllm"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    drafts=st.lists(st.text("ab \n", min_size=1, max_size=12), min_size=1, max_size=4),
    scores=st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4),
    parses=st.booleans(),
)
@example(drafts=["a a", "b"], scores=[0.5, 0.1, 0.2, 0.3], parses=True)
def test_whatever_the_drafts_and_scores_a_stream_joins_to_what_invoke_returns(
    scripted: Any, drafts: Any, scores: Any, parses: Any
) -> None:
    """T4."""

    def looped() -> Any:
        verdicts = iter(scores)
        model = scripted(*drafts)
        bound = model | StrOutputParser() if parses else model
        return LoopedRunnable(
            bound=bound, evaluator=lambda text: next(verdicts), config=LoopConfig(max_iterations=4)
        )

    words = [piece if parses else piece.text for piece in looped().stream("?")]
    whole = looped().invoke("?")
    assert "".join(words) == (whole if parses else whole.text)


@HOW
async def test_an_earlier_better_draft_is_the_one_that_is_streamed(scripted: Any, how: Any) -> None:
    scores = iter([0.5, 0.1, 0.2])
    looped = LoopedRunnable(
        bound=scripted("good one", "bad one", "bad two"),
        evaluator=lambda text: next(scores),
        config=LoopConfig(max_iterations=3),
    )
    assert "".join(piece.text for piece in await streamed(looped, "?", how)) == "good one"


@HOW
async def test_a_model_that_cannot_stream_yields_one_chunk(scripted: Any, says_yes: Any, how: Any) -> None:
    """T4: the default is a message that is no chunk."""
    model = scripted(AIMessage("yes it is", id="m"), streams=False)
    pieces = await streamed(LoopedRunnable(bound=model, evaluator=says_yes), "Agree.", how)
    assert [type(piece) for piece in pieces] == [AIMessageChunk]
    assert (pieces[0].text, pieces[0].id, pieces[0].chunk_position) == ("yes it is", "m", "last")


@HOW
async def test_drafts_are_not_glued_together_downstream(
    scripted: Any, says_yes: Any, recorder: Any, how: Any
) -> None:
    """T5."""
    chain = LoopedRunnable(bound=scripted("no", "yes it is"), evaluator=says_yes) | StrOutputParser()
    assert "".join(await streamed(chain, "Agree.", how, config={"callbacks": [recorder]})) == "yes it is"
    (loop,) = recorder.named("LoopedRunnable")
    assert isinstance(loop["outputs"], AIMessageChunk)
    assert loop["outputs"].text == "yes it is"


@HOW
async def test_a_bound_chain_streams_its_parsers_pieces(scripted: Any, says_yes: Any, how: Any) -> None:
    looped = LoopedRunnable(
        bound=PROMPT | scripted("no", "yes it is") | StrOutputParser(), evaluator=says_yes
    )
    pieces = [piece for piece in await streamed(looped, {"x": "Agree."}, how) if piece]
    assert pieces == ["yes", " it", " is"]


@HOW
async def test_a_json_parser_streams_growing_values_up_to_the_whole(scripted: Any, how: Any) -> None:
    looped = LoopedRunnable(bound=PROMPT | scripted("no", '{"a": 1, "b": [1, 2]}') | JsonOutputParser())
    pieces = await streamed(looped, {"x": "?"}, how)
    assert pieces[-1] == {"a": 1, "b": [1, 2]}
    assert len(pieces) > 1


@HOW
async def test_a_step_that_does_more_than_parse_runs_once_a_draft_and_gives_one_piece(
    scripted: Any, says_yes: Any, how: Any
) -> None:
    calls: Any = []
    shout = RunnableLambda(lambda message: calls.append(1) or message.text.upper())
    looped = LoopedRunnable(bound=PROMPT | scripted("yes it is") | shout, evaluator=lambda text: 1.0)
    assert await streamed(looped, {"x": "?"}, how) == ["YES IT IS"]
    assert len(calls) == 1


@HOW
async def test_structured_output_streams_up_to_the_whole(scripted: Any, how: Any) -> None:
    good = AIMessage("", tool_calls=[{"name": "Person", "args": {"name": "Al", "age": 9}, "id": "1"}])
    looped = LoopedRunnable(bound=scripted("none", good).with_structured_output(Person))
    assert (await streamed(looped, "Who?", how))[-1] == Person(name="Al", age=9)


@HOW
async def test_tool_calls_are_streamed_as_tool_call_chunks(scripted: Any, how: Any) -> None:
    call = {"name": "f", "args": {"a": 1}, "id": "1", "type": "tool_call"}
    looped = LoopedRunnable(bound=scripted(AIMessage("", tool_calls=[call])), evaluator=lambda text: 0.0)
    pieces = await streamed(looped, "?", how)
    total = pieces[0]
    for piece in pieces[1:]:
        total = total + piece
    assert any(piece.tool_call_chunks for piece in pieces)
    assert total.tool_calls == [call]


@HOW
async def test_odd_usage_in_the_chunks_is_summed(scripted: Any, says_yes: Any, how: Any) -> None:
    """T20."""
    odd = {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4, "total_cost": 0.5}
    draft = AIMessage("no never").model_copy(update={"usage_metadata": odd})
    pieces = await streamed(LoopedRunnable(bound=scripted(draft, "yes"), evaluator=says_yes), "?", how)
    assert pieces[-1].usage_metadata["total_tokens"] == 19
    assert [piece.usage_metadata for piece in pieces[:-1]] == [None] * (len(pieces) - 1)


async def test_an_awaited_stream_ends_at_its_deadline(scripted: Any) -> None:
    """T6: a timeout around a yield never fires."""
    looped = LoopedRunnable(
        bound=scripted("late", delay=600.0), evaluator=lambda text: 1.0, config=LoopConfig(timeout_ms=50)
    )
    with pytest.raises(CallTimeoutError, match="timeout_ms"):  # or it would end in ten minutes
        assert [piece async for piece in looped.astream("?")] == []


async def test_leaving_early_ends_the_run_at_once(scripted: Any, says_yes: Any, recorder: Any) -> None:
    """T7."""
    model = scripted("no", "yes it is so")
    stream: Any = LoopedRunnable(bound=model, evaluator=says_yes).astream("?", {"callbacks": [recorder]})
    async for _ in stream:
        break
    await stream.aclose()
    assert recorder.ends[-1][1] == "LoopedRunnable"
    assert len(model.closed_streams) == len(model.seen)


def test_leaving_a_blocking_stream_early_ends_the_run_at_once(
    scripted: Any, says_yes: Any, recorder: Any
) -> None:
    """T7."""
    stream: Any = LoopedRunnable(bound=scripted("yes it is so"), evaluator=says_yes).stream(
        "?", {"callbacks": [recorder]}
    )
    next(stream)
    stream.close()
    assert recorder.ends[-1][1] == "LoopedRunnable"


async def test_a_cancelled_stream_makes_no_further_calls(scripted: Any) -> None:
    model = scripted("no", delay=0.1)
    looped = LoopedRunnable(bound=model, evaluator=lambda text: 0.1)

    async def consume() -> None:
        async for _ in looped.astream("?"):
            pass

    task = asyncio.create_task(consume())
    while not model.seen:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    calls = len(model.seen)
    await asyncio.sleep(0.2)
    assert len(model.seen) == calls


@HOW
async def test_a_streamed_input_is_gathered_first(scripted: Any, says_yes: Any, how: Any) -> None:
    model = scripted("yes")
    looped = LoopedRunnable(bound=model, evaluator=says_yes)
    words = RunnableGenerator(_words, _awords)
    await streamed(words | looped, "Agree with me.", how)
    assert model.seen[0][0].text == "Agree with me."


def _words(given: Any) -> Any:
    for text in given:
        for word in text.split(" "):
            yield word if word == text.split(" ")[0] else f" {word}"


async def _awords(given: Any) -> Any:
    async for text in given:
        for word in _words(iter([text])):
            yield word


async def test_transform_takes_a_stream_and_gives_the_accepted_draft(scripted: Any, says_yes: Any) -> None:
    looped = LoopedRunnable(bound=scripted("no", "yes it is"), evaluator=says_yes)
    assert "".join(piece.text for piece in looped.transform(iter(["Agree", " now."]))) == "yes it is"

    async def awaited() -> Any:
        for text in ("Agree", " now."):
            yield text

    looped = LoopedRunnable(bound=scripted("no", "yes it is"), evaluator=says_yes)
    assert "".join([piece.text async for piece in looped.atransform(awaited())]) == "yes it is"


@HOW
async def test_a_runnable_without_a_visible_model_streams_its_own_pieces(how: Any) -> None:
    looped = LoopedRunnable(bound=RunnableGenerator(_words, _awords), evaluator=lambda text: 1.0)
    assert await streamed(looped, "one two", how) == ["one", " two"]


@HOW
async def test_keywords_reach_a_streaming_model(scripted: Any, says_yes: Any, how: Any) -> None:
    """T19."""
    model = scripted("yes")
    await streamed(LoopedRunnable(bound=model, evaluator=says_yes), "?", how, stop=["END"])
    assert model.seen_kwargs[0]["stop"] == ["END"]


@HOW
async def test_the_chunks_of_a_draft_that_took_anothers_id_carry_their_own(scripted: Any, how: Any) -> None:
    """T30."""
    drafts = [AIMessage("no", id="same"), AIMessage("yes it is", id="same")]
    looped = LoopedRunnable(bound=scripted(*drafts), evaluator=lambda text: 1.0 if "yes" in text else 0.1)
    ids = {piece.id for piece in await streamed(looped, "?", how)}
    assert len(ids) == 1
    assert ids != {"same"}


@HOW
async def test_a_retry_of_what_is_bound_holds_for_a_stream_too(
    scripted: Any, says_yes: Any, how: Any
) -> None:
    """T32: LangChain itself repeats no stream."""
    model = scripted(ValueError("boom"), "no", ValueError("boom"), "yes it is")
    settings: Any = {"stop_after_attempt": 2, "wait_exponential_jitter": False}
    for bound in (model.with_retry(**settings), model.with_retry(**settings).with_fallbacks([scripted("x")])):
        model.seen.clear()
        for read, words in ((StrOutputParser(), str), (RunnableLambda(lambda message: message.text), str)):
            model.seen.clear()
            looped = LoopedRunnable(bound=PROMPT | bound | read, evaluator=says_yes)
            assert "".join(map(words, await streamed(looped, {"x": "?"}, how))) == "yes it is"
        model.seen.clear()
        pieces = await streamed(LoopedRunnable(bound=bound, evaluator=says_yes), "?", how)
        assert [(piece.text, piece.chunk_position) for piece in pieces] == [("yes it is", "last")]


@HOW
async def test_a_chain_under_a_config_streams_in_the_pieces_of_the_chain(scripted: Any, how: Any) -> None:
    chain = (PROMPT | scripted("yes it is") | StrOutputParser()).with_config(tags=["mine"])
    looped = LoopedRunnable(bound=chain, evaluator=lambda text: 1.0)
    assert [piece for piece in await streamed(looped, {"x": "?"}, how) if piece] == ["yes", " it", " is"]


@HOW
async def test_a_listener_to_a_chain_hears_of_each_draft_once(scripted: Any, says_yes: Any, how: Any) -> None:
    heard: Any = []
    chain = PROMPT | scripted("no", "yes it is") | StrOutputParser()
    listening = chain.with_listeners(on_end=lambda run: heard.append(run.outputs.get("output")))
    pieces = await streamed(LoopedRunnable(bound=listening, evaluator=says_yes), {"x": "?"}, how)
    assert "".join(pieces) == "yes it is"
    assert [said for said in heard if isinstance(said, str)] == ["no", "yes it is"]
