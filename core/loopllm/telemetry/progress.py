"""Events as one line on the terminal that moves while the model works."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from loopllm.errors import MissingExtraError
from loopllm.events import DraftJudgedAgain, DraftScored, Finished, LoopEvent, Retrying, RoundStarted

if TYPE_CHECKING:
    from rich.console import Console


class ProgressLine:
    """Shows the current call, the best score so far and pauses; needs the extra `cli` (rich).

    Use it as a context manager around the runs it observes:
    `with ProgressLine() as line: LoopedLLM(provider, observers=[line]).refine(...)`.

    Args:
        console: Where to draw; standard error when not given, so that output can be piped.

    Raises:
        MissingExtraError: rich is not installed.
    """

    def __init__(self, console: Console | None = None) -> None:
        try:
            from rich.console import Console as RichConsole  # noqa: PLC0415 - rich is an extra
            from rich.markup import escape  # noqa: PLC0415 - same
        except ImportError as error:
            raise MissingExtraError("cli", "rich") from error
        self._status = (console or RichConsole(stderr=True)).status("waiting for the model")
        self._escape = escape
        self._best: float | None = None

    def __enter__(self) -> Self:
        """Start drawing."""
        self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clear the line."""
        self._status.stop()

    def on_event(self, event: LoopEvent[Any, Any]) -> None:
        """Redraw the line."""
        match event:
            case RoundStarted(iteration, action):
                best = "" if self._best is None else f", best so far {self._best:.2f}"
                self._show(f"call {iteration} ({action}){best}")
            case DraftScored(_, best_score) | DraftJudgedAgain(_, best_score):
                self._best = best_score
            case Retrying(iteration, seconds, reason):
                self._show(f"call {iteration} failed ({reason}), again in {seconds:.1f} s")
            case Finished(result):
                self._best = None
                self._show(f"done: {result.metrics.exit_reason.condition}")
            case _:
                return

    def _show(self, text: str) -> None:
        self._status.update(self._escape(text))  # a server's words are never markup: they may hold [brackets]
