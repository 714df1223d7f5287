"""The awaiting driver: performs the steps of a run on an event loop. `blocking.py` is its twin."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator
from typing import Any

from loopllm.drivers.faults import failure, keep_drafts
from loopllm.drivers.world import Learner, World, tell
from loopllm.refinement import Refinement
from loopllm.results import OutputT, PromptT
from loopllm.steps import (
    CallFailed,
    CallModel,
    Evaluate,
    Evaluated,
    EvaluationFailed,
    Finish,
    ModelReplied,
    Outcome,
    Pause,
    Paused,
    Remember,
    Remembered,
    Step,
)


async def adrive(
    run: Refinement[PromptT, OutputT], world: World[PromptT, OutputT]
) -> AsyncGenerator[tuple[Step[PromptT, OutputT], Outcome[OutputT] | None], None]:
    """Perform a run to its end without blocking the event loop.

    Yields:
        Each step twice, first with None when it is about to be performed, then with its outcome; the `Finish` once.
    """
    began, cancellation = time.perf_counter() - run.elapsed_s, world.cancellation
    try:
        while True:
            if cancellation is not None and cancellation.is_set():
                run.cancel()
            step = run.next_step()
            yield step, None
            if isinstance(step, Finish):
                return
            outcome: Outcome[OutputT]
            match step:
                case CallModel():
                    outcome = await _call(step, world)
                case Evaluate():
                    outcome = await _evaluate(step, world)
                case Remember():
                    outcome = await _remember(step, run, world)
                case Pause():
                    await asyncio.sleep(step.seconds)
                    outcome = Paused()
            run.receive(outcome, time.perf_counter() - began)
            yield step, outcome
    except Exception as error:
        keep_drafts(error, run)
        raise


async def _call(
    step: CallModel[PromptT], world: World[PromptT, OutputT]
) -> ModelReplied[OutputT] | CallFailed:
    began = time.perf_counter()
    try:
        # The deadline lives inside this one await: a timeout around a generator's yield would never fire.
        async with asyncio.timeout(step.timeout_s):
            reply = await world.provider.acomplete(step.prompt, world.model, timeout=step.timeout_s)
    except Exception as error:  # noqa: BLE001 - whatever a step raises is an outcome of the run
        return failure(CallFailed, error, began, step.timeout_s, world)
    return ModelReplied(reply.content, reply.usage, time.perf_counter() - began, reply.finish_reason)


async def _evaluate(
    step: Evaluate[PromptT, OutputT], world: World[PromptT, OutputT]
) -> Evaluated | EvaluationFailed:
    began = time.perf_counter()
    try:
        async with asyncio.timeout(step.timeout_s):
            result = await world.evaluator.aevaluate(step.output, world.context_of(step))
    except Exception as error:  # noqa: BLE001 - whatever a step raises is an outcome of the run
        return failure(EvaluationFailed, error, began, step.timeout_s, world)
    return Evaluated(result, time.perf_counter() - began)


async def _remember(
    step: Remember, run: Refinement[PromptT, OutputT], world: World[PromptT, OutputT]
) -> Remembered:
    if world.learner is not None:
        await _tell(world.learner, step, run, blocks=world.learner_blocks)
    return Remembered()


async def _tell(learner: Learner, step: Remember, run: Refinement[Any, Any], *, blocks: bool) -> None:
    if not blocks:
        tell(learner, step)
        return
    turn = threading.Lock()  # goes to the thread or to a cancellation, whichever is first

    def begin() -> None:
        if turn.acquire(blocking=False):
            tell(learner, step)

    try:
        await asyncio.to_thread(begin)
    except asyncio.CancelledError:
        if not turn.acquire(blocking=False):  # the thread goes on: if continued, the run must not tell again
            run.receive(Remembered())
        raise
