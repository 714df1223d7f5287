"""What one extra round costs beyond the engine and the evaluator: `LoopedQueryEngine` against `RetryQueryEngine`.

Both ask the same query engine and the same evaluator, which answer at once and never pass. CPU time of the process; the
two are measured in turns, in one run, and the median of many repetitions is reported.

    python benchmarks/llamaindex_overhead.py [--json]
"""

from __future__ import annotations

import json
import logging
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from llama_index.core import Settings
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import Response
from llama_index.core.callbacks import CallbackManager
from llama_index.core.evaluation import BaseEvaluator
from llama_index.core.evaluation import EvaluationResult as LlamaResult
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetryQueryEngine
from llama_index.core.schema import QueryBundle

from loopllm import EvaluationResult, LoopConfig
from loopllm_li import LoopedQueryEngine

FEW, MANY = 2, 12
REPETITIONS = 40
ANSWER = Response("an answer")


class InstantEngine(BaseQueryEngine):
    """Answers at once."""

    def __init__(self) -> None:
        super().__init__(CallbackManager([]))

    def _query(self, query_bundle: QueryBundle) -> Response:
        return ANSWER

    async def _aquery(self, query_bundle: QueryBundle) -> Response:
        return ANSWER

    def _get_prompt_modules(self) -> Any:
        return {}


class NeverPasses(BaseEvaluator):
    """Scores at once; LlamaIndex's own `evaluate` would start an event loop for each call."""

    def evaluate(self, *args: Any, **kwargs: Any) -> LlamaResult:
        return LlamaResult(score=0.1, passing=False, feedback="too short", response="an answer")

    async def aevaluate(self, *args: Any, **kwargs: Any) -> LlamaResult:
        return self.evaluate()

    def _get_prompts(self) -> Any:
        return {}

    def _update_prompts(self, prompts: Any) -> None: ...


def score(text: str) -> EvaluationResult:
    """The same verdict for ours."""
    return EvaluationResult(0.1, passed=False, deficiencies=("too short",))


def looped(rounds: int) -> Callable[[], Any]:
    config = LoopConfig(max_iterations=rounds, convergence_delta=0.0, timeout_ms=None)
    engine = LoopedQueryEngine(query_engine=InstantEngine(), evaluator=score, config=config)
    return lambda: engine.query("why do tides rise")


def retried(rounds: int) -> Callable[[], Any]:
    engine = RetryQueryEngine(InstantEngine(), NeverPasses(), max_retries=rounds - 1)
    return lambda: engine.query("why do tides rise")


def cpu_seconds(run: Callable[[], Any]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def per_round(make: Callable[[int], Callable[[], Any]]) -> Callable[[], float]:
    """CPU seconds of one extra round: the difference of a long and a short run."""
    few, many = make(FEW), make(MANY)
    return lambda: (cpu_seconds(many) - cpu_seconds(few)) / (MANY - FEW)


def main() -> None:
    logging.disable(logging.WARNING)
    Settings.llm = MockLLM()
    contenders = {"LoopedQueryEngine": per_round(looped), "RetryQueryEngine": per_round(retried)}
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(REPETITIONS):
        for name, sample in contenders.items():
            samples[name].append(sample())
    medians = {name: statistics.median(values) * 1e6 for name, values in samples.items()}
    if "--json" in sys.argv:
        print(json.dumps(medians))
        return
    for name, microseconds in medians.items():
        print(f"{name:20}{microseconds:10.0f} us of CPU an extra round")
    print(f"ratio {medians['LoopedQueryEngine'] / medians['RetryQueryEngine']:.2f}")


if __name__ == "__main__":
    main()
