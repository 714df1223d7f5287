"""What does a LlamaIndex evaluator's result mean on a scale from 0 to 1? Pure; one rule for each evaluator of core.

Rule: what cannot be read is "no score" (`EvaluatorError`), never 0; `passing` None is not False; a result
is always truthy.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from loopllm.errors import EvaluatorError
from loopllm.results import EvaluationResult

_LOWEST, _HIGHEST = 1.0, 5.0  # the scale of CorrectnessEvaluator
_FIRST_WORD = re.compile(r"[^\W_]+")
_LONGEST_FEEDBACK = 2000

_UNSUPPORTED = "The answer states things that the sources do not support; keep to what the sources say."
_BESIDE_THE_POINT = "The answer and its sources do not address the question; answer exactly what was asked."
_FAR = "The meaning is only {score:.0%} close to the expected answer."
_IRRELEVANT = "The answer does not address the question as asked."
_POOR_CONTEXT = "The retrieved text does not hold what the question needs."


def verdict_of(kind: str, result: Any, threshold: float | None = None) -> EvaluationResult:
    """Return a LlamaIndex `EvaluationResult` as the engine's.

    Args:
        kind: Name of the evaluator class, the nearest one that llama-index-core defines.
        result: What it returned.
        threshold: The score from which it passes, or None to go by its own `passing`.

    Raises:
        EvaluatorError: The evaluator gave no usable score.
    """
    if result.invalid_result:
        raise EvaluatorError(f"{kind} gave no usable result: {result.invalid_reason or 'no reason given'}")
    verdict = _READERS.get(kind, _read_any)(kind, result)
    if threshold is None:
        return verdict
    return EvaluationResult(
        verdict.score, verdict.score >= threshold, verdict.deficiencies, verdict.sub_scores, verdict.feedback
    )


def _read_yes_no(kind: str, result: Any) -> EvaluationResult:
    """Go by the first word: the evaluator itself takes any text with the letters "yes" in it, "eyes" too, for a yes."""
    text = result.feedback or ""
    first = _FIRST_WORD.search(text.casefold())
    if first is None or first.group() not in {"yes", "no"}:
        raise EvaluatorError(f"{kind} asked its model for YES or NO and got {text[:80]!r}")
    passed = first.group() == "yes"
    fault = _UNSUPPORTED if kind.endswith("FaithfulnessEvaluator") else _BESIDE_THE_POINT
    return EvaluationResult(float(passed), passed, () if passed else (fault,))


def _read_correctness(kind: str, result: Any) -> EvaluationResult:
    raw = _number(kind, result.score)
    score = _clipped((raw - _LOWEST) / (_HIGHEST - _LOWEST))
    return EvaluationResult(score, result.passing, _reasons(result, passed=bool(result.passing)))


def _read_guideline(kind: str, result: Any) -> EvaluationResult:
    if result.passing is None:
        raise EvaluatorError(f"{kind} did not say whether the guidelines are met")
    return EvaluationResult(float(result.passing), result.passing, _reasons(result, passed=result.passing))


def _read_similarity(kind: str, result: Any) -> EvaluationResult:
    score = _clipped(_number(kind, result.score))
    faults = () if result.passing else (_FAR.format(score=score),)
    return EvaluationResult(score, result.passing, faults)


def _read_relevancy_points(kind: str, result: Any) -> EvaluationResult:
    score = _clipped(_number(kind, result.score))
    passed = score >= 1.0
    default = _IRRELEVANT if kind == "AnswerRelevancyEvaluator" else _POOR_CONTEXT
    return EvaluationResult(score, passed, () if passed else (_reasons(result, passed=False) or (default,)))


def _read_pairwise(kind: str, result: Any) -> EvaluationResult:
    score = _clipped(_number(kind, result.score))
    return EvaluationResult(score, None, () if score > 0.5 else _reasons(result, passed=False))  # noqa: PLR2004 - a tie


def _read_any(kind: str, result: Any) -> EvaluationResult:
    if result.score is None and result.passing is not None:
        return EvaluationResult(
            float(result.passing), result.passing, _reasons(result, passed=result.passing)
        )
    score = _number(kind, result.score)
    if not 0.0 <= score <= 1.0:
        raise EvaluatorError(
            f"{kind} gave the score {score!r}, but a score is a number from 0 to 1; give LlamaIndexEvaluator "
            "scale=(lowest, highest)"
        )
    return EvaluationResult(score, result.passing, _reasons(result, passed=bool(result.passing)))


_READERS: Mapping[str, Callable[[str, Any], EvaluationResult]] = {
    "FaithfulnessEvaluator": _read_yes_no,
    "RelevancyEvaluator": _read_yes_no,
    "MultiModalFaithfulnessEvaluator": _read_yes_no,
    "MultiModalRelevancyEvaluator": _read_yes_no,
    "CorrectnessEvaluator": _read_correctness,
    "GuidelineEvaluator": _read_guideline,
    "SemanticSimilarityEvaluator": _read_similarity,
    "AnswerRelevancyEvaluator": _read_relevancy_points,
    "ContextRelevancyEvaluator": _read_relevancy_points,
    "PairwiseComparisonEvaluator": _read_pairwise,
}


def known_kind(evaluator: Any) -> str:
    """Return the name of the nearest class of an evaluator that has a rule here, or its own class name."""
    names = [base.__name__ for base in type(evaluator).__mro__]
    return next((name for name in names if name in _READERS), names[0])


def scaled(value: float, lowest: float, highest: float) -> float:
    """Return where a value lies between two others, clipped to [0, 1].

    >>> scaled(7.0, 0.0, 10.0)
    0.7
    """
    return _clipped((value - lowest) / (highest - lowest))


def _number(kind: str, value: Any) -> float:
    if value is None or not math.isfinite(value):
        raise EvaluatorError(f"{kind} gave no score: its model's answer could not be read")
    return float(value)


def _clipped(value: float) -> float:
    return min(1.0, max(0.0, value))


def _reasons(result: Any, *, passed: bool) -> tuple[str, ...]:
    feedback = (result.feedback or "").strip()[:_LONGEST_FEEDBACK]
    return () if passed or not feedback else (feedback,)
