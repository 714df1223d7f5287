"""One answer of a query engine as a value, of whichever of LlamaIndex's response types.

Rule: a stream is read once and kept as text, and whoever asked for a stream is given a fresh one of that
text; nobody is handed a generator that was already read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llama_index.core.base.response.schema import (
    RESPONSE_TYPE,
    AsyncStreamingResponse,
    PydanticResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.schema import MetadataMode, NodeWithScore
from llama_index.core.types import TokenAsyncGen, TokenGen

from loopllm.providers.deadline import call_in_thread
from loopllm.results import UNKNOWN_USAGE, Usage

_PIECE = re.compile(r"\s*\S+|\s+$")

Settled = Response | PydanticResponse


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes:
        text: Its words; for a structured answer its JSON.
        response: The response itself, never a stream.
        streamed: True when the engine gave a stream.
        usage: What the LLM calls behind it used, as far as they told.
        latency_ms: Milliseconds it took, when it was given before its run began; else 0.0.
    """

    text: str
    response: Settled
    streamed: bool = False
    usage: Usage = UNKNOWN_USAGE
    latency_ms: float = 0.0

    @property
    def source_nodes(self) -> Sequence[NodeWithScore]:
        """The nodes that the answer stands on."""
        return self.response.source_nodes

    @property
    def contexts(self) -> list[str]:
        """The texts of those nodes."""
        return [node.node.get_content(metadata_mode=MetadataMode.NONE) for node in self.source_nodes]


def answer_of(response: RESPONSE_TYPE) -> Answer:
    """Return a response as an answer; a stream is read to its end."""
    if isinstance(response, StreamingResponse):
        return Answer(*_settled(response.get_response()), streamed=True)
    if isinstance(response, AsyncStreamingResponse):
        raise TypeError("an async stream can only be read by awaiting: use aquery")
    return Answer(*_settled(response))


async def aanswer_of(response: RESPONSE_TYPE) -> Answer:
    """Return a response as an answer; a stream is read to its end, a blocking one in a thread."""
    if isinstance(response, AsyncStreamingResponse):
        return Answer(*_settled(await response.get_response()), streamed=True)
    if isinstance(response, StreamingResponse):
        return await call_in_thread(answer_of, response)
    return answer_of(response)


def shown(answer: Answer, facts: dict[str, Any], *, streaming: bool, awaited: bool) -> RESPONSE_TYPE:
    """Return an answer as the response to hand out, with facts of the run in `metadata["loopllm"]`.

    Args:
        answer: The accepted answer.
        facts: What to say of the run.
        streaming: Hand out a stream of the text; a structured answer is never streamed.
        awaited: Whether the caller awaits, and so wants an async stream.
    """
    old = answer.response
    metadata = {**(old.metadata or {}), "loopllm": facts}
    nodes = list(old.source_nodes)
    if isinstance(old, PydanticResponse):
        return PydanticResponse(old.response, nodes, metadata)
    if not streaming:
        return Response(old.response, nodes, metadata)
    if awaited:
        return AsyncStreamingResponse(apieces(answer.text), nodes, metadata)
    return StreamingResponse(pieces(answer.text), nodes, metadata, response_txt=answer.text)


def _settled(response: Any) -> tuple[str, Settled]:
    if isinstance(response, PydanticResponse):
        return response.get_response().response or "", response
    return response.response or "", response


def pieces(text: str) -> TokenGen:
    """Replay a text word by word."""
    yield from _PIECE.findall(text)


async def apieces(text: str) -> TokenAsyncGen:
    """Replay a text word by word, for callers that await."""
    for piece in _PIECE.findall(text):
        yield piece
