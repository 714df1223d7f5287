"""How is feedback written into LangChain's prompts? One `PromptFormat` for each kind of prompt.

Rule 1: the caller's messages and dicts are never changed; feedback goes into new ones.
Rule 2: the draft goes back as the model's own message, whole; tool calls in it are answered, since providers refuse
a history with an open call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    ToolMessage,
    convert_to_messages,
    message_to_dict,
    messages_from_dict,
    messages_to_dict,
)
from langchain_core.prompt_values import PromptValue
from pydantic import create_model

from loopllm.errors import MisuseError
from loopllm.feedback import TextFormat
from loopllm_lc.drafts import EMPTY, Draft
from loopllm_lc.replies import text_of

SOURCE = {"lc_source": "loopllm"}
"""Marks the messages that the loop wrote, as LangChain's own middleware marks its messages."""

_TEXT = TextFormat()


def as_messages(prompt: Any) -> list[BaseMessage]:
    """Return a chat model's input, of any form, as a new list of messages.

    >>> as_messages([("system", "Be brief."), {"role": "user", "content": "Hi"}])[1].text
    'Hi'

    Raises:
        MisuseError: A chat model would not take it.
    """
    if isinstance(prompt, PromptValue):
        return list(prompt.to_messages())
    if isinstance(prompt, str):
        return [HumanMessage(prompt)]
    if isinstance(prompt, BaseMessage):
        return [prompt]
    if isinstance(prompt, Sequence):
        return convert_to_messages(prompt)
    raise MisuseError(
        f"a chat model takes a string, messages or a prompt value, got {type(prompt).__name__}; for a dict bind a "
        "chain that begins with a prompt template: LoopedRunnable(bound=prompt | model, ...)"
    )


def extend(task: Sequence[BaseMessage], draft: Draft | None, feedback: str | None) -> list[BaseMessage]:
    """Return `task`, then the draft as the model's earlier message, then the feedback, as a new list."""
    messages = list(task)
    if draft is not None:
        shown = _shown(draft)
        messages.append(shown)
        if isinstance(shown, AIMessage) and (shown.tool_calls or shown.invalid_tool_calls):
            return messages + _answers(shown, feedback or "Not accepted.")
    if feedback is None:
        return messages
    last = messages[-1] if messages else None
    if isinstance(last, HumanMessage) and isinstance(last.content, str):
        # Two user turns in a row are refused by several chat templates.
        messages[-1] = last.model_copy(update={"content": f"{last.content}\n\n{feedback}"})
    else:
        messages.append(HumanMessage(feedback, additional_kwargs=dict(SOURCE)))
    return messages


def _shown(draft: Draft) -> BaseMessage:
    message = AIMessage(draft.text) if draft.message is None else draft.message
    if not isinstance(message, AIMessage) or message.usage_metadata is None:
        return message
    # A cache of langchain-core changes the usage of a hit; left in, it would make every following prompt a miss.
    return message.model_copy(update={"usage_metadata": None})


def _answers(message: AIMessage, feedback: str) -> list[BaseMessage]:
    ids = [str(call.get("id") or "") for call in [*message.tool_calls, *message.invalid_tool_calls]]
    return [
        ToolMessage(
            feedback if index == 0 else "Not accepted.",
            tool_call_id=each,
            status="error",
            additional_kwargs=dict(SOURCE),
        )
        for index, each in enumerate(ids)
    ]


class _DraftFormat:
    """Outputs that are drafts."""

    def text(self, output: Draft) -> str:
        """Return the words of a draft."""
        return output.text

    def empty(self) -> Draft:
        """Return a draft with an empty message."""
        return EMPTY

    def dump_output(self, output: Draft) -> Any:
        """Return the draft's message and value; an error is kept as its words."""
        message = None if output.message is None else message_to_dict(output.message)
        return {
            "message": message,
            "value": None if output.value is output.message else _plain(output.value),
            "is_message": output.value is output.message and message is not None,
            "error": None if output.error is None else str(output.error),
        }

    def load_output(self, data: Any) -> Draft:
        """Undo `dump_output`."""
        message = None if data["message"] is None else messages_from_dict([data["message"]])[0]
        error = None if data["error"] is None else ValueError(data["error"])
        return Draft(message if data["is_message"] else data["value"], message, error)


class ChatFormat(_DraftFormat):
    """Prompts that are lists of messages."""

    def compose(
        self, task: list[BaseMessage], draft: Draft | None, feedback: str | None
    ) -> list[BaseMessage]:
        """Return a new list: the task, the draft's message, the feedback."""
        return extend(task, draft, feedback)

    def dump_prompt(self, prompt: list[BaseMessage]) -> Any:
        """Return the messages as dicts."""
        return messages_to_dict(prompt)

    def load_prompt(self, data: Any) -> list[BaseMessage]:
        """Undo `dump_prompt`."""
        return messages_from_dict(data)


