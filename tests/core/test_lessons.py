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


@pytest.mark.parametrize("priors", [None, AdaptivePriors()])
def test_where_the_verdict_alone_counts_a_refused_draft_ends_no_run(priors: AdaptivePriors | None) -> None:
    verdicts = iter(10 * [False, False, True])
    config = LoopConfig(quality_threshold=0.0, convergence_delta=0.0, call_cost=0.01)
    loop = LoopedLLM(lambda prompt: "draft", config, priors=priors)
    for _ in range(10):
        result = loop.refine("Write.", lambda draft: EvaluationResult(0.6, next(verdicts)), model="m")
        assert (result.metrics.total_iterations, result.metrics.converged) == (3, True)


def test_a_report_tells_the_score_of_a_refused_draft_and_not_what_is_learned_instead() -> None:
    priors = AdaptivePriors()
    loop = LoopedLLM(lambda prompt: "draft", LoopConfig(max_iterations=2), priors=priors)
    loop.refine("Write.", lambda draft: EvaluationResult(0.9, passed=False), task_type="t", model="m")
    assert priors.report("t", "m").first_call_quality == pytest.approx(0.9)
    assert priors.report("t", "m").converge_rate < 0.5
