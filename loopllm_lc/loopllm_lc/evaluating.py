"""What may score a draft in LangChain? loopllm's evaluators and callables, and LangChain's own: each behind one face.

Rule: what is a runnable is run as one, inside the evaluation's run, so that a judge's calls stand where they belong.
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from langchain_core.output_parsers.base import BaseOutputParser
from langchain_core.runnables import Runnable

from loopllm.errors import LoopLLMError, MisuseError
from loopllm.evaluators.adapt import BoundEvaluator, as_evaluator
from loopllm.providers.deadline import call_in_thread
from loopllm.results import EvaluationResult
from loopllm_lc.drafts import one_line
from loopllm_lc.judging import READABLE, Readable, task_in
from loopllm_lc.replies import text_of
from loopllm_lc.verdicts import verdict_from

Facts = Mapping[str, Any]


def bind_evaluator(evaluator: Any, *, has_parser: bool) -> BoundEvaluator:
    """Return whatever was given as an evaluator.

    Args:
        evaluator: What was given, or None.
        has_parser: Whether what is bound parses the model's answer; without an evaluator, being readable is then
            enough.

    Raises:
        MisuseError: Nothing was given, or it cannot score anything.
    """
    if evaluator is not None:
        return as_langchain_evaluator(evaluator)
    if not has_parser:
        raise MisuseError(
            "a loop needs evaluator=...: without one nothing says when the output is good enough (only a chain "
            "that ends in a parser needs none: it loops until the answer can be parsed)"
        )
    return as_evaluator(Readable())


def as_langchain_evaluator(evaluator: Any) -> BoundEvaluator:
    """Bind anything that can score a draft.

    Args:
        evaluator: What `loopllm.as_evaluator` takes; or an output parser (its criterion: it can parse the text); any
            other runnable, which is given a dict with `input`, `prompt` and `output` and answers with a score; a
            callable in the style of openevals and LangSmith `(inputs, outputs, reference_outputs)`; a LangSmith
            `RunEvaluator`; a string evaluator of LangChain.

    Raises:
        MisuseError: It is none of these.
    """
    if isinstance(evaluator, BaseOutputParser):
        return as_evaluator(ParserEvaluator(evaluator))
    for method, adapted in (  # before runnables, which many string evaluators are: they answer with no score
        (_EVALUATE_RUN, RunEvaluatorAdapter),
        (_EVALUATE_STRINGS, StringEvaluatorAdapter),
    ):
        if callable(getattr(evaluator, method, None)):
            return as_evaluator(adapted(evaluator))
    if isinstance(evaluator, Runnable):
        return as_evaluator(RunnableEvaluator(evaluator))
    if _takes_outputs(evaluator):
        return as_evaluator(OutputsEvaluator(evaluator))
    return as_evaluator(evaluator)


_EVALUATE_RUN, _EVALUATE_STRINGS = "evaluate_run", "evaluate_strings"


class ParserEvaluator:
    """Accepts a text that an output parser can parse; its error is the deficiency.

    Args:
        parser: The parser.
    """

    inline = True
    test_retest_sd = 0.0

    def __init__(self, parser: BaseOutputParser[Any]) -> None:
        self.parser = parser
        self.name = type(parser).__name__

    def evaluate(self, output: Any, context: Facts | None = None) -> EvaluationResult:
        """Score a text with 1 or 0."""
        del context
        try:
            self.parser.parse(text_of(output))
        except LoopLLMError:
            raise
        except (ValueError, KeyError) as error:
            fault = f"the answer could not be read: {one_line(error)}"
            return EvaluationResult(0.0, passed=False, deficiencies=(fault,))
        return READABLE


class RunnableEvaluator:
    """A runnable as an evaluator, for example an LLM judge `prompt | model | parser`.

    It is given `{"input": what the caller gave, "prompt": the task as text, "output": the draft}` and answers with a
    number from 0 to 1, a bool, anything with a `score`, or a text that is a number and nothing else.

    Args:
        runnable: The runnable.
    """

    def __init__(self, runnable: Runnable[Any, Any]) -> None:
        self.runnable = runnable
        self.name = runnable.get_name()
        self.test_retest_sd = getattr(runnable, "test_retest_sd", None)

    def evaluate(self, output: Any, context: Facts | None = None) -> EvaluationResult:
        """Score a draft, blocking."""
        return verdict_from(self.runnable.invoke(_given(output, context)), self.name)

    async def aevaluate(self, output: Any, context: Facts | None = None) -> EvaluationResult:
        """Score a draft without blocking the event loop."""
        return verdict_from(await self.runnable.ainvoke(_given(output, context)), self.name)


def _given(output: Any, context: Facts | None) -> dict[str, Any]:
    facts = context or {}
    return {"input": facts.get("input"), "prompt": task_in(facts), "output": output}


class OutputsEvaluator:
    """A callable in the style of openevals and LangSmith: `(inputs, outputs, reference_outputs)` by keyword.

    `reference_outputs` comes from the input dict's key of that name, if it has one.

    Args:
        function: The callable, blocking or async.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.name = getattr(function, "__name__", type(function).__name__)
        call = getattr(type(function), "__call__", None)  # noqa: B004 - the method is wanted, not whether there is one
        self.is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
        self.test_retest_sd = getattr(function, "test_retest_sd", None)
        self.waits = getattr(function, "waits", None)
        self._function = function
        self._names = set(inspect.signature(function).parameters)

    def evaluate(self, output: Any, context: Facts | None = None) -> EvaluationResult:
        """Score a draft, blocking."""
        return verdict_from(self._function(**self._arguments(output, context or {})), self.name)

    async def aevaluate(self, output: Any, context: Facts | None = None) -> EvaluationResult:
        """Score a draft; a blocking function runs in a thread."""
        arguments = self._arguments(output, context or {})
        if self.is_async:
            return verdict_from(await self._function(**arguments), self.name)
        return verdict_from(await call_in_thread(partial(self._function, **arguments)), self.name)

    def _arguments(self, output: Any, facts: Facts) -> dict[str, Any]:
        given = facts.get("input")
        known = {
            "inputs": given if given is not None else task_in(facts),
            "outputs": output,
            "reference_outputs": _reference_in(facts),
        }
        # Only what is asked for by name: some of openevals' own evaluators trip over more.
        return {name: value for name, value in known.items() if name in self._names}


