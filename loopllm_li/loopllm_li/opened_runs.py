"""A run whose first answer was given before it began: what it is told, and what its observers hear."""

from __future__ import annotations

from functools import partial

from loopllm import LoopedLLM
from loopllm.evaluators.base import Evaluator
from loopllm.events import narrate
from loopllm.providers.base import Completion
from loopllm.providers.deadline import call_in_thread
from loopllm.refinement import Refinement
from loopllm.steps import ModelReplied
from loopllm.telemetry.base import notify
from loopllm_li.answer_rounds import AnswerAttempt
from loopllm_li.answers import Answer

AnswerLoop = LoopedLLM[AnswerAttempt, Answer]
AnswerRun = Refinement[AnswerAttempt, Answer]


def opened(
    loop: AnswerLoop, task: AnswerAttempt, opening: Answer | None, task_type: str, judge: Evaluator[Answer]
) -> AnswerAttempt | AnswerRun:
    """Return a run that has received its provider's `opening`, with the time that it took.

    The engine would measure how long it takes to hand it over. Without an opening the task itself is returned.
    """
    if opening is None:
        return task
    run = loop.begin(task, task_type=task_type, evaluator=judge)
    _tell(loop, run)
    return _received(loop, run, loop.provider.complete(task))


async def aopened(
    loop: AnswerLoop, task: AnswerAttempt, opening: Answer | None, task_type: str, judge: Evaluator[Answer]
) -> AnswerAttempt | AnswerRun:
    """Return the same; what was learned is read in a thread, as it may wait for a disk or a server."""
    if opening is None:
        return task
    run = await call_in_thread(partial(loop.begin, task, task_type=task_type, evaluator=judge))
    _tell(loop, run)
    return _received(loop, run, await loop.provider.acomplete(task))


def _received(loop: AnswerLoop, run: AnswerRun, opening: Completion[Answer]) -> AnswerRun:
    call, seconds = run.next_step(), opening.latency_ms / 1000.0
    reply = ModelReplied(opening.content, opening.usage, seconds)
    run.receive(reply, seconds)
    for event in narrate(run, call, reply):
        notify(loop.observers, event)
    return run


def _tell(loop: AnswerLoop, run: AnswerRun) -> None:
    for event in narrate(run, run.next_step(), None):
        notify(loop.observers, event)
