"""An `LLM` of LlamaIndex that loops another one, for places where an `LLM` is demanded."""

from __future__ import annotations

import pickle
import re
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
)
from llama_index.core.bridge.pydantic import Field, PrivateAttr, field_serializer
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import LLM
from llama_index.core.prompts import BasePromptTemplate

from loopllm import AdaptivePriors, LoopConfig, LoopedLLM
from loopllm.errors import MisuseError
from loopllm.evaluators import as_evaluator
from loopllm.preparing import require_loop_parts
from loopllm.providers.base import Provider, TextPrompt
from loopllm.results import RefinementResult, Usage
from loopllm.telemetry.base import Observer
from loopllm_li.chat_rounds import ChatFormat, ChatJudge, ChatRounds, Conversation
from loopllm_li.completion_rounds import CompletionRounds, Words
from loopllm_li.llama_evaluator import adapted
from loopllm_li.provider import LlamaIndexProvider
from loopllm_li.spans import InstrumentationObserver, SpannedRounds
from loopllm_li.stories import story_of, usage_dict
from loopllm_li.written_parts import written_llm

_PIECE = re.compile(r"\s*\S+|\s+$")


class LoopedLlamaLLM(LLM):
    """Calls an LLM, scores its answer, feeds back what is wrong, and returns the best answer.

    It has all endpoints of an `LLM`; streams replay the accepted answer. The usage of all rounds is in
    `raw["usage"]`, the story of the run in `raw["loopllm"]`. LLM events come from the inner LLM, once a
    round. It does not claim to call functions: agents take `LoopedFunctionCallingLLM`. Templates and the system
    prompt stand in a prompt once, as the inner LLM would have them; where `predict` puts them around a completion,
    feedback stands inside. It can be pickled when its parts can be.

    >>> from llama_index.core.llms import MockLLM
    >>> llm = LoopedLlamaLLM(llm=MockLLM(), evaluator=lambda text: len(text) / 10)
    >>> llm.complete("hello worl").raw["loopllm"]["exit_reason"]
    'quality_threshold'

    Args:
        llm: The LLM to loop.
        evaluator: Scores `(text, context)`; an evaluator of LlamaIndex too.
        config: Limits and settings of the loop.
        priors: What earlier runs have taught; the LLM learns by itself.
        task_type: Under which name it is learned.
        model_id: The name of the model, for LLMs that do not state it.
        observers: Listeners to the events of every run.

    Raises:
        MisuseError: An argument is wrong; the message names it.
    """

    llm: LLM = Field(description="The LLM to loop.")
    task_type: str = Field(default="default", description="Under which name is learned.")
    model_id: str | None = Field(default=None, description="The name of the model.")
    _evaluator: Any = PrivateAttr()
    _config: LoopConfig = PrivateAttr()
    _priors: AdaptivePriors | None = PrivateAttr()
    _observers: Sequence[Observer] = PrivateAttr()
    _lent: CallbackManager | None = PrivateAttr(default=None)

    def __init__(
        self,
        *,
        llm: LLM,
        evaluator: Any,
        config: LoopConfig | None = None,
        priors: AdaptivePriors | None = None,
        task_type: str = "default",
        model_id: str | None = None,
        observers: Sequence[Observer] = (),
        **fields: Any,
    ) -> None:
        if not isinstance(llm, LLM):
            raise MisuseError(f"llm must be a LlamaIndex LLM, got a {type(llm).__name__}")
        judge = adapted(evaluator)
        as_evaluator(judge)  # what is no evaluator is refused now, not at the first call
        require_loop_parts(config, priors, observers)
        own = {name: getattr(llm, name) for name in _SHARED_FIELDS}
        super().__init__(**{**own, "llm": llm, "task_type": task_type, "model_id": model_id, **fields})
        self._evaluator = judge
        self._config = config or LoopConfig()
        self._priors = priors
        self._observers = tuple(observers)

    def __repr__(self) -> str:  # LLMs show their keys
        return f"{type(self).__name__}(llm={type(self.llm).__name__}, task_type={self.task_type!r})"

    def __str__(self) -> str:
        return repr(self)

    @field_serializer("llm")
    def _write_llm(self, llm: LLM) -> dict[str, Any]:
        """Write the inner LLM without keys, which it leaves out only when it is outermost."""
        return written_llm(llm)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle as LlamaIndex does, which would silently drop a part that cannot be pickled.

        Raises:
            PicklingError: A part cannot be pickled; the message names it.
        """
        parts = {
            "llm": self.llm,
            "evaluator": self._evaluator,
            "config": self._config,
            "priors": self._priors,
            "observers": self._observers,
        }
        for name, part in parts.items():
            _require_picklable(type(self).__name__, name, part)
        return super().__getstate__()

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows the class."""
        return "looped_llm"

    @property
    def metadata(self) -> LLMMetadata:
        """The inner LLM's, except that function calling is not claimed."""
        return self.llm.metadata.model_copy(update={"is_function_calling_model": False})

    # -- the eight endpoints ------------------------------------------------------------------------------------

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Loop `chat` of the inner LLM."""
        return self._chatted(messages, kwargs)

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Loop `achat` of the inner LLM."""
        return await self._achatted(messages, kwargs)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Loop `complete` of the inner LLM."""
        return self._completed(prompt, formatted, kwargs)

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Loop `acomplete` of the inner LLM."""
        return await self._acompleted(prompt, formatted, kwargs)

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Loop, then yield the accepted answer piece by piece."""
        reply = self._chatted(messages, kwargs)

        def pieces() -> ChatResponseGen:
            yield from _chat_pieces(reply)

        return pieces()

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """Loop, then yield the accepted answer piece by piece."""
        reply = await self._achatted(messages, kwargs)

        async def pieces() -> ChatResponseAsyncGen:
            for piece in _chat_pieces(reply):
                yield piece

        return pieces()

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """Loop, then yield the accepted answer piece by piece."""
        reply = self._completed(prompt, formatted, kwargs)

        def pieces() -> CompletionResponseGen:
            yield from _completion_pieces(reply)

        return pieces()

    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseAsyncGen:
        """Loop, then yield the accepted answer piece by piece."""
        reply = await self._acompleted(prompt, formatted, kwargs)

        async def pieces() -> CompletionResponseAsyncGen:
            for piece in _completion_pieces(reply):
                yield piece

        return pieces()

    # -- the same for whole answers and streams; the endpoints are spans, these are not ------------------------

    def _chatted(self, messages: Sequence[ChatMessage], arguments: dict[str, Any]) -> ChatResponse:
        loop, judge = self._chat_loop(self._chat_rounds(arguments)), ChatJudge(self._evaluator)
        return chat_response(loop.refine(list(messages), judge, task_type=self.task_type))

    async def _achatted(self, messages: Sequence[ChatMessage], arguments: dict[str, Any]) -> ChatResponse:
        loop, judge = self._chat_loop(self._chat_rounds(arguments)), ChatJudge(self._evaluator)
        return chat_response(await loop.arefine(list(messages), judge, task_type=self.task_type))

    def _completed(self, prompt: str, formatted: bool, arguments: dict[str, Any]) -> CompletionResponse:
        loop = self._text_loop(self._text_rounds(prompt, formatted, arguments))
        return _completion_response(loop.refine(prompt, self._evaluator, task_type=self.task_type))

    async def _acompleted(
        self, prompt: str, formatted: bool, arguments: dict[str, Any]
    ) -> CompletionResponse:
        loop = self._text_loop(self._text_rounds(prompt, formatted, arguments))
        return _completion_response(await loop.arefine(prompt, self._evaluator, task_type=self.task_type))

    # -- templates ----------------------------------------------------------------------------------------------

    def _get_prompt(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        """Return what `predict` completes: bare words where the templates can wait for the feedback."""
        if self.output_parser is None:
            settings = {"messages_to_prompt": self.messages_to_prompt, "completion_to_prompt": Words}
            words = prompt.format(llm=self, **settings, **prompt_args)
            if isinstance(words, Words):  # chat templates bring roles of their own
                return words
        return super()._get_prompt(prompt, **prompt_args)

    def _templated(self, words: str) -> str:
        write = self.completion_to_prompt
        return self._extend_prompt(words if write is None else write(words))

    # -- the loops ----------------------------------------------------------------------------------------------

    def _chat_rounds(self, arguments: dict[str, Any]) -> Provider[Conversation, ChatResponse]:
        return SpannedRounds(ChatRounds(self.llm, arguments, self.model_id))

    def _chat_loop(
        self, rounds: Provider[Conversation, ChatResponse]
    ) -> LoopedLLM[Conversation, ChatResponse]:
        self._lend_callbacks()
        return LoopedLLM(
            rounds,
            self._config,
            priors=self._priors,
            observers=(InstrumentationObserver(), *self._observers),
            format=ChatFormat(),
        )

    def _text_rounds(self, prompt: str, formatted: bool, arguments: dict[str, Any]) -> LlamaIndexProvider:
        if self.llm.metadata.is_chat_model:
            return LlamaIndexProvider(self.llm, model_id=self.model_id, **arguments)
        write = self._templated if isinstance(prompt, Words) else str
        return CompletionRounds(
            self.llm, write, formatted=formatted, arguments=arguments, model_id=self.model_id
        )

    def _text_loop(self, rounds: LlamaIndexProvider) -> LoopedLLM[TextPrompt, str]:
        self._lend_callbacks()
        return LoopedLLM(
            SpannedRounds(rounds),
            self._config,
            priors=self._priors,
            observers=(InstrumentationObserver(), *self._observers),
        )

    def _lend_callbacks(self) -> None:
        """Let the inner LLM report to the handlers set on this one, which `Settings` and synthesizers set.

        Handlers of its own it keeps; a manager that was lent makes room for the next one.
        """
        own, inner = self.callback_manager, self.llm.callback_manager
        if inner is self._lent or (own.handlers and not inner.handlers):
            self.llm.callback_manager = self._lent = own


_SHARED_FIELDS = (
    "callback_manager",
    "system_prompt",
    "messages_to_prompt",
    "completion_to_prompt",
    "query_wrapper_prompt",
    "output_parser",
    "pydantic_program_mode",
)


def _require_picklable(owner: str, name: str, part: Any) -> None:
    try:
        pickle.dumps(part)
    except Exception as error:
        raise pickle.PicklingError(f"{owner} cannot be pickled, since its {name} cannot: {error}") from error


def _raw(result: RefinementResult[Any, Any], and_usage: Usage | None = None) -> dict[str, Any]:
    usage = result.metrics.usage if and_usage is None else result.metrics.usage + and_usage
    return {"usage": usage_dict(usage), "loopllm": story_of(result)}


def chat_response(
    result: RefinementResult[Conversation, ChatResponse], *, and_usage: Usage | None = None
) -> ChatResponse:
    """Return the accepted draft with the story of its run.

    Args:
        result: The run.
        and_usage: Tokens of a call that became no draft, to be counted too.
    """
    draft = result.output
    return ChatResponse(message=draft.message, raw=_raw(result, and_usage), logprobs=draft.logprobs)


def _completion_response(result: RefinementResult[TextPrompt, str]) -> CompletionResponse:
    return CompletionResponse(text=result.output, raw=_raw(result))


def _chat_pieces(reply: ChatResponse) -> ChatResponseGen:
    role, whole, sofar = reply.message.role, reply.message.content or "", ""
    pieces = _PIECE.findall(whole)
    for index, piece in enumerate(pieces):
        sofar += piece
        message = reply.message if index == len(pieces) - 1 else ChatMessage(role=role, content=sofar)
        yield ChatResponse(message=message, delta=piece, raw=reply.raw if index == len(pieces) - 1 else None)
    if not pieces:
        yield ChatResponse(message=reply.message, delta="", raw=reply.raw)


def _completion_pieces(reply: CompletionResponse) -> CompletionResponseGen:
    sofar, pieces = "", _PIECE.findall(reply.text)
    for index, piece in enumerate(pieces):
        sofar += piece
        yield CompletionResponse(text=sofar, delta=piece, raw=reply.raw if index == len(pieces) - 1 else None)
    if not pieces:
        yield CompletionResponse(text="", delta="", raw=reply.raw)
