import random

import pytest

from loopllm.adaptive_priors import AdaptivePriors
from loopllm.priors import CallObservation


def climbing(draw):
    """A run of five calls: some climb from the start on, some are stuck."""
    score = draw.choice([0.1, 0.3, 0.5])
    scores = [score]
    for _ in range(4):
        score += draw.choice([0.0, 0.0, 0.1, 0.2])
        scores.append(min(score, 1.0))
    return scores


def stopped_when_good(scores):
    for call, score in enumerate(scores, start=1):
        if score >= 0.5:
            return scores[:call]
    return scores


def mean_best(runs, call):
    return sum(max(scores[:call]) for scores in runs) / len(runs)


def reported(runs):
    priors = AdaptivePriors()
    for scores in runs:
        priors.observe(CallObservation("t", "m", scores))
    return priors.report("t", "m").iterations


def test_the_expected_score_is_that_of_all_runs_though_the_good_ones_stopped():
    draw = random.Random(5)
    whole = [climbing(draw) for _ in range(400)]
    depths = reported(map(stopped_when_good, whole))
    assert [it.iteration for it in depths] == [1, 2, 3, 4, 5]
    # Of what runs that were good at once would have done, only what others did from near there is known.
    for it in depths:
        truth = mean_best(whole, it.iteration)
        assert it.expected_score == pytest.approx(truth, abs=0.06)
    last = depths[-1]
    assert last.observed_score < mean_best(whole, 5) - 0.15  # the mean of those that got there is far off
    assert last.runs < 200


def test_without_stopping_both_means_agree():
    draw = random.Random(6)
    whole = [climbing(draw) for _ in range(300)]
    for it in reported(whole):
        assert it.observed_score == pytest.approx(mean_best(whole, it.iteration))
        assert it.expected_score == pytest.approx(it.observed_score, abs=0.03)


def test_the_first_call_is_given_back_exactly():
    for first in (0.0, 0.07, 0.85, 1.0):
        assert reported([[first, first]] * 20)[0].expected_score == pytest.approx(first, abs=1e-6)


def test_the_range_holds_four_runs_in_five():
    draw = random.Random(7)
    whole = [climbing(draw) for _ in range(300)]
    for it in reported(whole):
        low, high = it.score_range
        inside = sum(low - 0.05 <= max(scores[: it.iteration]) <= high + 0.05 for scores in whole)
        assert inside / len(whole) >= 0.75


def test_the_expected_score_never_falls_with_more_calls():
    draw = random.Random(8)
    means = [it.expected_score for it in reported([climbing(draw) for _ in range(20)])]
    assert means == sorted(means)


def test_a_verifier_that_says_yes_or_no_stays_in_its_two_scores():
    depths = reported([[0.0, 1.0]] * 10 + [[0.0, 0.0]] * 10)
    assert depths[0].score_range == (0.0, 0.0)
    assert depths[1].score_range == (0.0, 1.0)
