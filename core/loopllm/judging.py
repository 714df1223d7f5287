"""What do the judgements of one draft say together, and is it good enough?

The score is their mean. The draft is refused when more of them refuse than accept it, since a judge that errs about a
score errs about its verdict too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from loopllm.config import LoopConfig
from loopllm.results import EvaluationResult, IterationRecord


def is_good_enough(result: EvaluationResult, config: LoopConfig) -> bool:
    """Return True when the score reaches the threshold and the evaluator does not object."""
    refused = result.passed is False and config.require_pass
    return result.score >= config.quality_threshold and not refused


def together(judgements: Sequence[EvaluationResult]) -> EvaluationResult:
    """Return several judgements of one draft as one.

    >>> both = together([EvaluationResult(0.8, True), EvaluationResult(0.7, False, ["too long"])])
    >>> both.score, both.passed, both.deficiencies
    (0.75, True, ('too long',))
    """
    verdicts = [each.passed for each in judgements if each.passed is not None]
    parts: dict[str, list[float]] = {}
    for each in judgements:
        for name, score in each.sub_scores.items():
            parts.setdefault(name, []).append(score)
    scores = [each.score for each in judgements]
    mean = sum(scores) / len(scores)
    return EvaluationResult(
        score=min(max(mean, min(scores)), max(scores)),  # floats may end a hair beside what all of them said
        passed=2 * sum(verdicts) >= len(verdicts) if verdicts else None,
        deficiencies=tuple(dict.fromkeys(fault for each in judgements for fault in each.deficiencies)),
        sub_scores={name: sum(scores) / len(scores) for name, scores in parts.items()},
        feedback="; ".join(dict.fromkeys(each.feedback for each in judgements if each.feedback)),
    )


def judged_again(
    record: IterationRecord[Any, Any], result: EvaluationResult, config: LoopConfig
) -> IterationRecord[Any, Any]:
    """Return the round of a draft that was judged once more."""
    first = (record.evaluation,) if record.evaluation is not None else ()
    judgements = (*(record.judgements or first), result)
    combined = together(judgements)
    return replace(
        record,
        score=combined.score,
        passed=is_good_enough(combined, config),
        deficiencies=combined.deficiencies,
        evaluation=combined,
        judgements=judgements,
    )
