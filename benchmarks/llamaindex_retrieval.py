"""How many questions find their passage: plain BM25, HyDE, RetryQueryEngine and the looped retriever, on a real model.

    python benchmarks/llamaindex_retrieval.py [--split held-out|development] [--questions N] [--json results.json]

1,200 passages; 133 held-out questions in other words than their passages (`retrieval_lab/corpus.py` says how they were
made, and why there is a development split beside them). The retriever is BM25, the model SmolLM2 with 135 million
parameters, embedded, at temperature 0; the judge of the looped retriever and of RetryQueryEngine is the same model
again (`RescoredSimilarity.local()`). Calls are calls of the LLM that writes; the judge writes nothing.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llama_index.core.schema import TextNode
from llama_index.retrievers.bm25 import BM25Retriever

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that the file can be run as a script

from benchmarks.retrieval_lab.contenders import Counted, contenders
from benchmarks.retrieval_lab.corpus import Question, passages, questions

from loopllm.providers.local import LocalProvider
from loopllm_li import RescoredSimilarity

TOP_K = 3


def rank_of(answer: str, found: Sequence[str]) -> int:
    """1 for the first place, 0 when it was not found."""
    return list(found).index(answer) + 1 if answer in found else 0


def figures(ranks: Sequence[int], calls: Sequence[int]) -> dict[str, float]:
    """Hit rate at 1 and at 3, mean reciprocal rank, and LLM calls a question."""
    count = len(ranks)
    return {
        "hit@1": round(sum(rank == 1 for rank in ranks) / count, 4),
        f"hit@{TOP_K}": round(sum(0 < rank <= TOP_K for rank in ranks) / count, 4),
        "mrr": round(sum(1 / rank for rank in ranks if rank) / count, 4),
        "calls": round(sum(calls) / count, 3),
    }


def measure(asked: Sequence[Question], keep: Callable[[dict[str, Any]], None]) -> dict[str, dict[str, Any]]:
    """Ask every contender every question, and keep the figures so far now and then: a run takes a while."""
    nodes = [TextNode(id_=passage.id, text=passage.text) for passage in passages()]
    retriever: Any = BM25Retriever.from_defaults(nodes=nodes, similarity_top_k=TOP_K)
    llm = Counted(LocalProvider(temperature=0, max_tokens=48, seed=0))
    ways = contenders(retriever, llm, RescoredSimilarity.local())
    ranks: dict[str, list[int]] = {name: [] for name in ways}
    calls: dict[str, list[int]] = {name: [] for name in ways}
    for number, question in enumerate(asked, start=1):
        for name, find in ways.items():
            before = llm.calls
            ranks[name].append(rank_of(question.answer, find(question.words)))
            calls[name].append(llm.calls - before)
        rows = {name: {**figures(ranks[name], calls[name]), "ranks": ranks[name]} for name in ways}
        if number % 10 == 0 or number == len(asked):
            keep({"questions": number, "passages": len(nodes), "rows": rows})
            print(f"{number} of {len(asked)} questions", file=sys.stderr, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--split", choices=("held-out", "development"), default="held-out")
    parser.add_argument("--questions", type=int, default=None, help="only the first so many")
    parser.add_argument("--json", type=Path, default=None, help="where to write the figures")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    asked = questions(options.split)[: options.questions]

    def keep(so_far: dict[str, Any]) -> None:
        if options.json:
            options.json.write_text(json.dumps({"split": options.split, **so_far}, indent=1) + "\n")

    rows = measure(asked, keep)
    print(f"{options.split}: {len(asked)} questions, {len(passages())} passages, the first {TOP_K} count")
    print(f"{'':34}{'hit@1':>8}{f'hit@{TOP_K}':>8}{'MRR':>8}{'LLM calls':>11}")
    for name, row in rows.items():
        print(f"{name:34}{row['hit@1']:8.2f}{row[f'hit@{TOP_K}']:8.2f}{row['mrr']:8.2f}{row['calls']:11.2f}")


if __name__ == "__main__":
    main()
