"""How is this object asked for a score? Anything reasonable becomes one kind of evaluator.

Rule: signatures are looked at once, when the evaluator is bound; a call afterwards costs about a microsecond.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

from loopllm.deadline import call_in_thread
from loopllm.errors import EvaluatorError, MisuseError
from loopllm.evaluators.base import Context
from loopllm.evaluators.checks import require_name, stated_spread
from loopllm.evaluators.verdicts import as_result
from loopllm.results import EvaluationResult

_Ask = Callable[[Any, Context | None], Any]
_AsyncAsk = Callable[[Any, Context | None], Awaitable[Any]]

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_LANGCHAIN = ("langchain_core.", "langchain_classic.evaluation", "langsmith.evaluation")
_LLAMA_INDEX = "llama_index.core.evaluation"


class AwaitNeededError(MisuseError):
    """A blocking call reached an evaluator that can only be awaited."""

    @classmethod
    def named(cls, name: str) -> AwaitNeededError:
        """Make the error for the evaluator called `name`."""
        return cls(
            f"evaluator {name!r} is async; use `arefine` on the loop, or `await evaluator.aevaluate(...)`"
        )


class BoundEvaluator:
    """An evaluator of any origin behind one face; made by `as_evaluator`.

    Attributes:
        name: The evaluator's own name, or that of its function or class.
        inline: True when `evaluate` takes microseconds and never blocks, so it may run on the event loop.
        waits: True when `evaluate` may wait for a model or a network, so a time limit has to interrupt it.
        is_async: True when there is only `aevaluate`; `evaluate` then raises `MisuseError`.
        test_retest_sd: Standard deviation of its scores of one output, as it states it; None when it does not.
    """

    __slots__ = (
        "__weakref__",  # caches tell evaluators apart without keeping them
        "_aask",
        "_ask",
        "_source",
        "inline",
        "is_async",
        "name",
        "test_retest_sd",
        "waits",
    )

    name: str
    inline: bool
    waits: bool
    is_async: bool
    test_retest_sd: float | None

    def __init__(self, source: Any, name: str, ask: _Ask | None, aask: _AsyncAsk | None) -> None:
        self._source = source
        self._ask = ask
        self._aask = aask
        self.name = name
        self.inline = ask is not None and getattr(source, "inline", False) is True
        self.waits = ask is not None and _may_wait(source)
        self.is_async = ask is None
        self.test_retest_sd = stated_spread(getattr(source, "test_retest_sd", None))

    def evaluate(self, output: Any, context: Context | None = None) -> EvaluationResult:
        """Score `output`, blocking.

        Raises:
            MisuseError: The evaluator is async; the message says what to call instead.
            EvaluatorError: What came back is no score (NaN, out of range, another type).
        """
        if self._ask is None:
            raise AwaitNeededError.named(self.name)
        try:
            verdict = self._ask(output, context)
        except MisuseError as error:
            raise self._blamed(error) from error
        kind = type(verdict)
        if kind is EvaluationResult:
            checked: EvaluationResult = verdict
            return checked
        if kind is float or kind is bool:  # asking whether it is awaitable would double the cost of the call
            return as_result(verdict, self.name)
        if inspect.isawaitable(verdict):
            _discard(verdict)
            raise AwaitNeededError.named(self.name)
        return as_result(verdict, self.name)

    async def aevaluate(self, output: Any, context: Context | None = None) -> EvaluationResult:
        """Score `output` without blocking the event loop: natively, or in a thread.

        Raises:
            EvaluatorError: What came back is no score (NaN, out of range, another type).
        """
        try:
            verdict = await self._asked(output, context)
        except MisuseError as error:
            raise self._blamed(error) from error
        return as_result(verdict, self.name)

    async def _asked(self, output: Any, context: Context | None) -> Any:
        if self._aask is not None:
            return await self._aask(output, context)
        if self.inline:
            return self._ask_once(output, context)
        verdict = await call_in_thread(self._ask_once, output, context)
        return await verdict if inspect.isawaitable(verdict) else verdict

    def _ask_once(self, output: Any, context: Context | None) -> Any:
        if self._ask is None:
            raise AwaitNeededError.named(self.name)
        try:
            return self._ask(output, context)
        except StopIteration as error:  # a future cannot carry it: whoever awaits would wait for ever
            raise EvaluatorError(f"evaluator {self.name!r} raised StopIteration") from error

    def _blamed(self, error: MisuseError) -> MisuseError | EvaluatorError:
        """Tell a caller's misuse from an evaluator that built an impossible `EvaluationResult`."""
        return (
            error
            if isinstance(error, AwaitNeededError)
            else EvaluatorError(f"evaluator {self.name!r}: {error}")
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what was bound, and bind it anew."""
        return as_evaluator, (self._source, self.name)

    def __repr__(self) -> str:
        return f"as_evaluator({self.name!r})"


def as_evaluator(evaluator: Any, name: str | None = None) -> BoundEvaluator:
    """Bind anything that can score an output.

    >>> as_evaluator(lambda output: len(output) / 10).evaluate("hello").score
    0.5
    >>> as_evaluator(str.isdigit).evaluate("42").passed
    True

    Args:
        evaluator: An object with `evaluate` or `aevaluate`; a callable `(output, context=None)`, or one
            that takes the output only, sync or async, that returns a score in [0, 1], a bool or an
            `EvaluationResult`; or a pydantic model class, which stands for
            `JSONSchemaEvaluator(schema=Model)`. Set the attribute `inline = True` on one that takes
            microseconds and never blocks, `waits = True` on one that waits for a model or a network (an
            object with both `evaluate` and `aevaluate` that sets neither is taken to wait). Evaluators of
            LlamaIndex, and of LangChain and LangSmith, are taken by their adapters.
        name: What to call it, instead of its own name.

    Returns:
        An object with `evaluate`, `aevaluate`, `name`, `inline`, `waits`, `is_async` and `test_retest_sd`. Binding a
        bound one changes nothing.

    Raises:
        MisuseError: The object cannot be asked for a score; the message says why.
    """
    if isinstance(evaluator, BoundEvaluator) and name in {None, evaluator.name}:
        return evaluator
    evaluator = _from_class(evaluator) if isinstance(evaluator, type) else _from_framework(evaluator)
    name = name if name is not None else _name_of(evaluator)
    require_name(name)
    blocking, awaiting = _ways_in(evaluator)
    ask = None if blocking is None else _with_context(blocking, name)
    aask = None if awaiting is None else _with_context(awaiting, name)
    return BoundEvaluator(evaluator, name, ask, aask)


def _from_class(kind: type) -> Any:
    if hasattr(kind, "model_validate_json"):
        from loopllm.evaluators.json_schema import JSONSchemaEvaluator  # noqa: PLC0415  only for those who use it

        return JSONSchemaEvaluator(schema=kind)
    if hasattr(kind, "evaluate") or hasattr(kind, "aevaluate"):
        raise MisuseError(
            f"evaluator is the class {kind.__name__} itself; pass an instance: {kind.__name__}(...)"
        )
    return kind


def _from_framework(evaluator: Any) -> Any:
    """Return an evaluator of a framework in its adapter, known by its class; nothing else imports one.

    LlamaIndex asks its evaluators by other arguments, and LangChain's have no `evaluate` at all.
    """
    modules = [base.__module__ for base in type(evaluator).__mro__]
    if any(module.startswith(_LLAMA_INDEX) for module in modules):
        return import_module("loopllm_li").LlamaIndexEvaluator(evaluator)
    own = hasattr(evaluator, "evaluate") or hasattr(evaluator, "aevaluate")
    if not own and any(module.startswith(_LANGCHAIN) for module in modules):
        return import_module("loopllm_lc.evaluating").as_langchain_evaluator(evaluator)
    return evaluator


def _ways_in(evaluator: Any) -> tuple[Callable[..., Any] | None, Callable[..., Any] | None]:
    """Find the blocking and the awaiting way to ask; one of them may be missing."""
    blocking, awaiting = getattr(evaluator, "evaluate", None), getattr(evaluator, "aevaluate", None)
    if not callable(blocking) and not callable(awaiting):
        if not callable(evaluator):
            raise MisuseError(
                f"a {type(evaluator).__name__} is no evaluator: pass an object with `evaluate`, a callable "
                "`(output, context=None)`, or a pydantic model class; for a framework's evaluators see "
                "the adapters in loopllm_lc and loopllm_li"
            )
        blocking = evaluator
    if blocking is not None and _is_coroutine_function(blocking):
        return None, awaiting or blocking
    return (None if getattr(evaluator, "is_async", False) is True else blocking), awaiting


def _may_wait(source: Any) -> bool:
    """Say whether an evaluator waits: as it states itself, or because it is worth awaiting."""
    stated = getattr(source, "waits", None)
    if isinstance(stated, bool):
        return stated
    return hasattr(source, "aevaluate") and not hasattr(source, "inline")


def _is_coroutine_function(function: Any) -> bool:
    call = getattr(type(function), "__call__", None)  # noqa: B004  the method is wanted, not whether there is one
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _with_context(function: Callable[..., Any], name: str) -> _Ask:
    """Return `function` with the arguments `(output, context)`, whether it wants the context or not."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some builtins have no signature
        return lambda output, _context: function(output)
    _require_callable_with_output(parameters, name)
    positional = [each for each in parameters if each.kind in _POSITIONAL]
    if len(positional) > 1 and _wants_context(positional[1]):
        return function
    if any(
        each.name == "context"
        for each in parameters
        if each not in positional[:1] and each.kind not in _VARIADIC
    ):
        return lambda output, context: function(output, context=context)
    return lambda output, _context: function(output)


def _wants_context(second: inspect.Parameter) -> bool:
    """Say whether the second argument is the context: by its name, or because it must be given."""
    return second.name in {"context", "_context", "ctx"} or second.default is inspect.Parameter.empty


def _require_callable_with_output(parameters: list[inspect.Parameter], name: str) -> None:
    positional = [each for each in parameters if each.kind in _POSITIONAL]
    if any(each.name == "outputs" for each in parameters if each not in positional[:1]):
        raise MisuseError(
            f"evaluator {name!r} takes `outputs` beside others, as those of openevals and LangSmith do, but is called "
            "as (output, context=None): pass a function that returns its score, "
            f'lambda output, context: {name}(inputs=context["prompt"], outputs=output)["score"]'
        )
    needed = [each.name for each in positional[2:] if each.default is inspect.Parameter.empty]
    needed += [
        each.name
        for each in parameters
        if each.kind is inspect.Parameter.KEYWORD_ONLY
        and each.default is inspect.Parameter.empty
        and each.name != "context"
    ]
    takes_output = positional or any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in parameters)
    if needed or not takes_output:
        problem = f"also needs {', '.join(needed)}" if needed else "takes no output"
        raise MisuseError(f"evaluator {name!r} {problem}; it is called as (output, context=None)")


def _name_of(evaluator: Any) -> str:
    own = getattr(evaluator, "name", None)
    if isinstance(own, str) and own:
        return own
    inner = getattr(evaluator, "func", evaluator)  # what a functools.partial holds
    title = getattr(inner, "__name__", None) or type(evaluator).__name__
    return "lambda" if title == "<lambda>" else str(title)


def _discard(awaitable: Any) -> None:
    """Close a coroutine nobody will await, so that Python does not warn about it."""
    close = getattr(awaitable, "close", None)
    if callable(close):
        close()
