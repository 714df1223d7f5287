"""What the engine asks of an evaluator before it calls it, taken over by those that wrap one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from loopllm.results import EvaluationResult


class Judge(Protocol):
    """An evaluator with the face of a bound one; see `loopllm.evaluators.as_evaluator`."""

    name: str
    inline: bool
    waits: bool
    is_async: bool
    test_retest_sd: float | None

    def evaluate(self, output: Any, context: Mapping[str, Any] | None = None) -> EvaluationResult:
        """Score an output, blocking."""
        ...

    async def aevaluate(self, output: Any, context: Mapping[str, Any] | None = None) -> EvaluationResult:
        """Score an output without blocking the event loop."""
        ...


class JudgeFace:
    """Has the face of the evaluator that it wraps, and keeps it as `_judge`.

    Attributes:
        name: See `loopllm.evaluators.as_evaluator`, like the others.
        inline: Whether it may run on the event loop.
        waits: Whether a time limit has to interrupt it.
        is_async: Whether it can only be awaited.
        test_retest_sd: Standard deviation of its scores of one output, or None.

    Args:
        judge: The evaluator.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self.name = judge.name
        self.inline = judge.inline
        self.waits = judge.waits
        self.is_async = judge.is_async
        self.test_retest_sd = judge.test_retest_sd
