"""What the engine asks of an evaluator before it calls it, taken over by those that wrap one."""

from __future__ import annotations

from typing import Any


class JudgeFace:
    """Has the face of the evaluator that it wraps.

    Attributes:
        name: See `loopllm.evaluators.as_evaluator`, like the others.
        inline: Whether it may run on the event loop.
        waits: Whether a time limit has to interrupt it.
        is_async: Whether it can only be awaited.
        test_retest_sd: Standard deviation of its scores of one output, or None.

    Args:
        judge: The evaluator.
    """

    def __init__(self, judge: Any) -> None:
        self.name: str = judge.name
        self.inline: bool = judge.inline
        self.waits: bool = judge.waits
        self.is_async: bool = judge.is_async
        self.test_retest_sd: float | None = judge.test_retest_sd
