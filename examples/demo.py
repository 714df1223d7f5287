"""The main job on a real model: a LangChain chain and a LlamaIndex engine that refine, and share what they learn.

make demo
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from loopllm import AdaptivePriors, LoopConfig, LoopedLLM, MissingExtraError, RefinementResult
from loopllm.evaluators import CompositeEvaluator, JSONSchemaEvaluator, LengthEvaluator, RegexEvaluator
from loopllm.events import Finished, LoopEvent
from loopllm.providers.mock import MockLLMProvider
from loopllm.providers.ollama import address_of

CORPUS = Path(__file__).parent / "corpus"
TOPICS = ("tides", "volcanoes", "honey bees", "the moon", "steam engines", "glaciers", "lighthouses", "paper")
QUERIES = 6
MAX_CALLS = 4
# No plateau exit: what ends a hopeless run early here is what was learned. A call must gain a tenth of a success.
LIMITS: dict[str, Any] = {
    "max_iterations": MAX_CALLS,
    "convergence_delta": 0.0,
    "call_cost": 0.1,
    "timeout_ms": 60_000,
}

console = Console(width=None if sys.stdout.isatty() else 110)


@dataclass(frozen=True)
class Model:
    """Where the model is, in the terms every OpenAI client understands."""

    name: str
    base_url: str
    api_key: str
    said: str


class FinishedRuns:
    """Listens to a loop and keeps what came of its runs."""

    def __init__(self) -> None:
        self.results: list[RefinementResult[Any, Any]] = []

    def on_event(self, event: LoopEvent[Any, Any]) -> None:
        """Keep the result of a run that ends."""
        if isinstance(event, Finished):
            self.results.append(event.result)


def find_model() -> Model:
    """The embedded model, or the one the environment names, or an explanation."""
    try:
        from loopllm.providers.local import LocalProvider

        provider = LocalProvider()
        return Model(
            str(provider.model_id), provider.base_url, "local", "embedded, run by llama.cpp in this process"
        )
    except MissingExtraError as error:
        console.print("[bold]The embedded model is not installed.[/bold]", escape(str(error)))
        model = model_of_environment()
        if model is None:
            console.print(
                "Or name another model: OPENAI_BASE_URL (and OPENAI_API_KEY), OLLAMA_HOST or OPENROUTER_API_KEY, "
                "each with LOOPLLM_DEMO_MODEL=<its name>."
            )
            sys.exit(1)
        return model


def model_of_environment() -> Model | None:
    """The model that environment variables name, or None."""
    env = os.environ
    name = env.get("LOOPLLM_DEMO_MODEL")
    if url := env.get("OPENAI_BASE_URL"):
        return Model(name or "gpt-4o-mini", url, env.get("OPENAI_API_KEY", "none"), "OPENAI_BASE_URL")
    if host := env.get("OLLAMA_HOST"):
        return Model(name or "llama3.2", f"{address_of(host)}/v1", "ollama", "OLLAMA_HOST")
    if key := env.get("OPENROUTER_API_KEY"):
        return Model(name or "openai/gpt-4o-mini", "https://openrouter.ai/api/v1", key, "OPENROUTER_API_KEY")
    return None


def quick_start() -> None:
    """Part 1: the loop itself, on scripted answers."""
    console.rule("1  The loop: call, evaluate, feed back, call again")
    provider = MockLLMProvider(
        responses=[
            "not json",
            '{"name": "Alice"}',
            '{"name": "Alice", "age": 30, "email": "alice@example.com"}',
        ]
    )
    config = LoopConfig(max_iterations=5, quality_threshold=0.8)
    loop = LoopedLLM(provider=provider, config=config)
    evaluator = JSONSchemaEvaluator(
        required_fields=["name", "age", "email"], field_types={"age": int, "name": str}
    )
    result = loop.refine("Generate a JSON user profile.", evaluator)
    print(f"Converged in {result.metrics.total_iterations} iterations")
    print(f"Score: {result.metrics.best_score:.2f}")
    print(f"Output: {result.output}")
    table = Table("call", "answer", "score", "what was wrong", box=None)
    for record in result.iterations:
        faults = "; ".join(record.deficiencies) or "nothing"
        table.add_row(
            str(record.iteration), escape(str(record.output)), f"{record.score:.2f}", escape(faults)
        )
    console.print(table)
    console.print(f"{result.metrics.exit_reason.condition}: {result.metrics.exit_reason.message}\n")


def langchain_part(model: Model, priors: AdaptivePriors) -> list[dict[str, Any]]:
    """Part 2: an LCEL chain whose model step refines itself."""
    from langchain_core.messages import AIMessage
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    from loopllm_lc import LoopedRunnable

    console.rule("2  LangChain: prompt | LoopedRunnable(ChatOpenAI(...)) | parser")
    chat = ChatOpenAI(
        model=model.name,
        base_url=model.base_url,
        api_key=SecretStr(model.api_key),
        temperature=0.8,
        max_completion_tokens=80,
    )
    evaluator = CompositeEvaluator(
        [
            LengthEvaluator(min_words=20, max_words=35),
            RegexEvaluator(required=[r"\bbecause\b"], descriptions={r"\bbecause\b": "the word 'because'"}),
        ]
    )
    looped: LoopedRunnable[Any, Any] = LoopedRunnable(
        bound=chat,
        evaluator=evaluator,
        config=LoopConfig(quality_threshold=0.95, **LIMITS),
        priors=priors,
        task_type="explain",
    )
    facts: list[dict[str, Any]] = []

    def note(message: AIMessage) -> AIMessage:
        facts.append(message.response_metadata["loopllm"])
        return message

    prompt = ChatPromptTemplate.from_template(
        "Explain {topic} to a child in 20 to 35 words. Use the word 'because'."
    )
    chain = prompt | looped | note | StrOutputParser()
    answers = []
    with console.status("the model works") as status:
        for topic in TOPICS:
            status.update(f"explaining {topic}")
            answers.append(chain.invoke({"topic": topic}))
    table = Table("topic", "scores", "ended by", "the answer that was kept", box=None)
    for topic, fact, answer in zip(TOPICS, facts, answers, strict=True):
        table.add_row(topic, trail(fact["trajectory"]), fact["exit_reason"], escape(shorten(answer)))
    console.print(table)
    console.print()
    return facts


def llama_index_part(model: Model, priors: AdaptivePriors) -> list[dict[str, Any]]:
    """Part 3: a query engine whose query is rewritten until its passages answer the question."""
    from llama_index.core.query_engine import RetrieverQueryEngine, TransformQueryEngine
    from llama_index.core.schema import TextNode
    from llama_index.llms.openai_like import OpenAILike
    from llama_index.retrievers.bm25 import BM25Retriever

    from loopllm_li import LoopedQueryTransform

    console.rule("3  LlamaIndex: TransformQueryEngine with LoopedQueryTransform over BM25")
    passages = [json.loads(line) for line in (CORPUS / "passages.jsonl").read_text().splitlines()]
    asked = [json.loads(line)["query"] for line in (CORPUS / "queries.jsonl").read_text().splitlines()][
        :QUERIES
    ]
    nodes = [TextNode(id_=passage["id"], text=passage["text"]) for passage in passages]
    runs = FinishedRuns()
    retriever = BM25Retriever.from_defaults(nodes=nodes, similarity_top_k=2)
    llm = OpenAILike(
        model=model.name,
        api_base=model.base_url,
        api_key=model.api_key,
        is_chat_model=True,
        context_window=2048,
        max_tokens=60,
        temperature=0.8,
    )
    transform = LoopedQueryTransform(
        llm=llm,
        retriever=retriever,
        mode="expand",
        config=LoopConfig(feedback="last", **LIMITS),
        priors=priors,
        task_type="query_rewrite",
        observers=[runs],
    )
    engine = TransformQueryEngine(
        RetrieverQueryEngine.from_args(retriever, llm=llm), query_transform=transform
    )
    table = Table("question", "scores", "ended by", "passages found", "answer", box=None)
    with console.status("the model works") as status:
        for query in asked:
            status.update(query)
            answer = engine.query(query)
            metrics = runs.results[-1].metrics
            found = ", ".join(hit.node.node_id for hit in answer.source_nodes)
            scores, ended = trail(metrics.score_trajectory), metrics.exit_reason.condition
            table.add_row(query, scores, ended, found, escape(shorten(str(answer), 40)))
    console.print(table)
    console.print()
    return [
        {
            "trajectory": result.metrics.score_trajectory,
            "exit_reason": result.metrics.exit_reason.condition,
        }
        for result in runs.results
    ]


def what_was_learned(model: Model, store: Path, facts: dict[str, list[dict[str, Any]]]) -> None:
    """Part 4: both parts wrote into one file; read it as a third program would."""
    console.rule("4  What was learned, in one file for both")
    table = Table("task type", "runs", "calls made", "ended by what was learned", "calls not made", box=None)
    for task_type, runs in facts.items():
        ended = [run for run in runs if run["exit_reason"] == "bayesian_exit"]
        spared = sum(MAX_CALLS - len(run["trajectory"]) for run in ended)
        calls = sum(len(run["trajectory"]) for run in runs)
        table.add_row(task_type, str(len(runs)), str(calls), str(len(ended)), f"up to {spared}")
    console.print(table)
    with AdaptivePriors(store_path=store) as priors:
        for task_type in facts:
            console.print(str(priors.report(task_type, model.name)), highlight=False)
        console.print("A new task type, or a new model, would begin with what these two have taught.")


def trail(scores: Sequence[float]) -> str:
    """Scores as one short line."""
    return " ".join(f"{score:.2f}" for score in scores)


def shorten(text: str, width: int = 60) -> str:
    """The first words of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 3].rstrip() + "..."


def main() -> None:
    """Run the four parts, in under five minutes."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    began = time.perf_counter()
    quick_start()
    with console.status("starting the model"):
        model = find_model()
    console.print(f"the model from here on: [bold]{model.name}[/bold] ({model.said})\n")
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "priors.json"
        with AdaptivePriors(store_path=store) as priors:
            facts = {
                "explain": langchain_part(model, priors),
                "query_rewrite": llama_index_part(model, priors),
            }
        what_was_learned(model, store, facts)
    console.print(f"\n{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
