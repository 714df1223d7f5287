"""Exit conditions: alone, and combined with `|` and `&`."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopllm import LoopConfig, LoopedLLM
from loopllm.errors import MisuseError
from loopllm.exits import (
    Condition,
    RunView,
    after_iterations,
    repeats_itself,
    scores_at_least,
    stalls_for,
)
from loopllm.providers.mock import MockLLMProvider
from loopllm.results import ExitReason, IterationRecord, Usage


def view(*scores: float, outputs: list[str] | None = None) -> RunView:
    records = [
        IterationRecord(number, "prompt", output, score, passed=False)
        for number, (score, output) in enumerate(
            zip(scores, outputs or [f"draft {n}" for n in range(len(scores))], strict=True), 1
        )
    ]
    return RunView(records, scores, 1.0, Usage())


def holds(condition: Condition, *scores: float) -> bool:
    return condition(view(*scores)) is not None


def test_scores_at_least_looks_at_the_newest_draft() -> None:
    assert holds(scores_at_least(0.5), 0.1, 0.5)
    assert not holds(scores_at_least(0.5), 0.9, 0.4)


def test_after_iterations_counts_rounds() -> None:
    assert not holds(after_iterations(2), 0.1)
    assert holds(after_iterations(2), 0.1, 0.1)


def test_stalls_for_waits_until_no_draft_was_better_for_that_many_rounds() -> None:
    assert not holds(stalls_for(2), 0.1, 0.5, 0.4)
    assert holds(stalls_for(2), 0.1, 0.5, 0.4, 0.5)


def test_repeats_itself_notices_an_output_seen_before() -> None:
    condition = repeats_itself()
    assert condition(view(0.1, 0.2, 0.3, outputs=["a", "b", "a"])) is not None
    assert condition(view(0.1, 0.2, 0.3, outputs=["a", "b", "c"])) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0, 1), st.integers(1, 8))
def test_or_holds_when_either_does_and_and_when_both_do(
    scores: list[float], level: float, count: int
) -> None:
    left, right = scores_at_least(level), after_iterations(count)
    assert holds(left | right, *scores) == (holds(left, *scores) or holds(right, *scores))
    assert holds(left & right, *scores) == (holds(left, *scores) and holds(right, *scores))


def test_the_reason_of_an_or_is_the_first_that_holds() -> None:
    reason = (scores_at_least(0.9) | after_iterations(1))(view(0.1))
    assert reason is not None
    assert reason.condition == "after_iterations(1)"


def test_the_reason_of_an_and_names_both() -> None:
    reason = (scores_at_least(0.1) & after_iterations(1))(view(0.1))
    assert reason is not None
    assert "scores_at_least" in reason.condition
    assert "after_iterations" in reason.condition


def test_an_object_with_should_exit_is_a_condition() -> None:
    class Impatient:
        def should_exit(self, iteration: int, current_score: float, scores_so_far: Any) -> ExitReason | None:
            return ExitReason("impatient", f"{iteration} {current_score} {scores_so_far}")

    reason = Condition.of(Impatient())(view(0.1, 0.2))
    assert reason == ExitReason("impatient", "2 0.2 [0.1, 0.2]")


def test_a_condition_that_goes_by_scores_is_not_told_of_a_call_that_has_none() -> None:
    told: list[tuple[int, float, list[float]]] = []

    class Watching:
        def should_exit(self, iteration: int, current_score: float, scores_so_far: Any) -> ExitReason | None:
            told.append((iteration, current_score, scores_so_far))
            return None

    def judge(output: str) -> float:
        if output == "broken":
            raise ValueError(output)
        return float(output)

    loop = LoopedLLM(MockLLMProvider(responses=["0.2", "broken", "0.4"]), LoopConfig(max_iterations=3))
    loop.add_exit_condition(Watching())
    loop.refine("Score.", judge)
    assert told[-1] == (2, 0.4, [0.2, 0.4])


def test_an_object_with_should_exit_can_be_combined() -> None:
    class Never:
        def should_exit(self, iteration: int, current_score: float, scores_so_far: Any) -> ExitReason | None:
            return None

    assert holds(after_iterations(1) | Never(), 0.1)
    assert not holds(after_iterations(1) & Never(), 0.1)


@pytest.mark.parametrize(
    ("verdict", "ends"), [(True, True), ("text", True), (False, False), (None, False), ("", False)]
)
def test_a_function_may_answer_with_a_bool_a_text_or_nothing(verdict: Any, ends: bool) -> None:
    assert holds(Condition.of(lambda _: verdict), 0.1) == ends


def test_anything_else_is_refused_saying_what_is_needed() -> None:
    with pytest.raises(MisuseError, match="should_exit"):
        Condition.of(42)  # type: ignore[arg-type]  # the point of the test


def test_a_class_in_place_of_a_condition_is_refused_when_it_is_added() -> None:
    class Patience:
        def should_exit(self, iteration: int, current_score: float, scores_so_far: Any) -> None:
            return None

    with pytest.raises(MisuseError, match=r"Patience is a class: pass an instance, Patience\(\.\.\.\)"):
        Condition.of(Patience)  # type: ignore[arg-type]  # the point of the test


def test_an_async_condition_is_refused_when_it_is_added() -> None:
    class Late:
        async def should_exit(self, *_scores: Any) -> None:
            return None

    async def late(_view: RunView) -> bool:
        return False

    loop = LoopedLLM(MockLLMProvider(responses=["a draft"]))
    conditions: list[Any] = [Late(), late]
    for condition in conditions:
        with pytest.raises(MisuseError, match=r"exit condition (?i:late) is async"):
            loop.add_exit_condition(condition)


@pytest.mark.parametrize("rounds", [0, -1])
def test_a_stall_of_no_rounds_is_refused_when_it_is_asked_for(rounds: int) -> None:
    with pytest.raises(MisuseError, match="at least 1 round, got"):
        stalls_for(rounds)
