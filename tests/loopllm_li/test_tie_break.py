"""`tie_break`: a pairwise comparison chooses among answers of equal best score."""

import asyncio
import logging
from typing import Any

import pytest
from llama_index.core.evaluation import CorrectnessEvaluator, PairwiseComparisonEvaluator
from tests.loopllm_li.conftest import ScriptedCompletions, ScriptedEngine

from loopllm import LoopConfig, MisuseError
from loopllm_li import LlamaIndexEvaluator, LoopedQueryEngine

QUERY = "why do tides rise"
CONFIG = LoopConfig(max_iterations=3, convergence_delta=0.0)


def comparing(*said: str) -> tuple[PairwiseComparisonEvaluator, ScriptedCompletions]:
    """[[A]] prefers the first of two answers, which is the newer one; [[B]] the second, [[C]] neither."""
    llm = ScriptedCompletions(replies=list(said))
    return PairwiseComparisonEvaluator(llm=llm, enforce_consensus=False), llm


def looped(answers: list[str], tie_break: Any, score: Any = lambda text: 0.5) -> LoopedQueryEngine:
    engine = ScriptedEngine(answers)
    return LoopedQueryEngine(query_engine=engine, evaluator=score, config=CONFIG, tie_break=tie_break)


def test_the_answer_that_is_preferred_is_returned_although_all_scores_are_equal() -> None:
    judge, _ = comparing("better [[A]]", "worse [[B]]")
    response: Any = looped(["one", "two", "three"], judge).query(QUERY)
    assert (str(response), response.metadata["loopllm"]["best_iteration"]) == ("two", 2)


async def test_awaited_it_decides_the_same() -> None:
    judge, _ = comparing("better [[A]]", "worse [[B]]")
    assert str(await looped(["one", "two", "three"], judge).aquery(QUERY)) == "two"


def test_a_tie_of_the_comparison_keeps_the_earlier_answer() -> None:
    judge, _ = comparing("the same [[C]]")
    assert str(looped(["one", "two", "three"], judge).query(QUERY)) == "one"


def test_nothing_is_compared_when_one_score_is_best_or_the_answers_are_the_same() -> None:
    judge, llm = comparing("better [[A]]")
    assert str(looped(["one", "two", "three"], judge, lambda text: 0.1 * len(text)).query(QUERY)) == "three"
    assert str(looped(["one", "one", "one"], judge).query(QUERY)) == "one"
    assert llm.prompts == []


def test_a_comparison_that_fails_keeps_the_earlier_answer_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    judge, _ = comparing("I cannot decide")
    with caplog.at_level(logging.WARNING):
        assert str(looped(["one", "two", "three"], judge).query(QUERY)) == "one"
    assert "the earlier of two equal answers is kept" in caplog.text


def test_an_evaluator_in_its_adapter_is_taken_too_and_one_that_compares_nothing_is_refused() -> None:
    judge, _ = comparing("better [[A]]")
    assert str(looped(["one", "two"], LlamaIndexEvaluator(judge)).query(QUERY)) == "two"
    with pytest.raises(MisuseError, match="tie_break"):
        looped(["one"], CorrectnessEvaluator(llm=ScriptedCompletions(replies=["x"])))


def test_it_works_inside_a_running_event_loop() -> None:
    judge, _ = comparing("better [[A]]", "worse [[B]]")

    async def blocking_inside() -> str:
        return str(looped(["one", "two", "three"], judge).query(QUERY))

    assert asyncio.run(blocking_inside()) == "two"


def test_a_comparing_model_that_is_down_does_not_cost_the_paid_answers() -> None:
    down = ScriptedCompletions(replies=[ConnectionError("down")])
    judge = PairwiseComparisonEvaluator(llm=down, enforce_consensus=False)
    assert str(looped(["one", "two", "three"], judge).query(QUERY)) == "one"
