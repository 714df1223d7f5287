"""Rounds of answering: the same sources in each of them, and no paid answer lost."""

import asyncio
from threading import Event
from typing import Any

import pytest
from llama_index.core.base.llms.types import CompletionResponse
from llama_index.core.base.response.schema import Response
from llama_index.core.indices.query.query_transform.base import IdentityQueryTransform
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.query_engine import CitationQueryEngine, RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.schema import QueryBundle
from tests.loopllm_li.conftest import (
    AwaitableShelf,
    ScriptedChat,
    ScriptedCompletions,
    ScriptedEngine,
    ShelfRetriever,
    bm25_over,
    looped_engine,
    story_of,
)

from loopllm import EvaluationResult, LoopConfig, ProviderError
from loopllm_li import LoopedQueryTransform, LoopedTransformQueryEngine

QUERY = "why do tides rise"
TEXTS = ["The moon pulls. The sea follows. The earth turns.", "The sun warms."]


# -- sources ----------------------------------------------------------------------------------------------------


class Sentences:
    """Cuts texts at the end of a sentence; LlamaIndex's own splitters want a download in older versions."""

    def split_text(self, text: str) -> list[str]:
        return [f"{sentence.strip()}." for sentence in text.split(".") if sentence.strip()]


def citing(retriever: Any, llm: Any) -> CitationQueryEngine:
    splitter: Any = Sentences()
    return CitationQueryEngine(retriever=retriever, llm=llm, text_splitter=splitter)


def labels(prompt: str) -> list[str]:
    """The sources that a prompt shows, without those of the example in it."""
    return [line for line in prompt.splitlines() if line.startswith("Source")][2:]


def test_an_engine_that_numbers_its_sources_numbers_the_same_ones_in_every_round() -> None:
    retriever = ShelfRetriever({QUERY: TEXTS})
    llm = ScriptedCompletions(replies=["0.1 a", "0.2 b", "0.9 c"])
    response = looped_engine(citing(retriever, llm)).query(QUERY)
    first, second, third = (labels(prompt) for prompt in llm.prompts)
    assert len(first) > 2
    assert first == second == third == [f"Source {number}:" for number in range(1, len(first) + 1)]
    assert [node.node.get_content().count("Source") for node in response.source_nodes] == [1] * len(first)
    assert [bundle.query_str for bundle in retriever.asked] == [QUERY]


async def test_awaited_it_numbers_the_same_ones_and_does_not_block() -> None:
    retriever, llm = AwaitableShelf({QUERY: TEXTS}), ScriptedChat(replies=["0.1 a", "0.9 b"])
    response = await looped_engine(citing(retriever, llm)).aquery(QUERY)
    first, second = (labels(seen[-1].content or "") for seen in llm.seen)
    assert first == second
    assert len(first) == len(response.source_nodes)
    assert (retriever.blocking_calls, len(retriever.asked)) == (0, 1)


def test_a_transform_before_it_changes_nothing_of_that() -> None:
    retriever = ShelfRetriever({QUERY: TEXTS})
    llm = ScriptedCompletions(replies=["0.1 a", "0.9 b"])
    transform = LoopedQueryTransform(llm=llm, retriever=retriever, evaluator=lambda nodes: 1.0)
    response = looped_engine(LoopedTransformQueryEngine(citing(retriever, llm), transform)).query(QUERY)
    first, second = (labels(prompt) for prompt in llm.prompts)
    assert first == second
    assert len(response.source_nodes) == len(first)


def test_a_loop_inside_is_asked_anew_and_never_handed_numbered_sources() -> None:
    llm = ScriptedCompletions(replies=["0.1 a", "0.9 b"])
    once = LoopConfig(max_iterations=1)
    inner = looped_engine(citing(ShelfRetriever({}, TEXTS), llm), config=once)
    looped_engine(inner).query(QUERY)
    first, second = (labels(prompt) for prompt in llm.prompts)
    assert first == second


def test_after_an_answer_that_was_given_before_the_loop_it_retrieves_for_the_callers_query() -> None:
    retriever = ShelfRetriever({QUERY: TEXTS})
    llm = ScriptedCompletions(replies=["0.1 a", "0.9 b"])
    looped_engine(citing(retriever, llm), streaming="optimistic").query(QUERY)
    first, second = (labels(prompt) for prompt in llm.prompts)
    assert first == second
    assert {bundle.query_str for bundle in retriever.asked} == {QUERY}


def test_an_ordinary_engine_is_queried_and_retrieves_once() -> None:
    retriever = ShelfRetriever({QUERY: TEXTS})
    llm = ScriptedCompletions(replies=["0.1 a", "0.9 b"])
    looped_engine(RetrieverQueryEngine(retriever, get_response_synthesizer(llm=llm))).query(QUERY)
    assert [bundle.query_str for bundle in retriever.asked] == [QUERY]


