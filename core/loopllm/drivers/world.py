"""What a driver needs to perform steps: the parts of the world one run talks to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol

from loopllm.evaluators.adapt import BoundEvaluator
from loopllm.priors import CallObservation, RoundObservation
from loopllm.providers.base import Provider
from loopllm.results import OutputT, PromptT
from loopllm.steps import Evaluate, Remember


class Learner(Protocol):
    """What is told about rounds and runs; `AdaptivePriors` is one."""

    def observe_round(self, observation: RoundObservation) -> None:
        """Learn from a round of a run that is still going on."""
        ...

    def observe_end(self, observation: CallObservation) -> None:
        """Learn from the end of a run whose rounds were observed one by one."""
        ...


def tell(learner: Learner, step: Remember) -> None:
    """Tell a learner what is to be remembered."""
    if step.round is not None:
        learner.observe_round(step.round)
    if step.end is not None:
        learner.observe_end(step.end)


class Cancellation(Protocol):
    """Anything that can be asked whether to stop: `threading.Event`, `asyncio.Event`."""

    def is_set(self) -> bool:
        """Return True once the run should end."""
        ...


@dataclass(frozen=True, slots=True)
class World(Generic[PromptT, OutputT]):
    """The parts of the world one run talks to.

    Attributes:
        provider: The model.
        evaluator: Scores drafts.
        draw: Returns a number in [0, 1), to spread retries.
        model: Which model to ask the provider for, or None for its own.
        context: Facts for the evaluator.
        learner: Is told what was seen, or None.
        learner_blocks: Whether telling it may wait for a disk or a network.
        cancellation: Ends the run early, or None.
    """

    provider: Provider[PromptT, OutputT]
    evaluator: BoundEvaluator
    draw: Callable[[], float]
    model: str | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    learner: Learner | None = None
    learner_blocks: bool = False
    cancellation: Cancellation | None = None

    def context_of(self, step: Evaluate[PromptT, OutputT]) -> Mapping[str, Any]:
        """Return what the evaluator is told about the run."""
        facts: dict[str, Any] = {"prompt": step.task, "iteration": step.iteration}
        if step.judgement > 1:
            facts["judgement"] = step.judgement
        return {**facts, **self.context} if self.context else facts
