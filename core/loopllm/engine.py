"""The front door: a model, a configuration and priors, and every way to run the loop with them."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, Literal, cast, overload

from loopllm.config import LoopConfig
from loopllm.drivers.blocking import drive
from loopllm.drivers.world import Cancellation, World
from loopllm.errors import MisuseError
from loopllm.evaluators.adapt import as_evaluator
from loopllm.events import LoopEvent, narrate
from loopllm.exits import Condition, ExitCondition, ExitRule
from loopllm.feedback import PromptFormat, TextFormat
from loopllm.preparing import listed, make_terms, require_loop_parts, require_run_parts
from loopllm.providers.adapt import as_provider
from loopllm.providers.base import Provider, TextPrompt
from loopllm.refinement import Refinement
from loopllm.results import OutputT, PromptT, RefinementResult
from loopllm.steps import Finish
from loopllm.telemetry.base import Observer, notify
from loopllm.terms import Terms

if TYPE_CHECKING:
    from loopllm.adaptive_priors import AdaptivePriors


class LoopedLLM(Generic[PromptT, OutputT]):
    """Calls a model, scores its answer, feeds back what is wrong, and calls again until it is worth no more.

    >>> from loopllm.providers.mock import MockLLMProvider
    >>> loop = LoopedLLM(MockLLMProvider(responses=["no", "yes"]))
    >>> result = loop.refine("Agree.", lambda output: 1.0 if output == "yes" else 0.1)
    >>> result.output, result.metrics.total_iterations, result.metrics.exit_reason.condition
    ('yes', 2, 'quality_threshold')

    Args:
        provider: A provider, a plain callable `prompt -> str` (sync or async), a LangChain chat model or a LlamaIndex
            LLM.
        config: Limits and settings.
        priors: What earlier runs have taught. The loop learns by itself; share one object, or one store, between
            loops to share what they learn.
        observers: Listeners to every event of every run, for example `LogObserver()`.
        format: How prompts and outputs are written; text and chat messages when not given.

    Raises:
        MisuseError: An argument is of another kind; the message names it and what to pass.
    """

    @overload
    def __init__(
        self: LoopedLLM[TextPrompt, str],
        provider: Provider[Any, str] | Callable[..., Any] | Any,
        config: LoopConfig | None = None,
        *,
        priors: AdaptivePriors | None = None,
        observers: Sequence[Observer] = (),
        format: None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        provider: Provider[PromptT, OutputT],
        config: LoopConfig | None = None,
        *,
        priors: AdaptivePriors | None = None,
        observers: Sequence[Observer] = (),
        format: PromptFormat[PromptT, OutputT],
    ) -> None: ...

    def __init__(
        self,
        provider: Any,
        config: LoopConfig | None = None,
        *,
        priors: AdaptivePriors | None = None,
        observers: Sequence[Observer] = (),
        format: PromptFormat[PromptT, OutputT] | None = None,  # noqa: A002 - the field's own word for it
    ) -> None:
        require_loop_parts(config, priors, observers)
        self.provider: Provider[PromptT, OutputT] = as_provider(provider)
        self.config = config or LoopConfig()
        self.priors = priors
        self.observers: Sequence[Observer] = tuple(observers)
        self.format = format or cast("PromptFormat[PromptT, OutputT]", TextFormat())
        self._conditions: list[Condition] = []

    def __repr__(self) -> str:
        return f"LoopedLLM({self.provider!r}, {self.config!r}, priors={self.priors!r})"

    def add_exit_condition(self, condition: Condition | ExitCondition | ExitRule) -> None:
        """Add an exit condition, asked after the quality threshold and the plateau, in the order added.

        Args:
            condition: An object with `should_exit(iteration, current_score, scores_so_far)`, a function of a `RunView`,
                or several combined with `|` and `&`.

        Raises:
            MisuseError: It is none of these.
        """
        self._conditions.append(Condition.of(condition))

    # -- one run ------------------------------------------------------------------------------------------------

    def refine(
        self,
        prompt: PromptT | Refinement[PromptT, OutputT],
        evaluator: Any,
        context: Mapping[str, Any] | None = None,
        model: str | None = None,
        *,
        task_type: str = "default",
        cancellation: Cancellation | None = None,
    ) -> RefinementResult[PromptT, OutputT]:
        """Run the loop, blocking.

        Args:
            prompt: The task, or a run from `begin` or `restore` to be continued.
            evaluator: An evaluator, or a callable `(output, context=None) -> float | bool | EvaluationResult`.
            context: Facts for the evaluator; `prompt` and `iteration` are added.
            model: Which model to ask the provider for; its own when not given.
            task_type: Your name for the kind of task; what is learned is kept per task type and model.
            cancellation: Anything with `is_set()`, for example a `threading.Event`, looked at between steps.

        Returns:
            The accepted draft, the numbers, and every round.

        Raises:
            ProviderError: The model failed before there was any draft.
            EvaluatorError: The evaluator failed on every draft.
            MisuseError: An argument is wrong; the message names it.
            StoreError: What is learned cannot be read or kept. Any error amid a run holds its drafts as `.result`.
        """
        run, world = self._prepare(prompt, evaluator, context, model, task_type, cancellation)
        deque(self._tell(run, world) if self.observers else drive(run, world), maxlen=0)
        return _result_of(run)

    async def arefine(
        self,
        prompt: PromptT | Refinement[PromptT, OutputT],
        evaluator: Any,
        context: Mapping[str, Any] | None = None,
        model: str | None = None,
        *,
        task_type: str = "default",
        cancellation: Cancellation | None = None,
    ) -> RefinementResult[PromptT, OutputT]:
        """Run the loop without blocking the event loop. Arguments, result and errors as in `refine`."""
        run, world = await self._aprepare(prompt, evaluator, context, model, task_type, cancellation)
        async for _ in self._atell(run, world):
            pass
        return _result_of(run)

    def stream(
        self,
        prompt: PromptT | Refinement[PromptT, OutputT],
        evaluator: Any,
        context: Mapping[str, Any] | None = None,
        model: str | None = None,
        *,
        task_type: str = "default",
        cancellation: Cancellation | None = None,
    ) -> Iterator[LoopEvent[PromptT, OutputT]]:
        """Run the loop and yield its events; the last one is `Finished`. Arguments and errors as in `refine`.

        Leaving early ends the run and keeps what was learned.
        """
        run, world = self._prepare(prompt, evaluator, context, model, task_type, cancellation)
        return self._tell(run, world)

    async def astream(
        self,
        prompt: PromptT | Refinement[PromptT, OutputT],
        evaluator: Any,
        context: Mapping[str, Any] | None = None,
        model: str | None = None,
        *,
        task_type: str = "default",
        cancellation: Cancellation | None = None,
    ) -> AsyncGenerator[LoopEvent[PromptT, OutputT], None]:
        """Run the loop and yield its events without blocking. Arguments and errors as in `refine`."""
        run, world = await self._aprepare(prompt, evaluator, context, model, task_type, cancellation)
        async with aclosing(self._atell(run, world, always=True)) as events:
            async for event in events:
                yield event

    # -- runs that are paused and continued ---------------------------------------------------------------------

    def begin(
        self, prompt: PromptT, *, model: str | None = None, task_type: str = "default", evaluator: Any = None
    ) -> Refinement[PromptT, OutputT]:
        """Return a run that has not started, to be given to `refine` or `stream` and written down with `to_dict`.

        Give it the `evaluator` too when that one states how much its scores vary (`test_retest_sd`).
        """
        return Refinement(prompt, self._terms(model, task_type, evaluator))

    def restore(
        self,
        data: Mapping[str, Any],
        *,
        model: str | None = None,
        task_type: str = "default",
        evaluator: Any = None,
    ) -> Refinement[PromptT, OutputT]:
        """Return a run written with `Refinement.to_dict`, perhaps by another process, to be continued.

        Raises:
            MisuseError: The data is not a run.
        """
        return Refinement.from_dict(data, self._terms(model, task_type, evaluator))

    # -- many runs ----------------------------------------------------------------------------------------------

    @overload
    def batch(
        self,
        prompts: Iterable[PromptT],
        evaluator: Any,
        *,
        context: Mapping[str, Any] | None = None,
        model: str | None = None,
        task_type: str = "default",
        max_concurrency: int | None = None,
        return_exceptions: Literal[False] = False,
    ) -> list[RefinementResult[PromptT, OutputT]]: ...

    @overload
    def batch(
        self,
        prompts: Iterable[PromptT],
        evaluator: Any,
        *,
        context: Mapping[str, Any] | None = None,
        model: str | None = None,
        task_type: str = "default",
        max_concurrency: int | None = None,
        return_exceptions: Literal[True],
    ) -> list[RefinementResult[PromptT, OutputT] | Exception]: ...

    def batch(
        self,
        prompts: Iterable[PromptT],
        evaluator: Any,
        *,
        context: Mapping[str, Any] | None = None,
        model: str | None = None,
        task_type: str = "default",
        max_concurrency: int | None = None,
        return_exceptions: bool = False,
    ) -> Any:
        """Refine many prompts in threads; results keep the order of the prompts.

        Args:
            prompts: The tasks.
            evaluator: As in `refine`; used from several threads at once.
            context: As in `refine`.
            model: As in `refine`.
            task_type: As in `refine`.
            max_concurrency: Runs at the same time, 32 when not given.
            return_exceptions: Put the error of a failed run in its place. False raises the first failure, starts no
                further run, and ends those under way after their current step.

        Returns:
            One result a prompt.
        """
        from loopllm.batching import run_in_threads  # noqa: PLC0415 - threads are loaded when first used

        def refine(prompt: PromptT, unwanted: Cancellation) -> RefinementResult[PromptT, OutputT]:
            return self.refine(prompt, evaluator, context, model, task_type=task_type, cancellation=unwanted)

        return run_in_threads(refine, listed(prompts), max_concurrency, return_exceptions=return_exceptions)

    @overload
    async def abatch(
        self,
        prompts: Iterable[PromptT],
        evaluator: Any,
        *,
        context: Mapping[str, Any] | None = None,
        model: str | None = None,
        task_type: str = "default",
        max_concurrency: int | None = None,
        return_exceptions: Literal[False] = False,
    ) -> list[RefinementResult[PromptT, OutputT]]: ...

    @overload
    async def abatch(
        self,
        prompts: Iterable[PromptT],
        evaluator: Any,
        *,
        context: Mapping[str, Any] | None = None,
        model: str | None = None,
        task_type: str = "default",
        max_concurrency: int | None = None,
        return_exceptions: Literal[True],
    ) -> list[RefinementResult[PromptT, OutputT] | Exception]: ...

    async def abatch(
        self,
        prompts: Iterable[PromptT],
        evaluator: Any,
        *,
        context: Mapping[str, Any] | None = None,
        model: str | None = None,
        task_type: str = "default",
        max_concurrency: int | None = None,
        return_exceptions: bool = False,
    ) -> Any:
        """Refine many prompts on the event loop. Arguments and result as in `batch`.

        Without `return_exceptions` the first failure cancels the other runs.
        """
        from loopllm.batching import run_in_tasks  # noqa: PLC0415 - asyncio is loaded when first used

        async def refine(prompt: PromptT) -> RefinementResult[PromptT, OutputT]:
            return await self.arefine(prompt, evaluator, context, model, task_type=task_type)

        return await run_in_tasks(
            refine, listed(prompts), max_concurrency, return_exceptions=return_exceptions
        )

    # -- inside -------------------------------------------------------------------------------------------------

    def _prepare(
        self,
        prompt: PromptT | Refinement[PromptT, OutputT],
        evaluator: Any,
        context: Mapping[str, Any] | None,
        model: str | None,
        task_type: str,
        cancellation: Cancellation | None,
    ) -> tuple[Refinement[PromptT, OutputT], World[PromptT, OutputT]]:
        require_run_parts(context, cancellation)
        bound = as_evaluator(evaluator)
        if isinstance(prompt, Refinement):
            run: Refinement[PromptT, OutputT] = prompt
        else:
            run = self.begin(prompt, model=model, task_type=task_type, evaluator=bound)
        return run, World(
            provider=self.provider,
            evaluator=bound,
            draw=random.random,
            model=model or run.terms.asks,
            context=context or {},
            learner=self.priors if run.terms.learns else None,
            learner_blocks=self._learner_blocks(),
            cancellation=cancellation,
        )

    async def _aprepare(
        self, *arguments: Any
    ) -> tuple[Refinement[PromptT, OutputT], World[PromptT, OutputT]]:
        if self._learner_blocks():
            import asyncio  # noqa: PLC0415 - loaded when first used

            return await asyncio.to_thread(self._prepare, *arguments)
        return self._prepare(*arguments)

    def _learner_blocks(self) -> bool:
        return self.priors is not None and self.priors.blocking

    def _terms(self, model: str | None, task_type: str, evaluator: Any = None) -> Terms[PromptT, OutputT]:
        settings = (self.config, self.format, self._conditions, self.priors, task_type)
        return make_terms(*settings, model or self.provider.model_id or "", evaluator, model)

    def _tell(
        self, run: Refinement[PromptT, OutputT], world: World[PromptT, OutputT]
    ) -> Iterator[LoopEvent[PromptT, OutputT]]:
        for step, outcome in drive(run, world):
            for event in narrate(run, step, outcome):
                notify(self.observers, event)
                yield event
        _result_of(run)  # raises when there is nothing to return

    async def _atell(
        self, run: Refinement[PromptT, OutputT], world: World[PromptT, OutputT], *, always: bool = False
    ) -> AsyncGenerator[LoopEvent[PromptT, OutputT], None]:
        from loopllm.drivers.awaiting import adrive  # noqa: PLC0415 - asyncio is loaded when first used

        told = always or bool(self.observers)
        async with aclosing(adrive(run, world)) as steps:
            async for step, outcome in steps:
                for event in narrate(run, step, outcome) if told else ():
                    notify(self.observers, event)
                    yield event
        _result_of(run)


def _result_of(run: Refinement[PromptT, OutputT]) -> RefinementResult[PromptT, OutputT]:
    step = run.next_step()
    if not isinstance(step, Finish):
        raise MisuseError("the run is not finished")
    return step.settled()
