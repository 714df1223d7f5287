"""The blocking driver: performs the steps of a run on the calling thread. `awaiting.py` is its twin."""

from __future__ import annotations

import time
from collections.abc import Iterator

from loopllm.deadline import call_within
from loopllm.drivers.faults import failure, keep_drafts
from loopllm.drivers.world import World, tell
from loopllm.evaluators.adapt import AwaitNeededError
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


def drive(
    run: Refinement[PromptT, OutputT], world: World[PromptT, OutputT]
) -> Iterator[tuple[Step[PromptT, OutputT], Outcome[OutputT] | None]]:
    """Perform a run to its end.

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
                    outcome = _call(step, world)
                case Evaluate():
                    outcome = _evaluate(step, world)
                case Remember():
                    outcome = _remember(step, world)
                case Pause():
                    time.sleep(step.seconds)
                    outcome = Paused()
            run.receive(outcome, time.perf_counter() - began)
            yield step, outcome
    except Exception as error:
        keep_drafts(error, run)
        raise


def _call(step: CallModel[PromptT], world: World[PromptT, OutputT]) -> ModelReplied[OutputT] | CallFailed:
    if world.evaluator.is_async:  # said before the model is paid for
        raise AwaitNeededError.named(world.evaluator.name)
    began = time.perf_counter()
    try:
        reply = world.provider.complete(step.prompt, world.model, timeout=step.timeout_s)
    except Exception as error:  # noqa: BLE001 - whatever a step raises is an outcome of the run
        return failure(CallFailed, error, began, step.timeout_s, world)
    return ModelReplied(reply.content, reply.usage, time.perf_counter() - began, reply.finish_reason)


def _evaluate(
    step: Evaluate[PromptT, OutputT], world: World[PromptT, OutputT]
) -> Evaluated | EvaluationFailed:
    began, evaluator, context = time.perf_counter(), world.evaluator, world.context_of(step)
    try:
        if evaluator.waits:
            result = call_within(step.timeout_s, evaluator.evaluate, step.output, context)
        else:  # on the caller's thread, to which its connection, its browser or its signals may belong
            result = evaluator.evaluate(step.output, context)
    except Exception as error:  # noqa: BLE001 - whatever a step raises is an outcome of the run
        return failure(EvaluationFailed, error, began, step.timeout_s, world)
    return Evaluated(result, time.perf_counter() - began)


def _remember(step: Remember, world: World[PromptT, OutputT]) -> Remembered:
    if world.learner is not None:
        tell(world.learner, step)
    return Remembered()
