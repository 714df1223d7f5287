"""Asking what was learned changes nothing, and what is suggested is safe."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loopllm.adaptive_priors import AdaptivePriors
from loopllm.errors import MisuseError
from loopllm.priors import CallObservation
from loopllm.priors.keys import scope_keys
from loopllm.stores.json_file import JsonFileStore

SCORE = st.one_of(st.sampled_from([0.0, 0.5, 0.8, 1.0]), st.floats(0.0, 1.0))
RUN = st.lists(SCORE, min_size=1, max_size=6)
TASK, MODEL = st.sampled_from(["t", "u"]), st.sampled_from(["m", "n"])

READS = {
    "should_continue": lambda p, t, m: p.should_continue(t, m, 1, 0.3, [0.3]),
    "expected_improvement": lambda p, t, m: p.expected_improvement(t, m, 2),
    "predict_optimal_depth": lambda p, t, m: p.predict_optimal_depth(t, m),
    "suggest_config": lambda p, t, m: p.suggest_config(t, m),
    "report": lambda p, t, m: p.report(t, m),
    "report_all": lambda p, *_: p.report_all(),
    "calibration": lambda p, t, m: p.calibration([CallObservation(t, m, [0.2, 0.9])]),
    "str": lambda p, t, m: str(p.report(t, m)),
}


def decisions(priors):
    """What runs would be told, number for number."""
    found = []
    for task, model in (("t", "m"), ("t", "n"), ("u", "m")):
        policy = priors.policy(task, model)  # what whoever reads is answered from, too
        for scores in ([0.3], [0.3, 0.3], [0.8, 0.5, 0.85]):
            decision = policy.decide(scores)
            found.append((decision.move, decision.expected_gain, decision.interval, decision.message))
    return found


@settings(deadline=None, max_examples=15)
@given(
    st.lists(st.tuples(TASK, MODEL, RUN), min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(0, 29), st.sampled_from(sorted(READS)), TASK, MODEL), max_size=6),
)
@example([("t", "m", [0.2, 0.9])] * 9 + [("t", "m", [0.2, 0.2])], [(8, "should_continue", "t", "m")])
@example([("t", "m", [0.2, 0.9])] * 9 + [("t", "m", [0.2, 0.2])], [(8, "report", "t", "m")])
def test_whoever_reads_between_runs_decides_later_as_if_nobody_had_read(runs, reads):
    quiet, asked = AdaptivePriors(), AdaptivePriors()
    for n, (task, model, scores) in enumerate(runs):
        for priors in (quiet, asked):
            priors.observe(CallObservation(task, model, scores))
        for at, name, *pair in reads:
            if at == n:
                READS[name](asked, *pair)
    assert decisions(quiet) == decisions(asked)


@pytest.mark.parametrize("name", READS)
def test_a_read_leaves_the_store_as_it_was(name, tmp_path):
    path = tmp_path / "priors.json"
    with AdaptivePriors(store_path=path) as priors:
        for scores in ([0.2, 0.9], [0.0, 0.0, 1.0], [0.5]):
            priors.observe(CallObservation("t", "m", scores))
    with JsonFileStore(path) as store:
        priors = AdaptivePriors(store=store)
        files = {file: file.read_bytes() for file in tmp_path.iterdir()}
        before = store.revision(), {key: store.load(key) for key in sorted(store.keys())}
        for pair in (("t", "m"), ("never", "seen")):
            READS[name](priors, *pair)
        assert before == (store.revision(), {key: store.load(key) for key in sorted(store.keys())})
        assert files == {file: file.read_bytes() for file in tmp_path.iterdir()}
        assert [(r.task_type, r.model_id) for r in priors.report_all()] == [("t", "m")]


def test_a_read_twice_gives_the_same_answer():
    priors = AdaptivePriors()
    for _ in range(12):
        priors.observe(CallObservation("t", "m", [0.2, 0.5, 0.9]))
    for read in READS.values():
        assert read(priors, "t", "m") == read(priors, "t", "m")


ANY_TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


@settings(max_examples=300)
@given(st.tuples(ANY_TEXT, ANY_TEXT), st.tuples(ANY_TEXT, ANY_TEXT))
def test_no_two_pairs_share_a_key(one, other):
    keys = scope_keys(*one)
    assert len(set(keys)) == 4
    if one != other:
        assert keys[0] != scope_keys(*other)[0]
    if one[0] != other[0]:
        assert keys[1] not in scope_keys(*other)
    if one[1] != other[1]:
        assert keys[2] not in scope_keys(*other)


@settings(deadline=None)
@given(ANY_TEXT, ANY_TEXT)
def test_what_a_pair_was_taught_is_reported_under_its_own_names(task, model):
    priors = AdaptivePriors()
    priors.observe(CallObservation(task, model, [0.5]))
    assert [(r.task_type, r.model_id) for r in priors.report_all()] == [(task, model)]
    assert priors.report(model + "x", task).total_calls == 0


@pytest.mark.parametrize("half", ["\ud83d", "a\ude00", "\ud83d\ude00"])
def test_half_a_character_is_refused_since_two_halves_would_share_a_key_with_the_whole(half):
    with pytest.raises(MisuseError, match="task_type"):
        CallObservation(half, "m", [0.5])
    with pytest.raises(MisuseError, match="model_id"):
        AdaptivePriors().policy("t", half)


LONG = st.lists(SCORE, min_size=1, max_size=90)


@settings(deadline=None)
@given(
    st.lists(st.tuples(LONG, st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=8),
    st.floats(0.0, 50.0),
)
def test_no_budget_is_suggested_below_a_depth_at_which_success_was_seen(runs, cost_weight):
    priors, deepest = AdaptivePriors(), 1
    for scores, threshold, by_its_word in runs:
        reached = [n for n, score in enumerate(scores, start=1) if score >= threshold]
        converged = True if by_its_word else None  # the evaluator may call a run good that no score shows
        priors.observe(CallObservation("t", "m", scores, converged=converged, quality_threshold=threshold))
        deepest = max(deepest, reached[0] if reached else len(scores) if by_its_word else 1)
    assert priors.suggest_config("t", "m").max_iterations >= deepest
    assert priors.predict_optimal_depth("t", "m", cost_weight) >= deepest


@given(st.floats(0.0, 1.0), st.lists(RUN, min_size=1, max_size=5))
def test_the_threshold_in_use_is_suggested_to_the_last_digit(threshold, runs):
    priors = AdaptivePriors()
    for scores in runs:
        priors.observe(CallObservation("t", "m", scores, quality_threshold=threshold))
    assert priors.suggest_config("t", "m").quality_threshold == threshold


@settings(deadline=None, max_examples=30)
@given(st.lists(RUN, max_size=6), RUN, st.floats(0.0, 1.0))
def test_going_on_is_never_advised_below_the_probability_that_was_demanded(runs, scores, least):
    priors = AdaptivePriors(continue_probability_threshold=least)
    for seen in runs:
        priors.observe(CallObservation("t", "m", seen))
    asked = ("t", "m", len(scores), scores[-1], scores)
    decision = AdaptivePriors.policy(priors, "t", "m", continue_probability_threshold=0.0).decide(scores)
    if priors.should_continue(*asked):
        assert decision.probability_of_improvement >= least
    elif priors.should_continue(*asked, continue_probability_threshold=0.0):
        assert decision.probability_of_improvement < least
    assert priors.policy("t", "m").decide(scores).stop == (not priors.should_continue(*asked))


@pytest.mark.parametrize("score", [float("nan"), -0.1, 1.1])
def test_what_is_no_score_is_refused_when_asking_too(score):
    with pytest.raises(MisuseError, match="scores"):
        AdaptivePriors().should_continue("t", "m", 1, score, [score])


def test_one_run_is_spoken_of_in_the_singular():
    priors = AdaptivePriors(mode="observe")
    priors.observe(CallObservation("t", "m", [0.85]))
    said = str(priors.report("t", "m")) + str(priors.suggest_config("t", "m"))
    said += str(priors.calibration([CallObservation("t", "m", [0.3, 0.9])]))
    assert "t with m: 1 run, " in said
    assert "worth up to 1 call\n" in said
    assert "as 1 of 1 run shows" in said
    assert "Suggested for t with m, from 1 run\n" in said
    assert "1 forecast, " in said


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred\x1b[0m", "long " * 100])
def test_a_report_with_an_odd_name_keeps_its_headline_on_one_line_and_sends_no_command_to_a_terminal(name):
    priors = AdaptivePriors()
    priors.observe(CallObservation(name, "m", [0.3, 0.9]))
    for table in (priors.report(name, "m"), priors.suggest_config(name, "m")):
        lines = str(table).splitlines()
        assert " with m" in lines[0]
        assert lines[1].split()[0] in {"call", "setting"}
        assert len(lines[0]) < 140
        assert "\x1b" not in str(table)


@pytest.mark.parametrize("call", [0, 1.5, float("nan"), "2", None])
def test_what_is_no_number_of_a_call_is_refused(call):
    priors = AdaptivePriors()
    with pytest.raises(MisuseError, match="at_iteration must be a whole number from 1 on"):
        priors.expected_improvement("t", "m", call)
    with pytest.raises(MisuseError, match="max_iterations must be a whole number from 1 on"):
        priors.should_continue("t", "m", 1, 0.3, [0.3], max_iterations=call)
    with pytest.raises(MisuseError, match="bins must be a whole number from 1 on"):
        priors.calibration([CallObservation("t", "m", [0.3, 0.9])], bins=call)


def test_the_name_of_the_first_call_is_no_way_of_asking_again():
    with pytest.raises(MisuseError, match="ways may not hold 'first'"):
        AdaptivePriors().policy("t", "m", ways=("first", "last"))


@pytest.mark.parametrize("scores", [[0.2] * 5, [0.4, 0.6, 0.85], [0.1, 0.5, 0.5]])
def test_a_report_tells_at_which_best_scores_a_run_goes_on_and_at_no_others_it_does(scores):
    priors = AdaptivePriors()
    for _ in range(40):
        priors.observe(CallObservation("t", "m", scores))
    policy = priors.policy("t", "m")
    first, *later = priors.report("t", "m").iterations
    for best in (0.085 + 0.03 * step for step in range(30)):
        assert policy.decide([best]).stop != (first.goes_on_within[0] < best < first.goes_on_within[1])
        low, high = later[0].goes_on_after_stall
        assert policy.decide([best, best - 0.05]).stop != (low < best < high)


def test_a_run_that_nothing_can_help_is_said_to_go_on_never():
    priors = AdaptivePriors()
    for _ in range(60):
        priors.observe(CallObservation("t", "m", [0.2] * 3, max_iterations=3))
    priors.policy("t", "m", call_cost=0.9, max_iterations=3)
    assert str(priors.report("t", "m")).splitlines()[2].split()[-2:] == ["never", "never"]
