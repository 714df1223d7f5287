"""What a run teaches the priors about drafts whose score was enough but which their evaluator refused."""

from random import Random
from statistics import fmean

import pytest

from loopllm import AdaptivePriors, EvaluationResult, LoopConfig, LoopedLLM


class Refusing:
    """Scores between .4 and .6, and .85 one time in five, which is refused for a reason that the score leaves out."""

    def __init__(self, seed: int) -> None:
        self._chance = Random(seed)

    def __call__(self, draft: str) -> EvaluationResult:
        if self._chance.random() < 0.2:
            return EvaluationResult(0.85, passed=False, deficiencies=["names a competitor"])
        return EvaluationResult(self._chance.uniform(0.4, 0.6))


def calls_of(evaluator: Refusing, runs: int, **settings: object) -> list[int]:
    """Calls of each run of one loop, learning from run to run."""
    config = LoopConfig(max_iterations=6, convergence_delta=0.0, timeout_ms=None, **settings)  # type: ignore[arg-type]
    loop = LoopedLLM(lambda prompt: "draft", config, priors=AdaptivePriors())
    results = [loop.refine("Write.", evaluator, task_type="t", model="m") for _ in range(runs)]
    return [result.metrics.total_iterations for result in results]


@pytest.mark.parametrize("seed", range(3))
def test_a_loop_whose_best_drafts_are_always_refused_is_soon_given_up(seed: int) -> None:
    calls = calls_of(Refusing(seed), 40)
    assert fmean(calls[-10:]) < 2.5
