"""One run of the engine inside one LangChain run, told of while it goes on.

Blocking and awaiting stand side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from typing import Any

from loopllm.engine import LoopedLLM
from loopllm.errors import ProviderError
from loopllm.evaluators.adapt import BoundEvaluator
from loopllm.events import Finished
from loopllm.feedback import PromptFormat
from loopllm_lc.accepting import Result, loop_facts, settled
from loopllm_lc.asking import Asker
from loopllm_lc.drafts import Draft
from loopllm_lc.judging import Judge
from loopllm_lc.progress import Progress
from loopllm_lc.scope import Scope
from loopllm_lc.settings import LoopSettings
from loopllm_lc.tracing import annotate


class EngineRun:
    """One run of the engine.

    Args:
        settings: What the loop was told.
        scope: The LangChain run that everything happens in.
        asker: Gets the drafts.
        evaluator: Scores them.
        given: The caller's input, for evaluators.
    """

    def __init__(
        self, settings: LoopSettings, scope: Scope, asker: Asker, evaluator: BoundEvaluator, given: Any
    ) -> None:
        self._settings = settings
        self._asker = asker
        self._judge = Judge(evaluator, scope, asker, given)
        self._progress = Progress(scope)
        self._run_manager = scope.run_manager

    def play(self, prompt: Any, form: PromptFormat[Any, Draft]) -> Result:
        """Run the loop, blocking.

        Raises:
            Exception: What the model raised before any draft.
        """
        with raising_originals():
            done = self._refined(self._settings.loop_over(self._asker, form), prompt)
        result = settled(done, self._asker.handoff)
        annotate(self._run_manager, {"loopllm": loop_facts(result)})
        if self._progress.is_heard:
            self._progress.tell("loopllm.exit", loop_facts(result))
        return result

    def _refined(self, loop: LoopedLLM[Any, Any], prompt: Any) -> Result:
        if not self._progress.is_heard:
            return loop.refine(prompt, self._judge, **self._named())
        for event in loop.stream(prompt, self._judge, **self._named()):
            self._progress.tell_event(event)
            if isinstance(event, Finished):
                return event.result
        raise AssertionError("the engine's last event is Finished")

    async def aplay(self, prompt: Any, form: PromptFormat[Any, Draft]) -> Result:
        """Run the loop without blocking the event loop. Errors as in `play`."""
        with raising_originals():
            done = await self._arefined(self._settings.loop_over(self._asker, form), prompt)
        result = settled(done, self._asker.handoff)
        annotate(self._run_manager, {"loopllm": loop_facts(result)})
        if self._progress.is_heard:
            await self._progress.atell("loopllm.exit", loop_facts(result))
        return result

    async def _arefined(self, loop: LoopedLLM[Any, Any], prompt: Any) -> Result:
        if not self._progress.is_heard:
            return await loop.arefine(prompt, self._judge, **self._named())
        stream: Any = loop.astream(prompt, self._judge, **self._named())
        async with aclosing(stream) as events:
            async for event in events:
                await self._progress.atell_event(event)
                if isinstance(event, Finished):
                    return event.result
        raise AssertionError("the engine's last event is Finished")

    def _named(self) -> dict[str, Any]:
        return {"task_type": self._settings.task_type, "cancellation": self._asker.handoff}


@contextmanager
def raising_originals() -> Iterator[None]:
    """Raise what the model raised, as without the loop, so that `with_fallbacks` and `with_retry` know it."""
    try:
        yield
    except ProviderError as error:
        original = error.__cause__
        if not isinstance(original, Exception) or isinstance(original, ProviderError):
            raise
        raise original from None
