"""Any LlamaIndex LLM as a provider of the engine."""

from __future__ import annotations

import time
from inspect import getattr_static
from typing import Any

from llama_index.core.llms import LLM, CustomLLM

from loopllm.errors import MisuseError
from loopllm.providers.base import Completion
from loopllm.providers.deadline import await_within, call_in_thread, call_within
from loopllm_li.chat_messages import Prompt, as_chat_messages, as_completion_prompt, with_system_prompt
from loopllm_li.model_names import model_name_of
from loopllm_li.replies import Reply, completion_of


class LlamaIndexProvider:
    """Makes a LlamaIndex LLM a provider of the engine, blocking and awaiting.

    Chat models get messages and completion models get text, with the LLM's own system prompt and templates. A blocking
    call with a deadline runs in a thread that sees the caller's context, since LlamaIndex has no deadlines; an awaited
    call uses the LLM's own async methods, except where those would block the event loop (`CustomLLM`).

    >>> from llama_index.core.llms import MockLLM
    >>> provider = LlamaIndexProvider(MockLLM(), model_id="mock")
    >>> provider.complete("hello").content
    'hello'

    Args:
        llm: The LLM; it is used as it is, neither copied nor changed.
        model_id: The name to keep learning under, instead of the name the LLM states of itself.
        **arguments: Passed to every call of the LLM.

    Raises:
        MisuseError: `llm` is no LlamaIndex LLM.
    """

    def __init__(self, llm: LLM, *, model_id: str | None = None, **arguments: Any) -> None:
        if not isinstance(llm, LLM):
            raise MisuseError(f"llm must be a LlamaIndex LLM, got a {type(llm).__name__}")
        self.llm = llm
        self._model_id = model_id
        self._arguments = arguments

    def __repr__(self) -> str:
        return f"LlamaIndexProvider({type(self.llm).__name__}, model_id={self.model_id!r})"

    @property
    def model_id(self) -> str | None:
        """The bare name of the model, or None when the LLM does not state it."""
        return self._model_id or model_name_of(self.llm)

    def complete(
        self, prompt: Prompt, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[str]:
        """Answer `prompt`, blocking at most `timeout` seconds.

        Args:
            prompt: A string, messages in the OpenAI form, or a list of `ChatMessage`.
            model: The name of this LLM's model; an LLM cannot be asked for another one.
            timeout: Seconds, or None for no limit.

        Raises:
            CallTimeoutError: The time is up.
            MisuseError: `model` names another model, or the prompt is no prompt.
            Exception: Whatever the LLM raises.
        """
        self._check(model)
        began = time.perf_counter()
        reply = call_within(timeout, self._ask, prompt)
        return completion_of(reply, _ms_since(began))

    async def acomplete(
        self, prompt: Prompt, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[str]:
        """Answer `prompt` without blocking the event loop. Arguments and errors as in `complete`."""
        self._check(model)
        began = time.perf_counter()
        reply = await await_within(timeout, self._aask(prompt))
        return completion_of(reply, _ms_since(began))

    def _ask(self, prompt: Prompt) -> Reply:
        llm = self.llm
        if llm.metadata.is_chat_model:
            return llm.chat(with_system_prompt(as_chat_messages(prompt), llm), **self._arguments)
        return llm.complete(as_completion_prompt(prompt, llm), formatted=True, **self._arguments)

    async def _aask(self, prompt: Prompt) -> Reply:
        llm, is_chat = self.llm, self.llm.metadata.is_chat_model
        if blocks_when_awaited(llm, "achat" if is_chat else "acomplete"):
            return await call_in_thread(self._ask, prompt)
        if is_chat:
            return await llm.achat(with_system_prompt(as_chat_messages(prompt), llm), **self._arguments)
        return await llm.acomplete(as_completion_prompt(prompt, llm), formatted=True, **self._arguments)

    def _check(self, model: str | None) -> None:
        known = self.model_id
        if model is not None and known is not None and model != known:
            raise MisuseError(
                f"this LLM is {known!r} and cannot answer as {model!r}: wrap an LLM of that model, or rename this one "
                "with LlamaIndexProvider(llm, model_id=...)"
            )


def blocks_when_awaited(llm: Any, method: str) -> bool:
    """Tell the `CustomLLM`s whose async methods are the inherited ones, which run the blocking ones on the loop."""
    if not isinstance(llm, CustomLLM):
        return False
    # Looked up statically: LlamaIndex's decorators make a new object of a method at each access.
    return getattr_static(type(llm), method) is getattr_static(CustomLLM, method)


def _ms_since(began: float) -> float:
    return (time.perf_counter() - began) * 1000.0
