"""What do several evaluators say together?"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from loopllm.errors import MisuseError
from loopllm.evaluators.adapt import AwaitNeededError, BoundEvaluator, as_evaluator
from loopllm.evaluators.base import Context
from loopllm.evaluators.checks import require_name
from loopllm.results import EvaluationResult


class CompositeEvaluator:
    """Score by several evaluators: the weighted mean of their scores.

    `passed` is False when a child says False, True when every child that says something says True, and None
    when none says anything. Each child's score is kept under its name, its parts under `name.part`; a
    second child of the same name gets `_2` behind it. A child of weight 0 does not move the score but still
    reports and can still object.

    >>> from loopllm.evaluators import LengthEvaluator, RegexEvaluator
    >>> children = [LengthEvaluator(max_words=3), RegexEvaluator(required=["hi"])]
    >>> evaluator = CompositeEvaluator(children, weights=[3, 1])
    >>> result = evaluator.evaluate("good morning")
    >>> result.score, result.passed
    (0.75, False)
    >>> sorted(result.sub_scores)
    ['length', 'length.chars', 'length.words', 'regex', 'regex.forbidden', 'regex.required']

    Args:
        evaluators: At least one of anything that `as_evaluator` takes.
        weights: One number >= 0 for each, not all 0; equal when not given.
        name: What to call it inside another composite.

    Attributes:
        evaluators: The children, bound.
        weights: The weights as given.
        inline: True when every child is.
        waits: True when a child may wait for a model or a network.
        is_async: True when a child can only be awaited.
        test_retest_sd: Standard deviation of its scores of one output; None when a child that counts states none.

    Raises:
        MisuseError: No evaluators, or weights that do not fit them.
    """

    def __init__(
        self, evaluators: Iterable[Any], weights: Sequence[float] | None = None, *, name: str = "composite"
    ) -> None:
        require_name(name)
        self.name = name
        self.evaluators = _bound(evaluators)
        self.weights = _checked(weights, len(self.evaluators))
        self.inline = all(child.inline for child in self.evaluators)
        self.waits = any(child.waits for child in self.evaluators)
        self.is_async = any(child.is_async for child in self.evaluators)
        _, exponent = math.frexp(max(self.weights))  # exact, where tiny weights would round to 0
        self._shares = tuple(math.ldexp(weight, -exponent) for weight in self.weights)
        self._labels = _labels(self.evaluators)
        self.test_retest_sd = _spread(self.evaluators, self._shares)

    def evaluate(self, output: Any, context: Context | None = None) -> EvaluationResult:
        """Ask the children one after the other.

        Raises:
            MisuseError: A child is async; the message says what to call instead.
        """
        for child in self.evaluators:
            if child.is_async:  # said before the others are paid for
                raise AwaitNeededError.named(child.name)
        return self._together([child.evaluate(output, context) for child in self.evaluators])

    async def aevaluate(self, output: Any, context: Context | None = None) -> EvaluationResult:
        """Ask the children all at once; when one raises, the others are cancelled."""
        if self.inline:
            return self.evaluate(output, context)
        import asyncio  # noqa: PLC0415  `import loopllm` loads no asyncio

        tasks = [asyncio.ensure_future(child.aevaluate(output, context)) for child in self.evaluators]
        try:
            return self._together(await asyncio.gather(*tasks))
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    def _together(self, results: Sequence[EvaluationResult]) -> EvaluationResult:
        verdicts = [each.passed for each in results if each.passed is not None]
        sub_scores: dict[str, float] = {}
        for label, each in zip(self._labels, results, strict=True):
            sub_scores[label] = each.score
            sub_scores |= {f"{label}.{part}": score for part, score in each.sub_scores.items()}
        return EvaluationResult(
            score=_mean([each.score for each in results], self._shares),
            passed=all(verdicts) if verdicts else None,
            deficiencies=tuple(sentence for each in results for sentence in each.deficiencies),
            sub_scores=sub_scores,
            feedback="; ".join(each.feedback for each in results if each.feedback),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the arguments of the constructor."""
        return _rebuilt, (self.evaluators, self.weights, self.name)

    def __repr__(self) -> str:
        children = ", ".join(self._labels)
        return f"CompositeEvaluator([{children}], weights={list(self.weights)}, name={self.name!r})"


def _mean(scores: Sequence[float], shares: Sequence[float]) -> float:
    """Weighted mean; kept between the scores that count, since floats may end a hair beside what all of them said."""
    weighted = math.fsum(share * score for share, score in zip(shares, scores, strict=True))
    counted = [score for share, score in zip(shares, scores, strict=True) if share]
    return min(max(weighted / math.fsum(shares), min(counted)), max(counted))


def _spread(children: Sequence[BoundEvaluator], shares: Sequence[float]) -> float | None:
    """Spread of a weighted mean of scores that err independently: sqrt(sum (w sd)^2) / sum w."""
    squares = 0.0
    for child, share in zip(children, shares, strict=True):
        if share and child.test_retest_sd is None:
            return None
        squares += (share * (child.test_retest_sd or 0.0)) ** 2
    return math.sqrt(squares) / math.fsum(shares)


def _rebuilt(evaluators: Sequence[Any], weights: Sequence[float], name: str) -> CompositeEvaluator:
    return CompositeEvaluator(evaluators, weights, name=name)


def _bound(evaluators: Any) -> tuple[BoundEvaluator, ...]:
    if isinstance(evaluators, str) or not isinstance(evaluators, Iterable):
        raise MisuseError(f"evaluators must be a list of evaluators, got {evaluators!r}")
    children = tuple(as_evaluator(each) for each in evaluators)
    if not children:
        raise MisuseError("evaluators is empty; give at least one")
    return children


def _checked(weights: Any, count: int) -> tuple[float, ...]:
    if weights is None:
        return (1.0,) * count
    given = tuple(weights)
    if len(given) != count:
        raise MisuseError(f"weights has {len(given)} numbers for {count} evaluators; give one for each")
    for each in given:
        usable = isinstance(each, int | float) and not isinstance(each, bool)
        if not usable or not 0 <= each <= sys.float_info.max:  # NaN fails this comparison too
            raise MisuseError(f"weights must be finite numbers >= 0, got {each!r}")
    if not 0 < (total := sum(float(each) for each in given)) < math.inf:
        raise MisuseError(f"weights must have a finite sum above 0, got {total!r}")
    return tuple(float(each) for each in given)


def _labels(children: Sequence[BoundEvaluator]) -> tuple[str, ...]:
    """Give each child a label of its own; no dots, so that `label.part` can only be that child's part."""
    labels: list[str] = []
    for child in children:
        base = label = child.name.replace(".", "_")
        number = 1
        while label in labels:
            number += 1
            label = f"{base}_{number}"
        labels.append(label)
    return tuple(labels)
