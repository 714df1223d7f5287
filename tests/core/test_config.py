"""Wrong settings are refused when they are built, naming the field."""

from functools import partial
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from loopllm.config import LoopConfig, Prices
from loopllm.feedback import WAYS, FeedbackName
from loopllm.results import Usage


def test_the_defaults_are_the_documented_ones() -> None:
    config = LoopConfig()
    assert (config.max_iterations, config.quality_threshold, config.min_iterations) == (5, 0.8, 1)
    assert (config.convergence_delta, config.timeout_ms, config.best_of) == (0.01, 30_000, True)
    assert config.feedback == "auto"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_iterations", 0),
        ("max_iterations", "5"),
        ("max_iterations", 2.5),
        ("quality_threshold", 1.5),
        ("quality_threshold", float("nan")),
        ("min_iterations", 0),
        ("convergence_delta", -0.1),
        ("timeout_ms", 0),
        ("timeout_ms", float("inf")),
        ("timeout_ms", 1e15),
        ("token_budget", 0),
        ("cost_budget", 0.0),
        ("max_retries", -1),
        ("retry_cap_s", float("inf")),
        ("call_cost", -0.1),
        ("call_cost", float("inf")),
        ("feedback", "lst"),
        ("feedback", None),
        ("feedback", 3),
        ("learning", "on"),
        ("objective", "speed"),
        ("treshold", 0.5),
    ],
)
def test_a_wrong_value_is_refused_naming_the_field(field: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=field):
        LoopConfig(**{field: value})


def test_a_wrong_way_of_asking_is_answered_with_the_right_ones() -> None:
    with pytest.raises(ValidationError, match="one of auto, last, best, deficiencies, fresh, or a callable"):
        LoopConfig(feedback="lst")  # type: ignore[arg-type]  # the point of the test


def test_the_names_an_editor_offers_are_the_ways_there_are() -> None:
    assert set(get_args(FeedbackName)) == {"auto", *WAYS}


def test_a_minimum_above_the_maximum_is_refused() -> None:
    with pytest.raises(ValidationError, match="min_iterations=4 is above max_iterations=3"):
        LoopConfig(min_iterations=4, max_iterations=3)


def test_a_way_of_asking_may_not_take_a_known_name() -> None:
    with pytest.raises(ValidationError, match="may not redefine last"):
        LoopConfig(feedback_ways={"last": lambda request: request.task})


def test_a_configuration_cannot_be_changed_after_it_was_built() -> None:
    with pytest.raises(ValidationError):
        LoopConfig().max_iterations = 7  # type: ignore[misc]  # the point of the test


def test_auto_may_choose_from_all_known_ways_and_the_callers_own() -> None:
    config = LoopConfig(feedback_ways={"terse": lambda request: request.task})
    assert list(config.ways()) == ["last", "best", "deficiencies", "fresh", "terse"]


def test_a_callable_is_the_only_way_and_goes_by_its_name() -> None:
    def socratic(request: Any) -> Any:
        return request.task

    assert list(LoopConfig(feedback=socratic).ways()) == ["socratic"]


def test_prices_may_not_be_negative() -> None:
    with pytest.raises(ValidationError, match="prompt_per_million"):
        Prices(prompt_per_million=-1.0, completion_per_million=1.0)


def test_a_callable_with_the_name_of_a_known_way_is_told_apart_from_it() -> None:
    def last(request: Any) -> Any:
        return request.task

    assert list(LoopConfig(feedback=last).ways()) == ["own_last"]


@pytest.mark.parametrize("name", ["first", "auto"])
def test_a_callable_with_a_name_that_means_something_else_is_told_apart_from_it(name: str) -> None:
    def ask(request: Any) -> Any:
        return request.task

    ask.__name__ = name
    assert list(LoopConfig(feedback=ask).ways()) == [f"own_{name}"]


@pytest.mark.parametrize("told", [Usage(7, None), Usage(None, 2), Usage()])
def test_what_a_call_cost_is_unknown_where_tokens_of_one_side_are(told: Usage) -> None:
    assert Prices(prompt_per_million=1.0, completion_per_million=2.0).priced(told) == told


async def ask_somebody(_request: Any) -> str:
    return "again"


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"feedback": ask_somebody}, "ask_somebody"),
        ({"feedback_ways": {"mine": ask_somebody}}, "ask_somebody"),
        ({"feedback": partial(ask_somebody)}, "partial"),
    ],
)
def test_an_async_way_of_asking_is_refused_by_name(settings: Any, name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name} is async"):
        LoopConfig(**settings)
