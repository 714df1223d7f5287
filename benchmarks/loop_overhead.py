"""What one extra iteration costs beyond the model and the evaluator: ours against a bare while loop.

Both loops call the same provider and the same evaluator, which return at once, keep the history and the best draft,
look at the clock, and build the next prompt from the deficiencies. CPU time of the process; the two loops are measured
in turns, and the least of many repetitions is reported, since other work on the machine only ever adds.

    python benchmarks/loop_overhead.py [--json]
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from loopllm import EvaluationResult, LoopConfig, LoopedLLM
from loopllm.providers.base import Completion

EXTRA = 20
RUNS = 60
REPETITIONS = 40
REPLY = Completion("a draft")


class InstantProvider:
    """Answers at once."""

    model_id = "instant"

    def complete(
        self, prompt: Any, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[str]:
        return REPLY

    async def acomplete(
        self, prompt: Any, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[str]:
        return REPLY


def judge(output: str, context: Any = None) -> EvaluationResult:
    """Score at once, always below the threshold."""
    return EvaluationResult(0.5, deficiencies=("too short", "no date"))


def bare_loop(iterations: int) -> str:
    """What one would write by hand."""
    provider, prompt, deadline = InstantProvider(), "the task", time.perf_counter() + 30
    history: list[dict[str, Any]] = []
    best, best_score = "", -1.0
    for iteration in range(iterations):
        began = time.perf_counter()
        output = provider.complete(prompt).content
        result = judge(output)
        took = time.perf_counter() - began
        history.append(
            {
                "iteration": iteration,
                "prompt": prompt,
                "output": output,
                "score": result.score,
                "deficiencies": result.deficiencies,
                "seconds": took,
            }
        )
        if result.score > best_score:
            best, best_score = output, result.score
        if result.score >= 0.8 or time.perf_counter() > deadline:
            break
        faults = "\n".join(f"- {fault}" for fault in result.deficiencies)
        prompt = f"the task\n\nYour answer:\n{output}\n\nIt scored {result.score:.2f}. Fix:\n{faults}"
    return best


def our_loop(iterations: int, loops: dict[int, LoopedLLM[Any, str]] = {}) -> str:  # noqa: B006 - built once
    if iterations not in loops:
        config = LoopConfig(max_iterations=iterations, convergence_delta=0.0)
        loops[iterations] = LoopedLLM(InstantProvider(), config)
    return loops[iterations].refine("the task", judge).output


def observed_loop(iterations: int, loops: dict[int, LoopedLLM[Any, str]] = {}) -> str:  # noqa: B006 - built once
    if iterations not in loops:
        config = LoopConfig(max_iterations=iterations, convergence_delta=0.0)
        loops[iterations] = LoopedLLM(InstantProvider(), config)
    for _ in loops[iterations].stream("the task", judge):
        pass
    return ""


def cpu_microseconds(loop: Callable[[int], object], iterations: int) -> float:
    began = time.process_time()
    for _ in range(RUNS):
        loop(iterations)
    return (time.process_time() - began) / RUNS * 1e6


def measure() -> dict[str, dict[str, float]]:
    """Microseconds of CPU per extra iteration and per run of one iteration, by loop."""
    loops = {"bare": bare_loop, "loopllm": our_loop, "loopllm, events streamed": observed_loop}
    one = dict.fromkeys(loops, float("inf"))
    many = dict.fromkeys(loops, float("inf"))
    for _ in range(REPETITIONS):
        for name, loop in loops.items():
            one[name] = min(one[name], cpu_microseconds(loop, 1))
            many[name] = min(many[name], cpu_microseconds(loop, 1 + EXTRA))
    per = {name: (many[name] - one[name]) / EXTRA for name in loops}
    return {
        name: {"us_per_run": one[name], "us_per_extra_iteration": per[name], "ratio": per[name] / per["bare"]}
        for name in loops
    }


def main() -> None:
    measured = measure()
    if "--json" in sys.argv:
        print(json.dumps(measured, indent=2))
        return
    print(f"{'loop':28}{'us per run':>12}{'us per extra iteration':>26}{'x bare':>8}")
    for name, row in measured.items():
        print(f"{name:28}{row['us_per_run']:12.1f}{row['us_per_extra_iteration']:26.1f}{row['ratio']:8.1f}")


if __name__ == "__main__":
    main()
