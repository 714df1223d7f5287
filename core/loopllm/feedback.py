"""How the model is asked again.

Rule 1: a way of asking is a pure function of the task, the last draft and the best draft; it never sees more, so no
prompt grows with the number of calls.
Rule 2: this file decides what is said; a `PromptFormat` knows how one framework writes it down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol

from loopllm.errors import MisuseError
from loopllm.results import IterationRecord, OutputT, PromptT

_LISTED_AT_MOST = 20  # a judge that lists hundreds of faults must not flood the context window


class PromptFormat(Protocol[PromptT, OutputT]):
    """How one framework's prompts and outputs are read, extended and written to JSON.

    The engine is generic over them; this is all an adapter has to supply.
    """

    def compose(self, task: PromptT, draft: OutputT | None, feedback: str | None) -> PromptT:
        """Return a new prompt: `task`, then `draft` as the model's earlier answer, then `feedback`.

        None leaves a part out.
        """
        ...

    def text(self, output: OutputT) -> str:
        """Return the words of `output`, for logs and comparisons."""
        ...

    def empty(self) -> OutputT:
        """Return the output of a run whose time ended before its first draft."""
        ...

    def dump_prompt(self, prompt: PromptT) -> Any:
        """Return JSON-able data from which `load_prompt` makes an equal prompt."""
        ...

    def load_prompt(self, data: Any) -> PromptT:
        """Undo `dump_prompt`."""
        ...

    def dump_output(self, output: OutputT) -> Any:
        """Return JSON-able data from which `load_output` makes an equal output."""
        ...

    def load_output(self, data: Any) -> OutputT:
        """Undo `dump_output`."""
        ...


@dataclass(frozen=True, slots=True)
class FeedbackRequest(Generic[PromptT, OutputT]):
    """What a way of asking may use.

    Attributes:
        task: The prompt of the first call.
        previous: The latest scored round.
        best: The best round so far (often the same).
        iteration: Number of the call to come, 2 or more.
        remaining: Calls left, the one to come included.
        format: Writes prompts in the caller's framework.
    """

    task: PromptT
    previous: IterationRecord[PromptT, OutputT]
    best: IterationRecord[PromptT, OutputT]
    iteration: int
    remaining: int
    format: PromptFormat[PromptT, OutputT]


FeedbackName = Literal["auto", "last", "best", "deficiencies", "fresh"]
"""What `LoopConfig(feedback=...)` takes by name: the keys of `WAYS`, and `"auto"`."""

FeedbackBuilder = Callable[[FeedbackRequest[Any, Any]], Any]
"""A way of asking again: takes a `FeedbackRequest`, returns the next prompt."""


def ask_with_last(request: FeedbackRequest[PromptT, OutputT]) -> PromptT:
    """Show the previous answer and what was wrong with it."""
    return _revise(request, request.previous)


def ask_with_best(request: FeedbackRequest[PromptT, OutputT]) -> PromptT:
    """Show the best answer so far and what was wrong with it."""
    return _revise(request, request.best)


def ask_with_deficiencies(request: FeedbackRequest[PromptT, OutputT]) -> PromptT:
    """Name what was wrong with the previous answer without showing it."""
    faults = list_deficiencies(request.previous)
    if not faults:
        return request.task
    return request.format.compose(request.task, None, f"Make sure to avoid these problems:\n{faults}")


def ask_fresh(request: FeedbackRequest[PromptT, OutputT]) -> PromptT:
    """Ask for the task again, as if for the first time."""
    return request.task


def ask_again(build: FeedbackBuilder, request: FeedbackRequest[PromptT, OutputT]) -> PromptT:
    """Return the next prompt.

    Raises:
        MisuseError: The builder gave none.
    """
    prompt: PromptT | None = build(request)
    if prompt is None:
        name = getattr(build, "__name__", type(build).__name__)
        raise MisuseError(
            f"the feedback builder {name} returned None in place of a prompt; does it lack a `return`?"
        )
    return prompt


WAYS: Mapping[str, FeedbackBuilder] = {
    "last": ask_with_last,
    "best": ask_with_best,
    "deficiencies": ask_with_deficiencies,
    "fresh": ask_fresh,
}
"""The ways of asking that every loop knows, by name."""


def list_deficiencies(record: IterationRecord[Any, Any]) -> str:
    """Return what was wrong with a draft, one fault a line, or an empty string.

    >>> record = IterationRecord(1, "task", "draft", 0.4, passed=False, deficiencies=["no date", "too long"])
    >>> print(list_deficiencies(record))
    - no date
    - too long
    """
    faults = record.deficiencies
    if not faults:
        summary = record.evaluation.feedback if record.evaluation else ""
        return f"- {summary}" if summary else ""
    lines = [f"- {fault}" for fault in faults[:_LISTED_AT_MOST]]
    if len(faults) > _LISTED_AT_MOST:
        lines.append(f"- and {len(faults) - _LISTED_AT_MOST} more")
    return "\n".join(lines)


def _revise(request: FeedbackRequest[PromptT, OutputT], shown: IterationRecord[PromptT, OutputT]) -> PromptT:
    faults = list_deficiencies(shown)
    if faults:
        advice = f"Problems to fix:\n{faults}\nWrite the complete answer again with every problem fixed."
    else:
        advice = "Write a better complete answer."
    feedback = f"That answer scored {shown.score:.2f} out of 1. {advice}"
    return request.format.compose(request.task, shown.output, feedback)


class TextFormat:
    """Prompts that are a string or a list of chat messages, and answers that are text."""

    def compose(
        self, task: str | Sequence[Mapping[str, Any]], draft: str | None, feedback: str | None
    ) -> str | Sequence[Mapping[str, Any]]:
        """Return `task` followed by `draft` and `feedback`.

        >>> print(TextFormat().compose("Name a prime.", "4", "4 is even."))
        Name a prime.
        <BLANKLINE>
        Your previous answer:
        4
        <BLANKLINE>
        4 is even.
        """
        if not isinstance(task, str):
            return _extend_messages(task, draft, feedback)
        parts = [task]
        if draft is not None:
            parts.append(f"Your previous answer:\n{draft}")
        if feedback is not None:
            parts.append(feedback)
        return "\n\n".join(parts)

    def text(self, output: str) -> str:
        """Return `output` itself."""
        return output

    def empty(self) -> str:
        """Return the empty text."""
        return ""

    def dump_prompt(self, prompt: str | Sequence[Mapping[str, Any]]) -> Any:
        """Return the string, or the messages as a list of dicts."""
        return prompt if isinstance(prompt, str) else [dict(message) for message in prompt]

    def load_prompt(self, data: Any) -> str | Sequence[Mapping[str, Any]]:
        """Return the prompt as it was dumped."""
        return data if isinstance(data, str) else list(data)

    def dump_output(self, output: str) -> Any:
        """Return the text."""
        return output

    def load_output(self, data: Any) -> str:
        """Return the text."""
        return str(data)


def _extend_messages(
    task: Sequence[Mapping[str, Any]], draft: str | None, feedback: str | None
) -> Sequence[Mapping[str, Any]]:
    messages = _messages(task)
    if draft is not None:
        messages.append({"role": "assistant", "content": draft})
    if feedback is None:
        return messages
    last = messages[-1] if messages else None
    if last is not None and last.get("role") == "user" and isinstance(last.get("content"), str):
        # Two user turns in a row are refused by several chat templates.
        messages[-1] = {**last, "content": f"{last['content']}\n\n{feedback}"}
    else:
        messages.append({"role": "user", "content": feedback})
    return messages


def _messages(task: Any) -> list[Mapping[str, Any]]:
    """Return the messages of a task, whose keys or bytes would else be taken for some."""
    given: Any = task if isinstance(task, Sequence) else [None]
    if not all(isinstance(message, Mapping) for message in given):
        raise MisuseError(
            f"a {type(task).__name__} has no room for feedback: let the prompt be a string or a list of messages, "
            'or set LoopConfig(feedback="fresh") or a builder of your own'
        )
    return list(given)
