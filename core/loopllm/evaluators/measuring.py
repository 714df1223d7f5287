"""How much do an evaluator's scores vary? Judge the same outputs several times and see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loopllm.errors import MisuseError
from loopllm.evaluators.adapt import as_evaluator
from loopllm.evaluators.base import Context
from loopllm.priors.judge_spread import JudgeSpread


def measure_judge(
    evaluator: Any, outputs: Sequence[Any], times: int = 3, *, context: Context | None = None
) -> JudgeSpread:
    """Judge each output several times, blocking, and return how much the scores of one output vary.

    >>> from itertools import cycle
    >>> moods = cycle([0.6, 0.7])
    >>> spread = measure_judge(lambda output: next(moods), ["one draft", "another", "a third"], times=2)
    >>> print(spread)
    test-retest sd 0.071 (80 % interval 0.049 to 0.160, 3 repeats)

    State it on the evaluator (`test_retest_sd`) or with `LoopConfig(judge_sd=spread.sd)`.

    Args:
        evaluator: Anything `as_evaluator` takes. One that can only be awaited needs `ameasure_judge`.
        outputs: Drafts as the loop would get them, good and bad; twenty tell more than three.
        times: Judgements of each, at least 2.
        context: Facts for the evaluator.

    Raises:
        MisuseError: `times` is below 2, or there are no outputs.
        EvaluatorError: A judgement failed.
    """
    _require_repeats(outputs, times)
    judge = as_evaluator(evaluator)
    return JudgeSpread.of([[judge.evaluate(each, context).score for _ in range(times)] for each in outputs])


async def ameasure_judge(
    evaluator: Any, outputs: Sequence[Any], times: int = 3, *, context: Context | None = None
) -> JudgeSpread:
    """As `measure_judge`, one judgement after the other without blocking the event loop."""
    _require_repeats(outputs, times)
    judge = as_evaluator(evaluator)
    return JudgeSpread.of(
        [[(await judge.aevaluate(each, context)).score for _ in range(times)] for each in outputs]
    )


def _require_repeats(outputs: Sequence[Any], times: int) -> None:
    if isinstance(outputs, str) or not len(outputs):
        raise MisuseError(f"outputs must be a non-empty list of outputs, got {outputs!r}")
    if times < 2:  # noqa: PLR2004 - two judgements make a difference
        raise MisuseError(f"times must be at least 2, got {times!r}")
