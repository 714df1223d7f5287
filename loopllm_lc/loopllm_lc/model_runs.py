"""How do drafts stand inside one model run? As parts of it: with runs of their own their tokens would count twice.

LangChain's run of a model cannot have children by itself; `ParentRun` gives it some.
"""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackHandler, CallbackManager
from langchain_core.messages import BaseMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import (
    ensure_config,
    get_async_callback_manager_for_config,
    get_callback_manager_for_config,
)
from langchain_core.utils.uuid import uuid7

from loopllm_lc.asking import Asker
from loopllm_lc.drafts import Draft
from loopllm_lc.replaying import as_chunk


class ParentRun:
    """A model's run that can be the parent of other runs.

    Args:
        run_manager: The run, or None where there is none: then nothing is told.
        awaits: Whether its children are awaited ones.
    """

    def __init__(self, run_manager: Any, *, awaits: bool) -> None:
        self._run = run_manager
        self._awaits = awaits
        self.run_id = getattr(run_manager, "run_id", None)

    @property
    def handlers(self) -> list[BaseCallbackHandler]:
        """Who listens."""
        return [] if self._run is None else list(self._run.handlers)

    def get_child(self, tag: str | None = None) -> CallbackManager | AsyncCallbackManager:
        """Return a manager for a child run."""
        kind = AsyncCallbackManager if self._awaits else CallbackManager
        child = kind(handlers=[], parent_run_id=self.run_id)
        if self._run is not None:
            child.set_handlers(self._run.inheritable_handlers)
            child.add_tags(self._run.inheritable_tags)
            child.add_metadata(self._run.inheritable_metadata)
        if tag is not None:
            child.add_tags([tag], inherit=False)
        return child


def stream_run(config: RunnableConfig | None, *, awaits: bool) -> tuple[RunnableConfig, ParentRun]:
    """Return the config for a stream, and the run that LangChain will make of it: its id is chosen here.

    Args:
        config: The caller's config, which is only read.
        awaits: Whether the run's children are awaited ones.
    """
    named = ensure_config(config)
    named["run_id"] = run_id = named.get("run_id") or uuid7()
    configured = get_async_callback_manager_for_config if awaits else get_callback_manager_for_config
    # A tracer that the environment asks for is made with the manager: another one would not know the run.
    named["callbacks"] = manager = configured(named)
    return named, ParentRun(_ToldRun(run_id, manager), awaits=awaits)


class _ToldRun:
    """A model's run as far as it is known before it begins."""

    def __init__(self, run_id: Any, manager: CallbackManager | AsyncCallbackManager) -> None:
        self.run_id = run_id
        self.handlers = manager.handlers
        self.inheritable_handlers = manager.inheritable_handlers
        self.inheritable_tags = manager.inheritable_tags
        self.inheritable_metadata = manager.inheritable_metadata


def _told(chunk: ChatGenerationChunk) -> BaseMessageChunk:
    """Return a chunk's message with what stands beside it: the finish reason and the model's name."""
    beside = chunk.generation_info
    if not beside:
        return chunk.message
    return chunk.message.model_copy(
        update={"response_metadata": {**beside, **chunk.message.response_metadata}}
    )


class BareAsker(Asker):
    """Gets drafts from a chat model without a run of their own.

    It goes through the model's own cache and rate limiter; the methods it calls are the ones LangChain gives to
    those who write models.
    """

    def _draft(self, prompt: Any) -> Draft:
        model: Any = self._parts.asked
        if self._streams(model, awaits=False):
            self._wait(model)
            return self._recorded([_told(each) for each in model._stream(prompt, **self._kwargs)])  # noqa: SLF001 - a chat model\'s own part
        result = model._generate_with_cache(prompt, **self._kwargs)  # noqa: SLF001 - a chat model\'s own part
        return self._chunked(self._replied(result.generations[0].message))

    async def _adraft(self, prompt: Any) -> Draft:
        model: Any = self._parts.asked
        if self._streams(model, awaits=True):
            if model.rate_limiter:
                await model.rate_limiter.aacquire(blocking=True)
            return self._recorded([_told(each) async for each in model._astream(prompt, **self._kwargs)])  # noqa: SLF001 - a chat model\'s own part
        result = await model._agenerate_with_cache(prompt, **self._kwargs)  # noqa: SLF001 - a chat model\'s own part
        return self._chunked(self._replied(result.generations[0].message))

    def _streams(self, model: Any, *, awaits: bool) -> bool:
        # Content blocks of version 1 are made by LangChain, around `_stream`; a whole reply has them.
        if not self._recording or model.output_version == "v1":
            return False
        return bool(model._should_stream(async_api=awaits, **{**self._kwargs, "stream": True}))  # noqa: SLF001 - a chat model\'s own part

    def _wait(self, model: Any) -> None:
        if model.rate_limiter:
            model.rate_limiter.acquire(blocking=True)

    def _chunked(self, draft: Draft) -> Draft:
        message: Any = draft.message
        return Draft(message, message, None, (as_chunk(message),) if self._recording else ())
