"""as_evaluator: anything that can score becomes one kind of evaluator."""

import asyncio
import contextvars
import functools
import math
import pickle
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pydantic
import pytest

from loopllm.errors import EvaluatorError, MisuseError
from loopllm.evaluators import Evaluator, LengthEvaluator, RegexEvaluator, as_evaluator
from loopllm.results import EvaluationResult


def half(output: str) -> float:
    return 0.5


async def ahalf(output: str, context: Any = None) -> float:
    return 0.5


@dataclass
class OldResult:
    score: float
    passed: bool = False
    deficiencies: list[str] = field(default_factory=list)
    sub_scores: dict[str, float] = field(default_factory=dict)


class OldEvaluator:
    name = "old"

    def evaluate(self, output: str, context: dict[str, Any] | None = None) -> OldResult:
        return OldResult(0.25, False, ["say more"], {"depth": 0.1})


def test_a_number_is_a_score_and_leaves_the_verdict_open() -> None:
    assert as_evaluator(half).evaluate("x") == EvaluationResult(0.5, None)
    assert as_evaluator(lambda output: 1).evaluate("x") == EvaluationResult(1.0, None)


def test_a_bool_is_a_verdict_with_the_score_one_or_zero() -> None:
    assert as_evaluator(lambda output: True).evaluate("x") == EvaluationResult(1.0, True)
    assert as_evaluator(lambda output: False).evaluate("x") == EvaluationResult(0.0, False)


def test_a_result_is_kept_as_it_is() -> None:
    result = EvaluationResult(0.3, False, ["why"])
    assert as_evaluator(lambda output: result).evaluate("x") is result


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (np.float64(0.5), EvaluationResult(0.5)),
        (np.float32(0.5), EvaluationResult(0.5)),
        (np.int64(1), EvaluationResult(1.0)),
        (np.bool_(True), EvaluationResult(1.0, True)),
        (np.array(0.5), EvaluationResult(0.5)),
    ],
)
def test_scalars_of_numpy_mean_what_they_show(verdict: Any, expected: EvaluationResult) -> None:
    assert as_evaluator(lambda output: verdict).evaluate("x") == expected


@pytest.mark.parametrize("verdict", [math.nan, math.inf, -0.01, 1.01, 2, np.float32("nan")])
def test_a_number_that_is_no_score_is_refused_by_the_name_of_the_evaluator(verdict: float) -> None:
    def style(output: str) -> float:
        return verdict

    with pytest.raises(EvaluatorError, match=r"'style'.*number from 0 to 1"):
        as_evaluator(style).evaluate("x")


@pytest.mark.parametrize("verdict", ["0.5", [0.5], {"score": 0.5}, object(), np.array([0.1, 0.2])])
def test_a_verdict_of_another_type_is_refused(verdict: object) -> None:
    with pytest.raises(EvaluatorError, match="return a number from 0 to 1"):
        as_evaluator(lambda output: verdict).evaluate("x")


def test_a_forgotten_return_is_recognised() -> None:
    with pytest.raises(EvaluatorError, match=r"is a `return` missing\?"):
        as_evaluator(lambda output: None).evaluate("x")


def test_an_impossible_result_made_by_the_evaluator_is_its_fault_not_the_callers() -> None:
    with pytest.raises(EvaluatorError, match="lambda"):
        as_evaluator(lambda output: EvaluationResult(math.nan)).evaluate("x")


def test_results_of_another_library_are_read_field_by_field() -> None:
    assert as_evaluator(OldEvaluator()).evaluate("x") == EvaluationResult(
        0.25, False, ("say more",), {"depth": 0.1}
    )
    one_sentence: Any = "one sentence"  # where a list belongs
    assert as_evaluator(lambda output: OldResult(0.5, deficiencies=one_sentence)).evaluate(
        "x"
    ).deficiencies == ("one sentence",)
    with pytest.raises(EvaluatorError):
        as_evaluator(lambda output: OldResult(math.nan)).evaluate("x")
    with pytest.raises(EvaluatorError):
        as_evaluator(lambda output: OldResult("high")).evaluate("x")  # type: ignore[arg-type]  # sloppy code


def test_an_error_of_the_evaluator_comes_through_unchanged() -> None:
    def broken(output: str) -> float:
        raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        as_evaluator(broken).evaluate("x")


def only_output(output: str) -> float:
    return float(output == "x")


def optional_context(output: str, context: Any = None) -> float:
    return float((output, context) == ("x", {"k": 1}))


def required_second(output: str, facts: Any) -> float:
    return float((output, facts) == ("x", {"k": 1}))


def keyword_context(output: str, *, context: Any) -> float:
    return float((output, context) == ("x", {"k": 1}))


def unrelated_default(output: str, strictness: float = 1.0) -> float:
    return strictness


def everything(*arguments: Any, **options: Any) -> float:
    return float(arguments == ("x",) and not options)


class Callable:
    def __call__(self, output: str, context: Any) -> float:
        return required_second(output, context)


@pytest.mark.parametrize(
    "function",
    [
        only_output,
        optional_context,
        required_second,
        keyword_context,
        unrelated_default,
        everything,
        Callable(),
        functools.partial(unrelated_default, strictness=1.0),
        str.isalpha,
        bool,
    ],
)
def test_a_callable_gets_the_context_when_it_wants_it(function: Any) -> None:
    assert as_evaluator(function).evaluate("x", {"k": 1}).score == 1.0


