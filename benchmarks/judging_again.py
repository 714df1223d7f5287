"""What is judging the best draft again worth, when the judge errs?

Whole loops over simulated runs: drafts whose quality climbs under a ceiling (the environment `noisy` of the stopping
lab, its parameters drawn anew each repetition), seen through a judge that errs with a standard deviation of 0.08. A
judgement costs a fifth of a call. What counts is the true quality of the returned draft, less every call after the
first and every judgement beyond one a draft. Each arm learns from its own runs; all see the same drafts and the same
judgements.

    PYTHONPATH=core python benchmarks/judging_again.py [--reps 8] [--tests 200] [--json]

Arms: `once` (each draft judged once, spread stated), `again` (spread stated, may judge again), `learned` (nothing
stated: the spread is learned from repeats, and then as `again`).
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that the file can be run as a script

from benchmarks.stopping_lab.environments import JUDGE_SD, KNOBS, capped

from loopllm import AdaptivePriors, LoopConfig, LoopedLLM
from loopllm.stores.memory import MemoryStore
from loopllm.tables import text_table

Floats = NDArray[np.float64]

STAGES = (0, 30, 100)
CALLS = 8
GOALS: Mapping[str, Mapping[str, Any]] = {
    "pass": {"objective": "threshold", "quality_threshold": 0.8, "call_cost": 0.05},
    "quality": {"objective": "quality", "quality_threshold": 1.0, "call_cost": 0.03},
}
ARMS: Mapping[str, Mapping[str, Any]] = {
    "once": {"judge_sd": JUDGE_SD},
    "again": {"judge_sd": JUDGE_SD, "judges": True},
    "learned": {"judges": True},
}
SHARE_OF_A_CALL = 0.2


class Reader(AdaptivePriors):
    """Priors that advise and learn nothing more, so that every test run sees the same."""

    def observe_round(self, observation: Any) -> None:
        """Forget it."""

    def observe_end(self, observation: Any) -> None:
        """Forget it."""


@dataclass(slots=True)
class Runs:
    """Drafts and judgements of simulated runs; a prompt is the number of a run, a draft that of a call.

    Attributes:
        quality: True quality, shape (runs, calls).
        errors: What the judge is off by, shape (runs, calls, judgements of a draft).
    """

    quality: Floats
    errors: Floats
    run: int = 0
    call: int = 0
    judged: int = 0

    def write(self, prompt: str) -> str:
        """The next draft."""
        del prompt
        self.call += 1
        return str(self.call - 1)

    def judge(self, output: str, context: Mapping[str, Any]) -> float:
        """A judgement of a draft."""
        self.judged += 1
        at = self.run, int(output)
        return float(np.clip(self.quality[at] + self.errors[at][context.get("judgement", 1) - 1], 0.0, 1.0))

    def play(self, loop: LoopedLLM[Any, str], run: int) -> float:
        """Let the loop refine one run; return the true quality of what it returned."""
        self.run, self.call, self.judged = run, 0, 0
        result = loop.refine(str(run), self.judge, model="m", task_type="t")
        return float(self.quality[run, int(result.output)])


def drawn(rng: np.random.Generator, knobs: Floats, n: int) -> Runs:
    """So many runs of one environment."""
    quality = capped(rng, knobs, n)[:, :CALLS]
    return Runs(quality, rng.normal(0.0, JUDGE_SD, (*quality.shape, 3)))


def config_of(goal: Mapping[str, Any], arm: Mapping[str, Any], *, explore: bool) -> LoopConfig:
    """Settings of one arm."""
    settings: dict[str, Any] = {
        **goal,
        "judge_sd": arm.get("judge_sd"),
        "explore": explore,
        "feedback": "last",
    }
    if arm.get("judges"):
        settings["judge_cost"] = goal["call_cost"] * SHARE_OF_A_CALL
    return LoopConfig(max_iterations=CALLS, convergence_delta=0.0, timeout_ms=None, **settings)


def earned(loop: LoopedLLM[Any, str], runs: Runs, goal: Mapping[str, Any]) -> tuple[float, float, float]:
    """Mean utility of the true quality, calls and further judgements of all runs."""
    totals = np.zeros(3)
    for run in range(len(runs.quality)):
        quality = runs.play(loop, run)
        worth = quality if goal["objective"] == "quality" else float(quality >= goal["quality_threshold"])
        further = runs.judged - runs.call
        paid = goal["call_cost"] * (runs.call - 1 + SHARE_OF_A_CALL * further)
        totals += worth - paid, runs.call, further
    mean = totals / len(runs.quality)
    return float(mean[0]), float(mean[1]), float(mean[2])


def measured(goal: str, arm: str, training: Runs, test: Runs) -> list[tuple[float, float, float]]:
    """What an arm earns after each stage of its own learning."""
    settings, store = GOALS[goal], MemoryStore()
    learner = LoopedLLM(
        training.write, config_of(settings, ARMS[arm], explore=True), priors=AdaptivePriors(store=store)
    )
    rows = []
    for begun, done in pairwise((0, *STAGES)):
        for run in range(begun, done):
            training.play(learner, run)
        reader = LoopedLLM(
            test.write, config_of(settings, ARMS[arm], explore=False), priors=Reader(store=store)
        )
        rows.append(earned(reader, test, settings))
    return rows


def measure(reps: int, tests: int, seed: int) -> list[dict[str, Any]]:
    """A row for each goal, stage and arm, with the standard error of the difference to `once`."""
    seen: dict[tuple[str, int, str], list[tuple[float, float, float]]] = {}
    for repetition in range(reps):
        rng = np.random.default_rng([seed, repetition])
        knobs = rng.random(KNOBS)
        training, test = drawn(rng, knobs, STAGES[-1]), drawn(rng, knobs, tests)
        for goal in GOALS:
            for arm in ARMS:
                for stage, row in zip(STAGES, measured(goal, arm, training, test), strict=True):
                    seen.setdefault((goal, stage, arm), []).append(row)
    return [_row(key, rows, seen[key[0], key[1], "once"]) for key, rows in seen.items()]


def _row(key: tuple[str, int, str], rows: Sequence[Any], once: Sequence[Any]) -> dict[str, Any]:
    gains = np.array([mine[0] - theirs[0] for mine, theirs in zip(rows, once, strict=True)])
    utility, calls, further = (float(np.mean([row[i] for row in rows])) for i in range(3))
    error = float(gains.std(ddof=1) / np.sqrt(len(gains))) if len(gains) > 1 else 0.0
    goal, runs, arm = key
    return {
        "goal": goal,
        "runs": runs,
        "arm": arm,
        "utility": round(utility, 4),
        "gain": round(float(gains.mean()), 4),
        "error": round(error, 4),
        "calls": round(calls, 2),
        "judged again": round(further, 2),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reps", type=int, default=8)
    parser.add_argument("--tests", type=int, default=200)
    parser.add_argument("--seed", type=int, default=2025)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    rows = sorted(measure(given.reps, given.tests, given.seed), key=lambda row: (row["goal"], row["runs"]))
    if given.json:
        print(json.dumps(rows, indent=1))
    else:
        print(text_table(tuple(rows[0]), [tuple(row.values()) for row in rows]))


if __name__ == "__main__":
    main()
