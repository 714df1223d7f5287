"""The public names as a user's type checker sees them; checked by mypy and pyright, never run."""

from typing import Any, assert_type

from loopllm import (
    AdaptivePriors,
    EvaluationResult,
    ExitReason,
    LoopConfig,
    LoopedLLM,
    Objective,
    RefinementResult,
)
from loopllm.providers.base import TextPrompt
from loopllm.providers.mock import MockLLMProvider


def judge(output: str, context: Any = None) -> EvaluationResult:
    return EvaluationResult(0.5)


loop = LoopedLLM(MockLLMProvider(responses=["a"]), LoopConfig(max_iterations=3), priors=AdaptivePriors())
result = loop.refine("task", judge)
assert_type(result, RefinementResult[TextPrompt, str])
assert_type(result.output, str)
assert_type(result.metrics.exit_reason, ExitReason)
assert_type(loop.batch(["a", "b"], judge), list[RefinementResult[TextPrompt, str]])
assert_type(
    loop.batch(["a"], judge, return_exceptions=True), list[RefinementResult[TextPrompt, str] | Exception]
)

from_function = LoopedLLM(lambda prompt: "answer")
assert_type(from_function.refine("task", judge).output, str)

aim = Objective(value_of_success=0.02, cost_per_second=0.001)
assert_type(LoopConfig(objective=aim).currency, str | None)


def costs() -> None:
    report = AdaptivePriors().report("t", "m")
    assert_type(report.call_costs["last"].money, tuple[float, float, float] | None)


async def awaiting() -> None:
    assert_type((await loop.arefine("task", judge)).output, str)
    async for _ in loop.astream("task", judge):
        pass


def ways() -> None:
    LoopConfig(feedback="deficiencies")
    LoopConfig(feedback=lambda request: request.task)
    LoopConfig(feedback="lst")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  - an editor says so
