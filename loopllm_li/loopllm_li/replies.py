"""What a LlamaIndex response says of its own call: the text, the tokens, why it ended.

Rule: what nobody stated is None. LlamaIndex has no one place for usage, so every place that its integrations use is
looked at, and a value that is no number is not taken for one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llama_index.core.base.llms.types import ChatResponse, CompletionResponse

from loopllm.providers.base import Completion
from loopllm.results import UNKNOWN_USAGE, Usage

Reply = ChatResponse | CompletionResponse

_TOKEN_NAMES = (
    ("prompt_tokens", "completion_tokens"),
    ("input_tokens", "output_tokens"),
    ("prompt_token_count", "candidates_token_count"),
    ("prompt_eval_count", "eval_count"),
)
_FINISH_NAMES = ("finish_reason", "stop_reason", "done_reason")


def completion_of(reply: Reply, latency_ms: float) -> Completion[str]:
    """Return a response as the engine knows it.

    Args:
        reply: What `chat` or `complete` returned.
        latency_ms: Milliseconds the call took.
    """
    return Completion(
        content=text_of(reply),
        model=_text_field(reply.raw, "model"),
        usage=usage_of(reply),
        finish_reason=finish_reason_of(reply),
        latency_ms=latency_ms,
    )


def text_of(reply: Reply) -> str:
    """Return the words of a response; the empty string when it holds only images or tool calls."""
    if isinstance(reply, ChatResponse):
        return reply.message.content or ""
    return reply.text or ""


def usage_of(reply: Reply) -> Usage:
    """Return the tokens and the cost of a response, None where nobody stated them.

    >>> usage_of(CompletionResponse(text="hi", raw={"usage": {"input_tokens": 7, "output_tokens": 2}}))
    Usage(prompt_tokens=7, completion_tokens=2, cost=None)
    >>> usage_of(CompletionResponse(text="hi", raw=None))
    Usage(prompt_tokens=None, completion_tokens=None, cost=None)
    """
    places = tuple(_places_of_usage(reply))
    for place in places:
        for sent, written in _TOKEN_NAMES:
            prompt, completion = _count(_field(place, sent)), _count(_field(place, written))
            if prompt is not None or completion is not None:
                return Usage(prompt, completion, _cost_in(place, *places))
    return UNKNOWN_USAGE


def _cost_in(*places: Any) -> float | None:
    """Return the first cost that is stated; OpenAI's clients copy the tokens of the raw usage, and not its cost."""
    costs = (_money(_field(place, "cost")) for place in places)
    return next((cost for cost in costs if cost is not None), None)


def finish_reason_of(reply: Reply) -> str | None:
    """Return why the model stopped writing, or None."""
    choices = _field(reply.raw, "choices")
    first = choices[0] if isinstance(choices, list | tuple) and choices else None
    for place in (first, reply.raw, reply.additional_kwargs):
        for name in _FINISH_NAMES:
            reason = _text_field(place, name)
            if reason is not None:
                return reason
    return None


def _places_of_usage(reply: Reply) -> Iterator[Any]:
    yield reply.additional_kwargs
    if isinstance(reply, ChatResponse):
        yield reply.message.additional_kwargs  # where `CustomLLM.chat` moves it
    yield _field(reply.raw, "usage")
    yield _field(reply.raw, "usage_metadata")
    yield reply.raw


def _field(place: Any, name: str) -> Any:
    """Read a key of a mapping or an attribute of an object."""
    if isinstance(place, Mapping):
        return place.get(name)
    return getattr(place, name, None)


def _text_field(place: Any, name: str) -> str | None:
    value = _field(place, name)
    value = getattr(value, "value", value)  # some SDKs use enums
    return value if isinstance(value, str) and value else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _money(value: Any) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    return float(value) if usable else None
