"""Hand out the first answer while it is being written, and judge it when it is complete.

Rule: the loop runs inside one ordinary call, never spread over the generator: a span around a generator ends
before its first item.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from llama_index.core.base.response.schema import AsyncStreamingResponse, Response, StreamingResponse
from llama_index.core.schema import NodeWithScore
from llama_index.core.types import TokenAsyncGen, TokenGen

from loopllm_li.answers import Answer, apieces, pieces
from loopllm_li.llm_calls import LLMCalls

DEFAULT_REVISION_NOTICE = "\n\nRevised answer:\n\n"
"""What is written between a first answer that was not good enough and the better one."""

Outcome = tuple[Answer, dict[str, Any]]
"""The accepted answer, and the story of its run."""


class OptimisticStream:
    """A stream under way: the pieces of the first answer, then, if another one is better, a notice and that one.

    Source nodes and metadata of the response are completed in place when the stream ends.

    Args:
        first: The inner engine's stream.
        notice: What is written before a better answer.
        calls: The LLM calls behind the stream, with the time that it took to open it.
    """

    def __init__(
        self, first: StreamingResponse | AsyncStreamingResponse, notice: str, calls: LLMCalls
    ) -> None:
        self._first = first
        self._notice = notice
        self._calls = calls
        self._story: dict[str, Any] = {}
        self._nodes: list[NodeWithScore] = list(first.source_nodes)
        self._metadata = {**(first.metadata or {}), "loopllm": self._story}

    def response(self, finish: Callable[[Answer], Outcome]) -> StreamingResponse:
        """Return the stream to hand out; `finish` runs the loop from the complete first answer."""

        def generate() -> TokenGen:
            texts: list[str] = []
            stream = self._first.response_gen or ()
            for piece in self._calls.heard(stream):  # type: ignore[arg-type]  # only plain streams come here
                texts.append(piece)
                yield piece
            answer = self._answer("".join(texts))
            better = self._better(answer, finish(answer))
            yield from () if better is None else (self._notice, *pieces(better.text))

        return StreamingResponse(generate(), self._nodes, self._metadata)

    def aresponse(self, finish: Callable[[Answer], Awaitable[Outcome]]) -> AsyncStreamingResponse:
        """Return the async stream to hand out; `finish` runs the loop from the complete first answer."""

        async def generate() -> TokenAsyncGen:
            texts: list[str] = []
            stream = self._first.response_gen
            async for piece in self._calls.aheard(stream):  # type: ignore[arg-type]  # only async streams come here
                texts.append(piece)
                yield piece
            answer = self._answer("".join(texts))
            better = self._better(answer, await finish(answer))
            if better is not None:
                yield self._notice
                async for piece in apieces(better.text):
                    yield piece

        return AsyncStreamingResponse(generate(), self._nodes, self._metadata)

    def _answer(self, text: str) -> Answer:
        response = Response(text, self._nodes, self._first.metadata)
        calls = self._calls
        return Answer(text, response, streamed=True, usage=calls.usage, latency_ms=calls.latency_ms)

    def _better(self, first: Answer, outcome: Outcome) -> Answer | None:
        accepted, story = outcome
        self._story.update(story)
        if accepted is first:
            return None
        self._nodes[:] = accepted.source_nodes
        return accepted
