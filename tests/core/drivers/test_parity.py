"""The two drivers do the same: over many scripts they go through the same steps to the same result."""

import asyncio
import selectors
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopllm.adaptive_priors import AdaptivePriors
from loopllm.config import LoopConfig
from loopllm.drivers import awaiting as awaiting_driver
from loopllm.drivers import blocking as blocking_driver
from loopllm.drivers import faults
from loopllm.drivers.awaiting import adrive
from loopllm.drivers.blocking import drive
from loopllm.drivers.world import World
from loopllm.errors import CallTimeoutError, EvaluatorError, ProviderError
from loopllm.evaluators.adapt import as_evaluator
from loopllm.events import DraftJudgedAgain, DraftReceived, DraftScored, Finished, LoopEvent, narrate
from loopllm.feedback import TextFormat
from loopllm.preparing import make_terms
from loopllm.priors import CallObservation, RoundObservation
from loopllm.providers.base import Completion
from loopllm.refinement import Refinement
from loopllm.results import EvaluationResult, Usage
from loopllm.steps import Remember
from loopllm.terms import Terms

TIME_LIMIT_S = 30.0
PRIORS = AdaptivePriors()


class Clock:
    """Time that passes only when somebody waits, so that no busy machine can change a story."""

    def __init__(self) -> None:
        self.now = 0.0

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def as_module(self) -> SimpleNamespace:
        """What the drivers use of the module `time`."""
        return SimpleNamespace(perf_counter=lambda: self.now, time=lambda: self.now, sleep=self.wait)


