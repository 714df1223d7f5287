"""What can go wrong, by whose fault it is.

Rule 1: every error this package raises on purpose is a `LoopLLMError`.
Rule 2: an error says what to do next; the ones raised in the middle of a run carry what was already paid for.
"""

from __future__ import annotations

from typing import Any


class LoopLLMError(Exception):
    """Root of every error that loopllm raises on purpose."""


class MisuseError(LoopLLMError, ValueError):
    """The caller asked for something impossible; the message names the argument and the fix.

    Attributes:
        result: The `RefinementResult` of the run that this ended, with what was paid for; None where nothing was.
    """

    result: Any = None


class MissingExtraError(LoopLLMError, ImportError):
    """An optional dependency is not installed; the message is the `pip install` line that mends it.

    Args:
        extra: Name of the extra, for example `"openrouter"`.
        needs: What could not be imported, for example `"httpx"`.
        also: A further line of instructions, or an empty string.
    """

    def __init__(self, extra: str, needs: str, also: str = "") -> None:
        super().__init__(
            f"{needs} is not installed. Run: pip install 'loopllm[{extra}]'{also and ' ' + also}"
        )
        self.extra = extra
        self.needs = needs
        self._also = also

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the arguments of the constructor, not by the finished message."""
        return type(self), (self.extra, self.needs, self._also)


class InterruptedRunError(LoopLLMError):
    """A run ended with no draft to return.

    Attributes:
        result: The `RefinementResult` of what was done before, or None outside a run.
    """

    result: Any = None


class ProviderError(InterruptedRunError):
    """The model could not be reached or answered with a failure.

    Args:
        message: What happened, without any secret.
        transient: True when the same call may succeed a little later (429, 5xx, connection).
        retry_after: Seconds the server asked to wait, or None.
        status: HTTP status code, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        transient: bool = False,
        retry_after: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.transient = transient
        self.retry_after = retry_after
        self.status = status


class CallTimeoutError(ProviderError):
    """A call was given up because its deadline passed."""


class EvaluatorError(InterruptedRunError):
    """No draft of the run could be scored: the evaluator itself failed, not the drafts.

    Args:
        message: Which evaluator failed and how.
        transient: True when scoring the same draft again may succeed (the judge's model was busy).
    """

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class StoreError(LoopLLMError):
    """Learned statistics could not be read or written.

    Attributes:
        result: The `RefinementResult` of the run that this ended, with what was paid for; None outside a run.
    """

    result: Any = None


class CorruptStoreError(StoreError):
    """A store held something unreadable; it was set aside, not overwritten, and the message says where."""
