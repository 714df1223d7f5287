"""In which pieces is the accepted draft streamed? In those it came in, so that they add up to what `invoke` returns.

Rule: only the accepted draft is ever yielded; drafts one after another would be glued together by whoever listens.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.output_parsers.base import BaseLLMOutputParser
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig, RunnableSequence

from loopllm_lc.accepting import Result, Usages, loop_facts
from loopllm_lc.usage import sum_usage


def message_pieces(result: Result, usages: Usages) -> Sequence[Any]:
    """Return the accepted message as chunks; the last one says so and carries the summed usage and the loop's facts."""
    draft, message = result.output, result.output.message
    if not isinstance(message, AIMessage):
        return draft.chunks or (draft.value,)
    chunks = [chunk for chunk in draft.chunks if isinstance(chunk, AIMessageChunk)]
    if not chunks or len(chunks) < len(draft.chunks):
        chunks = [as_chunk(message)]
    bare: list[Any] = [_bare(chunk, message.id) for chunk in chunks]
    bare[-1] = _last(bare[-1], sum_usage(usages), loop_facts(result))
    return bare


def chunks_of(result: Result) -> Sequence[Any]:
    """Return the pieces in which the accepted message came; one piece if it came whole."""
    draft = result.output
    whole = (as_chunk(draft.message),) if isinstance(draft.message, AIMessage) else ()
    return draft.chunks or whole


def as_chunk(message: AIMessage) -> AIMessageChunk:
    """Return a whole message as the only chunk of a stream."""
    return AIMessageChunk(
        content=message.content,
        additional_kwargs=message.additional_kwargs,
        response_metadata=message.response_metadata,
        tool_calls=message.tool_calls,
        invalid_tool_calls=message.invalid_tool_calls,
        name=message.name,
        id=message.id,
    )


def _bare(chunk: AIMessageChunk, message_id: str | None) -> AIMessageChunk:
    return chunk.model_copy(update={"usage_metadata": None, "id": message_id, "chunk_position": None})


def _last(chunk: AIMessageChunk, usage: Any, facts: Mapping[str, Any]) -> AIMessageChunk:
    metadata = {**chunk.response_metadata, "loopllm": dict(facts)}
    return chunk.model_copy(
        update={"usage_metadata": usage, "response_metadata": metadata, "chunk_position": "last"}
    )


def can_reparse(tail: Runnable[Any, Any] | None) -> bool:
    """Return True when what follows the model only parses: it can go over the accepted chunks once more."""
    steps = tail.steps if isinstance(tail, RunnableSequence) else [tail]
    return all(_only_parses(step) for step in steps)


def _only_parses(step: Any) -> bool:
    # A listener would hear of the accepted draft twice.
    if isinstance(step, RunnableBinding) and not step.config_factories:
        return _only_parses(step.bound)
    return isinstance(step, BaseLLMOutputParser)


def parsed_pieces(
    tail: Runnable[Any, Any], chunks: Iterable[Any], value: Any, config: RunnableConfig
) -> Sequence[Any]:
    """Return the pieces that the parsers make of the chunks; the value in one piece if they do not add up to it."""
    return _faithful(list(tail.transform(iter(chunks), config)), value)


async def aparsed_pieces(
    tail: Runnable[Any, Any], chunks: Iterable[Any], value: Any, config: RunnableConfig
) -> Sequence[Any]:
    """Return the pieces as `parsed_pieces` does, without blocking the event loop."""

    async def recorded() -> AsyncIterator[Any]:
        for chunk in chunks:
            yield chunk

    return _faithful([piece async for piece in tail.atransform(recorded(), config)], value)


def _faithful(pieces: Sequence[Any], value: Any) -> Sequence[Any]:
    if isinstance(value, str):
        adds_up = all(isinstance(piece, str) for piece in pieces) and "".join(pieces) == value
    else:
        adds_up = bool(pieces) and not isinstance(pieces[-1], BaseMessage) and pieces[-1] == value
    return pieces if adds_up else (value,)
