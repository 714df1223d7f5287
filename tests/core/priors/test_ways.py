"""The next move: which way of asking again is chosen, what is learned of each, and what is said of it."""

from collections import Counter
from itertools import product
from math import exp, log
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopllm import AdaptivePriors, CallObservation, LoopConfig, LoopedLLM
from loopllm.priors.counts import TransitionCounts
from loopllm.priors.exploration import HOPE, hopes
from loopllm.priors.learning import events_of, learn_run
from loopllm.priors.run_state import cell_of
from loopllm.priors.statistics import Statistics
from loopllm.priors.ways import Leaning, before_trial, lean, with_twin

TERMS: dict[str, Any] = {
    "objective": "threshold",
    "quality_threshold": 0.8,
    "call_cost": 0.05,
    "max_iterations": 5,
}


def learn_online(priors, success, runs, ways=None, task="t", model="m", seed=0):
    """Runs whose calls pass with a probability by way; how the last half of them asked again."""
    chance, asked = Random(seed), []
    for run in range(runs):
        policy = priors.policy(task, model, ways=ways or tuple(success), explore=True, seed=seed, **TERMS)
        scores, actions = [float(chance.random() < 0.2)], []
        while scores[-1] < 1.0 and (way := policy.decide(scores, actions).move) is not None:
            scores.append(float(chance.random() < success[way]))
            actions.append(way)
        if run >= runs // 2:
            asked += actions
        priors.observe(
            CallObservation(task_type=task, model_id=model, scores=scores, actions=actions, max_iterations=5)
        )
    return Counter(asked)


@pytest.mark.parametrize("better", ["last", "fresh"])
def test_within_forty_runs_the_better_of_two_ways_is_the_usual_one(better):
    success = {"last": 0.1, "fresh": 0.1} | {better: 0.5}
    asked = learn_online(AdaptivePriors(), success, 40)
    assert asked[better] > 0.8 * asked.total()


def test_what_is_learned_of_a_way_on_one_task_is_believed_on_the_next_of_that_model():
    priors = AdaptivePriors()
    learn_online(priors, {"last": 0.05, "fresh": 0.6}, 40, task="old")
    assert priors.policy("new", "m", ways=("last", "fresh"), **TERMS).decide([0.0]).move == "fresh"


@pytest.fixture(scope="module")
def taught():
    """Priors to which asking afresh is far the best."""
    priors = AdaptivePriors()
    learn_online(priors, {"last": 0.05, "deficiencies": 0.05, "fresh": 0.9}, 30)
    return priors


@pytest.mark.parametrize("explore", [False, True])
def test_a_way_that_was_not_allowed_is_never_asked_in_however_good_it_was(taught, explore):
    policy = taught.policy("t", "m", ways=("last", "deficiencies"), explore=explore, **TERMS)
    for calls in range(1, 6):
        for scores in product([0.0, 0.5, 0.79], repeat=calls):
            assert policy.decide(scores).move in {None, "last", "deficiencies"}


def test_a_builder_of_the_callers_own_is_learned_under_its_name_and_chosen_when_it_is_best():
    def socratic(request):
        return f"{request.task} Why?"

    def model(prompt):
        return "because" if "Why?" in prompt else "so"

    priors = AdaptivePriors()
    loop = LoopedLLM(model, LoopConfig(feedback_ways={"socratic": socratic}), priors=priors)
    results = [
        loop.refine("Tides.", lambda out: 1.0 if out == "because" else 0.2, model="m") for _ in range(30)
    ]
    assert [[r.action for r in result.iterations] for result in results[-5:]] == [["first", "socratic"]] * 5
    assert any(way == "socratic" for _, way in priors._pair("default", "m").layers)


@pytest.mark.parametrize(
    ("ways", "first"),
    [
        (("last", "best", "deficiencies", "fresh"), "deficiencies"),
        (("fresh", "last", "best", "deficiencies"), "fresh"),
        (("last", "socratic"), "socratic"),
    ],
)
def test_before_anything_was_tried_it_asks_as_the_caller_put_first_or_as_a_small_model_did_best(ways, first):
    assert AdaptivePriors().policy("t", "m", ways=ways, **TERMS).decide([0.4]).move == first