class StringFormat(_DraftFormat):
    """Prompts that are one string, for models that complete text."""

    def compose(self, task: str, draft: Draft | None, feedback: str | None) -> str:
        """Return one text: the task, the draft, the feedback."""
        return str(_TEXT.compose(task, None if draft is None else draft.text, feedback))

    def dump_prompt(self, prompt: str) -> Any:
        """Return the string."""
        return prompt

    def load_prompt(self, data: Any) -> str:
        """Return the string."""
        return str(data)


class InputFormat(_DraftFormat):
    """Inputs of a runnable in which no model can be seen: a string, messages, or a dict with room for feedback.

    Args:
        feedback_key: The key of a dict input under which feedback is given, or None.
    """

    def __init__(self, feedback_key: str | None = None) -> None:
        self._key = feedback_key
        self._said = {""}

    def first(self, task: Any) -> Any:
        """Return the input of the first call: with an empty feedback if it has none, so that a template renders."""
        if self._key is None or not isinstance(task, Mapping):
            return task
        return {self._key: "", **task}

    def require_room(self, task: Any) -> None:
        """Refuse an input without room for feedback before a call is paid for that could lead nowhere.

        Raises:
            MisuseError: It has none; the message says what to do.
        """
        try:
            self.compose(task, None, "")
        except (ValueError, TypeError, NotImplementedError) as error:
            if isinstance(error, MisuseError):
                raise
            raise MisuseError(f"{type(task).__name__} has no room for feedback; {_FIX}") from error

    def compose(self, task: Any, draft: Draft | None, feedback: str | None) -> Any:
        """Return a new input that holds the draft and the feedback.

        Raises:
            MisuseError: The input has no room for them; the message says what to do.
        """
        if isinstance(task, Mapping):
            return self._into_dict(task, draft, feedback)
        if isinstance(task, str):
            return _TEXT.compose(task, None if draft is None else draft.text, feedback)
        if isinstance(task, PromptValue | Sequence):
            return extend(as_messages(task), draft, feedback)
        raise MisuseError(f"{type(task).__name__} has no room for feedback; {_FIX}")

    def _into_dict(self, task: Mapping[str, Any], draft: Draft | None, feedback: str | None) -> Any:
        if self._key is not None:
            said = str(_TEXT.compose("", self._words_of(draft), feedback)).strip()
            self._said.add(said)
            return {**task, self._key: said}
        if isinstance(task.get("messages"), Sequence):
            return {**task, "messages": extend(as_messages(task["messages"]), draft, feedback)}
        raise MisuseError(f"the input dict has no place for feedback; {_FIX}")

    def _words_of(self, draft: Draft | None) -> str | None:
        """Return a draft's words, without feedback that the chain passed on: it holds all that was said before."""
        if draft is None or not isinstance(draft.value, Mapping):
            return None if draft is None else draft.text
        passed_on = draft.value.get(self._key)
        if not isinstance(passed_on, str) or passed_on not in self._said:
            return draft.text
        return text_of({name: each for name, each in draft.value.items() if name != self._key})

    def dump_prompt(self, prompt: Any) -> Any:
        """Return the input, if it is plain data."""
        return _plain(prompt)

    def load_prompt(self, data: Any) -> Any:
        """Return the data."""
        return data


def without_need_of(key: str | None, schema: Any) -> Any:
    """Return an input's schema in which the loop's own key may be left out: the first call has an empty one.

    >>> from pydantic import create_model
    >>> schema = without_need_of("feedback", create_model("Input", x=(str, ...), feedback=(str, ...)))
    >>> schema.model_json_schema()["required"]
    ['x']
    """
    if key is None or key not in schema.model_fields:
        return schema
    fields: dict[str, Any] = {key: (schema.model_fields[key].annotation, "")}
    return create_model(schema.__name__, __base__=schema, **fields)


_FIX = (
    'name a key of the input for it, LoopedRunnable(feedback_key="feedback"), and use {feedback} in the prompt; or '
    "bind prompt | model | parser, in which the model can be seen, with any fallbacks on the model itself; or ask "
    'again without feedback, LoopConfig(feedback="fresh")'
)


def _plain(value: Any) -> Any:
    """Return `value` as JSON-able data, or say that it cannot be written down."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    raise MisuseError(
        f"a {type(value).__name__} cannot be written down with the run: {text_of(value)[:80]!r}"
    )
