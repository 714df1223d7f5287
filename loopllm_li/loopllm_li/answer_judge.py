"""An evaluator of answers as the engine's evaluator: it is shown the text, the sources and the caller's own query."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from loopllm.evaluators import as_evaluator
from loopllm.results import EvaluationResult
from loopllm_li.answer_rounds import AnswerAttempt
from loopllm_li.answers import Answer, Settled
from loopllm_li.judge_face import JudgeFace

JudgedPart = Callable[[Settled], Any]
"""Picks what is judged out of a response, for example `lambda response: response.metadata["sql_query"]`."""


class AnswerJudge(JudgeFace):
    """Shows an evaluator `(text, context)` for one run.

    The context has `query` (the caller's bundle), `prompt` (its words), `contexts` (texts of the source nodes),
    `response` (the whole response), `previous_answer` (the text of the round before, or None) and `iteration`.

    Args:
        evaluator: Anything `as_evaluator` takes.
        evaluate_on: Picks what is judged, or None for the text of the answer.
    """

    def __init__(self, evaluator: Any, evaluate_on: JudgedPart | None = None) -> None:
        super().__init__(as_evaluator(evaluator))
        self._evaluate_on = evaluate_on
        self._previous: str | None = None

    def evaluate(self, output: Answer, context: Mapping[str, Any] | None = None) -> EvaluationResult:
        """Score the answer of a round, blocking."""
        verdict = self._judge.evaluate(self._judged(output), self._facts(output, context))
        self._previous = output.text
        return verdict

    async def aevaluate(self, output: Answer, context: Mapping[str, Any] | None = None) -> EvaluationResult:
        """Score the answer of a round without blocking the event loop."""
        verdict = await self._judge.aevaluate(self._judged(output), self._facts(output, context))
        self._previous = output.text
        return verdict

    def _judged(self, output: Answer) -> Any:
        return output.text if self._evaluate_on is None else self._evaluate_on(output.response)

    def _facts(self, output: Answer, context: Mapping[str, Any] | None) -> dict[str, Any]:
        facts = dict(context or {})
        attempt = facts.get("prompt")
        if isinstance(attempt, AnswerAttempt):
            facts.setdefault("query", attempt.original)
            facts["prompt"] = attempt.original.query_str
        given = {
            "contexts": output.contexts,
            "response": output.response,
            "previous_answer": self._previous,
        }
        return {**given, **facts}
