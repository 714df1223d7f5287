"""What the engine needs from an evaluator: the port."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

from loopllm.results import EvaluationResult

Output_contra = TypeVar("Output_contra", contravariant=True)

Context = Mapping[str, Any]
"""Facts about the run that an evaluator may use; the engine adds `prompt` (the task) and `iteration`, and `judgement`
(2, 3) when it judges a draft again: an evaluator that keeps its verdicts should then judge afresh."""

Verdict = float | bool | EvaluationResult
"""What a plain callable may return: a score in [0, 1], pass or fail, or everything."""


@runtime_checkable
class Evaluator(Protocol[Output_contra]):
    """Anything with `evaluate`. An evaluator may also have `async def aevaluate` with the same arguments.

    An evaluator whose `evaluate` takes microseconds and never blocks may set the class attribute `inline =
    True`: it is then called on the event loop itself; any other blocking evaluator runs in a thread there.

    A blocking run calls an evaluator on the caller's own thread, where its database connection or its browser
    may be. One that waits for a model or a network sets `waits = True`: under a time limit it is called in
    another thread and given up when the time is over.

    One whose scores vary from one judgement of the same output to the next, as a language model's do, may state by how
    much: `test_retest_sd`, the standard deviation of a single score around the mean of many; 0.0 says that it always
    scores the same output alike. None, or no such attribute, says nothing: the learned exit then goes by the scores.
    `loopllm.evaluators.measure_judge` measures it.
    """

    def evaluate(self, output: Output_contra, context: Context | None = None) -> EvaluationResult:
        """Score `output`."""
        ...
