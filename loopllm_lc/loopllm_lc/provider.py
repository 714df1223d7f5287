"""A LangChain model as a provider of text, so that `loopllm.LoopedLLM` can loop it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from langchain_core.messages import BaseMessage, convert_to_messages
from langchain_core.runnables import Runnable

from loopllm.errors import MisuseError
from loopllm.providers.base import Completion, CompletionChunk, TextPrompt
from loopllm.providers.deadline import await_within, call_within
from loopllm_lc.anatomy import structure_in
from loopllm_lc.drafts import one_line
from loopllm_lc.model_identity import model_id_of
from loopllm_lc.replies import finish_reason_of, misshapen_reply, text_of, withheld_reply
from loopllm_lc.usage import usage_of


class LangChainProvider:
    """A LangChain chat model, text in and text out.

    >>> from langchain_core.language_models import FakeListChatModel
    >>> from loopllm import LoopedLLM
    >>> loop = LoopedLLM(LangChainProvider(FakeListChatModel(responses=["no", "yes"])))
    >>> loop.refine("Agree.", lambda text: 1.0 if text == "yes" else 0.2).output
    'yes'

    Calls keep their parent in a trace when they are made inside of another runnable. Errors of the model pass
    through as they are; the engine knows which of them are worth a retry. A reply that the model's client withholds,
    since it was cut off at its token limit or is not of the structure asked for, is a reply, where it is not streamed.

    Args:
        chat_model: A chat model, a text model, or either with settings bound to it.
        model_id: The name under which learning is kept; the model's own when not given.

    Attributes:
        model_id: That name, or None when nobody knows it.
        chat_model: The model.
    """

    def __init__(self, chat_model: Runnable[Any, Any], model_id: str | None = None) -> None:
        if not isinstance(chat_model, Runnable):
            raise MisuseError(f"LangChainProvider takes a LangChain model, got {type(chat_model).__name__}")
        self.chat_model = chat_model
        self.model_id = model_id or model_id_of(chat_model)

    def __repr__(self) -> str:
        """Show the kind of model and its name; a model's own repr may hold settings that are nobody's business."""
        return f"LangChainProvider({type(self.chat_model).__name__}, model_id={self.model_id!r})"

    def complete(
        self, prompt: TextPrompt, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[str]:
        """Answer `prompt`, blocking at most `timeout` seconds.

        Raises:
            CallTimeoutError: The time is up.
            MisuseError: The prompt is no prompt.
            Exception: What the model raised.
        """
        asked = _bound(self.chat_model, model)
        try:
            reply = call_within(timeout, asked.invoke, _input(prompt))
        except Exception as error:  # noqa: BLE001 - raised again unless it holds a reply
            reply = _withheld(asked, error)
        return _completion(reply)

    async def acomplete(
        self, prompt: TextPrompt, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[str]:
        """Answer `prompt` without blocking the event loop. Errors as in `complete`."""
        asked = _bound(self.chat_model, model)
        try:
            reply = await await_within(timeout, asked.ainvoke(_input(prompt)))
        except Exception as error:  # noqa: BLE001 - raised again unless it holds a reply
            reply = _withheld(asked, error)
        return _completion(reply)

    def stream(
        self, prompt: TextPrompt, model: str | None = None, *, timeout: float | None = None
    ) -> Iterator[CompletionChunk]:
        """Yield the reply as it is written.

        With a timeout it is collected first, since a blocking stream cannot be interrupted.
        """
        asked = _bound(self.chat_model, model)
        if timeout is None:
            yield from map(_chunk, asked.stream(_input(prompt)))
        else:
            yield from call_within(timeout, lambda: [_chunk(piece) for piece in asked.stream(_input(prompt))])

    async def astream(
        self, prompt: TextPrompt, model: str | None = None, *, timeout: float | None = None
    ) -> AsyncIterator[CompletionChunk]:
        """Yield the reply as it is written, without blocking the event loop; every piece must come in time."""
        import asyncio  # noqa: PLC0415 - loaded when first used

        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        async with aclosing(_bound(self.chat_model, model).astream(_input(prompt))) as pieces:  # type: ignore[type-var]
            while True:
                left = None if deadline is None else deadline - loop.time()
                piece = await await_within(left, anext(pieces, None))
                if piece is None:
                    return
                yield _chunk(piece)


def _bound(chat_model: Runnable[Any, Any], model: str | None) -> Runnable[Any, Any]:
    return chat_model if model is None else chat_model.bind(model=model)


def _input(prompt: TextPrompt) -> str | list[BaseMessage]:
    if isinstance(prompt, str):
        return prompt
    if not isinstance(prompt, Sequence) or not prompt:
        raise MisuseError('a prompt is a string or messages like {"role": "user", "content": "..."}')
    given: Sequence[Any] = prompt
    try:
        return convert_to_messages([dict(each) if isinstance(each, Mapping) else each for each in given])
    except (ValueError, NotImplementedError) as error:  # the caller's mistake, and no failure of the model
        raise MisuseError(f"the prompt holds what is no message: {one_line(error)}") from error


def _withheld(asked: Runnable[Any, Any], error: Exception) -> Any:
    """Return the reply that the model's client would not hand over: cut off, or misshapen; or raise `error`."""
    return misshapen_reply(error, structure_in(asked)) or withheld_reply(error)


def _completion(reply: Any) -> Completion[str]:
    metadata = getattr(reply, "response_metadata", None) or {}
    name = metadata.get("model_name") or metadata.get("model")
    return Completion(
        text_of(reply),
        model=name if isinstance(name, str) else None,
        usage=usage_of(reply),
        finish_reason=finish_reason_of(reply),
    )


def _chunk(piece: Any) -> CompletionChunk:
    return CompletionChunk(text_of(piece), usage_of(piece), finish_reason_of(piece))
