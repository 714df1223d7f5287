"""Records loops of the embedded model, one JSON object a line: what calibration is shown and tested on.

Every run goes to five calls, whatever it scores, so that nothing is censored. Two task types, 60 items each.

    python benchmarks/record_runs.py benchmarks/recorded/sentences.jsonl
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from loopllm import LoopConfig, LoopedLLM
from loopllm.evaluators import LengthEvaluator, RegexEvaluator
from loopllm.providers.local import LocalProvider

TOPICS = (
    "bees", "rain", "tides", "bread", "glass", "salt", "owls", "trains", "clocks", "rivers",
    "maps", "stars", "wool", "ink", "bridges", "honey", "snow", "iron", "gardens", "lamps",
    "boats", "drums", "paper", "foxes", "tea", "chalk", "ropes", "apples", "wind", "coins",
)  # fmt: skip
KINDS = ("short", "plain")
CALLS = 5


def tasks() -> Iterator[tuple[str, str, str, LengthEvaluator | RegexEvaluator]]:
    """Task type, item, prompt and evaluator."""
    for kind in KINDS:
        for topic in TOPICS:
            item = f"{kind} {topic}"
            yield (
                "words",
                item,
                f"Write one {kind} sentence of 10 to 12 words about {topic}.",
                LengthEvaluator(min_words=10, max_words=12),
            )
            yield (
                "mentions",
                item,
                f"Write one {kind} sentence about {topic} with the words old, cold and hand.",
                RegexEvaluator(required=[r"\bold\b", r"\bcold\b", r"\bhand\b"]),
            )


def main() -> None:
    model = LocalProvider(max_tokens=36, temperature=0.8)
    config = LoopConfig(max_iterations=CALLS, min_iterations=CALLS, feedback="deficiencies", timeout_ms=None)
    loop = LoopedLLM(model, config)
    with Path(sys.argv[1]).open("w", encoding="utf-8") as file:
        for task_type, item, prompt, evaluator in tasks():
            result = loop.refine(prompt, evaluator)
            row = {
                "task_type": task_type,
                "model": model.model_id,
                "item": item,
                "actions": [record.action for record in result.iterations[1:]],
                "scores": [round(score, 4) for score in result.metrics.score_trajectory],
            }
            file.write(json.dumps(row) + "\n")
            file.flush()


if __name__ == "__main__":
    main()
