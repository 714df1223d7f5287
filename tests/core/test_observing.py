"""`observe`: every run goes as it would have gone without priors, and what acting would have saved is told."""

import pytest

from loopllm import AdaptivePriors, CallObservation, LoopConfig, LoopedLLM
from loopllm.providers.mock import MockLLMProvider
from loopllm.stores.memory import MemoryStore

# Stuck from the second draft on: a rule that acts stops early, and asks in other ways.
SCORES = ["0.2", "0.3", "0.3", "0.3", "0.3", "0.3"]


def runs(priors, count=40, **settings):
    """The prompts and scores of runs of one loop, and why each ended."""
    config = LoopConfig(max_iterations=6, convergence_delta=0.0, **settings)
    seen = []
    for _ in range(count):
        loop = LoopedLLM(MockLLMProvider(responses=SCORES, model_id="m"), config, priors=priors)
        result = loop.refine("task", float, task_type="t")
        calls = [(record.prompt, record.score, record.action) for record in result.iterations]
        seen.append((calls, result.output, result.metrics.exit_reason))
    return seen


OBSERVING = {
    "priors": (lambda store=None: AdaptivePriors(store=store, mode="observe"), {}),
    "config": (lambda store=None: AdaptivePriors(store=store), {"learning": "observe"}),
}


@pytest.mark.parametrize("who", OBSERVING)
def test_runs_that_are_only_observed_go_as_they_would_without_priors(who):
    make, settings = OBSERVING[who]
    assert runs(make(), **settings) == runs(None)


@pytest.mark.parametrize("who", OBSERVING)
def test_a_way_of_asking_that_was_learned_to_be_better_is_not_used_while_observing(who):
    make, settings = OBSERVING[who]
    priors = make()
    for _ in range(40):
        priors.observe(CallObservation("t", "m", [0.2, 0.2], actions=["last"]))
        priors.observe(CallObservation("t", "m", [0.2, 0.9], actions=["fresh"]))
    assert priors.policy("t", "m", ways=("last", "fresh")).acting().decide([0.2]).move == "fresh"
    assert runs(priors, count=1, **settings) == runs(None, count=1)


def test_acting_would_have_changed_them():
    assert runs(AdaptivePriors()) != runs(None)


@pytest.mark.parametrize("who", OBSERVING)
@pytest.mark.parametrize("feedback", ["last", "auto"])
def test_every_observed_run_is_in_the_report(who, feedback):
    make, settings = OBSERVING[who]
    priors = make()
    runs(priors, feedback=feedback, **settings)
    saved = priors.report("t", "m").saved
    assert saved is not None
    assert saved.runs + saved.unknown == priors.report("t", "m").total_calls == 40
    assert saved.calls_made == pytest.approx(6.0)
    low, high = saved.calls_saved_bounds
    assert low <= high
    assert (
        saved.unknown == 0
    )  # what other ways of asking would have scored nobody can say: it tells what stopping saves
    mean, least, most = saved.calls_saved
    assert 2.0 < mean < 5.0
    assert least <= mean <= most
    assert saved.net_gain[0] > 0.0


def test_every_run_is_counted_with_a_store_that_others_write_to_as_well():
    store = MemoryStore()
    watching, other = AdaptivePriors(store=store, mode="observe"), AdaptivePriors(store=store)
    for n in range(80):
        runs(watching, count=1, feedback="last")
        if n % 3 == 0:
            other.observe(CallObservation("t", "m", [0.2, 0.3]))
    saved = watching.report("t", "m").saved
    assert saved is not None
    assert saved.runs + saved.unknown == 80


def test_what_is_reported_is_what_acting_then_does():
    priors = AdaptivePriors(mode="observe")
    runs(priors, count=60, feedback="last", explore=False)
    saved = priors.report("t", "m").saved
    assert saved is not None
    acting = AdaptivePriors()
    for _ in range(60):
        acting.observe(CallObservation("t", "m", [float(score) for score in SCORES], max_iterations=6))
    calls = [len(calls) for calls, _, _ in runs(acting, count=5, feedback="last", explore=False)]
    late = 6 - sum(calls) / 5
    assert saved.calls_saved[0] <= late + 1e-9
    assert saved.calls_saved[0] == pytest.approx(late, abs=0.5)


def test_the_loops_own_minimum_of_calls_is_respected():
    priors = AdaptivePriors(mode="observe")
    runs(priors, feedback="last", min_iterations=6)
    saved = priors.report("t", "m").saved
    assert saved is not None
    assert saved.calls_saved[0] == 0.0


def test_runs_of_a_loop_that_is_not_ours_are_recorded_though_nobody_asked_for_a_policy():
    priors = AdaptivePriors(mode="observe")
    for _ in range(30):
        priors.observe(CallObservation("t", "m", [0.3] * 5))
    saved = priors.report("t", "m").saved
    assert saved is not None
    assert saved.runs + saved.unknown == 30


def test_off_does_neither():
    priors = AdaptivePriors()
    assert runs(priors, count=3, learning="off") == runs(None, count=3)
    assert priors.report("t", "m").total_calls == 0


def test_a_demanded_probability_of_improvement_ends_runs_of_a_loop_too():
    demanding = AdaptivePriors(continue_probability_threshold=0.999)
    [(calls, _, reason)] = runs(demanding, count=1)
    assert len(calls) == 1
    assert reason.condition == "bayesian_exit"
    assert "below the 0.999 asked for" in reason.message
