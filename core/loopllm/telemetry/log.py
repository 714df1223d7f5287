"""Events as records of the standard `logging` module, under the logger `loopllm`."""

from __future__ import annotations

import logging
from typing import Any

from loopllm.events import DraftJudgedAgain, DraftScored, Finished, LoopEvent, Retrying, RoundStarted

logger = logging.getLogger("loopllm")
logger.addHandler(logging.NullHandler())


class LogObserver:
    """Writes rounds at DEBUG, retries at WARNING and results at INFO; prompts and outputs are never logged.

    Args:
        to: The logger to write to.
    """

    def __init__(self, to: logging.Logger = logger) -> None:
        self._log = to

    def on_event(self, event: LoopEvent[Any, Any]) -> None:
        """Write one event."""
        match event:
            case RoundStarted(iteration, action):
                self._log.debug("call %d (%s)", iteration, action)
            case DraftScored(record):
                self._log.debug("call %d scored %s", record.iteration, record.score)
            case DraftJudgedAgain(record):
                self._log.debug(
                    "call %d judged %d times scored %s",
                    record.iteration,
                    len(record.judgements),
                    record.score,
                )
            case Retrying(iteration, seconds, reason):
                self._log.warning("call %d failed, again in %.1f s: %s", iteration, seconds, reason)
            case Finished(result):
                exit_reason = result.metrics.exit_reason
                self._log.info(
                    "%s after %d calls: %s",
                    exit_reason.condition,
                    len(result.iterations),
                    exit_reason.message,
                )
            case _:
                return
