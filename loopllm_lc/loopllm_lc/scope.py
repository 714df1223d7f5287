"""Where do the calls of one run belong? Configs for child runs, so that every call has its parent and tag in a trace.

Rule 1: a child is given its parent explicitly; a list of handlers passed on as it came would make it a root of its own.
Rule 2: the caller's config, and everything inside it, is only read.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any, Protocol, cast

from langchain_core.callbacks import (
    AsyncCallbackHandler,
    AsyncCallbackManager,
    BaseCallbackHandler,
    CallbackManager,
)
from langchain_core.runnables import RunnableConfig


class RunManager(Protocol):
    """A run as it is needed here: LangChain's managers of chain runs are of this kind."""

    @property
    def run_id(self) -> Any:
        """The run's id."""
        ...

    @property
    def handlers(self) -> list[BaseCallbackHandler]:
        """Who listens."""
        ...

    def get_child(self, tag: str | None = None) -> CallbackManager | AsyncCallbackManager:
        """Return a manager for a child run."""
        ...


NOSTREAM = "nostream"
"""LangGraph's tag for calls whose tokens are no chat output: drafts and judges are not, only the accepted answer is."""


class Scope:
    """The run of one invocation, as the parent of everything that happens in it.

    Args:
        config: The config that LangChain hands to the run.
        run_manager: The run itself.
    """

    def __init__(self, config: RunnableConfig, run_manager: RunManager) -> None:
        self.config = config
        self.run_manager = run_manager
        self._hidden = {**config, "tags": [*(config.get("tags") or []), NOSTREAM]}
        self._untagged = run_manager.get_child()

    @cached_property
    def is_watched(self) -> bool:
        """Whether anybody listens to the runs of chains, such as evaluations."""
        return hears(self.run_manager.handlers, "on_chain_start", "on_chain_end", "on_chain_error")

    @cached_property
    def is_heard(self) -> bool:
        """Whether anybody listens, be it to models alone: a judge's calls have to be heard, in their place."""
        return bool(self.run_manager.handlers)

    def child(self, tag: str, *, shown: bool = False) -> RunnableConfig:
        """Return the config of a child run with a tag.

        Args:
            tag: For example `loopllm:iteration:2`.
            shown: Let LangGraph show its tokens as chat output.
        """
        base: Any = self.config if shown else self._hidden
        manager = self._untagged.copy()  # cheaper than a new one of the run's for every call
        manager.add_tags([tag], inherit=False)
        return cast("RunnableConfig", {**base, "callbacks": manager})


def hears(handlers: Iterable[BaseCallbackHandler], *methods: str) -> bool:
    """Return True when a handler does something of its own in one of these methods.

    >>> from langchain_core.callbacks import StdOutCallbackHandler
    >>> hears([StdOutCallbackHandler()], "on_chain_start"), hears([StdOutCallbackHandler()], "on_custom_event")
    (True, False)
    """
    return any(
        getattr(type(handler), method)
        not in (getattr(BaseCallbackHandler, method), getattr(AsyncCallbackHandler, method))
        for handler in handlers
        for method in methods
    )
