import copy
import gc
import pickle
from dataclasses import asdict, replace

import pytest

from loopllm.adaptive_exit import BayesianExitCondition
from loopllm.adaptive_priors import AdaptivePriors
from loopllm.errors import MisuseError
from loopllm.priors import CallObservation
from loopllm.priors.policy import Decision
from loopllm.results import ExitReason


def condition(priors, **settings):
    return BayesianExitCondition(priors=priors, task_type="t", model_id="m", **settings)


def stuck(n=60):
    priors = AdaptivePriors()
    for _ in range(n):
        priors.observe(CallObservation("t", "m", [0.5, 0.5, 0.5]))
    return priors


def test_it_stops_a_run_that_is_not_expected_to_pay():
    reason = condition(stuck()).should_exit(2, 0.5, [0.5, 0.5])
    assert reason is not None
    assert reason.condition == "bayesian_exit"
    assert "expected to gain" in reason.message


def test_it_stops_when_the_threshold_is_reached_or_the_budget_is_used():
    fresh = condition(AdaptivePriors(), max_iterations=3)
    assert fresh.should_exit(1, 0.9, [0.9]) is not None
    assert fresh.should_exit(1, 0.3, [0.3]) is None
    assert fresh.should_exit(3, 0.5, [0.3, 0.4, 0.5]) is not None


def test_the_history_may_come_with_or_without_the_current_score():
    priors = stuck()
    assert condition(priors).should_exit(2, 0.5, [0.5]) == condition(priors).should_exit(2, 0.5, [0.5, 0.5])


def test_a_run_keeps_the_rule_that_it_began_with():
    priors = AdaptivePriors()
    exit_now = condition(priors, objective="quality", call_cost=0.02)
    assert exit_now.should_exit(1, 0.5, [0.5]) is None
    for _ in range(80):
        priors.observe(CallObservation("t", "m", [0.5, 0.5, 0.5]))
    before = exit_now.should_exit(2, 0.5, [0.5, 0.5])
    assert before is None or "; 0 runs" in before.message
    assert exit_now.should_exit(1, 0.5, [0.5]) is not None  # a new run begins


def test_a_condition_that_is_first_asked_after_several_calls_learns_from_run_to_run():
    priors = AdaptivePriors()
    late = condition(priors)
    late.should_exit(2, 0.5, [0.5, 0.5])
    for _ in range(60):
        priors.observe(CallObservation("t", "m", [0.5, 0.5, 0.5]))
    reason = late.should_exit(2, 0.5, [0.5, 0.5])
    assert reason is not None
    assert "60 runs" in reason.message


def test_exploration_differs_from_run_to_run_though_the_seed_is_the_same():
    def depths(explore):
        priors, found = AdaptivePriors(), []
        for _ in range(60):
            rule, scores = condition(priors, explore=explore, seed=3), [0.0]
            while len(scores) < 8 and rule.should_exit(len(scores), 0.0, scores) is None:
                scores.append(0.0)
            found.append(len(scores))
            priors.observe(CallObservation("t", "m", scores))
        return found

    with_it, without = depths(True), depths(False)
    assert depths(True) == with_it
    assert sum(with_it) > sum(without)
    assert len(set(with_it[20:])) > 1
    assert (
        sum(with_it[20:]) - sum(without[20:]) < 20
    )  # bounded: less than half a call per run on a hopeless pair


def test_a_minimal_probability_of_improvement_can_be_demanded():
    priors = AdaptivePriors()
    lenient, strict = (
        condition(priors, call_cost=0.0),
        condition(priors, call_cost=0.0, continue_probability_threshold=0.99),
    )
    assert lenient.should_exit(1, 0.2, [0.2]) is None
    reason = strict.should_exit(1, 0.2, [0.2])
    assert reason is not None
    assert "improves the score with a probability of" in reason.message
    assert "below the 0.99 asked for" in reason.message


def test_predicted_probabilities_of_improvement_are_calibrated_on_runs_like_the_learned_ones():
    """A slice of a generic process, seen in full: expected calibration error below 0.05."""
    priors = AdaptivePriors()
    runs = [[0.0] * (k - 1) + [1.0] for k in (1, 1, 1, 1, 1, 2, 2, 3, 4)] + [[0.0] * 6] * 5
    order = [(5 * i) % len(runs) for i in range(140)]
    for i in order:
        priors.observe(CallObservation("t", "m", runs[i]))
    policy = priors.policy("t", "m")
    bins = {}
    for run in runs:
        for k in range(1, len(run)):
            p = policy.decide(run[:k]).probability_of_improvement
            entry = bins.setdefault(int(10 * p), [0, 0.0, 0])
            entry[0] += 1
            entry[1] += p
            entry[2] += run[k] > max(run[:k])
    total = sum(n for n, _, _ in bins.values())
    assert sum(abs(p - hits) for _, p, hits in bins.values()) / total < 0.05


def stopped(condition: BayesianExitCondition) -> ExitReason:
    reason = condition.should_exit(1, 1.0, [1.0])
    assert reason is not None
    return reason


def test_a_reason_is_explained_when_it_is_read_and_then_lets_go_of_the_plan() -> None:
    condition = BayesianExitCondition(AdaptivePriors(), "t", "m")
    reason = stopped(condition)
    assert any(isinstance(held, Decision) for held in gc.get_referents(reason))
    assert reason.message.startswith("stopped: another call is expected to gain 0.000")
    assert not any(isinstance(held, Decision) for held in gc.get_referents(reason))


def test_a_reason_is_a_plain_one_wherever_it_goes() -> None:
    reason = stopped(BayesianExitCondition(AdaptivePriors(), "t", "m"))
    plain = ExitReason("bayesian_exit", reason.message)
    assert reason == plain
    assert plain == reason
    assert hash(reason) == hash(plain)
    assert repr(reason) == repr(plain)
    assert asdict(reason) == asdict(plain)
    for copied in (pickle.loads(pickle.dumps(reason)), copy.deepcopy(reason)):
        assert type(copied) is ExitReason
        assert copied == reason
    assert reason != ExitReason("bayesian_exit", "another")
    assert replace(reason, message="another") == ExitReason("bayesian_exit", "another")
    assert replace(reason, condition="mine") == ExitReason("mine", plain.message)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quality_threshold": 80}, "quality_threshold must be in"),
        ({"call_cost": "cheap"}, "call_cost must be"),
        ({"max_iterations": 0}, "max_iterations must be"),
        ({"objective": "speed"}, "objective must be one of"),
        ({"judge_sd": 2.0}, "judge_sd must be"),
        ({"explore": True, "seed": None}, "seed must be a whole number"),
    ],
)
def test_a_setting_out_of_its_range_is_refused_before_a_call_was_paid(settings, message):
    with pytest.raises(MisuseError, match=message):
        condition(AdaptivePriors(), **settings)
    with pytest.raises(MisuseError, match="task_type must be a non-empty string"):
        BayesianExitCondition(AdaptivePriors(), "", "m")
