"""One answer of what is bound: the model's message and what the rest of the chain made of it. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from loopllm_lc.replies import is_cut_off, text_of

_RAW_TRIPLE = frozenset({"raw", "parsed", "parsing_error"})


@dataclass(frozen=True, slots=True)
class Draft:
    """One answer of what is bound.

    Attributes:
        value: What the bound runnable returns for it; None when it could not be read.
        message: The model's own message, kept whole; None when the model is out of sight.
        error: Why the rest of the chain could not read the message, or None.
        chunks: The pieces in which it came, when it was streamed.
        origin: What it was taken from, for an agent that wants that back.
    """

    value: Any
    message: BaseMessage | None = None
    error: Exception | None = None
    chunks: tuple[Any, ...] = ()
    origin: Any = None

    @property
    def text(self) -> str:
        """The words of the answer."""
        return text_of(self.value if self.message is None else self.message)

    @property
    def judged(self) -> Any:
        """What an evaluator is given: a message's text, the `parsed` part of a raw triple, else the value itself."""
        value = self.value["parsed"] if is_raw_triple(self.value) else self.value
        return text_of(value) if isinstance(value, BaseMessage) else value

    @property
    def fault(self) -> str:
        """Why there is nothing to judge, in words for the model; empty when there is."""
        is_triple = is_raw_triple(self.value)
        error = self.value.get("parsing_error") if is_triple else self.error
        if error is not None and is_cut_off(self.message):
            return "the answer was cut off at its token limit and could not be read: give a shorter one"
        if error is not None:
            return f"the answer could not be read: {one_line(error)}"
        if (self.value["parsed"] if is_triple else self.value) is not None:
            return ""
        return "the answer held nothing of the structure asked for: give exactly that structure"


_NOTHING = AIMessage("")

EMPTY = Draft(_NOTHING, _NOTHING)
"""The output of a run whose time ended before its first draft; nobody is handed it for an answer."""


def is_raw_triple(value: Any) -> bool:
    """Return True for what `with_structured_output(..., include_raw=True)` returns."""
    return isinstance(value, dict) and value.keys() == _RAW_TRIPLE


def with_parsed(value: Any) -> Any:
    """Return a raw triple that lacks its `parsed` part, as a stream without a structure does, as a whole one."""
    is_part = isinstance(value, dict) and value.keys() == _RAW_TRIPLE - {"parsed"}
    return {**value, "parsed": None} if is_part else value


def one_line(error: Any, limit: int = 600) -> str:
    r"""Return an error's message on one line, of bounded length, and without the parsers' line on troubleshooting.

    >>> one_line(ValueError("no JSON\nFor troubleshooting, visit: somewhere"))
    'no JSON'
    """
    lines = [line.strip() for line in str(error).splitlines() if not line.startswith("For troubleshooting")]
    text = " ".join(line for line in lines if line) or type(error).__name__
    return text if len(text) <= limit else f"{text[:limit]} ..."