def fetching(retriever: Any) -> RetrieverQueryEngine:
    """An engine that leaves out what has nothing to do with the query."""
    synthesizer = get_response_synthesizer(llm=ScriptedCompletions(replies=["0.9 made up"]))
    return RetrieverQueryEngine(retriever, synthesizer, [SimilarityPostprocessor(similarity_cutoff=0.01)])


def unanswered(text: str) -> EvaluationResult:
    return EvaluationResult(0.2 if text == "Empty Response" else 0.9, deficiencies=["say more of the sun"])


def test_where_nothing_is_found_nothing_is_searched_for_by_the_words_of_the_feedback() -> None:
    engine = fetching(bm25_over(TEXTS))
    response = looped_engine(engine, evaluator=unanswered).query("zebra quagga")
    assert (str(response), response.source_nodes) == (str(engine.query("zebra quagga")), [])


async def test_awaited_nothing_is_searched_for_by_the_words_of_the_feedback_either() -> None:
    retriever = AwaitableShelf({QUERY: []}, otherwise=TEXTS)
    response = await looped_engine(fetching(retriever), evaluator=unanswered).aquery(QUERY)
    assert (str(response), response.source_nodes) == ("Empty Response", [])
    assert {bundle.query_str for bundle in retriever.asked} == {QUERY}


def test_an_engine_that_does_not_tell_its_sources_is_given_those_of_the_callers_query() -> None:
    class Silent(RetrieverQueryEngine):
        def _query(self, query_bundle: QueryBundle) -> Any:
            return Response("0.1 bad")

    retriever = ShelfRetriever({QUERY: TEXTS})
    silent = Silent(retriever, get_response_synthesizer(llm=ScriptedCompletions(replies=["0.9 good"])))
    response = looped_engine(silent).query(QUERY)
    assert [node.node_id for node in response.source_nodes] == TEXTS
    assert [bundle.query_str for bundle in retriever.asked] == [QUERY]


# -- paid answers -----------------------------------------------------------------------------------------------


def broken(text: str) -> float:
    raise RuntimeError("judge is ill")


def test_a_paid_answer_is_returned_when_the_judge_fails_and_the_engine_after_it(caplog: Any) -> None:
    engine = ScriptedEngine(["the answer", RuntimeError("the server is down")])
    response = looped_engine(engine, evaluator=broken).query(QUERY)
    assert (str(response), story_of(response)["exit_reason"]) == ("the answer", "provider_error")
    assert story_of(response)["scores"] == [None]
    assert "the server is down" in caplog.text


async def test_awaited_it_is_returned_too() -> None:
    engine = ScriptedEngine(["the answer", RuntimeError("the server is down")])
    assert str(await looped_engine(engine, evaluator=broken).aquery(QUERY)) == "the answer"


def test_a_handed_out_answer_is_not_followed_by_the_engines_failure() -> None:
    engine = ScriptedEngine(["the answer", RuntimeError("the server is down")])
    assert str(looped_engine(engine, evaluator=broken, streaming="optimistic").query(QUERY)) == "the answer"


def test_without_any_answer_the_engines_failure_is_raised() -> None:
    with pytest.raises(ProviderError, match="the server is down"):
        looped_engine(ScriptedEngine([RuntimeError("the server is down")]), evaluator=broken).query(QUERY)


# -- models that only pretend to be awaitable -------------------------------------------------------------------


class LocalModel(ScriptedCompletions):
    """A model in this process: awaited, it would answer on the event loop and leave it no time."""

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        wait = self.replies[0]
        return CompletionResponse(text="0.9 free" if wait(5) else "0.9 blocked")


async def test_an_engine_whose_model_blocks_when_awaited_does_not_block_the_event_loop() -> None:
    free, loop = Event(), asyncio.get_running_loop()
    llm = LocalModel(replies=[lambda seconds: loop.call_soon_threadsafe(free.set) and free.wait(seconds)])
    inner = RetrieverQueryEngine(ShelfRetriever({QUERY: TEXTS}), get_response_synthesizer(llm=llm))
    transformed = LoopedTransformQueryEngine(inner, IdentityQueryTransform())
    for engine in (inner, transformed):
        free.clear()
        assert str(await looped_engine(engine).aquery(QUERY)) == "0.9 free"


async def test_a_time_limit_interrupts_an_awaited_model_that_blocks() -> None:
    never = Event()
    llm = LocalModel(replies=[never.wait])
    inner = RetrieverQueryEngine(ShelfRetriever({QUERY: TEXTS}), get_response_synthesizer(llm=llm))
    response = await looped_engine(inner, config=LoopConfig(timeout_ms=50)).aquery(QUERY)
    never.set()
    assert story_of(response)["exit_reason"] == "timeout_ms"
    assert story_of(response)["total_latency_ms"] < 4000.0
