"""How close many runs at once come to the ideal, and whether memory stays flat.

1,000 prompts on a provider that waits 50 ms, 100 at a time: the ideal is 0.5 s of waiting plus what bare asyncio needs
to do the same waits, measured in the same process. Then 10,000 runs one after another, with the memory Python holds
measured after the first and the last thousand.

    python benchmarks/concurrency.py [--json]
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import time
import tracemalloc
from typing import Any

from loopllm import AdaptivePriors, LoopConfig, LoopedLLM
from loopllm.providers.base import Completion

PROMPTS, AT_ONCE, WAIT_S = 1_000, 100, 0.05
RUNS = 10_000


class WaitingProvider:
    """Waits as a server would, then answers."""

    model_id = "waiting"

    def complete(
        self, prompt: Any, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[str]:
        return Completion("0.9")

    async def acomplete(
        self, prompt: Any, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[str]:
        await asyncio.sleep(WAIT_S)
        return Completion("0.9")


def judge(output: str, context: Any = None) -> float:
    return float(output)


judge.inline = True  # type: ignore[attr-defined]  # takes a microsecond: no thread needed


async def bare_seconds() -> float:
    """The same waits with asyncio alone."""
    provider, queue = WaitingProvider(), iter(range(PROMPTS))

    async def work() -> None:
        for _ in queue:
            judge((await provider.acomplete("task")).content)

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return time.perf_counter() - began


async def our_seconds() -> float:
    loop = LoopedLLM(WaitingProvider())
    began = time.perf_counter()
    await loop.abatch([f"task {number}" for number in range(PROMPTS)], judge, max_concurrency=AT_ONCE)
    return time.perf_counter() - began


async def batch_times(rounds: int = 5) -> dict[str, float]:
    """Seconds for the batch, median of several taken in turns; `ratio` is to bare asyncio."""
    bare, ours = [], []
    for _ in range(rounds):
        bare.append(await bare_seconds())
        ours.append(await our_seconds())
    ideal = PROMPTS / AT_ONCE * WAIT_S
    return {
        "ideal_s": ideal,
        "bare_s": statistics.median(bare),
        "abatch_s": statistics.median(ours),
        "ratio": statistics.median(ours) / statistics.median(bare),
    }


def memory_growth(runs: int = RUNS) -> dict[str, float]:
    """Kilobytes Python holds after a tenth of the runs and after all of them, priors included."""
    loop = LoopedLLM(WaitingProvider(), LoopConfig(max_iterations=3), priors=AdaptivePriors())
    tracemalloc.start()
    for _ in range(runs // 10):
        loop.refine("task", judge)
    gc.collect()
    early = tracemalloc.get_traced_memory()[0]
    for _ in range(runs - runs // 10):
        loop.refine("task", judge)
    gc.collect()
    late = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return {
        "kb_after_a_tenth": early / 1024,
        "kb_after_all": late / 1024,
        "bytes_per_run": (late - early) / runs,
    }


def main() -> None:
    measured = {"batch": asyncio.run(batch_times()), "memory": memory_growth()}
    if "--json" in sys.argv:
        print(json.dumps(measured, indent=2))
        return
    batch, memory = measured["batch"], measured["memory"]
    print(
        f"abatch of {PROMPTS} prompts, {AT_ONCE} at a time, {WAIT_S * 1000:.0f} ms each: {batch['abatch_s']:.2f} s; "
        f"bare asyncio {batch['bare_s']:.2f} s; ideal {batch['ideal_s']:.2f} s; ratio {batch['ratio']:.2f}"
    )
    print(
        f"{RUNS} runs with priors: {memory['kb_after_a_tenth']:.0f} kB after a tenth, "
        f"{memory['kb_after_all']:.0f} kB after all, {memory['bytes_per_run']:.1f} bytes per run"
    )


if __name__ == "__main__":
    main()