def _reference_in(facts: Facts) -> Any:
    given = facts.get("input")
    return given.get("reference_outputs") if isinstance(given, Mapping) else None


def _takes_outputs(evaluator: Any) -> bool:
    if not callable(evaluator) or isinstance(evaluator, type) or hasattr(evaluator, "evaluate"):
        return False
    try:
        parameters = inspect.signature(evaluator).parameters
    except (TypeError, ValueError):
        return False
    return "outputs" in parameters


class RunEvaluatorAdapter:
    """A LangSmith `RunEvaluator`: it is shown the draft as the outputs of a run.

    Args:
        evaluator: The evaluator.
    """

    def __init__(self, evaluator: Any) -> None:
        self.name = type(evaluator).__name__
        self.test_retest_sd = getattr(evaluator, "test_retest_sd", None)
        self.waits = getattr(evaluator, "waits", None)
        self._evaluator = evaluator

    def evaluate(self, output: Any, context: Facts | None = None) -> EvaluationResult:
        """Score a draft, blocking."""
        return verdict_from(self._evaluator.evaluate_run(_as_run(output, context or {}), None), self.name)

    async def aevaluate(self, output: Any, context: Facts | None = None) -> EvaluationResult:
        """Score a draft without blocking the event loop."""
        verdict = await _asked(self._evaluator, _EVALUATE_RUN, _as_run(output, context or {}), None)
        return verdict_from(verdict, self.name)


async def _asked(evaluator: Any, method: str, *arguments: Any, **named: Any) -> Any:
    """Ask without blocking the event loop, in a thread where an evaluator has no awaiting twin of the method."""
    awaiting = getattr(evaluator, f"a{method}", None)
    if awaiting is not None:
        return await awaiting(*arguments, **named)
    return await call_in_thread(partial(getattr(evaluator, method), *arguments, **named))


def _as_run(output: Any, facts: Facts) -> Any:
    from langsmith.schemas import Run  # noqa: PLC0415 - loaded when first used

    given, run_id = facts.get("input"), uuid.uuid4()
    return Run(
        id=run_id,
        trace_id=run_id,
        name="draft",
        run_type="chain",
        start_time=datetime.now(UTC),
        inputs=dict(given) if isinstance(given, Mapping) else {"input": task_in(facts)},
        outputs=dict(output) if isinstance(output, Mapping) else {"output": output},
    )


class StringEvaluatorAdapter:
    """A string evaluator of LangChain: it compares the text with the task, or with a reference.

    That comes from the input dict's key `reference_outputs`.

    Args:
        evaluator: An object with `evaluate_strings(prediction=, input=)`.
    """

    def __init__(self, evaluator: Any) -> None:
        self.name = getattr(evaluator, "evaluation_name", None) or type(evaluator).__name__
        self.test_retest_sd = getattr(evaluator, "test_retest_sd", None)
        self.waits = getattr(evaluator, "waits", None)
        self._evaluator = evaluator

    def evaluate(self, output: Any, context: Facts | None = None) -> EvaluationResult:
        """Score a text, blocking."""
        return verdict_from(
            self._evaluator.evaluate_strings(**self._arguments(output, context or {})), self.name
        )

    async def aevaluate(self, output: Any, context: Facts | None = None) -> EvaluationResult:
        """Score a text without blocking the event loop."""
        arguments = self._arguments(output, context or {})
        return verdict_from(await _asked(self._evaluator, _EVALUATE_STRINGS, **arguments), self.name)

    def _arguments(self, output: Any, facts: Facts) -> dict[str, Any]:
        arguments: dict[str, Any] = {"prediction": text_of(output)}
        if getattr(self._evaluator, "requires_input", True):
            arguments["input"] = task_in(facts)
        if getattr(self._evaluator, "requires_reference", False):
            arguments["reference"] = _reference_in(facts)
        return arguments
