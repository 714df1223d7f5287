"""With which error a run ends that has no draft to return."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loopllm.errors import CallTimeoutError, EvaluatorError, ProviderError

_KINDS: Mapping[str, type[ProviderError | EvaluatorError]] = {
    kind.__name__: kind for kind in (ProviderError, CallTimeoutError, EvaluatorError)
}
_FACTS = ("transient", "retry_after", "status")


def describe(error: Exception) -> str:
    """Return the kind and the message of an error in one line."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def as_provider_error(error: Exception) -> ProviderError:
    """Return what is raised when the model failed before there was a draft."""
    if isinstance(error, ProviderError):
        return error
    wrapped = ProviderError(describe(error))
    wrapped.__cause__ = error
    return wrapped


def dump_error(error: Exception | None) -> dict[str, Any] | None:
    """Return what is worth keeping of the error a run ended with, as JSON-able data."""
    if error is None:
        return None
    facts = {name: getattr(error, name) for name in _FACTS if hasattr(error, name)}
    return {"kind": type(error).__name__, "message": str(error), **facts}


def load_error(data: Mapping[str, Any] | None) -> ProviderError | EvaluatorError | None:
    """Undo `dump_error`; an error of another kind comes back as the nearest of ours."""
    if data is None:
        return None
    facts = {name: data[name] for name in _FACTS if name in data}
    return _KINDS.get(data["kind"], ProviderError)(data["message"], **facts)


def as_evaluator_error(error: Exception | str | None) -> EvaluatorError:
    """Return what is raised when no draft could be scored; of a run that moved, the error is known by its words."""
    words = describe(error) if isinstance(error, Exception) else error
    wrapped = EvaluatorError(f"no draft could be scored: {words}" if words else "no draft could be scored")
    wrapped.__cause__ = error if isinstance(error, Exception) else None
    return wrapped