@given(st.lists(st.floats(0, 500), min_size=2, max_size=5))
def test_what_is_believed_of_the_ways_beforehand_is_1_on_the_average_of_the_calls(calls):
    tried = dict(zip(["last", "best", "deficiencies", "fresh", "socratic"], calls, strict=False))
    factors = {way: row[-1] for way, row in before_trial(tried).items() if row is not None}
    total = sum((tried[way] + 1) * log(factor) for way, factor in factors.items())
    assert total == pytest.approx(0.0, abs=1e-6)


def test_statistics_are_kept_per_way_and_add_up():
    runs = [
        CallObservation(task_type="t", model_id="m", scores=[0.1, 0.4, 0.3], actions=["last", "fresh"]),
        CallObservation(task_type="t", model_id="m", scores=[0.1, 0.1], actions=["fresh"]),
    ]
    apart, together = [Statistics(), Statistics()], Statistics()
    for target, run in zip(apart, runs, strict=True):
        learn_run(target, 1, events_of(run.scores, run.actions), run)
        learn_run(together, 1, events_of(run.scores, run.actions), run)
    apart[0].merge(apart[1])
    assert apart[0] == together
    sizes = {way: sum(map(sum, counts.cells.values())) for (_, way), counts in together.layers.items()}
    assert sizes == {"last": 1.0, "fresh": 2.0}


def test_the_explanation_says_how_the_model_would_be_asked(taught):
    decision = taught.policy("t", "m", ways=("last", "fresh"), **TERMS).decide([0.0])
    assert decision.move == "fresh"
    assert "another call, asked for with 'fresh', is expected" in decision.message
    alone = taught.policy("t", "m", ways=("last",), **TERMS).decide([0.0])
    assert "another call is expected" in alone.message


def test_a_reason_to_stop_speaks_of_the_best_way_and_not_of_the_first():
    priors = AdaptivePriors()
    learn_online(priors, {"last": 0.0, "fresh": 0.4}, 30)
    decision = priors.policy("t", "m", ways=("last", "fresh"), **TERMS | {"call_cost": 0.9}).decide([0.0])
    assert decision.stop
    assert decision.way == "fresh"


@given(st.dictionaries(st.sampled_from("abcd"), st.floats(0, 1e4), min_size=1))
def test_the_best_known_way_gets_no_hope_the_others_a_bounded_one_and_the_less_known_the_more(tried):
    found = hopes(tried)
    assert min(found.values()) == pytest.approx(1.0)
    assert max(found.values()) <= exp(HOPE) + 1e-9
    by_doubt = sorted(tried, key=tried.__getitem__, reverse=True)
    assert [found[way] for way in by_doubt] == sorted(found.values())


def test_without_exploration_the_plan_is_made_on_the_beliefs_alone():
    priors = AdaptivePriors()
    learn_online(priors, {"last": 0.05}, 20)
    chosen = {
        explore: priors.policy("t", "m", ways=("last", "fresh"), explore=explore, **TERMS).decide([0.0]).move
        for explore in (False, True)
    }
    assert chosen == {False: None, True: "fresh"}


def test_a_way_that_failed_on_every_task_of_a_model_is_expected_to_fail_after_any_call():
    flat = [1 / 12] * 12
    first, stalled = cell_of(0, 0.4, 1), cell_of(6, 0.4, 2)
    counts = TransitionCounts()
    counts.add(first, 0, 40.0)
    look = Leaning(lambda _: flat, lean(counts, lambda _: flat))
    assert sum(look(stalled)[3:]) < 0.5 * sum(flat[3:])
    assert sum(look(stalled)) == pytest.approx(1.0)


def test_a_call_that_shows_the_best_draft_teaches_both_ways_that_would_have_sent_it():
    seen = {"last": TransitionCounts(), "best": TransitionCounts()}
    first, stalled = cell_of(0, 0.4, 1), cell_of(6, 0.4, 2)
    seen["best"].add(first, 0)
    seen["best"].add(stalled, 0)
    assert with_twin(seen.__getitem__, "last").cells.keys() == {first}
    assert with_twin(seen.__getitem__, "best").cells.keys() == {first, stalled}
