"""The LlamaIndex parts on the embedded real model: OpenAI-compatible client over HTTP, BM25 over the corpus in the repo."""

import json
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.llms import LLM
from llama_index.core.query_engine import RetrieverQueryEngine, TransformQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.tools import QueryEngineTool
from tests.loopllm_li.conftest import bm25_over, openai_like

from loopllm import AdaptivePriors, LoopConfig
from loopllm.evaluators import LengthEvaluator
from loopllm.providers.local import LocalProvider
from loopllm_li import (
    LlamaIndexProvider,
    LoopedFunctionCallingLLM,
    LoopedQueryEngine,
    LoopedQueryTransform,
    LoopedRetriever,
    LoopedTransformQueryEngine,
    RescoredSimilarity,
)

pytestmark = pytest.mark.real_model

CORPUS = Path(__file__).parents[2] / "examples" / "corpus"
CONFIG = LoopConfig(max_iterations=3, timeout_ms=120_000)


def lines_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (CORPUS / name).read_text().splitlines()]


PASSAGES = {line["id"]: line["text"] for line in lines_of("passages.jsonl")}
IN_OTHER_WORDS = {"What makes the ground shake?": "earthquake"}


@pytest.fixture(scope="module")
def local() -> LocalProvider:
    return LocalProvider(temperature=0, max_tokens=48, seed=0)


@pytest.fixture(scope="module")
def llm(local: LocalProvider) -> LLM:
    return openai_like(
        str(local.model_id),
        local.base_url,
        is_chat_model=True,
        context_window=2048,
        temperature=0.0,
        max_tokens=48,
    )


@pytest.fixture(scope="module")
def judge() -> RescoredSimilarity:
    return RescoredSimilarity.local()


def bm25() -> BaseRetriever:
    return bm25_over(list(PASSAGES.values()), top_k=3)


def test_every_question_of_the_corpus_has_its_passage() -> None:
    queries = lines_of("queries.jsonl")
    assert {line["answer"] for line in queries} == set(PASSAGES)
    assert len({line["query"] for line in queries}) == len(queries)


def test_a_question_in_other_words_finds_its_passage_only_when_looped(
    llm: LLM, judge: RescoredSimilarity
) -> None:
    (question, right), retriever = next(iter(IN_OTHER_WORDS.items())), bm25()
    inner = RetrieverQueryEngine(retriever, get_response_synthesizer(llm=llm))
    transform = LoopedQueryTransform(llm=llm, retriever=retriever, evaluator=judge, config=CONFIG)
    assert retriever.retrieve(question)[0].node_id != PASSAGES[right]
    response = TransformQueryEngine(inner, transform).query(question)
    assert response.source_nodes[0].node_id == PASSAGES[right]
    assert str(response)


async def test_awaited_the_same_question_finds_the_same_passage(llm: LLM, judge: RescoredSimilarity) -> None:
    (question, right), retriever = next(iter(IN_OTHER_WORDS.items())), bm25()
    inner = RetrieverQueryEngine(retriever, get_response_synthesizer(llm=llm))
    transform = LoopedQueryTransform(llm=llm, retriever=retriever, evaluator=judge, config=CONFIG)
    response = await LoopedTransformQueryEngine(inner, transform).aquery(question)
    assert response.source_nodes[0].node_id == PASSAGES[right]
    bundle = await transform.arun(question)
    assert bundle.loop.metrics is not None
    assert (bundle.loop.metrics.usage.total_tokens or 0) > 0


