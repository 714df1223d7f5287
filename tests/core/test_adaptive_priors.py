import copy
import os
import pickle
import signal
import threading
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopllm.adaptive_priors import AdaptivePriors
from loopllm.engine import LoopedLLM
from loopllm.errors import MisuseError, StoreError
from loopllm.priors import CallObservation, RoundObservation
from loopllm.priors.evidence import Evidence
from loopllm.priors.keys import scope_keys
from loopllm.providers.mock import MockLLMProvider
from loopllm.stores.json_file import JsonFileStore
from loopllm.stores.memory import MemoryStore


def taught(runs, task="t", model="m", **settings):
    priors = AdaptivePriors(**settings)
    for scores in runs:
        priors.observe(CallObservation(task, model, scores))
    return priors


def ran(priors, scores, **settings):
    """Calls made on a run whose next scores would be `scores`."""
    policy = priors.policy("t", "m", **settings)
    for k in range(1, len(scores)):
        if policy.decide(scores[:k]).stop:
            return k
    return len(scores)


def test_a_budget_is_never_suggested_below_the_depth_at_which_success_was_seen():
    priors = taught([[0.30, 0.31, 0.85]] * 30)
    assert priors.suggest_config("t", "m").max_iterations >= 3
    assert priors.predict_optimal_depth("t", "m", cost_weight=1.0) >= 3


def test_a_gain_at_call_two_only_means_two_calls():
    assert taught([[0.2, 0.6, 0.6, 0.6]] * 200).predict_optimal_depth("t", "m") == 2
    assert taught([[0.2, 0.5, 0.75, 0.75]] * 200).predict_optimal_depth("t", "m") == 3


def test_the_users_threshold_is_never_moved():
    priors = AdaptivePriors()
    for _ in range(5):
        priors.observe(CallObservation("t", "m", [0.1, 0.2], quality_threshold=0.93))
    assert priors.suggest_config("t", "m").quality_threshold == 0.93


def test_runs_that_are_stuck_teach_to_stop():
    priors = taught([[0.7, 0.7, 0.7]] * 500)
    assert not priors.should_continue("t", "m", 3, 0.7, [0.7, 0.7, 0.7])
    assert priors.predict_optimal_depth("t", "m") == 1


def test_a_low_probability_of_improvement_can_end_a_run_by_itself():
    priors = taught([[0.0, 1.0]] * 4 + [[0.0, 0.0]] * 6)
    asked = ("t", "m", 1, 0.0, [0.0])
    assert priors.should_continue(*asked, call_cost=0.0)
    assert not priors.should_continue(*asked, call_cost=0.0, continue_probability_threshold=0.9)
    strict = taught([[0.0, 1.0]] * 4 + [[0.0, 0.0]] * 6, continue_probability_threshold=0.9)
    assert not strict.should_continue(*asked, call_cost=0.0)


def test_a_read_changes_nothing():
    store = MemoryStore()
    priors = taught([[0.3, 0.5], [0.0, 1.0]], store=store)
    before = {key: store.load(key) for key in sorted(store.keys())}
    priors.policy("t", "m", explore=True).decide([0.3])
    priors.policy("never", "seen").decide([0.3])
    priors.report("t", "m")
    priors.report("never", "seen")
    priors.report_all()
    priors.suggest_config("t", "m")
    priors.expected_improvement("t", "m", 2)
    assert {key: store.load(key) for key in sorted(store.keys())} == before
    assert [report.task_type for report in priors.report_all()] == ["t"]


TEXT = st.text(min_size=1, max_size=6)


@given(st.tuples(TEXT, TEXT), st.tuples(TEXT, TEXT))
def test_two_pairs_never_share_a_key(one, other):
    if one != other:
        assert scope_keys(*one)[0] != scope_keys(*other)[0]
    assert len(set(scope_keys(*one))) == 4


def test_what_was_learned_survives_the_process(tmp_path):
    path = tmp_path / "priors.json"
    with AdaptivePriors(store_path=path) as priors:
        for _ in range(12):
            priors.observe(CallObservation("t", "m", [0.0, 0.0, 0.0]))
        learned = priors.policy("t", "m").decide([0.0]).probability_of_improvement
    with AdaptivePriors(store_path=path) as again:
        assert again.report("t", "m").total_calls == 12
        assert again.policy("t", "m").decide([0.0]).probability_of_improvement == pytest.approx(learned)


