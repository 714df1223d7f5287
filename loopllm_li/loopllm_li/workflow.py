"""A small workflow that loops any provider, streams its rounds, and keeps the best where a timeout cannot lose it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core.bridge.pydantic import Field
from llama_index.core.workflow import Context, Event, StartEvent, StopEvent, Workflow, step

from loopllm import AdaptivePriors, LoopConfig, LoopedLLM
from loopllm.errors import EvaluatorError, MisuseError
from loopllm.evaluators import as_evaluator
from loopllm.events import DraftJudgedAgain, DraftScored, Finished
from loopllm.preparing import require_loop_parts
from loopllm.providers.adapt import as_provider
from loopllm.refinement import Refinement
from loopllm.results import IterationRecord, RefinementResult
from loopllm.telemetry.base import Observer
from loopllm_li.llama_evaluator import adapted
from loopllm_li.spans import InstrumentationObserver, SpannedRounds
from loopllm_li.stories import story_of

if TYPE_CHECKING:
    RunContext = Context[Any]
else:
    # Older workflows read the annotation, and want a model class in the brackets or no brackets.
    RunContext = Context

BEST = "best"
"""Name in `ctx.store` of the best draft so far: a dict with `output`, `score` and `iteration`, or None."""

RUN = "run"
"""Name in `ctx.store` of the whole run as JSON-able data, with which it is resumed."""


class LoopStart(StartEvent):
    """What to do.

    Attributes:
        prompt: The task, a string or messages in the OpenAI form.
        context: Facts for the evaluator.
    """

    prompt: str | list[dict[str, Any]]
    context: dict[str, Any] = Field(default_factory=dict)


class LoopRoundEvent(Event):
    """A round was scored, or its draft judged again; written to the stream.

    Attributes:
        iteration: 1 for the first.
        output: The draft.
        score: Its score in [0, 1], or None when the evaluator failed.
        best_score: The best so far.
        deficiencies: What was wrong.
    """

    iteration: int
    output: str
    score: float | None
    best_score: float | None
    deficiencies: list[str] = Field(default_factory=list)


class LoopResultEvent(StopEvent):
    """The accepted draft.

    Attributes:
        output: Its text.
        story: The run in numbers and words; see `stories.story_of`.
    """

    output: str
    story: dict[str, Any]


class LoopedWorkflow(Workflow):
    """Refines a text until it is good enough.

    Every scored round is written to the stream as a `LoopRoundEvent`. The best draft so far is in
    `ctx.store` under `"best"`, so that it survives a timeout of the workflow: `await
    handler.ctx.store.get("best")`; a new task begins with None there. A run that was cut short goes on where
    it was when it is started again with the same context: `workflow.run(ctx=ctx, prompt=...)`.

    Args:
        llm: A LlamaIndex LLM, a provider of loopllm, or a callable `prompt -> str`.
        evaluator: Scores `(text, context)`; an evaluator of LlamaIndex too.
        config: Limits and settings of the loop.
        priors: What earlier runs have taught.
        task_type: Under which name it is learned.
        observers: Listeners to the events of every run.
        **settings: Those of every workflow: `timeout` in seconds, `verbose`, ...

    Raises:
        MisuseError: An argument is wrong; the message names it.
    """

    def __init__(
        self,
        *,
        llm: Any,
        evaluator: Any,
        config: LoopConfig | None = None,
        priors: AdaptivePriors | None = None,
        task_type: str = "default",
        observers: Sequence[Observer] = (),
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self._evaluator = adapted(evaluator)
        as_evaluator(self._evaluator)  # what is no evaluator is refused now, not in a step
        require_loop_parts(config, priors, observers)
        self._provider = as_provider(llm)
        self._config = config or LoopConfig()
        self._priors = priors
        self._task_type = task_type
        self._observers = (InstrumentationObserver(), *observers)

    @step
    async def refine(self, ctx: RunContext, ev: LoopStart) -> LoopResultEvent:
        """Run the loop to its end, writing every round to the stream and to the store."""
        loop = self._loop()
        run = await self._run(loop, ctx, ev)
        result: RefinementResult[Any, str] | None = None
        events = loop.astream(run, self._evaluator, ev.context, task_type=self._task_type)
        try:
            async for event in events:
                if isinstance(event, DraftScored | DraftJudgedAgain):
                    await _keep(ctx, run)
                    ctx.write_event_to_stream(_told(event.record, event.best_score))
                elif isinstance(event, Finished):
                    result = event.result
        except EvaluatorError:  # the run is over, and to resume it would fail again for ever
            await ctx.store.set(RUN, None)
            raise
        if result is None:
            raise MisuseError("the loop ended without a result")
        await ctx.store.set(RUN, None)
        return LoopResultEvent(output=result.output, story=story_of(result))

    def _loop(self) -> LoopedLLM[Any, str]:
        provider = SpannedRounds(self._provider)
        return LoopedLLM(provider, self._config, priors=self._priors, observers=self._observers)

    async def _run(self, loop: LoopedLLM[Any, str], ctx: RunContext, ev: LoopStart) -> Refinement[Any, str]:
        cut_short = await ctx.store.get(RUN, default=None)
        if isinstance(cut_short, Mapping) and cut_short["task"] == ev.prompt:
            run = loop.restore(cut_short, task_type=self._task_type, evaluator=self._evaluator)
            await _keep(ctx, run)
            return run
        await ctx.store.set(BEST, None)  # that of an earlier task would be taken for this one's
        return loop.begin(ev.prompt, task_type=self._task_type, evaluator=self._evaluator)


async def _keep(ctx: RunContext, run: Refinement[Any, str]) -> None:
    """Put plain data into the store, never an engine: the context must stay serialisable."""
    best = run.best
    if best is not None:
        await ctx.store.set(BEST, {"output": best.output, "score": best.score, "iteration": best.iteration})
    await ctx.store.set(RUN, run.to_dict())


def _told(record: IterationRecord[Any, str], best_score: float | None) -> LoopRoundEvent:
    return LoopRoundEvent(
        iteration=record.iteration,
        output=record.output,
        score=record.score,
        best_score=best_score,
        deficiencies=list(record.deficiencies),
    )
