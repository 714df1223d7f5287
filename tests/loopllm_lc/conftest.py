"""A chat model that follows a script, and a callback handler that writes down what it hears."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from openai import LengthFinishReasonError
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice
from pydantic import Field


class ScriptedModel(BaseChatModel):
    """Answers with its replies in turn (the last one for ever); an exception among them is raised."""

    replies: list[Any]
    model_name: str | None = None
    delay: float = 0.0
    barrier: Any = None
    streams: bool = True
    seen: list[list[BaseMessage]] = Field(default_factory=list)
    seen_kwargs: list[dict[str, Any]] = Field(default_factory=list)
    closed_streams: list[int] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _next(self, messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        self.seen.append(list(messages))
        self.seen_kwargs.append(kwargs)
        reply = self.replies[min(len(self.seen), len(self.replies)) - 1]
        if isinstance(reply, BaseException):
            raise reply
        if isinstance(reply, AIMessage):
            return reply
        usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
        return AIMessage(str(reply), usage_metadata=usage)

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        time.sleep(self.delay)
        message = self._next(messages, {**kwargs, "stop": stop})
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        await asyncio.sleep(self.delay)
        if self.barrier is not None:  # nobody gets on unless so many calls are under way at once
            await asyncio.wait_for(self.barrier.wait(), 60)
        message = self._next(messages, {**kwargs, "stop": stop})
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _should_stream(self, **kwargs: Any) -> bool:
        return self.streams and super()._should_stream(**kwargs)

    def _stream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        time.sleep(self.delay)
        try:
            for chunk in _pieces(self._next(messages, {**kwargs, "stop": stop})):
                if run_manager:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk
        finally:
            self.closed_streams.append(1)

    async def _astream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        await asyncio.sleep(self.delay)
        try:
            for chunk in _pieces(self._next(messages, {**kwargs, "stop": stop})):
                if run_manager:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk
        finally:
            self.closed_streams.append(1)

    def bind_tools(self, tools: Any, *, tool_choice: Any = None, **kwargs: Any) -> Any:
        return self.bind(tools=list(tools), tool_choice=tool_choice, **kwargs)

    # Fallbacks read a method's hints, and those of the base's own cannot be read.
    def with_structured_output(self, schema: Any, **kwargs: Any) -> Runnable[Any, Any]:
        return super().with_structured_output(schema, **kwargs)


def _pieces(message: AIMessage) -> Iterator[ChatGenerationChunk]:
    """Cut a message into words, with tool calls and usage on the last piece."""
    words = str(message.text).split(" ") if isinstance(message.content, str) else [message.content]
    for index, word in enumerate(words):
        text: Any = word if index == 0 or not isinstance(word, str) else f" {word}"
        if index < len(words) - 1:
            yield ChatGenerationChunk(message=AIMessageChunk(content=text, id=message.id))
            continue
        last = AIMessageChunk(
            content=text,
            id=message.id,
            additional_kwargs=message.additional_kwargs,
            response_metadata=message.response_metadata,
            tool_calls=message.tool_calls,
            usage_metadata=message.usage_metadata,
        )
        yield ChatGenerationChunk(message=last)


class Recorder(BaseCallbackHandler):
    """Writes down every run and custom event it hears of."""

    def __init__(self) -> None:
        self.runs: dict[Any, dict[str, Any]] = {}
        self.events: list[tuple[str, Any]] = []
        self.ends: list[tuple[str, Any]] = []

    def _start(self, kind: str, serialized: Any, run_id: Any, parent_run_id: Any, kwargs: Any) -> None:
        self.runs[run_id] = {
            "kind": kind,
            "name": kwargs.get("name") or (serialized or {}).get("name"),
            "parent": parent_run_id,
            "tags": kwargs.get("tags") or [],
            "metadata": kwargs.get("metadata") or {},
        }

    def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: Any, parent_run_id: Any = None, **kwargs: Any
    ) -> None:
        self._start("chain", serialized, run_id, parent_run_id, kwargs)
        self.runs[run_id]["inputs"] = inputs

    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, run_id: Any, parent_run_id: Any = None, **kwargs: Any
    ) -> None:
        self._start("model", serialized, run_id, parent_run_id, kwargs)

    def on_chain_end(self, outputs: Any, *, run_id: Any, **kwargs: Any) -> None:
        self.runs[run_id]["outputs"] = outputs
        self.ends.append(("end", self.runs[run_id]["name"]))

    def on_chain_error(self, error: BaseException, *, run_id: Any, **kwargs: Any) -> None:
        self.runs[run_id]["error"] = error
        self.ends.append(("error", self.runs[run_id]["name"]))

    def on_llm_end(self, response: Any, *, run_id: Any, **kwargs: Any) -> None:
        self.runs[run_id]["outputs"] = response

    def on_custom_event(self, name: str, data: Any, *, run_id: Any, **kwargs: Any) -> None:
        self.events.append((name, data))

    @property
    def roots(self) -> list[dict[str, Any]]:
        return [run for run in self.runs.values() if run["parent"] is None]

    def named(self, name: str) -> list[dict[str, Any]]:
        return [run for run in self.runs.values() if run["name"] == name]

    def parent_name(self, run: dict[str, Any]) -> str | None:
        return self.runs[run["parent"]]["name"] if run["parent"] in self.runs else None


@pytest.fixture
def scripted() -> Callable[..., ScriptedModel]:
    """Make a model from its replies."""

    def make(*replies: Any, **settings: Any) -> ScriptedModel:
        return ScriptedModel(replies=list(replies), **settings)

    return make


@pytest.fixture
def cut_off() -> Callable[[str], Exception]:
    """Make the error with which OpenAI's client withholds an answer that ended at its token limit."""

    def make(text: str) -> Exception:
        choice = Choice(
            finish_reason="length",
            index=0,
            message=ChatCompletionMessage(role="assistant", content=text),
        )
        usage = CompletionUsage(completion_tokens=50, prompt_tokens=48, total_tokens=98)
        completion = ChatCompletion(
            id="1", choices=[choice], created=0, model="small", object="chat.completion", usage=usage
        )
        return LengthFinishReasonError(completion=completion)

    return make