def test_a_looped_retriever_under_a_looped_engine_answers_and_learns(
    llm: LLM, judge: RescoredSimilarity
) -> None:
    (question, right), priors = next(iter(IN_OTHER_WORDS.items())), AdaptivePriors()
    retriever = LoopedRetriever(llm=llm, retriever=bm25(), evaluator=judge, config=CONFIG, priors=priors)
    inner = RetrieverQueryEngine(retriever, get_response_synthesizer(llm=llm))
    engine = LoopedQueryEngine(
        query_engine=inner, evaluator=lambda text: "quake" in text.lower(), config=CONFIG, priors=priors
    )
    response = engine.query(question)
    assert response.source_nodes[0].node_id == PASSAGES[right]
    story = (response.metadata or {})["loopllm"]
    told = [each["usage"]["prompt_tokens"] for each in story["iterations"]]
    assert min(told) > 20
    assert story["usage"]["prompt_tokens"] == sum(told)
    model = str(LlamaIndexProvider(llm).model_id)
    assert priors.report("query_rewrite", model).total_calls == 1
    assert priors.report("query", model).total_calls == 1


def test_the_model_has_the_same_name_through_llama_index_and_directly(local: LocalProvider, llm: LLM) -> None:
    assert LlamaIndexProvider(llm).model_id == local.model_id


def test_usage_and_finish_reason_come_over_http(llm: LLM) -> None:
    reply = LlamaIndexProvider(llm).complete("Say hello.")
    assert (reply.usage.prompt_tokens or 0) > 0
    assert (reply.usage.completion_tokens or 0) > 0
    assert reply.finish_reason in {"stop", "length"}


async def test_awaited_calls_of_many_rounds_share_one_event_loop(llm: LLM) -> None:
    """Trap 1: the pooled async client of the first round serves the later ones."""
    provider = LlamaIndexProvider(llm)
    assert all([(await provider.acomplete("Say hello.")).content for _ in range(3)])


def test_the_local_embedding_knows_what_a_question_is_about(judge: RescoredSimilarity) -> None:
    from tests.loopllm_li.conftest import as_nodes

    right = judge.evaluate(as_nodes([PASSAGES["earthquake"]]), {"query": next(iter(IN_OTHER_WORDS))})
    wrong = judge.evaluate(as_nodes([PASSAGES["berlinwall"]]), {"query": next(iter(IN_OTHER_WORDS))})
    assert right.score > wrong.score + 0.2


async def test_pooled_rounds_keep_the_right_passage_whatever_the_last_rewrite_was(
    llm: LLM, judge: RescoredSimilarity
) -> None:
    question, right = next(iter(IN_OTHER_WORDS.items()))
    pooling = LoopedRetriever(llm=llm, retriever=bm25(), evaluator=judge, config=CONFIG, combine="pool")
    found = await pooling.afind(question)
    assert found.nodes[0].node_id == PASSAGES[right]
    assert [node.score for node in found.nodes] == sorted(
        (node.score or 0.0 for node in found.nodes), reverse=True
    )


async def test_an_agent_over_http_gets_an_answer_or_a_tool_call_through_the_looped_llm(
    local: LocalProvider,
) -> None:
    caller = openai_like(
        str(local.model_id),
        local.base_url,
        is_chat_model=True,
        is_function_calling_model=True,
        context_window=2048,
        temperature=0.0,
        max_tokens=32,
    )
    looped = LoopedFunctionCallingLLM(
        llm=caller,
        evaluator=LengthEvaluator(max_words=12),
        config=LoopConfig(max_iterations=2, timeout_ms=120_000),
    )
    engine = RetrieverQueryEngine(bm25(), get_response_synthesizer(llm=caller))
    tool = QueryEngineTool.from_defaults(engine, name="encyclopedia", description="facts of nature")
    response = await looped.achat_with_tools([tool], user_msg="What makes the ground shake?")
    calls = looped.get_tool_calls_from_response(response, error_on_no_tool_call=False)
    assert calls or response.message.content


def test_a_stream_over_http_is_shown_while_it_is_written_and_then_judged(llm: LLM) -> None:
    inner = RetrieverQueryEngine(bm25(), get_response_synthesizer(llm=llm, streaming=True))
    engine = LoopedQueryEngine(
        query_engine=inner, evaluator=lambda text: 0.9, config=CONFIG, streaming="optimistic"
    )
    response: Any = engine.query("What makes the ground shake?")
    assert "".join(response.response_gen)
    assert response.metadata["loopllm"]["total_iterations"] == 1
