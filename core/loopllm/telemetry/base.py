"""What the engine needs from a listener: the port."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from loopllm.events import LoopEvent
from loopllm.telemetry.log import logger


class Observer(Protocol):
    """Anything that wants to hear of a run's events, in the thread or task that runs it."""

    def on_event(self, event: LoopEvent[Any, Any]) -> None:
        """Take one event. An exception raised here is logged and does not disturb the run."""
        ...


def notify(observers: Sequence[Observer], event: LoopEvent[Any, Any]) -> None:
    """Tell every observer of an event; one that fails is logged and costs the run nothing."""
    for observer in observers:
        try:
            observer.on_event(event)
        except Exception:  # noqa: BLE001 - a broken progress bar must not cost a paid draft
            logger.exception("observer %r failed on %s", observer, type(event).__name__)