class Answering(ThreadingHTTPServer):
    """Speaks OpenAI's protocol: gives its answers in turn, the last one for ever, streamed where that is asked for."""

    daemon_threads = True

    def __init__(self, answers: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.answers = answers
        self.asked: list[dict[str, Any]] = []

    def next_answer(self, request: dict[str, Any]) -> str:
        self.asked.append(request)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


class _Answering(BaseHTTPRequestHandler):
    server: Answering

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = self.server.next_answer(request)
        said = {"id": "1", "created": 0, "model": "small"}
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        message = {"role": "assistant", "content": text}
        if request.get("stream"):
            chunk = {**said, "object": "chat.completion.chunk", "choices": [{**choice, "delta": message}]}
            self._send("text/event-stream", f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n")
        else:
            whole = {**said, "object": "chat.completion", "choices": [{**choice, "message": message}]}
            self._send("application/json", json.dumps(whole))

    def _send(self, kind: str, body: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args: Any) -> None:
        """Stay silent."""


@pytest.fixture
def answering() -> Iterator[Callable[..., str]]:
    """Start a server that gives these answers, and return its address."""
    servers: list[Answering] = []

    def start(*answers: str) -> str:
        servers.append(Answering(list(answers)))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/v1"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def recorder() -> Recorder:
    """Return a handler that writes down what it hears."""
    return Recorder()


@pytest.fixture
def says_yes() -> Callable[..., Any]:
    """Return an evaluator that wants the word "yes"."""
    from loopllm import EvaluationResult

    def evaluate(output: str, context: Any = None) -> EvaluationResult:
        if "yes" in output:
            return EvaluationResult(1.0)
        return EvaluationResult(0.2, deficiencies=["the answer must hold the word yes"])

    return evaluate


@pytest.fixture(scope="session")
def local_chat() -> Any:
    """Return a way to make LangChain's own OpenAI client over the embedded real model."""
    import httpx
    from langchain_openai import ChatOpenAI

    from loopllm.providers.local import LocalProvider

    provider = LocalProvider()

    def make(**settings: Any) -> Any:
        chosen: dict[str, Any] = {"temperature": 0, "max_tokens": 60, "max_retries": 0, "seed": 1, **settings}
        # Its own client: the one that langchain-openai shares belongs to the event loop of the first test.
        chosen.update(http_async_client=httpx.AsyncClient(), stream_usage=True)
        return ChatOpenAI(base_url=provider.base_url, model=str(provider.model_id), api_key="local", **chosen)

    return make