@pytest.mark.parametrize(
    "function",
    [
        lambda: 0.5,
        lambda output, context, more: 0.5,
        lambda *, inputs, outputs: 0.5,
        lambda inputs, outputs: 0.5,
    ],
)
def test_a_callable_that_cannot_be_called_with_output_and_context_is_refused(function: Any) -> None:
    with pytest.raises(MisuseError, match=r"\(output, context=None\)"):
        as_evaluator(function)


@pytest.mark.parametrize("thing", [None, 0.5, "length", object()])
def test_what_is_no_evaluator_is_refused(thing: Any) -> None:
    with pytest.raises(MisuseError, match="is no evaluator"):
        as_evaluator(thing)


def test_a_class_in_place_of_an_instance_is_refused_with_the_fix() -> None:
    with pytest.raises(MisuseError, match=r"LengthEvaluator\(\.\.\.\)"):
        as_evaluator(LengthEvaluator)


def test_a_pydantic_model_class_is_a_schema() -> None:
    class Profile(pydantic.BaseModel):
        age: int

    evaluator = as_evaluator(Profile)
    assert evaluator.evaluate('{"age": 3}').passed
    assert evaluator.evaluate('{"age": "x"}').deficiencies[0].startswith("age: ")


async def test_async_functions_and_objects_can_only_be_awaited() -> None:
    class Judge:
        async def aevaluate(self, output: str, context: Any = None) -> float:
            return 0.5

    class Mislabelled:
        async def evaluate(self, output: str) -> float:
            return 0.5

    class CallableJudge:
        async def __call__(self, output: str) -> float:
            return 0.5

    for source in (ahalf, functools.partial(ahalf), Judge(), Mislabelled(), CallableJudge()):
        evaluator = as_evaluator(source)
        assert (evaluator.is_async, evaluator.inline) == (True, False)
        assert (await evaluator.aevaluate("x")).score == 0.5
        with pytest.raises(MisuseError, match="arefine"):
            evaluator.evaluate("x")


async def test_a_plain_function_that_returns_a_coroutine_is_awaited_too() -> None:
    evaluator = as_evaluator(lambda output: ahalf(output, None))
    assert (await evaluator.aevaluate("x")).score == 0.5
    with pytest.raises(MisuseError, match="arefine"):
        evaluator.evaluate("x")


async def test_a_blocking_evaluator_is_awaited_in_a_thread_with_the_callers_context_variables() -> None:
    user = contextvars.ContextVar("user", default="nobody")
    seen: list[tuple[bool, str]] = []

    def where(output: str) -> float:
        seen.append((threading.current_thread() is threading.main_thread(), user.get()))
        return 1.0

    user.set("ada")
    await as_evaluator(where).aevaluate("x")
    where.inline = True  # type: ignore[attr-defined]  # functions take attributes
    await as_evaluator(where).aevaluate("x")
    assert seen == [(False, "ada"), (True, "ada")]


async def test_both_ways_are_used_when_an_object_has_both() -> None:
    class Both:
        def evaluate(self, output: str) -> float:
            return 0.1

        async def aevaluate(self, output: str) -> float:
            return 0.2

    evaluator = as_evaluator(Both())
    assert not evaluator.is_async
    assert (evaluator.evaluate("x").score, (await evaluator.aevaluate("x")).score) == (0.1, 0.2)


async def test_stop_iteration_does_not_hang_whoever_awaits() -> None:
    def broken(output: str) -> float:
        return next(iter(()))

    with pytest.raises(EvaluatorError, match="StopIteration"):
        await asyncio.wait_for(as_evaluator(broken).aevaluate("x"), 10)


async def test_bad_verdicts_are_refused_when_awaited_too() -> None:
    async def style(output: str) -> float:
        return math.nan

    with pytest.raises(EvaluatorError, match="'style'"):
        await as_evaluator(style).aevaluate("x")


def test_names_come_from_the_object_the_function_or_the_caller() -> None:
    assert as_evaluator(OldEvaluator()).name == "old"
    assert as_evaluator(half).name == "half"
    assert as_evaluator(functools.partial(half)).name == "half"
    assert as_evaluator(lambda output: 1.0).name == "lambda"
    assert as_evaluator(Callable()).name == "Callable"
    assert as_evaluator(half, "style").name == "style"
    assert as_evaluator(as_evaluator(half), "style").name == "style"
    with pytest.raises(MisuseError, match="name"):
        as_evaluator(half, "")


def test_binding_twice_changes_nothing() -> None:
    evaluator = as_evaluator(half)
    assert as_evaluator(evaluator) is evaluator
    assert isinstance(evaluator, Evaluator)


def test_only_the_cheap_built_ins_are_inline() -> None:
    assert as_evaluator(LengthEvaluator()).inline
    assert not as_evaluator(RegexEvaluator(required=["x"])).inline
    assert not as_evaluator(half).inline


def test_it_pickles_when_what_it_binds_does() -> None:
    copy = pickle.loads(pickle.dumps(as_evaluator(OldEvaluator(), "renamed")))
    assert (copy.name, copy.evaluate("x").score) == ("renamed", 0.25)
    assert repr(copy) == "as_evaluator('renamed')"


def test_importing_the_evaluators_loads_nothing_heavy() -> None:
    code = (
        "import sys; from loopllm.evaluators import *; "
        "print([name for name in ('jsonschema', 'regex', 'pydantic', 'asyncio', 'numpy', 'httpx') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
