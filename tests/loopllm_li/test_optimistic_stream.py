"""`streaming="optimistic"`: the first answer is shown while it is written, and a better one follows when it was poor."""

import asyncio
import time
from typing import Any

import pytest
from llama_index.core.base.response.schema import AsyncStreamingResponse, Response, StreamingResponse
from llama_index.core.chat_engine import CondenseQuestionChatEngine
from tests.loopllm_li.conftest import ScriptedCompletions, ScriptedEngine, as_nodes, story_of

from loopllm import AdaptivePriors, LoopConfig, MisuseError
from loopllm_li import LoopedQueryEngine

QUERY = "why do tides rise"
NOTICE = "\n--\n"


def judge(text: str) -> float:
    return float(text.split(maxsplit=1)[0])


def looped(script: list[Any], **settings: Any) -> LoopedQueryEngine:
    fixed: dict[str, Any] = {"evaluator": judge, "streaming": "optimistic", "revision_notice": NOTICE}
    return LoopedQueryEngine(query_engine=ScriptedEngine(script), **{**fixed, **settings})


def stream_of(text: str, source: str = "source") -> StreamingResponse:
    return StreamingResponse(
        (f"{word} " for word in text.split()), as_nodes([source]), {"node-1": {"page": 3}}
    )


async def _words(text: str) -> Any:
    for word in text.split():
        yield f"{word} "


def astream_of(text: str, source: str = "source") -> AsyncStreamingResponse:
    return AsyncStreamingResponse(_words(text), as_nodes([source]))


def test_a_good_first_answer_is_streamed_as_it_is_written_and_nothing_follows() -> None:
    judged: list[str] = []

    def spy(text: str) -> float:
        judged.append(text)
        return 0.9

    response: Any = looped([stream_of("0.9 very good")], evaluator=spy).query(QUERY)
    first = next(response.response_gen)
    assert (first, judged) == ("0.9 ", [])  # shown before anything was judged
    assert "".join(response.response_gen) == "very good "
    assert judged == ["0.9 very good "]
    assert (story_of(response)["total_iterations"], response.metadata["node-1"]) == (1, {"page": 3})


def test_a_poor_first_answer_is_followed_by_a_notice_and_the_better_one() -> None:
    response: Any = looped([stream_of("0.1 bad"), stream_of("0.9 good", "better source")]).query(QUERY)
    assert "".join(response.response_gen) == f"0.1 bad {NOTICE}0.9 good "
    assert [node.node_id for node in response.source_nodes] == ["better source"]
    assert (story_of(response)["best_iteration"], story_of(response)["scores"]) == (2, [0.1, 0.9])


def test_when_nothing_is_better_the_first_answer_stands_alone() -> None:
    response: Any = looped(
        [stream_of("0.5 fair"), stream_of("0.2 bad")], config=LoopConfig(max_iterations=2)
    ).query(QUERY)
    assert "".join(response.response_gen) == "0.5 fair "
    assert [node.node_id for node in response.source_nodes] == ["source"]


async def test_awaited_it_is_an_async_stream() -> None:
    response = await looped([astream_of("0.1 bad"), astream_of("0.9 good")]).aquery(QUERY)
    assert isinstance(response, AsyncStreamingResponse)
    assert "".join([piece async for piece in response.async_response_gen()]) == f"0.1 bad {NOTICE}0.9 good "
    assert story_of(response)["best_iteration"] == 2


async def test_awaited_a_good_first_answer_stands_alone() -> None:
    response: Any = await looped([astream_of("0.9 good")]).aquery(QUERY)
    assert str(await response.get_response()) == "0.9 good "


def test_an_engine_that_does_not_stream_is_looped_and_answered_at_once() -> None:
    engine = looped(["0.1 bad", "0.9 good"])
    response = engine.query(QUERY)
    assert isinstance(response, Response)
    assert (str(response), story_of(response)["scores"]) == ("0.9 good", [0.1, 0.9])
    awaited = asyncio.run(_asked(looped(["0.1 bad", "0.9 good"])))
    assert str(awaited) == "0.9 good"


async def _asked(engine: LoopedQueryEngine) -> Any:
    return await engine.aquery(QUERY)


def test_an_evaluator_that_fails_leaves_the_stream_as_it_was() -> None:
    def broken(text: str) -> float:
        raise RuntimeError("judge is ill")

    response: Any = looped(
        [stream_of("0.1 bad")], evaluator=broken, config=LoopConfig(max_iterations=1)
    ).query(QUERY)
    assert "".join(response.response_gen) == "0.1 bad "
    assert story_of(response)["scores"] == [None]


def test_it_serves_a_streaming_chat_engine() -> None:
    engine = looped([stream_of("0.1 bad"), stream_of("0.9 good")])
    chat = CondenseQuestionChatEngine.from_defaults(
        query_engine=engine, llm=ScriptedCompletions(replies=["standalone question"])
    )
    assert "".join(chat.stream_chat(QUERY).response_gen) == f"0.1 bad {NOTICE}0.9 good "


def test_another_word_than_optimistic_is_refused() -> None:
    with pytest.raises(MisuseError, match="streaming"):
        looped(["x"], streaming="hopeful")


def slow_stream(text: str, seconds: float) -> StreamingResponse:
    def words() -> Any:
        time.sleep(seconds)
        yield text

    return StreamingResponse(words(), as_nodes(["source"]))


def test_the_first_answer_is_timed_as_long_as_it_took_to_write() -> None:
    priors = AdaptivePriors()
    engine = looped([slow_stream("0.9 good", 0.1)], priors=priors, model_id="m")
    response: Any = engine.query(QUERY)
    list(response.response_gen)
    story = story_of(response)
    assert story["iterations"][0]["latency_ms"] >= 100.0
    assert story["total_latency_ms"] >= 100.0
    seconds = priors.report("query", "m").call_costs["first"].seconds
    assert seconds is not None
    assert seconds[0] > 0.05


async def test_awaited_a_first_answer_that_is_not_streamed_is_timed_too() -> None:
    engine = LoopedQueryEngine(
        query_engine=ScriptedEngine(["0.9 good"], delay_s=0.1), evaluator=judge, streaming="optimistic"
    )
    assert story_of(await engine.aquery(QUERY))["iterations"][0]["latency_ms"] >= 90.0


def test_the_time_of_the_first_answer_is_part_of_the_runs() -> None:
    response: Any = looped(
        [slow_stream("0.1 bad", 0.3), stream_of("0.9 good")], config=LoopConfig(timeout_ms=250)
    ).query(QUERY)
    assert "".join(response.response_gen) == "0.1 bad"
    assert story_of(response)["exit_reason"] == "timeout_ms"


def test_observers_hear_of_the_first_answer_as_of_any_other() -> None:
    class Ear:
        def __init__(self) -> None:
            self.heard: list[str] = []

        def on_event(self, event: Any) -> None:
            self.heard.append(type(event).__name__)

    streamed, plain = Ear(), Ear()
    response: Any = looped([stream_of("0.1 bad"), stream_of("0.9 good")], observers=[streamed]).query(QUERY)
    list(response.response_gen)
    looped(["0.1 bad", "0.9 good"], streaming=None, observers=[plain]).query(QUERY)
    assert streamed.heard == plain.heard
