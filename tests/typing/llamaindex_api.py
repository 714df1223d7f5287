"""The LlamaIndex adapters as a user's type checker sees them; checked, never run."""

from collections.abc import Sequence
from typing import assert_type

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.llms.types import ChatResponse, CompletionResponse
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore

from loopllm import LoopMetrics
from loopllm_li import (
    FoundNodes,
    LoopedFunctionCallingLLM,
    LoopedLlamaLLM,
    LoopedQueryEngine,
    LoopedQueryTransform,
    LoopedRetriever,
    RefinedQueryBundle,
)


async def queries(retriever: BaseRetriever) -> None:
    transform = LoopedQueryTransform(retriever=retriever)
    assert_type(transform.run("tides"), RefinedQueryBundle)
    assert_type((await transform.arun("tides")).loop.metrics, LoopMetrics | None)
    looped = LoopedRetriever(retriever=retriever, combine="pool")
    assert_type(looped.find("tides"), FoundNodes)
    assert_type(looped.find("tides").nodes, Sequence[NodeWithScore])
    assert_type(await looped.aretrieve("tides"), list[NodeWithScore])


def answers(engine: BaseQueryEngine) -> BaseQueryEngine:
    return LoopedQueryEngine(query_engine=engine, evaluator=len, streaming="optimistic")


def models(llm: FunctionCallingLLM) -> FunctionCallingLLM:
    assert_type(LoopedLlamaLLM(llm=llm, evaluator=len).complete("tides"), CompletionResponse)
    looped = LoopedFunctionCallingLLM(llm=llm, evaluator=len)
    assert_type(looped.chat([]), ChatResponse)
    return looped
