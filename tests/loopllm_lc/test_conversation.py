"""How feedback is written into messages, strings and dicts."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.prompt_values import ChatPromptValue, StringPromptValue

from loopllm import MisuseError
from loopllm_lc.conversation import ChatFormat, InputFormat, StringFormat, as_messages
from loopllm_lc.drafts import Draft


def draft_of(message: AIMessage) -> Draft:
    return Draft(message, message)


ASKED: Any = [SystemMessage("Be brief."), HumanMessage("Name a prime.")]


def test_the_draft_and_the_feedback_follow_the_callers_messages() -> None:
    answer = AIMessage("4", id="a")
    told = ChatFormat().compose(ASKED, draft_of(answer), "4 is even.")
    assert told[:2] == ASKED
    assert told[2] is answer
    assert isinstance(told[3], HumanMessage)
    assert told[3].text == "4 is even."


def test_messages_that_the_loop_wrote_can_be_told_apart() -> None:
    told = ChatFormat().compose(ASKED, draft_of(AIMessage("4")), "4 is even.")
    assert told[-1].additional_kwargs["lc_source"] == "loopllm"


def test_the_callers_messages_are_never_changed() -> None:
    """T9."""
    asked = copy.deepcopy(ASKED)
    form = ChatFormat()
    form.compose(asked, draft_of(AIMessage("4")), "No.")
    form.compose(asked, None, "Avoid even numbers.")
    assert asked == ASKED


def test_feedback_without_a_draft_joins_the_last_user_turn() -> None:
    told = ChatFormat().compose(ASKED, None, "Avoid even numbers.")
    assert [message.type for message in told] == ["system", "human"]
    assert told[-1].text == "Name a prime.\n\nAvoid even numbers."


def test_pictures_in_the_last_user_turn_stay_where_they_are() -> None:
    picture = {"type": "image", "url": "https://example.com/a.png"}
    asked: Any = [HumanMessage([{"type": "text", "text": "What is it?"}, picture])]
    told = ChatFormat().compose(asked, None, "Name the animal.")
    assert told[0] is asked[0]
    assert told[1].text == "Name the animal."


def test_a_drafts_tool_calls_are_answered_so_that_the_history_is_valid() -> None:
    calls = [{"name": "f", "args": {}, "id": "1"}, {"name": "g", "args": {}, "id": "2"}]
    bad = [{"name": "h", "args": "{", "id": "3", "error": "cut"}]
    told = ChatFormat().compose(
        ASKED, draft_of(AIMessage("", tool_calls=calls, invalid_tool_calls=bad)), "age is missing"
    )
    answers: Any = told[3:]
    assert [answer.tool_call_id for answer in answers] == ["1", "2", "3"]
    assert all(isinstance(answer, ToolMessage) and answer.status == "error" for answer in answers)
    assert answers[0].text == "age is missing"


@pytest.mark.parametrize(
    "prompt",
    [
        "Hi",
        HumanMessage("Hi"),
        [("human", "Hi")],
        [{"role": "user", "content": "Hi"}],
        StringPromptValue(text="Hi"),
        ChatPromptValue(messages=[HumanMessage("Hi")]),
    ],
)
def test_whatever_a_chat_model_takes_becomes_messages(prompt: Any) -> None:
    assert as_messages(prompt) == [HumanMessage("Hi")]


def test_a_dict_is_refused_with_the_way_to_do_it() -> None:
    with pytest.raises(MisuseError, match=r"prompt \| model"):
        as_messages({"x": 1})


def test_a_dict_takes_feedback_under_its_key_and_starts_with_none() -> None:
    form = InputFormat("notes")
    task = {"topic": "primes"}
    assert form.first(task) == {"topic": "primes", "notes": ""}
    told = form.compose(task, Draft("4"), "4 is even.")
    assert told == {"topic": "primes", "notes": "Your previous answer:\n4\n\n4 is even."}
    assert task == {"topic": "primes"}


def test_feedback_that_a_chain_passes_on_in_its_output_is_not_said_again() -> None:
    """`RunnablePassthrough.assign(answer=...)` returns its input, too."""
    form = InputFormat("notes")
    first = form.compose({"topic": "primes"}, Draft({"topic": "primes", "notes": "", "answer": "4"}), "Even.")
    second = form.compose({"topic": "primes"}, Draft({**first, "answer": "6"}), "Even again.")
    assert second["notes"] == "Your previous answer:\n{'topic': 'primes', 'answer': '6'}\n\nEven again."


def test_what_a_chain_itself_says_under_the_key_of_the_feedback_is_a_part_of_its_answer() -> None:
    for said in ("odd ones", ["odd ones"]):
        told = InputFormat("notes").compose({"topic": "primes"}, Draft({"notes": said}), "Name one.")
        assert "odd ones" in told["notes"]


def test_a_dict_of_messages_takes_feedback_as_messages() -> None:
    told = InputFormat().compose({"messages": ASKED, "k": 1}, draft_of(AIMessage("4")), "4 is even.")
    assert [message.type for message in told["messages"]] == ["system", "human", "ai", "human"]
    assert told["k"] == 1


def test_a_string_takes_feedback_as_text() -> None:
    assert InputFormat().compose("Name a prime.", Draft("4"), "4 is even.") == (
        StringFormat().compose("Name a prime.", Draft("4"), "4 is even.")
    )


def test_an_input_without_room_is_refused_with_the_way_to_make_room() -> None:
    for task in ({"topic": "primes"}, 7):
        with pytest.raises(MisuseError, match="feedback_key"):
            InputFormat().compose(task, Draft("4"), "No.")


@pytest.mark.parametrize("task", [{"topic": "primes"}, 7, [1, 2]])
def test_an_input_without_room_is_refused_before_there_is_a_draft(task: Any) -> None:
    with pytest.raises(MisuseError, match="feedback_key"):
        InputFormat().require_room(task)


@pytest.mark.parametrize("task", ["Name a prime.", ASKED, {"messages": ASKED}])
def test_an_input_with_room_is_let_through(task: Any) -> None:
    InputFormat().require_room(task)


def test_prompts_and_drafts_survive_being_written_to_json() -> None:
    message = AIMessage(
        "4", id="a", usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    )
    form = ChatFormat()
    assert form.load_prompt(json.loads(json.dumps(form.dump_prompt(ASKED)))) == ASKED
    for draft in (draft_of(message), Draft({"n": 4}, message), Draft("4")):
        assert form.load_output(json.loads(json.dumps(form.dump_output(draft)))) == draft


def test_a_drafts_error_survives_as_words() -> None:
    form = ChatFormat()
    loaded = form.load_output(form.dump_output(Draft(None, AIMessage("{"), ValueError("no JSON"))))
    assert loaded.fault == Draft(None, AIMessage("{"), ValueError("no JSON")).fault


def test_a_value_that_cannot_be_written_down_is_refused_by_kind() -> None:
    with pytest.raises(MisuseError, match="object"):
        InputFormat().dump_prompt({"x": object()})
