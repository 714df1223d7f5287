"""Which of several answers with the same best score is returned? A pairwise comparison decides."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from llama_index.core.evaluation import PairwiseComparisonEvaluator
from llama_index.core.schema import QueryBundle

from loopllm.errors import MisuseError
from loopllm.results import IterationRecord, RefinementResult
from loopllm_li.answer_rounds import AnswerAttempt
from loopllm_li.answers import Answer
from loopllm_li.llama_evaluator import LlamaIndexEvaluator

logger = logging.getLogger("loopllm")

_EVEN = 0.5  # the score of a comparison that prefers neither
_Result = RefinementResult[AnswerAttempt, Answer]
_Record = IterationRecord[AnswerAttempt, Answer]


class TieBreak:
    """Lets answers of equal score stand against each other, the earlier one first; it wins unless it is beaten.

    Args:
        evaluator: LlamaIndex's `PairwiseComparisonEvaluator`, or one in a `LlamaIndexEvaluator`.

    Raises:
        MisuseError: It compares nothing.
    """

    def __init__(self, evaluator: Any) -> None:
        judge = evaluator if isinstance(evaluator, LlamaIndexEvaluator) else LlamaIndexEvaluator(evaluator)
        if not isinstance(judge.evaluator, PairwiseComparisonEvaluator):
            raise MisuseError(f"tie_break must be a PairwiseComparisonEvaluator, got a {judge.name}")
        self._judge = judge

    async def settle(self, result: _Result, query: QueryBundle, facts: Mapping[str, Any]) -> _Result:
        """Return the run with the answer that wins the tie; as it was when there is none."""
        tied = _tied(result)
        if not tied:
            return result
        winner = tied[0]
        for challenger in tied[1:]:
            if await self._beats(challenger, winner, {**facts, "query": query}):
                winner = challenger
        metrics = replace(result.metrics, best_iteration=winner.iteration)
        return replace(result, output=winner.output, metrics=metrics)

    async def _beats(self, challenger: _Record, winner: _Record, facts: Mapping[str, Any]) -> bool:
        rival = {**facts, "previous_answer": winner.output.text, "contexts": challenger.output.contexts}
        try:
            return (await self._judge.aevaluate(challenger.output.text, rival)).score > _EVEN
        except MisuseError:
            raise
        except Exception as error:  # noqa: BLE001 - its model fails in its own ways, and the answers are paid
            logger.warning("the earlier of two equal answers is kept: %s", error)
            return False


def _tied(result: _Result) -> Sequence[_Record]:
    """Return the rounds that share the best score, each text once, the winner so far first."""
    best = next((each for each in result.iterations if each.iteration == result.metrics.best_iteration), None)
    if best is None or best.score is None:
        return ()
    rivals = {
        each.output.text: each
        for each in reversed(result.iterations)
        if (each.score, each.passed) == (best.score, best.passed)
    }
    rivals.pop(best.output.text, None)
    return (best, *reversed(rivals.values())) if rivals else ()