class JumpingSelector(selectors.SelectSelector):
    """Lets an event loop that has nothing to do arrive at its next timer at once."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> Any:
        self._clock.wait(timeout or 0.0)
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        super().__init__(JumpingSelector(clock))

    def time(self) -> float:
        return self._clock.now


@dataclass
class ScriptedProvider:
    """Answers each call as the script says; `9 s: 0.5` takes its time and keeps its deadline."""

    script: Sequence[str]
    clock: Clock
    calls: int = 0
    model_id: str | None = "scripted"

    def _next(self) -> tuple[float, str]:
        self.calls += 1
        seconds, _, fate = self.script[(self.calls - 1) % len(self.script)].rpartition(" s: ")
        return float(seconds or 0.0), fate

    def _reply(self, fate: str) -> Completion[str]:
        if fate == "busy":
            raise ProviderError("busy", transient=True)
        if fate == "down":
            raise ProviderError("down")
        if fate == "bug":
            raise ZeroDivisionError
        return Completion(fate, usage=Usage(10, 5, 0.01), finish_reason="stop")

    def complete(
        self, prompt: Any, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[str]:
        seconds, fate = self._next()
        if timeout is not None and seconds >= timeout:
            self.clock.wait(timeout)
            raise CallTimeoutError("too slow", transient=True)
        self.clock.wait(seconds)
        return self._reply(fate)

    async def acomplete(
        self, prompt: Any, model: str | None = None, *, timeout: float | None = None
    ) -> Completion[str]:
        seconds, fate = self._next()
        await asyncio.sleep(seconds)
        return self._reply(fate)


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


score.inline = True  # type: ignore[attr-defined]  # no thread, whose time would be real


def world(script: Sequence[str], notebook: Notebook | None, clock: Clock) -> World[Any, str]:
    return World(ScriptedProvider(script, clock), as_evaluator(score), lambda: 0.5, learner=notebook)


def run(learns: bool, limits: dict[str, Any]) -> Refinement[Any, str]:
    config = LoopConfig(timeout_ms=TIME_LIMIT_S * 1000, **limits)
    if "judge_sd" in limits:  # with a rule that may have a draft judged again
        return Refinement("task", make_terms(config, TextFormat(), (), PRIORS, "t", "m"))
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
            case DraftJudgedAgain(record, best, superseded):
                told.append(
                    ("again", record.iteration, record.score, len(record.judgements), best, superseded)
                )
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
            "9 s: 0.4",
            "9 s: busy",
            "31 s: 0.9",
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
        "judge_sd": st.sampled_from([0.1, 0.2]),
        "judge_cost": st.sampled_from([0.0, 0.02]),
    },
)


Told = tuple[list[Any], list[Any], str, float]


def blocking(script: Sequence[str], learns: bool, limits: dict[str, Any], clock: Clock) -> Told:
    notebook, refinement = Notebook(), run(learns, limits)
    steps = drive(refinement, world(script, notebook, clock))
    told = without_clocks(event for step, outcome in steps for event in narrate(refinement, step, outcome))
    return told, notebook.told, repr(getattr(refinement.next_step(), "error", None)), clock.now


async def awaiting(script: Sequence[str], learns: bool, limits: dict[str, Any], clock: Clock) -> Told:
    notebook, refinement = Notebook(), run(learns, limits)
    events = [
        event
        async for step, outcome in adrive(refinement, world(script, notebook, clock))
        for event in list(narrate(refinement, step, outcome))
    ]
    told = without_clocks(iter(events))
    return told, notebook.told, repr(getattr(refinement.next_step(), "error", None)), clock.now


def both(script: Sequence[str], learns: bool, limits: dict[str, Any]) -> tuple[Told, Told]:
    """What the blocking and the awaiting driver tell of the same script."""
    told: list[Told] = []
    for is_async in (False, True):
        clock = Clock()
        with pytest.MonkeyPatch.context() as patch:
            for module in (blocking_driver, awaiting_driver, faults):
                patch.setattr(module, "time", clock.as_module())
            if is_async:
                with asyncio.Runner(loop_factory=partial(JumpingLoop, clock)) as runner:
                    told.append(runner.run(awaiting(script, learns, limits, clock)))
            else:
                told.append(blocking(script, learns, limits, clock))
    return told[0], told[1]


@given(SCRIPTS, st.booleans(), LIMITS)
@settings(deadline=None)
def test_both_drivers_tell_the_same_story(script: list[str], learns: bool, limits: dict[str, Any]) -> None:
    blocked, awaited = both(script, learns, {"max_iterations": 4, **limits})
    assert blocked[:3] == awaited[:3]
    assert blocked[3] == pytest.approx(awaited[3])


@given(SCRIPTS.map(lambda script: [*script[:2], "31 s: 0.9"]), st.booleans())
@settings(deadline=None)
def test_both_drivers_end_the_same_way_when_a_call_is_too_slow(script: list[str], learns: bool) -> None:
    blocked, awaited = both(script, learns, {"max_iterations": 9, "convergence_delta": 0.0})
    assert blocked[:3] == awaited[:3]
    assert blocked[3] == pytest.approx(awaited[3])
    assert blocked[3] <= TIME_LIMIT_S + 0.001


def test_a_draft_is_judged_again_by_both() -> None:
    for told, _, _, _ in both(["0.79", "0.82"], True, {"judge_sd": 0.1, "judge_cost": 0.0}):
        assert any(event[0] == "again" for event in told if isinstance(event, tuple))


def test_a_call_that_is_too_slow_is_interrupted_at_the_limit_in_both() -> None:
    for told, _, _, seconds in both(["9 s: 0.4", "31 s: 0.9"], False, {"convergence_delta": 0.0}):
        assert told[-1][:2] == ("0.4", "timeout_ms")
        assert seconds == pytest.approx(TIME_LIMIT_S)


def test_a_scored_draft_is_told_only_after_it_was_remembered() -> None:
    notebook, refinement = Notebook(), run(learns=True, limits={})
    for step, outcome in drive(refinement, world(["0.3", "0.9"], notebook, Clock())):
        for event in narrate(refinement, step, outcome):
            if isinstance(event, DraftScored):
                assert notebook.told
                assert isinstance(step, Remember)
