"""What does it mean, the thing an evaluator returned?

Rule: a verdict that cannot be a score is refused by name, never clamped and never taken for 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

from loopllm.errors import EvaluatorError, MisuseError
from loopllm.results import EvaluationResult

_ACCEPTED = "return a number from 0 to 1, True or False, or an EvaluationResult"


def as_result(verdict: Any, name: str) -> EvaluationResult:
    """Turn whatever an evaluator returned into an `EvaluationResult`.

    A number is a score and leaves `passed` open; True and False are a score of 1 and 0 with `passed` set;
    an object with a `score` is read field by field.

    >>> as_result(0.4, "style")
    EvaluationResult(score=0.4, passed=None, deficiencies=(), sub_scores={}, feedback='')
    >>> as_result(False, "style").passed
    False

    Raises:
        EvaluatorError: The verdict is NaN, out of range or of another type.
    """
    if type(verdict) is float and 0.0 <= verdict <= 1.0:
        return EvaluationResult(verdict)
    if isinstance(verdict, EvaluationResult):
        return verdict
    if isinstance(verdict, bool):
        return EvaluationResult(1.0 if verdict else 0.0, passed=verdict)
    if isinstance(verdict, Real):
        return EvaluationResult(_score(float(verdict), name))
    return _from_object(verdict, name)


def _score(value: float, name: str) -> float:
    if 0.0 <= value <= 1.0:  # NaN fails this comparison too
        return value
    raise EvaluatorError(
        f"evaluator {name!r} gave the score {value!r}, but a score is a number from 0 to 1; scale it, "
        "for instance 7 out of 10 as 7 / 10"
    )


def _from_object(verdict: Any, name: str) -> EvaluationResult:
    if hasattr(verdict, "score"):
        return _from_fields(verdict, name)
    if callable(unboxed := getattr(verdict, "item", None)):  # a numpy or torch scalar of any kind
        try:
            return as_result(unboxed(), name)
        except (TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, MisuseError):
                raise
            raise EvaluatorError(f"evaluator {name!r} returned a {_kind(verdict)}; {_ACCEPTED}") from error
    forgot = " (is a `return` missing?)" if verdict is None else ""
    raise EvaluatorError(f"evaluator {name!r} returned a {_kind(verdict)}{forgot}; {_ACCEPTED}")


def _from_fields(verdict: Any, name: str) -> EvaluationResult:
    passed = getattr(verdict, "passed", None)
    try:
        return EvaluationResult(
            score=as_result(verdict.score, name).score,
            passed=None if passed is None else bool(passed),
            deficiencies=_sentences(getattr(verdict, "deficiencies", None)),
            sub_scores=_parts(getattr(verdict, "sub_scores", None)),
            feedback=str(getattr(verdict, "feedback", None) or ""),
        )
    except (TypeError, ValueError) as error:
        raise EvaluatorError(
            f"evaluator {name!r} returned a {_kind(verdict)} that cannot be read: {error}"
        ) from error


def _sentences(deficiencies: Any) -> tuple[str, ...]:
    if isinstance(deficiencies, str):  # a lone string is one sentence, not a list of letters
        return (deficiencies,) if deficiencies else ()
    return tuple(str(each) for each in deficiencies or ())


def _parts(sub_scores: Any) -> Mapping[str, float]:
    return {str(key): float(value) for key, value in dict(sub_scores or {}).items()}


def _kind(verdict: Any) -> str:
    return type(verdict).__name__
