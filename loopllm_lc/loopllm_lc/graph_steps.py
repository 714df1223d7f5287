"""How does a loop go on from a checkpoint? Cut at every draft and every verdict, each side written down as plain data.

Rule 1: what a node is given is the state and nothing else, so one graph serves concurrent and resumed runs alike.
Rule 2: the engine decides; here it is only stopped where a node ends, and set going where the next one begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackHandler, CallbackManager
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import (
    get_async_callback_manager_for_config,
    get_callback_manager_for_config,
)

from loopllm.engine import LoopedLLM
from loopllm.events import DraftReceived, Finished, LoopEvent, RoundStarted
from loopllm.refinement import Refinement
from loopllm.results import IterationRecord, RefinementResult
from loopllm_lc.accepting import drafted, loop_facts, signed
from loopllm_lc.asking import Asker
from loopllm_lc.conversation import ChatFormat
from loopllm_lc.drafts import Draft
from loopllm_lc.engine_run import raising_originals
from loopllm_lc.judging import Judge
from loopllm_lc.progress import Progress
from loopllm_lc.settings import LoopSettings

Run = Refinement[Any, Draft]
Result = RefinementResult[Any, Draft]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended.

    Attributes:
        draft: What goes to the caller.
        facts: What the loop tells of itself.
        drafts: All that were paid for.
    """

    draft: Draft
    facts: dict[str, Any]
    drafts: Sequence[Draft]

    @classmethod
    def judged(cls, result: Result) -> Ending:
        """Return the ending of a run by its own decision.

        Raises:
            CallTimeoutError: The time ran out before any draft.
        """
        return cls(drafted(result), loop_facts(result), [each.output for each in result.iterations])

    @classmethod
    def handed_over(cls, records: Sequence[IterationRecord[Any, Draft]], draft: Draft, reason: str) -> Ending:
        """Return the ending of a run by a draft that is not to be judged."""
        number = len(records) + 1
        facts = {
            "iterations": number,
            "score": None,
            "exit_reason": reason,
            "best_iteration": number,
            "trajectory": [*(each.score for each in records), None],
        }
        return cls(draft, facts, [*(each.output for each in records), draft])

    @property
    def message(self) -> Any:
        """The draft's message with the usage of all drafts and the facts."""
        usages = [getattr(each.message, "usage_metadata", None) for each in self.drafts]
        return signed(self.draft.message, usages, self.facts)


class NodeRun:
    """The run of a graph's node, as the parent of what happens in it.

    Args:
        config: The config that the node is given.
        awaits: Whether the node is awaited.
    """

    def __init__(self, config: RunnableConfig, *, awaits: bool) -> None:
        configured = get_async_callback_manager_for_config if awaits else get_callback_manager_for_config
        self._manager: CallbackManager | AsyncCallbackManager = configured(config)
        self.run_id = self._manager.parent_run_id

    @property
    def handlers(self) -> list[BaseCallbackHandler]:
        """Who listens."""
        return self._manager.handlers

    def get_child(self, tag: str | None = None) -> CallbackManager | AsyncCallbackManager:
        """Return a manager for a child run."""
        child = self._manager.copy()
        if tag is not None:
            child.add_tags([tag], inherit=False)
        return child


class Stretch:
    """The part of a run that one node performs.

    Args:
        settings: What the loop was told.
        asker: Gets the drafts.
        judge: Scores them.
        progress: Is told what happens.
        until: The kind of event that ends it; the end of the run does so too.
        tells_end: Tell of that event; not where the next node begins with it.
    """

    def __init__(
        self,
        settings: LoopSettings,
        asker: Asker,
        judge: Judge,
        progress: Progress,
        until: type[LoopEvent[Any, Any]] | Any,
        *,
        tells_end: bool = True,
    ) -> None:
        self._settings = settings
        self._quiet: type[LoopEvent[Any, Any]] | Any = () if tells_end else until
        self._judge = judge
        self._progress = progress
        self._until = until
        self._loop: LoopedLLM[Any, Draft] = settings.loop_over(asker, ChatFormat())

    def run_of(self, data: Mapping[str, Any] | None, task: Any) -> Run:
        """Return the run that was written down, or a new one."""
        if data is None:
            return self._loop.begin(task, task_type=self._settings.task_type, evaluator=self._judge)
        return self._loop.restore(data, task_type=self._settings.task_type, evaluator=self._judge)

    async def arun_of(self, data: Mapping[str, Any] | None, task: Any) -> Run:
        """Return the run as `run_of` does, without blocking the event loop: what was learned may have to be fetched."""
        if self._settings.priors is None or not self._settings.priors.blocking:
            return self.run_of(data, task)
        return await asyncio.to_thread(self.run_of, data, task)

    def go(self, run: Run) -> Result | None:
        """Perform the stretch, blocking; return the result when the run is over."""
        with raising_originals():
            for event in self._loop.stream(run, self._judge, task_type=self._settings.task_type):
                if not isinstance(event, self._quiet):
                    self._progress.tell_event(event)
                if isinstance(event, Finished):
                    return event.result
                if isinstance(event, self._until):
                    break
        return None

    async def ago(self, run: Run) -> Result | None:
        """Perform the stretch without blocking the event loop."""
        stream: Any = self._loop.astream(run, self._judge, task_type=self._settings.task_type)
        with raising_originals():
            async with aclosing(stream) as events:
                async for event in events:
                    if not isinstance(event, self._quiet):
                        await self._progress.atell_event(event)
                    if isinstance(event, Finished):
                        return event.result
                    if isinstance(event, self._until):
                        break
        return None


UNTIL_DRAFTED = DraftReceived
UNTIL_JUDGED = RoundStarted
