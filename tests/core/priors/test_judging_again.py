"""Judging again: worth it near a decision and for a judge that errs, never for one that does not, and bounded."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopllm.adaptive_priors import AdaptivePriors
from loopllm.priors.judging_again import LEAST_GAIN, MOST_JUDGEMENTS, Belief, JudgingRule
from loopllm.priors.objective import Goal
from loopllm.priors.policy import Policy

PRIORS = AdaptivePriors()
JUDGEMENTS = st.lists(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=3), min_size=1, max_size=5)


def policy(objective: Goal = "threshold", judge_sd: float | None = 0.1, call_cost: float = 0.05) -> Policy:
    return PRIORS.policy(
        "essay", "m", objective=objective, judge_sd=judge_sd, call_cost=call_cost, max_iterations=5
    )


def rule(cost: float = 0.0, spread: float | None = 0.1) -> JudgingRule:
    return JudgingRule(spread, cost, 0.8)


@given(JUDGEMENTS, st.sampled_from(["threshold", "quality"]))
@settings(deadline=None)
def test_a_judge_that_does_not_err_is_never_asked_twice(
    judgements: Sequence[Sequence[float]], objective: Goal
) -> None:
    exact = policy(objective, judge_sd=0.0)
    assert not rule(spread=0.0).judges_again(exact, judgements)
    assert rule(spread=0.0).gain(exact, judgements) == rule(spread=0.1).gain(exact, judgements) == 0.0


@given(JUDGEMENTS, st.sampled_from(["threshold", "quality"]))
@settings(deadline=None)
def test_no_draft_is_judged_more_often_than_the_bound(
    judgements: Sequence[Sequence[float]], objective: Goal
) -> None:
    free, now = rule(), [list(scores) for scores in judgements]
    for _ in range(len(now) * MOST_JUDGEMENTS + 1):
        if not free.judges_again(policy(objective), now):
            break
        now[free.leader(policy(objective), now)].append(0.6)
    assert not free.judges_again(policy(objective), now)
    assert max(map(len, now)) <= MOST_JUDGEMENTS


def test_free_judgements_by_a_wild_judge_are_taken_near_the_threshold_and_not_far_above() -> None:
    for judge_sd in (0.06, 0.1, 0.2):
        assert rule(spread=judge_sd).judges_again(policy(judge_sd=judge_sd), [[0.82]])
    assert not rule(spread=0.06).judges_again(policy(judge_sd=0.06), [[1.0]])


def test_a_judgement_that_costs_more_than_it_tells_is_not_made() -> None:
    gain = rule().gain(policy(), [[0.82]])
    assert gain > LEAST_GAIN
    assert rule(cost=gain * 0.99).judges_again(policy(), [[0.82]])
    assert not rule(cost=gain * 1.01).judges_again(policy(), [[0.82]])


def test_on_the_last_call_a_judgement_pays_only_where_it_may_change_which_draft_is_returned() -> None:
    alone = [[0.2], [0.2], [0.2], [0.2], [0.75]]
    rivals = [[0.2], [0.2], [0.2], [0.74], [0.75]]
    value = policy("quality", 0.15)
    assert rule(spread=0.15).gain(value, rivals) > rule(spread=0.15).gain(value, alone) > -LEAST_GAIN


def test_a_draft_whose_second_judgement_disappoints_gives_way_to_the_runner_up() -> None:
    lead = rule().leader
    assert lead(policy("quality"), [[0.7], [0.78]]) == 1
    assert lead(policy("quality"), [[0.7], [0.78, 0.4]]) == 0
    # A mean of two flatters less than a single score: 0.77 judged twice stands above 0.775 judged once.
    assert lead(policy("quality"), [[0.775], [0.77, 0.77]]) == 1


@given(st.floats(0.0, 1.0), st.floats(0.02, 0.2), st.floats(0.02, 0.2))
def test_the_next_judgement_is_not_expected_to_change_the_belief(b: float, sd: float, spread: float) -> None:
    belief = Belief(b, sd)
    width = (sd**2 + spread**2) ** 0.5
    up, down = (belief.after([b + step * width], spread) for step in (1.0, -1.0))
    assert (up.mean + down.mean) / 2 == pytest.approx(b)
    assert up.sd < sd
    # The law of total variance: what is left and how far the mean moves add up to what was there.
    assert up.sd**2 + (up.mean - b) ** 2 == pytest.approx(sd**2)


def test_while_the_spread_is_unknown_one_draft_a_run_is_judged_twice_to_learn_it() -> None:
    learning = rule(spread=None)
    unknown = policy(judge_sd=None)
    assert learning.judges_again(unknown, [[0.3]])
    assert not learning.judges_again(unknown, [[0.3, 0.4], [0.6]])


def test_without_repeats_the_plan_is_looked_up_by_the_scores_themselves() -> None:
    assert rule().standings(policy(), [[0.3], [0.62]]) == [0.3, 0.62]
