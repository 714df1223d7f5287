"""loopllm for LlamaIndex: queries, answers and LLM calls that are looped until they are good enough.

Names are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from loopllm.errors import MissingExtraError

try:
    import_module("llama_index.core")
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("llama_index"):
        raise
    raise MissingExtraError("llama-index", "llama-index-core") from error

if TYPE_CHECKING:
    from loopllm_li.bundles import QueryLoop, RefinedQueryBundle, TriedQuery
    from loopllm_li.extractor import LoopedExtractor
    from loopllm_li.kv_prior_store import KVStorePriorStore
    from loopllm_li.llama_evaluator import LlamaIndexEvaluator
    from loopllm_li.local_embedding import LocalEmbedding
    from loopllm_li.looped_llm import LoopedLlamaLLM
    from loopllm_li.looped_tool_llm import LoopedFunctionCallingLLM
    from loopllm_li.provider import LlamaIndexProvider
    from loopllm_li.query_engine import LoopedQueryEngine
    from loopllm_li.query_refiner import FoundNodes
    from loopllm_li.query_transform import LoopedQueryTransform
    from loopllm_li.retrieval_evaluators import (
        ExpectedNodes,
        NodeStability,
        RescoredSimilarity,
        TermCoverage,
        nodes_settle,
    )
    from loopllm_li.retriever import LoopedRetriever
    from loopllm_li.rewriting import DEFAULT_REWRITE_PROMPTS
    from loopllm_li.spans import InstrumentationObserver, LoopFinishedEvent, LoopIteration, LoopIterationEvent
    from loopllm_li.transform_engine import LoopedTransformQueryEngine
    from loopllm_li.workflow import LoopedWorkflow, LoopResultEvent, LoopRoundEvent, LoopStart

_HOMES = {
    "DEFAULT_REWRITE_PROMPTS": "rewriting",
    "ExpectedNodes": "retrieval_evaluators",
    "FoundNodes": "query_refiner",
    "InstrumentationObserver": "spans",
    "KVStorePriorStore": "kv_prior_store",
    "LlamaIndexEvaluator": "llama_evaluator",
    "LlamaIndexProvider": "provider",
    "LocalEmbedding": "local_embedding",
    "LoopFinishedEvent": "spans",
    "LoopIteration": "spans",
    "LoopIterationEvent": "spans",
    "LoopResultEvent": "workflow",
    "LoopRoundEvent": "workflow",
    "LoopStart": "workflow",
    "LoopedExtractor": "extractor",
    "LoopedFunctionCallingLLM": "looped_tool_llm",
    "LoopedLlamaLLM": "looped_llm",
    "LoopedQueryEngine": "query_engine",
    "LoopedQueryTransform": "query_transform",
    "LoopedRetriever": "retriever",
    "LoopedTransformQueryEngine": "transform_engine",
    "LoopedWorkflow": "workflow",
    "NodeStability": "retrieval_evaluators",
    "QueryLoop": "bundles",
    "RefinedQueryBundle": "bundles",
    "RescoredSimilarity": "retrieval_evaluators",
    "TermCoverage": "retrieval_evaluators",
    "TriedQuery": "bundles",
    "nodes_settle": "retrieval_evaluators",
}

__all__ = [
    "DEFAULT_REWRITE_PROMPTS",
    "ExpectedNodes",
    "FoundNodes",
    "InstrumentationObserver",
    "KVStorePriorStore",
    "LlamaIndexEvaluator",
    "LlamaIndexProvider",
    "LocalEmbedding",
    "LoopFinishedEvent",
    "LoopIteration",
    "LoopIterationEvent",
    "LoopResultEvent",
    "LoopRoundEvent",
    "LoopStart",
    "LoopedExtractor",
    "LoopedFunctionCallingLLM",
    "LoopedLlamaLLM",
    "LoopedQueryEngine",
    "LoopedQueryTransform",
    "LoopedRetriever",
    "LoopedTransformQueryEngine",
    "LoopedWorkflow",
    "NodeStability",
    "QueryLoop",
    "RefinedQueryBundle",
    "RescoredSimilarity",
    "TermCoverage",
    "TriedQuery",
    "nodes_settle",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
