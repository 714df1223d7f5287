"""How is a draft scored inside LangChain? The caller's evaluator, with the evaluation as a child run of its own.

Rule 1: an evaluator sees the same facts as outside LangChain (text, `context["prompt"]`), and LangChain's own beside
them.
Rule 2: an answer that could not be read is not judged: the reason is its deficiency.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from langchain_core.callbacks import AsyncCallbackManager, CallbackManager
from langchain_core.messages import BaseMessage, HumanMessage, get_buffer_string
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import patch_config, set_config_context

from loopllm.evaluators.adapt import BoundEvaluator
from loopllm.results import EvaluationResult
from loopllm_lc.asking import Asker
from loopllm_lc.conversation import as_messages
from loopllm_lc.drafts import Draft
from loopllm_lc.replies import text_of
from loopllm_lc.scope import Scope
from loopllm_lc.tracing import annotate

READABLE = EvaluationResult(1.0, passed=True)
"""The verdict on a draft that only had to be readable."""


class Readable:
    """Accepts whatever the rest of the chain could read: the evaluator of a chain with a parser, when none is given."""

    name = "readable"
    inline = True
    test_retest_sd = 0.0

    def evaluate(self, output: Any, context: Mapping[str, Any] | None = None) -> EvaluationResult:
        """Accept `output`."""
        del output, context
        return READABLE


class Judge:
    """Scores the drafts of one run.

    Args:
        evaluator: The caller's evaluator.
        scope: The run that the evaluations belong to.
        asker: Is told which round comes next.
        given: The caller's own input, for `context["input"]`.
    """

    def __init__(self, evaluator: BoundEvaluator, scope: Scope, asker: Asker, given: Any) -> None:
        self.name, self.test_retest_sd = evaluator.name, evaluator.test_retest_sd
        self.waits = evaluator.waits  # where it is called in a blocking run is the evaluator's own affair
        self.is_async = evaluator.is_async  # said before the model is paid for
        self._evaluator = evaluator
        self._scope = scope
        self._asker = asker
        self._given = given
        self._task: tuple[Any, str] = (None, "")

    def evaluate(self, output: Draft, context: Mapping[str, Any] | None = None) -> EvaluationResult:
        """Score a draft, blocking."""
        facts = self._facts(output, context or {})
        if output.fault:
            return EvaluationResult(0.0, passed=False, deficiencies=(output.fault,))
        if not self._has_run:
            return self._evaluator.evaluate(output.judged, facts)
        config = self._config(facts)
        manager = config.get("callbacks")
        assert isinstance(manager, CallbackManager)  # noqa: S101 - a blocking run has a blocking manager
        run = manager.on_chain_start(None, {"output": output.judged}, name="evaluate")
        try:
            with set_config_context(patch_config(config, callbacks=run.get_child())) as inside:
                result = inside.run(self._evaluator.evaluate, output.judged, facts)
        except BaseException as error:
            run.on_chain_error(error)
            raise
        annotate(run, _scored(facts, result))
        run.on_chain_end(verdict_of(result))
        return result

    async def aevaluate(self, output: Draft, context: Mapping[str, Any] | None = None) -> EvaluationResult:
        """Score a draft without blocking the event loop."""
        facts = self._facts(output, context or {})
        if output.fault:
            return EvaluationResult(0.0, passed=False, deficiencies=(output.fault,))
        if not self._has_run:
            return await self._evaluator.aevaluate(output.judged, facts)
        config = self._config(facts)
        manager = config.get("callbacks")
        assert isinstance(manager, AsyncCallbackManager)  # noqa: S101 - an awaited run has an awaited manager
        run = await manager.on_chain_start(None, {"output": output.judged}, name="evaluate")
        try:
            with set_config_context(patch_config(config, callbacks=run.get_child())) as inside:
                scoring = self._evaluator.aevaluate(output.judged, facts)
                result = await asyncio.create_task(scoring, context=inside)
        except BaseException as error:
            await run.on_chain_error(error)
            raise
        annotate(run, _scored(facts, result))
        await run.on_chain_end(verdict_of(result))
        return result

    @property
    def _has_run(self) -> bool:
        """Whether an evaluation is a run: for who listens to chains, and for the calls that an evaluator may make."""
        return self._scope.is_watched or (self._scope.is_heard and not self._evaluator.inline)

    def _config(self, facts: Mapping[str, Any]) -> RunnableConfig:
        return self._scope.child(f"loopllm:evaluate:{facts['iteration']}")

    def _facts(self, draft: Draft, context: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what the evaluator is told, with the task as text, as it is outside LangChain."""
        self._asker.iteration = context.get("iteration", 0) + 1
        task = context.get("prompt")
        return {
            **context,
            "prompt": self._words_of(task),
            "messages": task if isinstance(task, list) else None,
            "message": draft.message,
            "input": self._given,
        }

    def _words_of(self, task: Any) -> str:
        if self._task[0] is not task:  # it is the same in every round
            self._task = (task, task_text(task))
        return self._task[1]


def task_text(task: Any) -> str:
    """Return a task in words: a lone human message's text, else the conversation, speaker by speaker.

    >>> task_text([HumanMessage("Name a prime.")])
    'Name a prime.'
    """
    if isinstance(task, Mapping) and list(task) == ["messages"]:
        return task_text(_conversation(task["messages"]) or str(task))
    if not isinstance(task, list) or not all(isinstance(each, BaseMessage) for each in task):
        return text_of(task)
    if len(task) == 1 and isinstance(task[0], HumanMessage):
        return text_of(task[0])
    return get_buffer_string(task)


def task_in(facts: Mapping[str, Any]) -> str | None:
    """Return the task in words, None where nobody told it; a loop outside of LangChain tells it in other forms.

    >>> task_in({"prompt": [{"role": "user", "content": "Name a prime."}]})
    'Name a prime.'
    """
    task = facts.get("prompt")
    if task is None or isinstance(task, str):
        return task
    query = facts.get("query")  # what LlamaIndex's conversations ask
    return str(query) if query else task_text(_conversation(task) or task)


def _conversation(given: Any) -> list[BaseMessage]:
    """Return messages in any form that LangChain knows as its own; none where they are of another."""
    try:
        return as_messages(given)
    except (ValueError, TypeError, NotImplementedError):
        return []


def _scored(facts: Mapping[str, Any], result: EvaluationResult) -> dict[str, Any]:
    return {"loopllm_iteration": facts["iteration"], "loopllm_score": result.score}


def verdict_of(result: EvaluationResult) -> dict[str, Any]:
    """Return a verdict as JSON-able data for traces."""
    return {
        "score": result.score,
        "passed": result.passed,
        "deficiencies": list(result.deficiencies),
        "sub_scores": dict(result.sub_scores),
    }
