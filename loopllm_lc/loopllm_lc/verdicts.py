"""What does a judge of LangChain's world mean? Its answer, in whatever form, as an `EvaluationResult`.

Rule: what holds no score is refused by name; a number is never guessed out of prose, which counts other things too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.utils.json import parse_json_markdown
from pydantic import BaseModel

from loopllm.errors import EvaluatorError
from loopllm.evaluators.verdicts import as_result
from loopllm.results import EvaluationResult
from loopllm_lc.replies import text_of

_NUMBER = re.compile(
    r"(?:(?:(?:final|overall|total)\s+)?(?:score|rating|grade|mark)\s*[:=]?\s*)?"
    r"(-?\d+(?:\.\d+)?)(?:\s*/\s*(\d+(?:\.\d+)?)|\s*(%))?\s*\.?",
    re.IGNORECASE,
)
_MARKUP = str.maketrans("", "", "*_`")
_REASONS = ("comment", "reasoning", "explanation", "feedback")
_YES, _NO = frozenset({"yes", "true", "pass", "passed"}), frozenset({"no", "false", "fail", "failed"})


def verdict_from(answer: Any, name: str) -> EvaluationResult:
    """Return a judge's answer as a verdict.

    Understood are numbers and bools, anything with a `score` (an object, a dict like openevals' `EvaluatorResult`), a
    list of these (their mean), and a message or text that is a number (`0.8`, `8/10`, `80%`, `Score: 0.8`), a yes or
    no, or a JSON object with a score. What stands beside a score that is not full, as `comment`, `reasoning`,
    `explanation` or `feedback`, is the deficiency.

    >>> verdict_from({"key": "tone", "score": 0.5, "comment": "too stiff"}, "judge").deficiencies
    ('tone: too stiff',)
    >>> verdict_from("8/10", "judge").score
    0.8

    Args:
        answer: What the judge returned.
        name: The judge's name, for messages.

    Raises:
        EvaluatorError: There is no score in it.
    """
    if isinstance(answer, BaseMessage | str):
        return _from_text(text_of(answer), name)
    if isinstance(answer, Sequence):
        return _mean([verdict_from(each, name) for each in answer], name)
    results = getattr(answer, "results", None)
    if isinstance(results, Sequence):
        return verdict_from(results, name)
    fields = _fields_of(answer)
    return as_result(answer, name) if fields is None else _from_mapping(fields, name)


def _fields_of(answer: Any) -> Mapping[str, Any] | None:
    """Return what a judge's object says, by name; None for a plain score and for a verdict in loopllm's own form."""
    if isinstance(answer, Mapping):
        return answer
    if isinstance(answer, BaseModel) and not hasattr(answer, "sub_scores"):
        return answer.model_dump()
    return vars(answer) if hasattr(answer, "key") or hasattr(answer, "comment") else None


def _from_text(text: str, name: str) -> EvaluationResult:
    word = text.strip().strip(".!").lower()
    if word in _YES | _NO:
        return as_result(word in _YES, name)
    found = _NUMBER.fullmatch(text.translate(_MARKUP).strip())
    if found is None:
        return _from_json(text, name)
    number, whole, percent = found.groups()
    scale = float(whole) if whole else 100.0 if percent else 1.0
    return as_result(float(number) / scale if scale else -1.0, name)


def _from_json(text: str, name: str) -> EvaluationResult:
    try:
        said = parse_json_markdown(text)
    except (ValueError, TypeError):
        said = None
    if isinstance(said, Mapping) and said.get("score") is not None:
        return _from_mapping(said, name)
    raise EvaluatorError(
        f"evaluator {name!r} answered {text[:200]!r}: a number from 0 to 1 and nothing else was expected",
        transient=True,
    )


def _from_mapping(answer: Mapping[str, Any], name: str) -> EvaluationResult:
    if isinstance(answer.get("results"), Sequence):
        return verdict_from(answer["results"], name)
    if answer.get("score") is None:
        raise EvaluatorError(f"evaluator {name!r} returned {sorted(answer)} without a score", transient=True)
    verdict = as_result(answer["score"], name)
    key = str(answer.get("key") or name)
    said = next((answer[each] for each in _REASONS if answer.get(each)), "")
    faults = answer.get("deficiencies") or ()
    deficiencies = (faults,) if isinstance(faults, str) else tuple(str(each) for each in faults)
    if not deficiencies and said and verdict.score < 1.0:
        deficiencies = (f"{key}: {said}",)
    passed = verdict.passed if answer.get("passed") is None else bool(answer["passed"])
    return EvaluationResult(verdict.score, passed, deficiencies, {key: verdict.score})


def _mean(verdicts: Sequence[EvaluationResult], name: str) -> EvaluationResult:
    if not verdicts:
        raise EvaluatorError(f"evaluator {name!r} returned an empty list")
    said = [verdict.passed for verdict in verdicts if verdict.passed is not None]
    sub_scores: dict[str, float] = {}
    for index, verdict in enumerate(verdicts, start=1):
        for key, score in (verdict.sub_scores or {str(index): verdict.score}).items():
            sub_scores[key if key not in sub_scores else f"{key}_{index}"] = score
    return EvaluationResult(
        sum(verdict.score for verdict in verdicts) / len(verdicts),
        all(said) if said else None,
        tuple(fault for verdict in verdicts for fault in verdict.deficiencies),
        sub_scores,
    )
