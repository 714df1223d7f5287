"""Small real parts of LlamaIndex that tests script: retrievers and LLMs that keep a record of what they were asked."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    LLMMetadata,
)
from llama_index.core.base.response.schema import Response
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import LLM, CustomLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from loopllm import EvaluationResult, LoopConfig
from loopllm_li import LoopedQueryEngine


def as_nodes(texts: Sequence[str]) -> list[NodeWithScore]:
    """Nodes whose ids are their texts."""
    return [NodeWithScore(node=TextNode(id_=text, text=text), score=0.5) for text in texts]


class ShelfRetriever(BaseRetriever):
    """Finds the texts listed for a query; blocking only, like most word-based retrievers."""

    def __init__(self, shelf: Mapping[str, Sequence[str] | Exception], otherwise: Sequence[str] = ()) -> None:
        self.shelf, self.otherwise = dict(shelf), otherwise
        self.asked: list[QueryBundle] = []
        self.threads: list[str] = []
        super().__init__()

    def look_up(self, bundle: QueryBundle) -> list[NodeWithScore]:
        self.asked.append(QueryBundle(**{name: getattr(bundle, name) for name in BUNDLE_FIELDS}))
        found = self.shelf.get(bundle.query_str, self.otherwise)
        bundle.embedding = [float(len(bundle.query_str))]  # what retrievers that embed do
        if isinstance(found, Exception):
            raise found
        return as_nodes(found)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        self.threads.append(threading.current_thread().name)
        return self.look_up(query_bundle)


BUNDLE_FIELDS = ("query_str", "image_path", "custom_embedding_strs", "embedding")


class AwaitableShelf(ShelfRetriever):
    """The same with an async method of its own; its blocking one must not be reached when awaited."""

    blocking_calls = 0

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        self.blocking_calls += 1
        return super()._retrieve(query_bundle)

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        await asyncio.sleep(0)
        return self.look_up(query_bundle)


class ScriptedCompletions(CustomLLM):
    """A completion model that gives scripted replies, the last one for ever; async only by inheritance."""

    name: str = "scripted"
    replies: list[Any] = Field(default_factory=list)
    _prompts: list[str] = PrivateAttr(default_factory=list)
    _threads: list[str] = PrivateAttr(default_factory=list)

    @property
    def prompts(self) -> list[str]:
        return self._prompts

    @property
    def threads(self) -> list[str]:
        return self._threads

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name=self.name)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        self._prompts.append(prompt)
        self._threads.append(threading.current_thread().name)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, CompletionResponse) else CompletionResponse(text=reply)

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        raise NotImplementedError


class ScriptedChat(LLM):
    """A chat model with real async methods."""

    name: str = "scripted-chat"
    replies: list[Any] = Field(default_factory=list)
    _seen: list[list[ChatMessage]] = PrivateAttr(default_factory=list)
    _blocking_calls: int = PrivateAttr(default=0)

    @property
    def seen(self) -> list[list[ChatMessage]]:
        return self._seen

    @property
    def blocking_calls(self) -> int:
        return self._blocking_calls

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name=self.name, is_chat_model=True)

    def _reply(self, messages: Sequence[ChatMessage]) -> ChatResponse:
        self._seen.append(list(messages))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        return (
            reply
            if isinstance(reply, ChatResponse)
            else ChatResponse(message=ChatMessage(role="assistant", content=reply))
        )

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        self._blocking_calls += 1
        return self._reply(messages)

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        await asyncio.sleep(0)
        return self._reply(messages)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        raise AssertionError("a chat model was asked to complete")

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        raise AssertionError("a chat model was asked to complete")

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        raise NotImplementedError

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        raise NotImplementedError

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        raise NotImplementedError

    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        raise NotImplementedError


class ScriptedCaller(ScriptedChat, FunctionCallingLLM):
    """A chat model that can call tools; a `ToolSelection` in the script is a turn that calls it."""

    name: str = "scripted-caller"
    _arguments: list[dict[str, Any]] = PrivateAttr(default_factory=list)

    @property
    def arguments(self) -> list[dict[str, Any]]:
        return self._arguments

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name=self.name, is_chat_model=True, is_function_calling_model=True)

    def _reply(self, messages: Sequence[ChatMessage]) -> ChatResponse:
        if isinstance(self.replies[0], ToolSelection):
            call = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
            self._seen.append(list(messages))
            message = ChatMessage(role="assistant", content=None, additional_kwargs={"tool_calls": [call]})
            return ChatResponse(message=message, raw={"usage": {"prompt_tokens": 5, "completion_tokens": 1}})
        return super()._reply(messages)

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        self._arguments.append(kwargs)
        return super().chat(messages, **kwargs)

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        self._arguments.append(kwargs)
        return await super().achat(messages, **kwargs)

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        reply = await self.achat(messages, **kwargs)

        async def pieces() -> Any:
            yield reply

        return pieces()

    def _prepare_chat_with_tools(
        self,
        tools: Any,
        user_msg: Any = None,
        chat_history: Any = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        added = [ChatMessage(role="user", content=user_msg)] if isinstance(user_msg, str) else []
        return {
            "messages": [*(chat_history or []), *added],
            "tools": [tool.metadata.get_name() for tool in tools],
        }

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        calls: list[ToolSelection] = response.message.additional_kwargs.get("tool_calls", [])
        if error_on_no_tool_call and not calls:
            raise ValueError("no tool was called")
        return calls


def openai_like(model: str = "tiny", api_base: str = "http://127.0.0.1:9", **fields: Any) -> LLM:
    """A client of an OpenAI-compatible server."""
    from llama_index.llms.openai_like import OpenAILike  # type: ignore[import-untyped]  # ships no types

    llm: LLM = OpenAILike(model=model, api_base=api_base, **{"api_key": "local", **fields})
    return llm


def bm25_over(texts: Sequence[str], top_k: int = 1) -> BaseRetriever:
    """The real word-based retriever over texts that are their own ids."""
    from llama_index.retrievers.bm25 import BM25Retriever  # type: ignore[import-untyped]  # ships no types

    nodes = [node.node for node in as_nodes(texts)]
    retriever: BaseRetriever = BM25Retriever.from_defaults(nodes=nodes, similarity_top_k=top_k)
    return retriever


async def ticks_while(awaitable: Any, every_s: float = 0.001) -> tuple[Any, int]:
    """Await something and count how often the event loop was free meanwhile."""
    ticks = 0
    done = asyncio.Event()

    async def tick() -> None:
        nonlocal ticks
        while not done.is_set():
            await asyncio.sleep(every_s)
            ticks += 1

    ticker = asyncio.ensure_future(tick())
    try:
        return await awaitable, ticks
    finally:
        done.set()
        await ticker


@pytest.fixture(autouse=True)
def no_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any touch of LlamaIndex's OpenAI default fails."""
    from llama_index.core import Settings

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("IS_TESTING", raising=False)
    monkeypatch.setattr(Settings, "_llm", None)
    monkeypatch.setattr(Settings, "_embed_model", None)


