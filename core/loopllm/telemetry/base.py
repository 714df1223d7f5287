"""What the engine needs from a listener: the port."""

from __future__ import annotations

from typing import Any, Protocol

from loopllm.events import LoopEvent


class Observer(Protocol):
    """Anything that wants to hear of a run's events, in the thread or task that runs it."""

    def on_event(self, event: LoopEvent[Any, Any]) -> None:
        """Take one event. An exception raised here is logged and does not disturb the run."""
        ...
