"""How does a loop around a model become a loop around the same model with tools or with a structure?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.runnables import Runnable, RunnableSequence

from loopllm.errors import MisuseError
from loopllm_lc.anatomy import Anatomy, is_chosen_late


def with_tools(parts: Anatomy, tools: Sequence[Any], kwargs: dict[str, Any]) -> Runnable[Any, Any]:
    """Return the bound chain with tools bound to its model."""
    return _behind(parts, _method(parts, "bind_tools")(tools, **kwargs))


def with_structure(parts: Anatomy, schema: Any, kwargs: dict[str, Any]) -> Runnable[Any, Any]:
    """Return the bound chain with its model asked for a structure."""
    return _behind(parts, _method(parts, "with_structured_output")(schema, **kwargs))


def _method(parts: Anatomy, name: str) -> Any:
    if parts.kind != "chat" or parts.tail is not None:
        raise MisuseError(
            f"{name} needs a chat model at the end of what is bound: call it on the model before"
        )
    if name == "with_structured_output" and is_chosen_late(parts.asked):
        raise MisuseError(
            f"{name} hides a model that each call's config makes: loop init_chat_model(...) without "
            "configurable_fields, or with_structured_output of each alternative"
        )
    method = getattr(parts.asked, name, None)
    if method is None:
        raise MisuseError(
            f"{type(parts.asked).__name__} has no {name}: call it on the model before wrapping that"
        )
    return method


def _behind(parts: Anatomy, asked: Runnable[Any, Any]) -> Runnable[Any, Any]:
    return asked if parts.head is None else RunnableSequence(parts.head, asked)
