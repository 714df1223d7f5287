"""Does a score of your own reach what is needed?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from loopllm.evaluators.adapt import BoundEvaluator, as_evaluator
from loopllm.evaluators.base import Context
from loopllm.evaluators.checks import require_name, require_number
from loopllm.results import EvaluationResult


@dataclass(frozen=True, slots=True, weakref_slot=True)  # caches tell evaluators apart without keeping them
class ThresholdEvaluator:
    """Score with a function of your own, and pass what reaches a threshold.

    >>> evaluator = ThresholdEvaluator(lambda output: output.count("!") / 4, threshold=0.5)
    >>> evaluator.evaluate("Hi!").deficiencies
    ('The answer scored 0.25 on threshold, and at least 0.5 is needed.',)
    >>> evaluator.evaluate("Hi!!").passed
    True

    Attributes:
        scorer: Anything `as_evaluator` takes, most often `(output) -> float` or `(output, context) ->
            float`, sync or async. A score outside [0, 1] is refused, not clamped.
        threshold: Lowest score that passes, in [0, 1].
        name: What to call it in deficiencies and composite scores.
        is_async: True when the scorer can only be awaited.
        test_retest_sd: What the scorer states of itself; None when it states nothing.

    Raises:
        MisuseError: The threshold is not in [0, 1], or the scorer cannot be called.
        EvaluatorError: The scorer gave no usable score (from `evaluate`).
    """

    scorer: Any
    threshold: float = 0.7
    name: str = "threshold"
    inline: bool = field(init=False, repr=False)
    waits: bool = field(init=False, repr=False)
    is_async: bool = field(init=False, repr=False)
    test_retest_sd: float | None = field(init=False, repr=False)
    _bound: BoundEvaluator = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_name(self.name)
        require_number("threshold", self.threshold, 0, 1)
        bound = as_evaluator(self.scorer, self.name)
        object.__setattr__(self, "_bound", bound)
        object.__setattr__(self, "inline", bound.inline)
        object.__setattr__(self, "waits", bound.waits)
        object.__setattr__(self, "is_async", bound.is_async)
        object.__setattr__(self, "test_retest_sd", bound.test_retest_sd)

    def evaluate(self, output: Any, context: Context | None = None) -> EvaluationResult:
        """Score `output`; `passed` is True when the score reaches the threshold."""
        return self._judged(self._bound.evaluate(output, context))

    async def aevaluate(self, output: Any, context: Context | None = None) -> EvaluationResult:
        """Score `output` without blocking the event loop."""
        return self._judged(await self._bound.aevaluate(output, context))

    def _judged(self, scored: EvaluationResult) -> EvaluationResult:
        passed = scored.score >= self.threshold
        deficiencies = tuple(scored.deficiencies)
        if not (passed or deficiencies or scored.feedback):  # what the scorer says helps more than a number
            deficiencies = (self._shortfall(scored.score),)
        return EvaluationResult(scored.score, passed, deficiencies, scored.sub_scores, scored.feedback)

    def _shortfall(self, score: float) -> str:
        return f"The answer scored {score:.3g} on {self.name}, and at least {self.threshold:g} is needed."
