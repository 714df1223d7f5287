"""The loop as a chat model, for places that demand one."""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any, Self
from uuid import uuid4

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig
from pydantic import ConfigDict, PrivateAttr, model_validator

from loopllm.errors import MisuseError
from loopllm_lc.accepting import Result, finished
from loopllm_lc.anatomy import Anatomy
from loopllm_lc.conversation import ChatFormat, as_messages
from loopllm_lc.engine_run import EngineRun
from loopllm_lc.evaluating import bind_evaluator
from loopllm_lc.looped_runnable import LoopedRunnable
from loopllm_lc.model_identity import model_id_of
from loopllm_lc.model_runs import BareAsker, ParentRun, stream_run
from loopllm_lc.replaying import message_pieces
from loopllm_lc.scope import Scope
from loopllm_lc.serializing import Unserializable, dump_evaluator
from loopllm_lc.settings import LoopSettings


class LoopedChatModel(LoopSettings, BaseChatModel):
    """A chat model that asks the one it binds again, with feedback, until the evaluator is satisfied.

    For places that demand a chat model, such as `create_agent(model=...)`. Anywhere else `LoopedRunnable` is the
    better choice: there every draft is a run of its own in a trace. Here the whole loop is one model run, so that
    tokens are counted once; evaluations are its children.

    >>> from langchain_core.language_models import FakeListChatModel
    >>> model = FakeListChatModel(responses=["no", "yes"])
    >>> LoopedChatModel(bound=model, evaluator=lambda text: float(text == "yes")).invoke("Agree.").content
    'yes'

    Attributes:
        bound: The chat model; its profile, callbacks, tags and metadata are the loop's, unless that is given others.
        temperature: Given to the bound model with every call, when set; likewise `max_tokens` and `stop`.
        max_tokens: See `temperature`.
        stop: See `temperature`.
        streaming: Stream even when invoked, as other chat models do; the accepted draft only, as always.
    """

    bound: BaseChatModel
    temperature: float | None = None
    max_tokens: int | None = None
    stop: list[str] | None = None
    streaming: bool = False
    _parent: ParentRun | None = PrivateAttr(default=None)

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())

    @model_validator(mode="after")
    def _can_score_and_is_known_as_its_model(self) -> Self:
        bind_evaluator(self.evaluator, has_parser=False)
        # A draft has no run of its own here: what listens to the bound model's runs listens to the loop's.
        for name in ("profile", "callbacks", "tags"):
            if getattr(self, name) is None:
                setattr(self, name, getattr(self.bound, name))
        self.metadata = {**(self.bound.metadata or {}), **(self.metadata or {})} or None
        return self

    @property
    def _llm_type(self) -> str:
        return f"looped-{self.bound._llm_type}"  # noqa: SLF001 - one chat model names another

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """What makes its answers differ; the key of LangChain's cache is made from it."""
        return {
            **self.bound._identifying_params,  # noqa: SLF001 - one chat model describes another
            "evaluator": identity_of(self.evaluator),
            "exit_conditions": [identity_of(condition) for condition in self.exit_conditions],
            "loop": repr(self.config),
            "call": self._call_settings(None, {}),
        }

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        # What a model is cached under tells more of it than its parameters do, its server for one.
        key = super()._get_llm_string(stop, **kwargs)
        return f"{key}{self.bound._get_llm_string()}"  # noqa: SLF001 - one chat model describes another

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        settings = self._call_settings(stop, kwargs)
        return self.bound._get_ls_params(**settings)  # noqa: SLF001 - one chat model describes another

    def get_token_ids(self, text: str) -> list[int]:
        """Return the bound model's tokens of a text."""
        return self.bound.get_token_ids(text)

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """Return how many tokens the bound model counts."""
        return self.bound.get_num_tokens_from_messages(messages, tools)

    # -- calls --------------------------------------------------------------------------------------------------

    def stream(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """Run the loop, then yield the accepted draft in the pieces it came in."""
        named, parent = stream_run(config, awaits=False)
        yield from super(LoopedChatModel, self._below(parent)).stream(input, named, **kwargs)

    async def astream(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Run the loop without blocking the event loop, then yield the accepted draft. As `stream`."""
        named, parent = stream_run(config, awaits=True)
        pieces: Any = super(LoopedChatModel, self._below(parent)).astream(input, named, **kwargs)
        async with aclosing(pieces) as closing:
            async for piece in closing:
                yield piece

    def _generate_with_cache(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        told = self._below(ParentRun(run_manager, awaits=False))
        return super(LoopedChatModel, told)._generate_with_cache(messages, stop, run_manager, **kwargs)

    async def _agenerate_with_cache(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        told = self._below(ParentRun(run_manager, awaits=True))
        return await super(LoopedChatModel, told)._agenerate_with_cache(messages, stop, run_manager, **kwargs)

    def _below(self, parent: ParentRun) -> Self:
        """Return a copy for one call that knows its run: LangChain does not tell it to `_stream`."""
        copy = self.model_copy()
        copy._parent = parent  # noqa: SLF001 - its own
        return copy

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        run = self._run(messages, stop, run_manager, kwargs, awaits=False)
        return _as_result(run.answer(run.play()))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        run = self._run(messages, stop, run_manager, kwargs, awaits=True)
        return _as_result(run.answer(await run.aplay()))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        run = self._run(messages, stop, run_manager, kwargs, awaits=False, recording=True)
        for piece in run.pieces(run.play()):
            yield ChatGenerationChunk(message=piece)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        run = self._run(messages, stop, run_manager, kwargs, awaits=True, recording=True)
        for piece in run.pieces(await run.aplay()):
            yield ChatGenerationChunk(message=piece)

    def _run(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run_manager: Any,
        kwargs: dict[str, Any],
        *,
        awaits: bool,
        recording: bool = False,
    ) -> _ModelRun:
        known = self._parent if run_manager is None else None
        parent = known or ParentRun(run_manager, awaits=awaits)
        return _ModelRun(self, parent, messages, self._call_settings(stop, kwargs), recording=recording)

    def _call_settings(self, stop: list[str] | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        own = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        given = {name: value for name, value in own.items() if value is not None}
        return {**given, **kwargs, "stop": stop if stop is not None else self.stop}

    # -- tools and structures -----------------------------------------------------------------------------------

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | Any],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[Any, AIMessage]:
        """Bind tools as the bound model does; drafts that call them go to the caller at once.

        Raises:
            MisuseError: The bound model wraps itself in something that cannot be looped here.
        """
        choice = {} if tool_choice is None else {"tool_choice": tool_choice}
        binding = self.bound.bind_tools(tools, **choice, **kwargs)
        if not isinstance(binding, RunnableBinding) or binding.bound is not self.bound:
            raise MisuseError(
                f"{type(self.bound).__name__}.bind_tools returns a {type(binding).__name__}: bind "
                "the tools first, then loop that: LoopedRunnable(bound=model.bind_tools(tools), ...)"
            )
        return self.bind(**binding.kwargs)

    def with_structured_output(
        self, schema: Any, *, include_raw: bool = False, evaluator: Any = None, **kwargs: Any
    ) -> Runnable[Any, Any]:
        """Return a loop that asks for a structure until it can be read. As `LoopedRunnable.with_structured_output`.

        Args:
            schema: As for the bound model's own method.
            include_raw: Likewise.
            evaluator: Scores the parsed objects; being readable is enough when not given.
            **kwargs: As for the bound model's own method.
        """
        structured = self.bound.with_structured_output(schema, include_raw=include_raw, **kwargs)
        looped: Runnable[Any, Any] = LoopedRunnable(bound=structured, evaluator=evaluator, **self._shared())
        settings = {name: value for name, value in self._call_settings(None, {}).items() if value is not None}
        return looped.bind(**settings) if settings else looped

    def _shared(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in LoopSettings.model_fields if name != "evaluator"}


class _ModelRun:
    """One call of a looped chat model."""

    def __init__(
        self,
        looped: LoopedChatModel,
        parent: ParentRun,
        messages: list[BaseMessage],
        kwargs: dict[str, Any],
        *,
        recording: bool,
    ) -> None:
        scope = Scope({}, parent)
        model_id = looped.model_id or model_id_of(looped.bound, None, kwargs)
        parts = Anatomy(looped.bound, "chat")
        self._task = as_messages(messages)
        self._asker = BareAsker(parts, scope, model_id=model_id, kwargs=kwargs, recording=recording)
        self._asker.taken_ids.update(message.id for message in self._task)
        evaluator = bind_evaluator(looped.evaluator, has_parser=False)
        self._engine = EngineRun(looped, scope, self._asker, evaluator, messages)

    def play(self) -> Result:
        return self._engine.play(self._task, ChatFormat())

    async def aplay(self) -> Result:
        return await self._engine.aplay(self._task, ChatFormat())

    def answer(self, result: Result) -> AIMessage:
        message: AIMessage = finished(result, self._asker.usages)
        return message

    def pieces(self, result: Result) -> Sequence[Any]:
        self.answer(result)  # raises where there is none
        return message_pieces(result, self._asker.usages)


def _as_result(message: AIMessage) -> ChatResult:
    return ChatResult(generations=[ChatGeneration(message=message)])


_marks: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


def identity_of(evaluator: Any) -> Any:
    """Return what tells this evaluator from others: its settings where they can be written down, else a mark.

    A cache must not give one evaluator's accepted drafts to another; one that outlives the process then knows
    nothing of evaluators that are mere functions, which is the safe side.
    """
    data = dump_evaluator(evaluator)
    if not isinstance(data, Unserializable):
        return repr(data)
    try:
        return _marks.setdefault(evaluator, uuid4().hex)
    except TypeError:  # it cannot be hashed or held weakly
        return uuid4().hex
