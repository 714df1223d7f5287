"""With which error a run ends that has no draft to return."""

from __future__ import annotations

from loopllm.errors import EvaluatorError, ProviderError
from loopllm.results import ExitReason


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


def error_of(reason: ExitReason) -> ProviderError | EvaluatorError | None:
    """Return the error of a run that was written down after it had ended, or None when it had a draft."""
    kinds = {"provider_error": ProviderError, "evaluator_error": EvaluatorError}
    kind = kinds.get(reason.condition)
    return kind(reason.message) if kind else None


def as_evaluator_error(error: Exception | None) -> EvaluatorError:
    """Return what is raised when no draft could be scored."""
    wrapped = EvaluatorError(
        f"no draft could be scored: {describe(error)}" if error else "no draft could be scored"
    )
    wrapped.__cause__ = error
    return wrapped