def test_two_learners_on_one_store_learn_from_each_other(tmp_path):
    with JsonFileStore(tmp_path / "p.json") as a, JsonFileStore(tmp_path / "p.json") as b:
        one, two = AdaptivePriors(store=a), AdaptivePriors(store=b)
        before = two.policy("t", "m").decide([0.0]).probability_of_improvement
        for _ in range(10):
            one.observe(CallObservation("t", "m", [0.0, 1.0]))
        two.observe(CallObservation("t", "m", [0.0, 1.0]))
        assert two.report("t", "m").total_calls == 11
        assert two.policy("t", "m").decide([0.0]).probability_of_improvement > before


def test_threads_that_observe_at_once_lose_no_run():
    priors = AdaptivePriors()

    def work(name):
        for n in range(200):
            priors.observe(CallObservation("t", name, [0.1 * (n % 10), 0.5]))
            if n % 50 == 0:
                priors.policy("t", name).decide([0.3])

    threads = [threading.Thread(target=work, args=(f"m{i % 2}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [report.total_calls for report in priors.report_all()] == [600, 600]


def test_a_live_run_learned_round_by_round_is_worth_as_much_as_the_whole():
    whole, live = AdaptivePriors(), AdaptivePriors()
    for _ in range(5):
        scores = [0.2, 0.4, 0.9]
        run = CallObservation("t", "m", scores)
        whole.observe(run)
        for k in (1, 2, 3):
            live.observe_round(RoundObservation("t", "m", scores[:k]))
        live.observe_end(run)
    assert whole.report("t", "m") == live.report("t", "m")


def test_observing_changes_nothing_and_off_learns_nothing():
    stuck = [[0.7] * 6] * 40
    acting, watching, off = (taught(stuck, mode=mode) for mode in ("act", "observe", "off"))
    assert acting.policy("t", "m").decide([0.7, 0.7]).stop
    assert not watching.policy("t", "m").decide([0.7, 0.7]).stop
    assert watching.policy("t", "m").decide([0.7, 0.7]).advised is None
    assert watching.report("t", "m").total_calls == 40
    assert off.report("t", "m").total_calls == 0
    assert not off.policy("t", "m").decide([0.7, 0.7]).stop


def test_a_hopeless_pair_stops_early_and_a_late_solver_goes_on():
    hopeless = taught([[0.0] * 8] * 30)
    late = taught([[0.0, 0.0, 0.0, 1.0]] * 30)
    assert ran(hopeless, [0.0] * 8) <= 2
    assert ran(late, [0.0, 0.0, 0.0, 1.0]) == 4


def test_a_new_pair_starts_from_what_its_relatives_have_taught():
    priors = AdaptivePriors()
    for _ in range(40):
        priors.observe(CallObservation("t", "other", [0.0, 0.0, 1.0]))
        priors.observe(CallObservation("other", "m", [0.0, 0.0, 1.0]))
    cold = AdaptivePriors().policy("t", "m").decide([0.0, 0.0]).probability_of_improvement
    assert priors.policy("t", "m").decide([0.0, 0.0]).probability_of_improvement > cold + 0.2
    assert priors.report("t", "m").total_calls == 0


def test_a_change_of_the_model_is_noticed():
    priors = taught([[0.0, 1.0]] * 150)
    for _ in range(40):
        priors.observe(CallObservation("t", "m", [0.0, 0.0]))
    decision = priors.policy("t", "m").decide([0.0])
    assert decision.probability_of_improvement < 0.1
    assert decision.evidence == Evidence(own=40, outdated=150)
    assert "150 runs before that no longer count" in decision.message


def test_where_a_pair_changed_its_relatives_past_counts_no_longer_either():
    priors = taught([[0.0, 1.0]] * 100)
    for _ in range(100):
        priors.observe(CallObservation("t", "other", [0.0, 1.0]))
    for _ in range(30):
        priors.observe(CallObservation("t", "m", [0.0, 0.0]))
    assert priors.policy("t", "m").decide([0.0]).probability_of_improvement < 0.06


def test_a_report_tells_of_a_change_of_the_model():
    priors = taught([[0.0, 1.0]] * 150)
    assert "it changed" not in str(priors.report("t", "m"))
    for _ in range(40):
        priors.observe(CallObservation("t", "m", [0.0, 0.0]))
    report = priors.report("t", "m")
    assert (report.total_calls, report.outdated_calls) == (190, 150)
    assert report.confidence == pytest.approx(40 / 50)
    assert "it changed: the first 150 runs no longer count" in str(report)


def test_a_change_is_followed_however_many_runs_came_before():
    priors = taught([[0.0, 1.0]] * 1000)
    for _ in range(50):
        priors.policy("t", "m")
        priors.observe(CallObservation("t", "m", [0.0, 0.0]))
    assert priors.policy("t", "m").decide([0.0]).probability_of_improvement < 0.1


def test_the_way_of_asking_that_works_is_learned():
    priors = AdaptivePriors()
    for _ in range(20):
        priors.observe(CallObservation("t", "m", [0.2, 0.1], actions=["last"]))
        priors.observe(CallObservation("t", "m", [0.2, 0.9], actions=["fresh"]))
    decision = priors.policy("t", "m", ways=("last", "fresh")).decide([0.2])
    assert decision.move == "fresh"
    last = priors.policy("t", "m", ways=("last",)).decide([0.2])
    assert decision.probability_of_improvement > 1.5 * last.probability_of_improvement


def test_a_judge_that_errs_makes_a_lucky_score_worth_less():
    priors = AdaptivePriors()
    trusting = priors.policy("t", "m", objective="quality", judge_sd=0.0)
    wary = priors.policy("t", "m", objective="quality", judge_sd=0.08)
    state = ([0.5, 0.52, 0.47, 0.7],)
    best = 0.7
    assert trusting.worth(trusting.decide(*state)._state.cell, best) == best
    assert wary.worth(wary.decide(*state)._state.cell, best) < best - 0.02


def test_a_decision_explains_itself():
    decision = taught([[0.7, 0.7, 0.7]] * 50).policy("t", "m", call_cost=0.05).decide([0.7, 0.7])
    low, high = decision.interval
    assert low <= decision.expected_gain <= high
    assert 0.0 <= decision.reservation_score <= 0.8
    assert "stopped: another call is expected to gain" in decision.message
    assert "costs 0.05" in decision.message
    assert "50 runs" in decision.message


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"objective": "speed"}, "objective"),
        ({"quality_threshold": float("nan")}, "quality_threshold"),
        ({"call_cost": -0.1}, "call_cost"),
        ({"max_iterations": 0}, "max_iterations"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(settings, field):
    with pytest.raises(MisuseError, match=field):
        AdaptivePriors().policy("t", "m", **settings)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"scores": [0.2, float("nan")]}, r"scores\[1\]"),
        ({"scores": [1.2]}, r"scores\[0\]"),
        ({"scores": []}, "scores"),
        ({"scores": [0.3, None]}, "scores"),
        ({"scores": 0.3}, "scores"),
        ({"scores": [0.3, 0.4], "stated": [0.3]}, "stated"),
        ({"scores": [0.3], "stated": [1.3]}, r"stated\[0\]"),
        ({"scores": [0.3], "usages": [{"prompt_tokens": 3}]}, "usages"),
        ({"scores": [0.1], "actions": ["last"]}, "actions"),
        ({"scores": [0.1], "latencies_ms": [float("inf")]}, "latencies_ms"),
        ({"scores": [0.1], "quality_threshold": 2.0}, "quality_threshold"),
        ({"scores": [0.1, 0.2], "total_iterations": 1}, "total_iterations"),
        ({"scores": [0.1], "task_type": ""}, "task_type"),
    ],
)
def test_a_wrong_observation_is_refused_by_name(fields, name):
    with pytest.raises(MisuseError, match=name):
        CallObservation(**{"task_type": "t", "model_id": "m", **fields})


