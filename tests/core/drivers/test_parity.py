"""The two drivers do the same: over many scripts they go through the same steps to the same result."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from loopllm.config import LoopConfig
from loopllm.drivers.awaiting import adrive
from loopllm.drivers.blocking import drive
from loopllm.drivers.world import World
from loopllm.errors import CallTimeoutError, EvaluatorError, ProviderError
from loopllm.evaluators.adapt import as_evaluator
from loopllm.events import DraftReceived, DraftScored, Finished, LoopEvent, narrate
from loopllm.feedback import TextFormat
from loopllm.priors import CallObservation, RoundObservation
from loopllm.providers.base import Completion
from loopllm.refinement import Refinement
from loopllm.results import EvaluationResult, Usage
from loopllm.steps import Remember
from loopllm.terms import Terms

TIMEOUT_S = 0.03


@dataclass
class ScriptedProvider:
    """Answers each call as the script says; a slow call sits out its deadline."""

    script: Sequence[str]
    calls: int = 0
    model_id: str | None = "scripted"

    def _next(self) -> str:
        self.calls += 1
        return self.script[(self.calls - 1) % len(self.script)]

    def _reply(self, fate: str) -> Completion[str]:
        if fate == "busy":
            raise ProviderError("busy", transient=True, retry_after=0.0)
        if fate == "down":
            raise ProviderError("down")
        if fate == "bug":
            raise ZeroDivisionError
        return Completion(fate, usage=Usage(10, 5, 0.01), finish_reason="stop")

    def complete(
        self, prompt: Any, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[str]:
        fate = self._next()
        if fate == "slow":
            _sit_out(timeout)
            raise CallTimeoutError("too slow", transient=True)
        return self._reply(fate)

    async def acomplete(
        self, prompt: Any, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[str]:
        fate = self._next()
        if fate == "slow":
            await asyncio.Event().wait()
        return self._reply(fate)


def _sit_out(timeout: float | None) -> None:
    import threading

    threading.Event().wait(timeout)


@dataclass
class Notebook:
    """Remembers what it was told."""

    told: list[Any] = field(default_factory=list)

    def observe_round(self, observation: RoundObservation) -> None:
        self.told.append((tuple(observation.scores), tuple(observation.actions)))

    def observe_end(self, observation: CallObservation) -> None:
        self.told.append((tuple(observation.scores), observation.converged))


def score(output: str, context: Any = None) -> EvaluationResult:
    if output == "unscorable":
        raise KeyError(output)
    if output == "judge busy":
        raise EvaluatorError("busy", transient=True)
    return EvaluationResult(float(output), deficiencies=[f"only {output}"])


def world(script: Sequence[str], notebook: Notebook | None) -> World[Any, str]:
    return World(ScriptedProvider(script), as_evaluator(score), lambda: 0.5, learner=notebook)


def run(learns: bool, limits: dict[str, Any]) -> Refinement[Any, str]:
    config = LoopConfig(timeout_ms=TIMEOUT_S * 1000, retry_base_s=0.0, **limits)
    return Refinement(
        "task", Terms(config, TextFormat(), config.ways(), task_type="t", model_id="m", learns=learns)
    )


def without_clocks(events: Iterator[LoopEvent[Any, str]]) -> list[Any]:
    """Events as data that does not depend on how fast the machine is."""
    told: list[Any] = []
    for event in events:
        match event:
            case DraftReceived(iteration, output):
                told.append(("received", iteration, output))
            case DraftScored(record, best, superseded):
                told.append(
                    ("scored", record.iteration, record.score, record.error, record.action, best, superseded)
                )
            case Finished(result):
                metrics = result.metrics
                told.append(
                    (result.output, metrics.exit_reason.condition, metrics.score_trajectory, metrics.usage)
                )
            case _:
                told.append(event)
    return told


SCRIPTS = st.lists(
    st.sampled_from(
        [
            "0.1",
            "0.3",
            "0.5",
            "0.5",
            "0.7",
            "0.79",
            "0.9",
            "busy",
            "busy",
            "down",
            "bug",
            "unscorable",
            "judge busy",
        ]
    ),
    min_size=1,
    max_size=8,
)
LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "max_iterations": st.integers(2, 6),
        "min_iterations": st.integers(1, 2),
        "best_of": st.booleans(),
        "feedback": st.sampled_from(["last", "best", "deficiencies", "fresh"]),
        "max_retries": st.integers(0, 3),
        "token_budget": st.integers(20, 60),
        "convergence_delta": st.sampled_from([0.0, 0.01, 0.3]),
    },
)


def blocking(script: Sequence[str], learns: bool, limits: dict[str, Any]) -> tuple[list[Any], list[Any], str]:
    notebook, refinement = Notebook(), run(learns, limits)
    steps = drive(refinement, world(script, notebook))
    told = without_clocks(event for step, outcome in steps for event in narrate(refinement, step, outcome))
    return told, notebook.told, repr(getattr(refinement.next_step(), "error", None))


async def awaiting(
    script: Sequence[str], learns: bool, limits: dict[str, Any]
) -> tuple[list[Any], list[Any], str]:
    notebook, refinement = Notebook(), run(learns, limits)
    events = [
        event
        async for step, outcome in adrive(refinement, world(script, notebook))
        for event in list(narrate(refinement, step, outcome))
    ]
    return without_clocks(iter(events)), notebook.told, repr(getattr(refinement.next_step(), "error", None))


@given(SCRIPTS, st.booleans(), LIMITS)
@settings(deadline=None)
def test_both_drivers_tell_the_same_story(script: list[str], learns: bool, limits: dict[str, Any]) -> None:
    limits = {"max_iterations": 4, **limits}
    assert blocking(script, learns, limits) == asyncio.run(awaiting(script, learns, limits))


@given(SCRIPTS.map(lambda script: [*script[:2], "slow"]), st.booleans())
@settings(deadline=None, max_examples=20)
def test_both_drivers_end_the_same_way_when_a_call_is_too_slow(script: list[str], learns: bool) -> None:
    limits = {"max_iterations": 9, "convergence_delta": 0.0}
    assert blocking(script, learns, limits) == asyncio.run(awaiting(script, learns, limits))


def test_a_scored_draft_is_told_only_after_it_was_remembered() -> None:
    notebook, refinement = Notebook(), run(learns=True, limits={})
    for step, outcome in drive(refinement, world(["0.3", "0.9"], notebook)):
        for event in narrate(refinement, step, outcome):
            if isinstance(event, DraftScored):
                assert notebook.told
                assert isinstance(step, Remember)
