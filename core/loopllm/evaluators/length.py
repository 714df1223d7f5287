"""Is the text as long as it should be?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from loopllm.errors import MisuseError
from loopllm.evaluators.base import Context
from loopllm.evaluators.checks import require_count, require_name, require_text
from loopllm.results import EvaluationResult


@dataclass(frozen=True, slots=True)
class LengthEvaluator:
    """Score a text by its length in characters and in words (what blanks separate).

    The score is the product of one part for characters and one for words. A part is 1 within its bounds, n
    / min below, and (max + 1) / (n + 1) above, so each step towards the bound raises it:

    >>> evaluator = LengthEvaluator(max_words=100)
    >>> [round(evaluator.evaluate("word " * words).score, 3) for words in (100, 105, 600)]
    [1.0, 0.953, 0.168]
    >>> LengthEvaluator(min_words=4).evaluate("one two three").deficiencies
    ('Too short: 3 words, at least 4 are needed; add at least 1 more.',)

    Attributes:
        min_chars: Fewest characters accepted.
        max_chars: Most characters accepted.
        min_words: Fewest words accepted.
        max_words: Most words accepted.
        name: What to call it in composite scores.

    Raises:
        MisuseError: A bound is no whole number of at least 0, or a minimum is above its maximum.
        EvaluatorError: The output is not text (from `evaluate`).
    """

    min_chars: int = 0
    max_chars: int = 100_000
    min_words: int = 0
    max_words: int = 100_000
    name: str = "length"
    inline: ClassVar[bool] = True
    test_retest_sd: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        require_name(self.name)
        for unit in ("chars", "words"):
            low, high = getattr(self, f"min_{unit}"), getattr(self, f"max_{unit}")
            require_count(f"min_{unit}", low)
            require_count(f"max_{unit}", high)
            if low > high:
                raise MisuseError(f"min_{unit}={low} is above max_{unit}={high}; nothing could pass")

    def evaluate(self, output: Any, context: Context | None = None) -> EvaluationResult:  # noqa: ARG002  the port's argument
        """Score the length of `output`; `passed` is True within all bounds."""
        text = require_text(output, self.name)
        chars, words = len(text), len(text.split())
        sub_scores = {
            "chars": _closeness(chars, self.min_chars, self.max_chars),
            "words": _closeness(words, self.min_words, self.max_words),
        }
        problems = [
            _problem(chars, self.min_chars, self.max_chars, "character"),
            _problem(words, self.min_words, self.max_words, "word"),
        ]
        deficiencies = tuple(problem for problem in problems if problem)
        score = sub_scores["chars"] * sub_scores["words"]
        return EvaluationResult(score, not deficiencies, deficiencies, sub_scores)


def _closeness(count: int, low: int, high: int) -> float:
    if count < low:
        return count / low
    return 1.0 if count <= high else (high + 1) / (count + 1)  # the 1 keeps a maximum of 0 graded


def _problem(count: int, low: int, high: int, unit: str) -> str:
    if count < low:
        return (
            f"Too short: {_counted(count, unit)}, at least {low} are needed; add at least {low - count} more."
        )
    if count > high:
        return f"Too long: {_counted(count, unit)}, at most {high} are allowed; cut at least {count - high}."
    return ""


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