def test_a_report_tells_what_was_stated_where_something_else_is_learned():
    priors = AdaptivePriors()
    priors.observe(CallObservation("t", "m", [0.48, 0.9], stated=[0.9, 0.9]))
    report = priors.report("t", "m")
    assert report.first_call_quality == pytest.approx(0.9)
    assert [it.observed_score for it in report.iterations] == pytest.approx([0.9, 0.9])
    assert priors.predict_optimal_depth("t", "m") == 2


def test_what_another_process_learns_does_not_make_a_new_plan_for_every_run():
    store = MemoryStore()
    one, other = AdaptivePriors(store=store), AdaptivePriors(store=store)
    plans = {}
    for _ in range(100):
        policy = one.policy("t", "m", explore=True)
        plans[id(policy.plan)] = policy.plan  # kept, so that no address is used twice
        for priors in (one, other):
            priors.observe(CallObservation("t", "m", [0.3, 0.5]))
    assert len(plans) < 35


def test_the_depths_of_a_report_are_calls_that_runs_made_however_deep_they_went():
    priors = taught([[0.5] * 200] * 3)
    assert {it.runs for it in priors.report("t", "m").iterations} == {3}


@pytest.mark.parametrize("judge_sd", [None, 0.0, 0.08])
def test_a_perfect_draft_ends_a_run_whatever_the_judge(judge_sd):
    priors = taught([[0.6, 0.7, 0.8, 0.9]] * 40)
    for explore in (False, True):
        settings = {"quality_threshold": 0.95, "judge_sd": judge_sd, "explore": explore, "call_cost": 0.0}
        assert priors.policy("t", "m", **settings).decide([1.0]).stop


