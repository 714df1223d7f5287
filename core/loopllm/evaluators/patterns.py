"""Does the text hold what it must, and nothing it must not?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from loopllm.errors import MisuseError
from loopllm.evaluators.base import Context
from loopllm.evaluators.checks import require_name, require_number, require_text
from loopllm.evaluators.timed_search import (
    compile_pattern,
    require_flags,
    timed_search,
    timed_search_all,
)
from loopllm.results import EvaluationResult

_PLAIN_TEXT = re.compile(r"[\w ,;:'\"@#%&=/<>!~-]+")
_LONGEST_QUOTE = 60


@dataclass(frozen=True, slots=True)
class RegexEvaluator:
    r"""Score a text by the patterns it must and must not hold; the score is the mean over all patterns.

    A required pattern counts 1 when it occurs and 0 when not; a forbidden one counts 1 / (1 + n) when it occurs n
    times, so that each occurrence removed raises the score.

    >>> evaluator = RegexEvaluator(required=[r"\d{4}-\d\d-\d\d", "total"], forbidden=["sorry"],
    ...                            descriptions={r"\d{4}-\d\d-\d\d": "a date such as 2026-01-31"})
    >>> result = evaluator.evaluate("Sorry, the Total is 7.")
    >>> round(result.score, 3), result.sub_scores
    (0.5, {'required': 0.5, 'forbidden': 0.5})
    >>> for sentence in result.deficiencies: print(sentence)
    The answer must contain a date such as 2026-01-31, and it does not.
    The answer must not contain "sorry"; remove "Sorry".

    Attributes:
        required: Patterns that must each occur somewhere (one string is one pattern).
        forbidden: Patterns that must not occur.
        flags: Flags of the standard `re` module; 0 for case-sensitive search.
        time_limit: Seconds one search may take.
        descriptions: Words for a pattern, shown to the model in its place: `{pattern: "a date such as
            2026-01-31"}`.
        name: What to call it in composite scores.

    Raises:
        MisuseError: A pattern cannot be compiled, or an argument is out of range.
        EvaluatorError: A search took longer than `time_limit`, or the output is not text (from `evaluate`).
    """

    required: Iterable[str] | str | None = None
    forbidden: Iterable[str] | str | None = None
    flags: int = re.IGNORECASE
    time_limit: float = 0.5
    descriptions: Mapping[str, str] | None = None
    name: str = "regex"
    _required: tuple[Any, ...] = field(init=False, repr=False, compare=False)
    _forbidden: tuple[Any, ...] = field(init=False, repr=False, compare=False)
    inline: ClassVar[bool] = False  # a slow pattern would hold up the event loop until the limit
    test_retest_sd: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        require_name(self.name)
        require_number("time_limit", self.time_limit, 0.001, 3600)
        require_flags(self.flags)
        for side in ("required", "forbidden"):
            patterns = _as_patterns(getattr(self, side), side)
            object.__setattr__(self, side, patterns)
            object.__setattr__(
                self, f"_{side}", tuple(compile_pattern(each, self.flags, side) for each in patterns)
            )
        self._require_known_descriptions()

    def evaluate(self, output: Any, context: Context | None = None) -> EvaluationResult:  # noqa: ARG002  the port's argument
        """Score `output`; `passed` is True when every pattern is obeyed."""
        text = require_text(output, self.name)
        missing = [each for each in self._required if not self._found(each, text)]
        hits = [(each, self._found_all(each, text)) for each in self._forbidden]
        required = [0.0 if each in missing else 1.0 for each in self._required]
        forbidden = [1.0 / (1.0 + len(found)) for _, found in hits]
        deficiencies = (
            *(self._missing(each) for each in missing),
            *(self._unwanted(each, found) for each, found in hits if found),
        )
        sub_scores = {"required": _mean(required), "forbidden": _mean(forbidden)}
        return EvaluationResult(_mean([*required, *forbidden]), not deficiencies, deficiencies, sub_scores)

    def _found(self, compiled: Any, text: str) -> Any:
        return timed_search(compiled, text, self.time_limit, self.name)

    def _found_all(self, compiled: Any, text: str) -> list[str]:
        return timed_search_all(compiled, text, self.time_limit, self.name)

    def _missing(self, compiled: Any) -> str:
        return f"The answer must contain {self._words(compiled.pattern)}, and it does not."

    def _unwanted(self, compiled: Any, found: list[str]) -> str:
        quote = found[0][:_LONGEST_QUOTE]
        remedy = f'remove "{quote}"' if quote.strip() else "remove it"
        times = f", {len(found)} times in all" if len(found) > 1 else ""
        return f"The answer must not contain {self._words(compiled.pattern)}; {remedy}{times}."

    def _words(self, pattern: str) -> str:
        if self.descriptions and pattern in self.descriptions:
            return self.descriptions[pattern]
        return (
            f'"{pattern}"' if _PLAIN_TEXT.fullmatch(pattern) else f"text that matches the pattern `{pattern}`"
        )

    def _require_known_descriptions(self) -> None:
        known = {compiled.pattern for compiled in (*self._required, *self._forbidden)}
        if unknown := sorted(set(self.descriptions or ()) - known):
            raise MisuseError(
                f"descriptions has {unknown[0]!r}, which is no pattern of `required` or `forbidden`"
            )


def _as_patterns(patterns: Any, field_name: str) -> tuple[Any, ...]:
    if isinstance(patterns, str):
        return (patterns,)
    if patterns is None:
        return ()
    if not isinstance(patterns, Iterable):
        raise MisuseError(f"{field_name} must be a list of patterns, got {patterns!r}")
    return tuple(patterns)


def _mean(parts: list[float]) -> float:
    return sum(parts) / len(parts) if parts else 1.0
