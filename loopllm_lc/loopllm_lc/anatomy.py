"""Which part of what is bound is asked again?

Rule 1: what comes before the model (a prompt, a retriever) runs once; the loop goes over the model, so that feedback
reaches it as messages; what comes after (a parser) reads every draft.
Rule 2: where no model can be seen, the whole runnable is asked again, and its input must have room for the feedback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel, BaseLanguageModel
from langchain_core.runnables import (
    Runnable,
    RunnableLambda,
    RunnableParallel,
    RunnableSequence,
    RunnableWithFallbacks,
)
from langchain_core.runnables.base import RunnableBinding, RunnableBindingBase
from langchain_core.runnables.configurable import DynamicRunnable

Kind = Literal["chat", "text", "whole"]


@dataclass(frozen=True, slots=True)
class Anatomy:
    """The parts of what is bound.

    Attributes:
        asked: What is called again: the model, or the whole runnable.
        kind: `chat`: `asked` takes messages; `text`: it takes a string; `whole`: no model can be seen.
        head: What comes before it, or None.
        tail: What comes after it, or None.
    """

    asked: Runnable[Any, Any]
    kind: Kind
    head: Runnable[Any, Any] | None = None
    tail: Runnable[Any, Any] | None = None

    def without_tail(self) -> Anatomy:
        """Return the same parts without what comes after the model."""
        return replace(self, tail=None)


def dissect(bound: Runnable[Any, Any]) -> Anatomy:
    """Return the parts of a model, of a chain with a model in it, or of anything else.

    >>> from langchain_core.language_models import FakeListChatModel
    >>> from langchain_core.output_parsers import StrOutputParser
    >>> from langchain_core.prompts import ChatPromptTemplate
    >>> model = FakeListChatModel(responses=["hi"])
    >>> parts = dissect(ChatPromptTemplate.from_template("{x}") | model | StrOutputParser())
    >>> type(parts.head).__name__, parts.kind, type(parts.tail).__name__
    ('ChatPromptTemplate', 'chat', 'StrOutputParser')
    """
    model = model_in(bound)
    if model is not None:
        return Anatomy(bound, _kind(model))
    steps = _steps(bound)
    for index, step in enumerate(steps):
        found = _asked_in(step)
        if found is not None:
            return _between(steps[:index], found, steps[index + 1 :])
    return Anatomy(bound, "whole")


def model_in(runnable: Any) -> BaseLanguageModel[Any] | None:
    """Return the model that `runnable` is, under any `bind`, `with_retry`, `with_fallbacks` and `configurable_*`."""
    if isinstance(runnable, BaseLanguageModel):
        return runnable
    if isinstance(runnable, RunnableBindingBase):
        return model_in(runnable.bound)
    if isinstance(runnable, RunnableWithFallbacks):
        return model_in(runnable.runnable)
    return model_in(runnable.default) if isinstance(runnable, DynamicRunnable) else None


def _kind(model: BaseLanguageModel[Any]) -> Kind:
    return "chat" if isinstance(model, BaseChatModel) else "text"


def _steps(bound: Runnable[Any, Any]) -> Sequence[Runnable[Any, Any]]:
    if isinstance(bound, RunnableSequence):
        return bound.steps
    if type(bound).__name__ != "RunnableBinding" or not isinstance(bound, RunnableBinding):
        return [bound]
    # A chain under `with_config` or `bind`: its settings belong to each step, its keywords to the first one.
    first, *others = _steps(bound.bound)
    settings = bound.model_copy
    return [
        settings(update={"bound": first}),
        *(settings(update={"bound": each, "kwargs": {}}) for each in others),
    ]


def _asked_in(step: Runnable[Any, Any]) -> Anatomy | None:
    model = model_in(step)
    if model is not None:
        return Anatomy(step, _kind(model))
    # `with_structured_output(..., include_raw=True)` begins with the model under the key "raw".
    inner = step.steps__ if isinstance(step, RunnableParallel) else {}
    if list(inner) != ["raw"]:
        return None
    found = _asked_in(inner["raw"])
    return found and replace(found, tail=RunnableLambda(_under_raw, name="raw"))


def _under_raw(message: Any) -> dict[str, Any]:
    return {"raw": message}


def _between(
    before: Sequence[Runnable[Any, Any]], found: Anatomy, after: Sequence[Runnable[Any, Any]]
) -> Anatomy:
    rest = [*([found.tail] if found.tail else []), *after]
    return replace(found, head=_joined(before), tail=_joined(rest))


def _joined(steps: Sequence[Runnable[Any, Any]]) -> Runnable[Any, Any] | None:
    if not steps:
        return None
    return steps[0] if len(steps) == 1 else RunnableSequence(*steps)
