"""How many questions find their passage: plain BM25, HyDE, RetryQueryEngine and the looped retriever, on a real model.

    python benchmarks/llamaindex_retrieval.py [--queries N] [--json results.json]

The corpus is `examples/corpus` (56 passages, 112 questions in other words than the passages) among as many
generated distractors as make 1,200 passages: sentences drawn from a small grammar of everyday words with a
fixed seed, so that the words of a question ("first", "water", "night") also occur where they answer
nothing. The model is SmolLM2-135M, embedded.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llama_index.core import Settings
from llama_index.core.evaluation import BaseEvaluator, EvaluationResult
from llama_index.core.indices.query.query_transform.base import HyDEQueryTransform
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine, RetryQueryEngine
from llama_index.core.response_synthesizers.no_text import NoText
from llama_index.core.retrievers import BaseRetriever, TransformRetriever
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.retrievers.bm25 import BM25Retriever

from loopllm import LoopConfig
from loopllm.providers.local import LocalProvider
from loopllm_li import LoopedRetriever, RescoredSimilarity
from loopllm_li.rewriting import DEFAULT_REWRITE_PROMPTS

ROOT = Path(__file__).parents[1]
PASSAGES = 1200
TOP_K = 3
SEED = 7

_PEOPLE = "the baker|a farmer|my aunt|the teacher|a doctor|two sailors|the mayor|an old painter|the children"
_DEEDS = (
    "repaired|sold|painted|carried|found|lost|measured|built|cleaned|borrowed|hid|moved|described|bought|drew"
)
_THINGS = (
    "a wooden boat|the green door|a heavy machine|the first book|a letter|the water pump|a warm coat|the long rope|"
    "a map of the world|an iron gate|the small engine|a glass of juice|the old clock|a basket of fruit|the white horse"
)
_PLACES = (
    "near the beach|in the mountains|by the river|at the market|behind the school|in the forest|on the island|"
    "at the harbour|in the capital|beside the road|under the bridge|in the desert|at the top of the hill"
)
_TIMES = "in the night|every year|before winter|after the storm|in the morning|on a cold day|last summer|when it rained"
_ENDS = (
    "and nobody knew why|and walked home in the dark|while the sky was cloudy|because the weather was cold|"
    "and told the people about it|before the light went out|and kept it for many years|so that it would not get wet"
)


def passages() -> list[TextNode]:
    """The labelled passages and the distractors, in a shuffled order."""
    lines = (ROOT / "examples/corpus/passages.jsonl").read_text().splitlines()
    nodes = [TextNode(id_=line["id"], text=line["text"]) for line in map(json.loads, lines)]
    dice = random.Random(SEED)
    parts = [part.split("|") for part in (_PEOPLE, _DEEDS, _THINGS, _PLACES, _TIMES, _ENDS)]
    while len(nodes) < PASSAGES:
        sentences = [" ".join(dice.choice(part) for part in parts) for _ in range(2)]
        text = " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)
        nodes.append(TextNode(id_=f"distractor-{len(nodes)}", text=text))
    dice.shuffle(nodes)
    return nodes


def questions(limit: int | None) -> list[dict[str, str]]:
    """The labelled questions; an even sample of them when limited."""
    lines = [json.loads(line) for line in (ROOT / "examples/corpus/queries.jsonl").read_text().splitlines()]
    return lines if limit is None else lines[:: max(1, len(lines) // limit)][:limit]


class Counted:
    """A provider that counts its calls."""

    def __init__(self, provider: LocalProvider) -> None:
        self.provider, self.calls = provider, 0

    @property
    def model_id(self) -> str | None:
        return self.provider.model_id

    def complete(self, prompt: Any, model: str | None = None, *, timeout: float | None = None) -> Any:
        self.calls += 1
        return self.provider.complete(prompt, model, timeout=timeout)

    async def acomplete(self, prompt: Any, model: str | None = None, *, timeout: float | None = None) -> Any:
        self.calls += 1
        return await self.provider.acomplete(prompt, model, timeout=timeout)


class ByContexts(BaseEvaluator):
    """The same judge as ours, in the form that RetryQueryEngine takes."""

    def __init__(self, judge: RescoredSimilarity) -> None:
        self.judge = judge

    async def aevaluate(
        self, query: Any = None, response: Any = None, contexts: Any = None, **kwargs: Any
    ) -> EvaluationResult:
        nodes = [NodeWithScore(node=TextNode(text=text)) for text in contexts or []]
        verdict = await self.judge.aevaluate(nodes, {"query": query})
        passing = verdict.score >= 0.8
        return EvaluationResult(
            passing=passing, score=verdict.score, feedback=verdict.feedback or "poor", response="none"
        )

    def _get_prompts(self) -> Any:
        return {}

    def _update_prompts(self, prompts: Any) -> None: ...


Find = Callable[[str], Sequence[str]]


def contenders(retriever: BaseRetriever, llm: Counted, judge: RescoredSimilarity) -> dict[str, Find]:
    """Each way of finding passages as a function from a question to the ids of its nodes."""

    def ids(nodes: Any) -> list[str]:
        return [node.node_id for node in nodes]

    # HyDE's passage is embedded only, which BM25 never sees, whatever LLM writes it.
    hyde = TransformRetriever(retriever, HyDEQueryTransform(llm=MockLLM(max_tokens=8)))
    engine = RetrieverQueryEngine(retriever, NoText(llm=MockLLM()))
    Settings.llm = MockLLM()  # RetryQueryEngine takes it although it does not use it
    retry = RetryQueryEngine(engine, ByContexts(judge), max_retries=3)
    retry_engine: Any = retry

    def once(question: str) -> list[str]:
        asked = DEFAULT_REWRITE_PROMPTS[0].format(query_str=question, feedback="")
        return ids(retriever.retrieve(llm.complete(asked).content))

    looped = LoopedRetriever(
        llm=llm,
        retriever=retriever,
        evaluator=judge,
        config=LoopConfig(max_iterations=4, timeout_ms=None, convergence_delta=0.0),
    )
    return {
        "plain BM25": lambda question: ids(retriever.retrieve(question)),
        "HyDE transform": lambda question: ids(hyde.retrieve(question)),
        "RetryQueryEngine": lambda question: ids(retry_engine.query(question).source_nodes),
        "one rewrite, always taken": once,
        "LoopedRetriever": lambda question: ids(looped.retrieve(question)),
    }


def measure(find: Find, asked: Sequence[dict[str, str]], llm: Counted) -> dict[str, float]:
    """Hit rate at 1 and at 3, mean reciprocal rank, LLM calls and seconds a question."""
    began, before, ranks = time.perf_counter(), llm.calls, []
    for line in asked:
        found = list(find(line["query"]))
        ranks.append(found.index(line["answer"]) + 1 if line["answer"] in found else 0)
    count = len(ranks)
    return {
        "hit@1": sum(rank == 1 for rank in ranks) / count,
        "hit@3": sum(0 < rank <= TOP_K for rank in ranks) / count,
        "mrr": sum(1 / rank for rank in ranks if rank) / count,
        "calls": (llm.calls - before) / count,
        "seconds": (time.perf_counter() - began) / count,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=None, help="how many of the 112 questions")
    parser.add_argument("--json", type=Path, default=None, help="where to write the figures")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    nodes, asked = passages(), questions(options.queries)
    retriever: BaseRetriever = BM25Retriever.from_defaults(nodes=nodes, similarity_top_k=TOP_K)
    llm = Counted(LocalProvider(temperature=0, max_tokens=48, seed=0))
    rows: dict[str, dict[str, float]] = {}
    print(f"{len(nodes)} passages, {len(asked)} questions, model {llm.model_id}")
    print(f"{'':28}{'hit@1':>8}{'hit@3':>8}{'MRR':>8}{'LLM calls':>11}{'s/question':>12}")
    for name, find in contenders(retriever, llm, RescoredSimilarity.local()).items():
        row = rows[name] = measure(find, asked, llm)
        print(
            f"{name:28}{row['hit@1']:8.2f}{row['hit@3']:8.2f}{row['mrr']:8.2f}{row['calls']:11.2f}{row['seconds']:12.2f}",
            flush=True,
        )
    if options.json:
        options.json.write_text(
            json.dumps({"passages": len(nodes), "questions": len(asked), "rows": rows}, indent=2)
        )


if __name__ == "__main__":
    main()
