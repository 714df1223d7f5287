"""Two channels that check each other: a deterministic evaluator and a judge; the stricter score counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loopllm.results import EvaluationResult
from loopllm_lc.evaluating import as_langchain_evaluator


class DualVerification:
    """Scores with a deterministic evaluator and with a judge, and lets the stricter of the two count.

    A judge that is talked into a high score cannot lift a draft that fails the facts, nor the facts one that a judge
    finds poor. A draft that scores below `judge_from` on the facts is not worth a judge's call.

    >>> dual = DualVerification(lambda text: 0.9, lambda text: 0.4)
    >>> dual.evaluate("draft").score
    0.4

    Args:
        deterministic: Checks facts: anything that `LoopedRunnable` takes as an evaluator.
        judge: Judges quality, for example an `LLMJudge`: likewise.
        judge_from: Deterministic score from which the judge is asked at all.
        name: What to call it in composite scores.
    """

    def __init__(
        self, deterministic: Any, judge: Any, *, judge_from: float = 0.0, name: str = "dual"
    ) -> None:
        self.deterministic = as_langchain_evaluator(deterministic)
        self.judge = as_langchain_evaluator(judge)
        self.judge_from = judge_from
        self.name = name

    @property
    def inline(self) -> bool:
        """Whether both take microseconds and never block."""
        return self.deterministic.inline and self.judge.inline

    @property
    def waits(self) -> bool:
        """Whether one of the two may wait for a model or a network."""
        return self.deterministic.waits or self.judge.waits

    @property
    def is_async(self) -> bool:
        """Whether one of the two can only be awaited."""
        return self.deterministic.is_async or self.judge.is_async

    def evaluate(self, output: Any, context: Mapping[str, Any] | None = None) -> EvaluationResult:
        """Score a draft, blocking."""
        facts = self.deterministic.evaluate(output, context)
        if facts.score < self.judge_from:
            return _labelled(facts, None)
        return _labelled(facts, self.judge.evaluate(output, context))

    async def aevaluate(self, output: Any, context: Mapping[str, Any] | None = None) -> EvaluationResult:
        """Score a draft without blocking the event loop."""
        facts = await self.deterministic.aevaluate(output, context)
        if facts.score < self.judge_from:
            return _labelled(facts, None)
        return _labelled(facts, await self.judge.aevaluate(output, context))


def _labelled(facts: EvaluationResult, judged: EvaluationResult | None) -> EvaluationResult:
    both = [facts] if judged is None else [facts, judged]
    said = [each.passed for each in both if each.passed is not None]
    channels = zip(("deterministic", "judge"), both, strict=False)
    return EvaluationResult(
        min(each.score for each in both),
        all(said) if said else None,
        tuple(fault for each in both for fault in each.deficiencies),
        {name: each.score for name, each in channels},
    )