def test_a_report_reads_like_attributes_and_like_a_mapping():
    report = taught([[0.2, 0.9], [0.4, 0.5]]).report("t", "m")
    assert report["total_calls"] == report.total_calls == 2
    assert report["first_call_quality"] == pytest.approx(0.3)
    assert set(dict(report)) >= {
        "task_type",
        "model_id",
        "optimal_depth",
        "converge_rate",
        "confidence",
        "iterations",
    }
    assert [it.iteration for it in report.iterations] == [1, 2]


def cpu(work, times):
    best = float("inf")
    for _ in range(3):
        begin = time.process_time()
        for _ in range(times):
            work()
        best = min(best, (time.process_time() - begin) / times)
    return best


def test_a_decision_costs_no_more_than_a_few_dozen_dictionary_updates():
    priors = taught([[0.3, 0.5, 0.6, 0.7]] * 20)
    policy = priors.policy("t", "m")
    table = dict.fromkeys(range(100), 0)

    def unit():
        for key in range(100):
            table[key] += 1

    # 100 updates take some 5 microseconds where a decision may take 20.
    assert cpu(lambda: policy.decide([0.3, 0.5, 0.6]), 400) < 4 * cpu(unit, 400)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8), max_size=12))
def test_beliefs_are_distributions_whatever_was_seen(runs):
    policy = taught(runs).policy("t", "m", objective="quality")
    for cell in range(0, 560, 7):
        row = policy.outlooks["last"](cell)
        assert min(row) >= 0.0
        assert sum(row) == pytest.approx(1.0)


def test_observing_reports_what_acting_would_have_saved_and_what_is_unknown():
    priors = AdaptivePriors(mode="observe")
    for _ in range(60):
        priors.policy("t", "m")
        priors.observe(CallObservation("t", "m", [0.7] * 6))
    priors.policy("t", "m")
    priors.observe(CallObservation("t", "m", [0.1], total_iterations=1))
    saved = priors.report("t", "m").saved
    assert saved is not None
    assert saved.runs > 40
    mean, low, high = saved.calls_saved
    assert 1.0 < mean < 5.0
    assert low <= mean <= high
    assert saved.value_lost[0] == 0.0


def at_a_fork(lock, use):
    """What `use` gives in a child that was forked while another thread held the lock."""
    inside, may_go_on = threading.Event(), threading.Event()

    def hold():
        with lock:
            inside.set()
            may_go_on.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(30)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        answer = 255
        with suppress(Exception):  # a child must never go on with the tests
            answer = use()
        os._exit(answer)
    may_go_on.set()
    thread.join()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("kept", [False, True])
