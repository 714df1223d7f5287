"""What do listeners hear of a run? Custom events for callbacks, and LangGraph's stream writer inside a graph.

Rule: an event is sent only from inside our own run; outside of one there is no parent to hang it on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from langchain_core.callbacks import AsyncCallbackManager, CallbackManager

from loopllm.events import DraftJudgedAgain, DraftScored, LoopEvent, Retrying, RoundStarted
from loopllm.results import IterationRecord, Usage
from loopllm_lc.scope import Scope, hears

Told = tuple[str, Mapping[str, Any]]
Writer = Callable[[Any], None]


def told_of(event: LoopEvent[Any, Any]) -> Told | None:
    """Return the name and the data of what is told of an engine event, or None when it is not told."""
    match event:
        case RoundStarted(iteration, action):
            return "loopllm.iteration.start", {"iteration": iteration, "action": action}
        case DraftScored(record):
            return "loopllm.iteration.end", _round_data(record)
        case DraftJudgedAgain(record):
            return "loopllm.iteration.judged_again", {
                **_round_data(record),
                "judgements": [each.score for each in record.judgements],
            }
        case Retrying(iteration, seconds, reason):
            return "loopllm.retry", {"iteration": iteration, "seconds": seconds, "reason": reason}
        case _:
            return None


def _round_data(record: IterationRecord[Any, Any]) -> Mapping[str, Any]:
    return {
        "iteration": record.iteration,
        "action": record.action,
        "score": record.score,
        "passed": record.passed,
        "deficiencies": list(record.deficiencies),
        "error": record.error,
        "latency_ms": record.latency_ms,
        "usage": _known(record.usage),
    }


def _known(usage: Usage) -> Mapping[str, Any]:
    return {name: value for name, value in asdict(usage).items() if value is not None}


class Progress:
    """Tells the listeners of one run what happens in it.

    Args:
        scope: The run.
    """

    def __init__(self, scope: Scope) -> None:
        self._run_id = scope.run_manager.run_id
        listens = hears(scope.run_manager.handlers, "on_custom_event")
        self._manager = scope.run_manager.get_child() if listens else None
        self._writer = graph_writer()

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens."""
        return self._manager is not None or self._writer is not None

    def tell_event(self, event: LoopEvent[Any, Any]) -> None:
        """Send what there is to tell of an engine event, blocking."""
        told = told_of(event) if self.is_heard else None
        if told is not None:
            self.tell(*told)

    def tell(self, name: str, data: Mapping[str, Any]) -> None:
        """Send an event, blocking."""
        self._write(name, data)
        if isinstance(self._manager, CallbackManager):
            self._manager.on_custom_event(name, data, run_id=self._run_id)

    async def atell_event(self, event: LoopEvent[Any, Any]) -> None:
        """Send what there is to tell of an engine event, without blocking the event loop."""
        told = told_of(event) if self.is_heard else None
        if told is not None:
            await self.atell(*told)

    async def atell(self, name: str, data: Mapping[str, Any]) -> None:
        """Send an event without blocking the event loop."""
        self._write(name, data)
        if isinstance(self._manager, AsyncCallbackManager):
            await self._manager.on_custom_event(name, data, run_id=self._run_id)

    def _write(self, name: str, data: Mapping[str, Any]) -> None:
        if self._writer is not None:
            self._writer({"type": name, **data})


def graph_writer() -> Writer | None:
    """Return the stream writer of the LangGraph node this runs in, or None outside of a graph."""
    langgraph = sys.modules.get("langgraph.config")  # not loaded: this is no graph
    if langgraph is None:
        return None
    try:
        writer: Writer = langgraph.get_stream_writer()
    except (RuntimeError, KeyError):
        return None
    return writer
