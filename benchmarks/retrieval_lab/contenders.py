"""The ways of finding passages that are compared, each a function from a question to the ids of its nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llama_index.core import Settings
from llama_index.core.evaluation import BaseEvaluator, EvaluationResult
from llama_index.core.indices.query.query_transform.base import HyDEQueryTransform
from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata, MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine, RetryQueryEngine
from llama_index.core.response_synthesizers.no_text import NoText
from llama_index.core.retrievers import BaseRetriever, TransformRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from loopllm import LoopConfig
from loopllm.providers.base import Completion
from loopllm.providers.local import LocalProvider
from loopllm_li import DEFAULT_REWRITE_PROMPTS, LoopedRetriever, RescoredSimilarity
from loopllm_li.rewriting import query_in

Find = Callable[[str], Sequence[str]]
ROUNDS = 4


class Counted:
    """A provider that counts every call, and computes what it was asked before only once: it is deterministic."""

    def __init__(self, provider: LocalProvider) -> None:
        self.calls = 0
        self._provider = provider
        self._known: dict[str, Completion[str]] = {}

    @property
    def model_id(self) -> str | None:
        return self._provider.model_id

    def complete(
        self, prompt: Any, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[str]:
        self.calls += 1
        key = str(prompt)
        if key not in self._known:
            self._known[key] = self._provider.complete(prompt, model, timeout=timeout)
        return self._known[key]

    async def acomplete(
        self, prompt: Any, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[str]:
        return self.complete(prompt, model, timeout=timeout)


class CountedLLM(CustomLLM):
    """The same provider in the form that LlamaIndex's transforms take."""

    provider: Any

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name=str(self.provider.model_id))

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=self.provider.complete(prompt).content)

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        raise NotImplementedError


class ByContexts(BaseEvaluator):
    """The judge of the looped retriever, in the form that RetryQueryEngine takes."""

    def __init__(self, judge: RescoredSimilarity) -> None:
        self.judge = judge

    async def aevaluate(
        self, query: Any = None, response: Any = None, contexts: Any = None, **kwargs: Any
    ) -> EvaluationResult:
        nodes = [NodeWithScore(node=TextNode(text=text)) for text in contexts or []]
        verdict = self.judge.evaluate(nodes, {"query": query})
        return EvaluationResult(
            passing=verdict.score >= 0.8,
            score=verdict.score,
            feedback=verdict.feedback or "poor",
            response="none",
        )

    def _get_prompts(self) -> Any:
        return {}

    def _update_prompts(self, prompts: Any) -> None: ...


def ids(nodes: Any) -> list[str]:
    return [node.node_id for node in nodes]


def contenders(retriever: BaseRetriever, llm: Counted, judge: RescoredSimilarity) -> dict[str, Find]:
    """Return the contenders by name, in the order of the table."""
    hyde = HyDEQueryTransform(llm=CountedLLM(provider=llm))
    hyde_retriever = TransformRetriever(retriever, hyde)
    Settings.llm = MockLLM()  # RetryQueryEngine takes it although it does not use it
    engine = RetrieverQueryEngine(retriever, NoText(llm=MockLLM()))
    retry: Any = RetryQueryEngine(engine, ByContexts(judge), max_retries=ROUNDS - 1)
    config = LoopConfig(max_iterations=ROUNDS, timeout_ms=None, convergence_delta=0.0)
    settings: dict[str, Any] = {"llm": llm, "retriever": retriever, "evaluator": judge, "config": config}
    looped, pooling = LoopedRetriever(**settings), LoopedRetriever(**settings, combine="pool")

    def hyde_as_query(question: str) -> list[str]:
        return ids(retriever.retrieve(QueryBundle(hyde.run(question).embedding_strs[0])))

    def one_rewrite(question: str) -> list[str]:
        asked = DEFAULT_REWRITE_PROMPTS[0].format(query_str=question, feedback="")
        return ids(retriever.retrieve(query_in(llm.complete(asked).content)))

    return {
        "plain": lambda question: ids(retriever.retrieve(question)),
        "HyDE": lambda question: ids(hyde_retriever.retrieve(question)),
        "HyDE, its passage as the query": hyde_as_query,
        "RetryQueryEngine": lambda question: ids(retry.query(question).source_nodes),
        "one rewrite, always taken": one_rewrite,
        "LoopedRetriever": lambda question: ids(looped.retrieve(question)),
        'LoopedRetriever, combine="pool"': lambda question: ids(pooling.retrieve(question)),
    }
