"""How the model is asked again: what each way shows, and that no prompt grows with the number of calls."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopllm.errors import MisuseError
from loopllm.feedback import WAYS, FeedbackRequest, TextFormat, list_deficiencies
from loopllm.results import EvaluationResult, IterationRecord

PREVIOUS: IterationRecord[Any, str] = IterationRecord(
    3, "", "the previous draft", 0.2, passed=False, deficiencies=["no date"]
)
BEST: IterationRecord[Any, str] = IterationRecord(
    2, "", "the best draft", 0.6, passed=False, deficiencies=["no name"]
)


def ask(way: str, task: Any = "the task", previous: Any = PREVIOUS) -> Any:
    return WAYS[way](FeedbackRequest(task, previous, BEST, 4, 2, TextFormat()))


def test_last_shows_the_task_the_previous_answer_and_its_deficiencies() -> None:
    prompt = ask("last")
    assert prompt.startswith("the task")
    assert "the previous draft" in prompt
    assert "no date" in prompt
    assert "0.20" in prompt


def test_best_shows_the_best_answer_and_its_deficiencies() -> None:
    prompt = ask("best")
    assert "the best draft" in prompt
    assert "no name" in prompt
    assert "the previous draft" not in prompt


def test_deficiencies_names_the_faults_without_showing_a_draft() -> None:
    prompt = ask("deficiencies")
    assert prompt.startswith("the task")
    assert "no date" in prompt
    assert "draft" not in prompt


def test_fresh_is_the_task_and_nothing_else() -> None:
    assert ask("fresh") == "the task"


@pytest.mark.parametrize("way", list(WAYS))
@given(rounds=st.integers(2, 50))
def test_no_prompt_grows_with_the_number_of_calls(way: str, rounds: int) -> None:
    early = FeedbackRequest("the task", PREVIOUS, BEST, 2, 5, TextFormat())
    late = FeedbackRequest("the task", PREVIOUS, BEST, rounds, 5, TextFormat())
    assert WAYS[way](late) == WAYS[way](early)


def test_a_failure_without_deficiencies_still_changes_the_prompt_when_the_draft_is_shown() -> None:
    silent: IterationRecord[Any, str] = IterationRecord(1, "", "draft", 0.2, passed=False)
    assert "better" in ask("last", previous=silent)


def test_free_feedback_stands_in_for_missing_deficiencies() -> None:
    said = EvaluationResult(0.3, feedback="be kinder")
    record: IterationRecord[Any, str] = IterationRecord(1, "", "draft", 0.3, passed=False, evaluation=said)
    assert list_deficiencies(record) == "- be kinder"


def test_a_flood_of_deficiencies_is_cut_and_said_so() -> None:
    record: IterationRecord[Any, str] = IterationRecord(
        1, "", "draft", 0.3, passed=False, deficiencies=[f"fault {number}" for number in range(50)]
    )
    listed = list_deficiencies(record)
    assert "fault 19" in listed
    assert "fault 20" not in listed
    assert "30 more" in listed


def test_chat_messages_get_the_draft_as_the_assistants_turn() -> None:
    task = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "the task"}]
    prompt = ask("last", task)
    assert [message["role"] for message in prompt] == ["system", "user", "assistant", "user"]
    assert prompt[2]["content"] == "the previous draft"


def test_chat_messages_without_a_draft_keep_one_user_turn() -> None:
    task = [{"role": "user", "content": "the task"}]
    prompt = ask("deficiencies", task)
    assert len(prompt) == 1
    assert "no date" in prompt[0]["content"]


def test_the_callers_messages_are_not_touched() -> None:
    task = [{"role": "user", "content": "the task"}]
    ask("deficiencies", task)
    ask("last", task)
    assert task == [{"role": "user", "content": "the task"}]


@pytest.mark.parametrize("task", [{"question": "Why?"}, b"Why?", ["Why?"], 5])
def test_a_task_without_room_for_feedback_is_refused_and_never_sent_in_pieces(task: Any) -> None:
    for way in ("last", "best", "deficiencies"):
        with pytest.raises(MisuseError, match=f"a {type(task).__name__} has no room for feedback"):
            ask(way, task)
    assert ask("fresh", task) is task
