"""Under which name is learning kept for a LlamaIndex LLM?

Rule: the bare name of the model, so that the same model reached through another framework shares one key; a name that
nobody stated is None, never "unknown".
"""

from __future__ import annotations

from typing import Any

_NOBODY_SAID = frozenset({"", "unknown"})
_ATTRIBUTES = ("model", "model_name", "model_id")
_WRAPPERS_AT_MOST = 8  # a wrapper that holds itself must not hang us


def model_name_of(llm: Any) -> str | None:
    """Return the name of the model behind an LLM, or None when neither its metadata nor its fields state one.

    >>> from types import SimpleNamespace as Fake
    >>> model_name_of(Fake(metadata=Fake(model_name="gpt-4o-mini"), model="other"))
    'gpt-4o-mini'
    >>> model_name_of(Fake(metadata=Fake(model_name="unknown"), model="tiny"))
    'tiny'
    """
    llm = _unwrapped(llm)
    stated = _usable(getattr(getattr(llm, "metadata", None), "model_name", None))
    if stated is not None:
        return stated
    return next((name for field in _ATTRIBUTES if (name := _usable(getattr(llm, field, None)))), None)


def _unwrapped(llm: Any) -> Any:
    """Look through LLMs that only wrap another one, such as `StructuredLLM`."""
    for _ in range(_WRAPPERS_AT_MOST):
        if not hasattr(getattr(llm, "llm", None), "metadata"):
            break
        llm = llm.llm
    return llm


def _usable(name: Any) -> str | None:
    return name if isinstance(name, str) and name.strip() not in _NOBODY_SAID else None
