"""What did the model say? Words, finish reason and refusals of a reply, whatever its provider calls them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, BaseMessageChunk
from langchain_core.messages.ai import UsageMetadata, add_ai_message_chunks
from langchain_core.messages.utils import message_chunk_to_message
from pydantic import BaseModel, ValidationError

_REASONS = ("finish_reason", "stop_reason", "done_reason", "stopReason")
_REFUSALS = frozenset({"refusal", "content_filter", "safety"})
_CUT_OFF = frozenset({"length", "max_tokens"})


def text_of(value: Any) -> str:
    """Return the words of whatever a runnable returned.

    A message's text, a string itself, the last message's text of a graph's state, anything else as it prints.

    >>> text_of(AIMessage([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "yes"}]))
    'yes'
    """
    if isinstance(value, BaseMessage):
        return str(value.text)
    said = value.get("messages") if isinstance(value, Mapping) else None
    if isinstance(said, Sequence) and said and isinstance(said[-1], BaseMessage):
        return text_of(said[-1])
    return value if isinstance(value, str) else str(value)


def finish_reason_of(message: Any) -> str | None:
    """Return why the model stopped writing, or None when it does not say."""
    metadata = getattr(message, "response_metadata", None)
    if not metadata:
        return None
    for name in _REASONS:
        if isinstance(metadata.get(name), str):
            return str(metadata[name])
    return None


def is_refusal(message: Any) -> bool:
    """Return True when the provider itself says that the model refused or was filtered.

    >>> is_refusal(AIMessage("I cannot help.", additional_kwargs={"refusal": "I cannot help."}))
    True
    """
    if not isinstance(message, AIMessage):
        return False
    if (finish_reason_of(message) or "").lower() in _REFUSALS or message.additional_kwargs.get("refusal"):
        return True
    blocks = message.content if isinstance(message.content, list) else []
    return any(isinstance(block, Mapping) and block.get("type") == "refusal" for block in blocks)


def is_cut_off(message: Any) -> bool:
    """Return True when the provider says that the reply ended at its token limit.

    >>> is_cut_off(AIMessage("Alice is", response_metadata={"finish_reason": "length"}))
    True
    """
    return (finish_reason_of(message) or "").lower() in _CUT_OFF


def withheld_reply(error: Exception) -> AIMessage:
    """Return the reply that a client would not hand over since its token limit cut it off.

    OpenAI's client raises `LengthFinishReasonError` where a structure was asked for, and keeps the paid completion in
    it. It is known by what it carries: the client is no dependency of this package.

    Raises:
        Exception: `error` itself, when it holds no reply.
    """
    completion: Any = getattr(error, "completion", None)
    if not getattr(completion, "choices", None):
        raise error
    choice = completion.choices[0]
    return AIMessage(
        choice.message.content or "",
        usage_metadata=_counted(completion.usage),
        response_metadata={"finish_reason": choice.finish_reason, "model_name": completion.model},
    )


def misshapen_reply(error: Exception, structure: type[BaseModel] | None) -> AIMessage | None:
    """Return what is known of a reply that a client would not hand over since it is not of the structure asked for.

    OpenAI's client reads a pydantic structure itself; its error keeps of the reply no more than what is wrong with it.

    Args:
        error: What the call raised.
        structure: What was asked for, or None.

    Returns:
        The reply, without words where the error holds a part of it only; None when the error tells of something else.
    """
    if structure is None or not isinstance(error, ValidationError) or error.title != structure.__name__:
        return None
    first = error.errors(include_url=False)[0]
    is_whole = len(first["loc"]) == (1 if first["type"] == "missing" else 0)
    said = first["input"] if is_whole else ""
    return AIMessage(said if isinstance(said, str) else json.dumps(said, default=str))


def _counted(usage: Any) -> UsageMetadata | None:
    if usage is None:
        return None
    return UsageMetadata(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        total_tokens=usage.total_tokens,
    )


def calls_tools(message: Any) -> bool:
    """Return True when the reply asks for tools to be called, readably or not."""
    return isinstance(message, AIMessage) and bool(message.tool_calls or message.invalid_tool_calls)


def whole(message: BaseMessage) -> BaseMessage:
    """Return a message that is no longer a piece of a stream."""
    return message_chunk_to_message(message) if isinstance(message, BaseMessageChunk) else message


def merge_chunks(chunks: Sequence[AIMessageChunk]) -> AIMessage:
    """Return the message that recorded chunks add up to, without usage.

    The chunks' own addition fails on a usage that holds None or floats, so usage is summed apart.
    """
    bare = [chunk.model_copy(update={"usage_metadata": None}) for chunk in chunks]
    message = whole(add_ai_message_chunks(*bare))
    return message if isinstance(message, AIMessage) else AIMessage(text_of(message))


def added_up(chunks: Sequence[Any]) -> Any:
    """Return what streamed pieces amount to, as a sequence of runnables sees it: their sum, else the last one."""
    if not chunks:
        return None
    total = chunks[0]
    for chunk in chunks[1:]:
        try:
            total = total + chunk
        except TypeError:
            total = chunk
    return total