class ScriptedEngine(BaseQueryEngine):
    """Answers from a script, the last answer for ever; a stream, a structured answer and an exception may be in it."""

    def __init__(self, script: Sequence[Any], handlers: Sequence[Any] = (), delay_s: float = 0.0) -> None:
        self.script, self.delay_s = list(script), delay_s
        self.asked: list[QueryBundle] = []
        self.blocking_calls = 0
        super().__init__(CallbackManager(list(handlers)))

    def _get_prompt_modules(self) -> dict[str, Any]:
        return {}

    def next_response(self, bundle: QueryBundle) -> Any:
        self.asked.append(bundle)
        scripted = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(scripted, Exception):
            raise scripted
        return Response(scripted, as_nodes(["source"])) if isinstance(scripted, str) else scripted

    def _query(self, query_bundle: QueryBundle) -> Any:
        self.blocking_calls += 1
        return self.next_response(query_bundle)

    async def _aquery(self, query_bundle: QueryBundle) -> Any:
        await asyncio.sleep(self.delay_s)
        return self.next_response(query_bundle)


def story_of(response: Any) -> dict[str, Any]:
    """The story of a run, as the response tells it."""
    story: dict[str, Any] = response.metadata["loopllm"]
    return story


def first_number(text: str, context: Any = None) -> EvaluationResult:
    """Score an answer by the number it begins with."""
    return EvaluationResult(float(text.split(maxsplit=1)[0]), deficiencies=["too low"])


def looped_engine(engine: BaseQueryEngine, **settings: Any) -> LoopedQueryEngine:
    """At most three answers of an engine, judged by the number they begin with."""
    config = LoopConfig(max_iterations=3, convergence_delta=0.0)
    return LoopedQueryEngine(query_engine=engine, **{"evaluator": first_number, "config": config, **settings})
