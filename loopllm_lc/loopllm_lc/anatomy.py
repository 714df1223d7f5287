"""Which part of what is bound is asked again?

Rule 1: what comes before the model (a prompt, a retriever, another model) runs once; the loop goes over the model, so
that feedback reaches it as messages; what comes after (a parser) reads every draft.
Rule 2: of several models the last one is asked again, since what it writes is what is judged.
Rule 3: where no model can be seen, the whole runnable is asked again, and its input must have room for the feedback.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeGuard

from langchain_core.language_models import BaseChatModel, BaseLanguageModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.output_parsers.base import BaseLLMOutputParser
from langchain_core.runnables import (
    Runnable,
    RunnableLambda,
    RunnableParallel,
    RunnableSequence,
    RunnableWithFallbacks,
)
from langchain_core.runnables.base import RunnableBinding, RunnableBindingBase
from langchain_core.runnables.configurable import DynamicRunnable
from langchain_core.runnables.retry import RunnableRetry
from pydantic import BaseModel

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

    A chain is also seen under `with_config`, `bind` and `with_retry`, and inside another chain.

    >>> from langchain_core.language_models import FakeListChatModel
    >>> from langchain_core.output_parsers import StrOutputParser
    >>> from langchain_core.prompts import ChatPromptTemplate
    >>> model = FakeListChatModel(responses=["hi"])
    >>> parts = dissect(ChatPromptTemplate.from_template("{x}") | model | StrOutputParser())
    >>> type(parts.head).__name__, parts.kind, type(parts.tail).__name__
    ('ChatPromptTemplate', 'chat', 'StrOutputParser')
    """
    kind = kind_in(bound)
    if kind is not None:
        return Anatomy(bound, kind)
    steps = _steps(bound)
    for index in reversed(range(len(steps))):
        found = _asked_in(steps[index])
        if found is not None:
            return _between(steps[:index], found, steps[index + 1 :])
    return Anatomy(bound, "whole")


def model_in(runnable: Any) -> BaseLanguageModel[Any] | None:
    """Return the model that `runnable` is, under any `bind`, `with_retry`, `with_fallbacks` and `configurable_*`."""
    model = _unwrapped(runnable)
    return model if isinstance(model, BaseLanguageModel) else None


def kind_in(runnable: Any) -> Literal["chat", "text"] | None:
    """Return what kind of model `runnable` is, under any wrapping, or None when it is none."""
    model = _unwrapped(runnable)
    if is_chosen_late(model):
        # Its structure is parsed by the time it answers: what comes out of it is no message.
        made = {name for name, *_ in model._queued_declarative_operations}  # noqa: SLF001 - nothing else tells
        return None if "with_structured_output" in made else "chat"
    if not isinstance(model, BaseLanguageModel):
        return None
    return "chat" if isinstance(model, BaseChatModel) else "text"


def is_chosen_late(runnable: Any) -> bool:
    """Return True for what `init_chat_model(..., configurable_fields=...)` returns: each call's config makes the model.

    It is known by its name: it is a class of langchain's own, which need not be loaded, and no chat model by type.
    """
    return type(runnable).__name__ == "_ConfigurableModel" and hasattr(type(runnable), "_model_params")


def structure_in(runnable: Any) -> type[BaseModel] | None:
    """Return the pydantic class that a model is asked for by its binding, as `with_structured_output` makes it."""
    if isinstance(runnable, RunnableWithFallbacks):
        return structure_in(runnable.runnable)
    if not isinstance(runnable, RunnableBindingBase):
        return None
    asked_for = runnable.kwargs.get("response_format")
    if isinstance(asked_for, type) and issubclass(asked_for, BaseModel):
        return asked_for
    return structure_in(runnable.bound)


def answers_whole(runnable: Any) -> bool:
    """Return True for what does not stream what it answers.

    A graph streams its steps, a retry is none, and a client that reads a structure gives up at the first wrong letter.
    """
    return structure_in(runnable) is not None or any(_answers_whole(step) for step in _steps(runnable))


def _answers_whole(step: Any) -> bool:
    if isinstance(step, RunnableWithFallbacks):
        return any(_answers_whole(each) or _may_stream_nothing(each) for each in step.runnables)
    if isinstance(step, RunnableBindingBase) and not isinstance(step, RunnableRetry):
        return _answers_whole(step.bound)
    graphs = sys.modules.get("langgraph.pregel.protocol")  # not loaded: there are none
    return isinstance(step, RunnableRetry) or (graphs is not None and isinstance(step, graphs.PregelProtocol))


def _may_stream_nothing(runnable: Any) -> bool:
    """Return True for a chain whose parser may find nothing: fallbacks take an empty stream for a failed call."""
    last = _steps(runnable)[-1]
    return isinstance(last, BaseLLMOutputParser) and not isinstance(last, StrOutputParser)


def _unwrapped(runnable: Any) -> Any:
    if isinstance(runnable, RunnableBindingBase):
        return _unwrapped(runnable.bound)
    if isinstance(runnable, RunnableWithFallbacks):
        return _unwrapped(runnable.runnable)
    return _unwrapped(runnable.default) if isinstance(runnable, DynamicRunnable) else runnable


def _steps(bound: Runnable[Any, Any]) -> Sequence[Runnable[Any, Any]]:
    if isinstance(bound, RunnableSequence):
        return [each for step in bound.steps for each in _steps(step)]
    if not _is_seen_through(bound):
        return [bound]
    inner = _steps(bound.bound)
    return [bound] if len(inner) == 1 else [_rebound(bound, each, index) for index, each in enumerate(inner)]


def _is_seen_through(runnable: Any) -> TypeGuard[RunnableBindingBase[Any, Any]]:
    return type(runnable) is RunnableRetry or (
        type(runnable).__name__ == "RunnableBinding" and isinstance(runnable, RunnableBinding)
    )


def _rebound(
    binding: RunnableBindingBase[Any, Any], step: Runnable[Any, Any], index: int
) -> Runnable[Any, Any]:
    """Return one step of a chain in the wrapping of the whole: its settings belong to each, its keywords to the first.

    A parser reads one text as it did before, so it is not tried again. The name and the id of a run are the whole's.
    """
    if isinstance(binding, RunnableRetry) and isinstance(step, BaseLLMOutputParser):
        return step
    config = {name: value for name, value in binding.config.items() if name not in {"run_name", "run_id"}}
    return binding.model_copy(update={"bound": step, "config": config, **({"kwargs": {}} if index else {})})


def _asked_in(step: Runnable[Any, Any]) -> Anatomy | None:
    kind = kind_in(step)
    if kind is not None:
        return Anatomy(step, kind)
    if _is_seen_through(step):
        inner_found = _asked_in(step.bound)
        return inner_found and replace(inner_found, asked=_rebound(step, inner_found.asked, 0))
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