def test_a_child_forked_while_another_thread_learns_learns_and_is_steered(kept):
    store = MemoryStore() if kept else None
    priors = taught([[0.3, 0.9]] * 3, store=store)

    def use():
        priors.observe(CallObservation("t", "m", [0.3, 0.9]))
        assert priors.policy("t", "m").decide([0.3]).move == "last"
        return priors.report("t", "m").total_calls

    assert at_a_fork(priors._lock, use) == 4
    if store is not None:
        assert at_a_fork(store._alone(), use) == 4
    assert priors.report("t", "m").total_calls == 3


class FullStore(MemoryStore):
    """Takes nothing once it is full."""

    full = False

    def merge(self, deltas):
        if self.full:
            raise StoreError("no space left")
        super().merge(deltas)


def test_what_the_store_did_not_take_is_not_known_either():
    store = FullStore()
    priors = taught([[0.3, 0.9]], store=store)
    store.full = True
    for _ in range(2):
        with pytest.raises(StoreError, match="no space left"):
            priors.observe(CallObservation("t", "m", [0.3, 0.9]))
        assert priors.report("t", "m").total_calls == 1
    store.full = False
    priors.observe(CallObservation("t", "m", [0.3, 0.9]))
    assert (
        priors.report("t", "m").total_calls == AdaptivePriors(store=store).report("t", "m").total_calls == 2
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"store": "redis://user:secret@host"},
            "^[^@]*store must be a PriorStore[^@]*path as store_path[^@]*$",
        ),
        ({"store_path": MemoryStore()}, "must be a path or a URL.*pass a store as store="),
        ({"half_life": "long"}, "half_life must be"),
        ({"half_life": 0}, "half_life must be"),
        ({"continue_probability_threshold": "0.1"}, "continue_probability_threshold must be"),
    ],
)
def test_settings_of_another_kind_are_refused_when_the_priors_are_made(settings, message):
    with pytest.raises(MisuseError, match=message):
        AdaptivePriors(**settings)


@pytest.mark.parametrize("runs", [0, 30])
@pytest.mark.parametrize("seed", [None, 0.5, "a", float("nan")])
def test_a_seed_that_is_no_whole_number_is_refused_from_the_first_run_on(runs, seed):
    with pytest.raises(MisuseError, match="seed must be a whole number"):
        taught([[0.3, 0.4]] * runs).policy("t", "m", explore=True, seed=seed)


def test_whole_numbers_may_come_as_floats_as_tables_of_runs_have_them():
    priors = taught([[0.3, 0.4]] * 30)
    whole = priors.policy("t", "m", max_iterations=5, explore=True, seed=3)
    assert priors.policy("t", "m", max_iterations=5.0, explore=True, seed=3.0).plan is whole.plan
    watching, floats = AdaptivePriors(mode="observe"), {"max_iterations": 5.0, "total_iterations": 2.0}
    watching.observe(CallObservation("t", "m", [0.3, 0.4], **floats))  # type: ignore[arg-type]  # the point of the test
    assert watching.report("t", "m").model_calls == 2


def test_priors_in_a_pickle_are_refused_and_the_message_says_what_to_do():
    for held in (AdaptivePriors(), AdaptivePriors(store=MemoryStore())):
        with pytest.raises(MisuseError, match="open the same store in the other process"):
            pickle.dumps(held)
        with pytest.raises(MisuseError, match="open the same store"):
            pickle.dumps([LoopedLLM(MockLLMProvider(responses=["x"]), priors=held)])


def test_a_copied_loop_goes_on_learning_with_the_same_priors():
    priors = AdaptivePriors()
    loop = LoopedLLM(MockLLMProvider(responses=["x"]), priors=priors)
    for copied in (copy.copy(loop), copy.deepcopy(loop)):
        copied.refine("the task", lambda output: 0.9)
    assert copy.copy(priors) is priors
    assert priors.report("default", "mock").total_calls == 2


def test_a_decision_before_the_first_call_is_refused():
    with pytest.raises(MisuseError, match="scores is empty"):
        AdaptivePriors().policy("t", "m").decide([])
