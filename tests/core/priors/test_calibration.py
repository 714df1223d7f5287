import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopllm.adaptive_priors import AdaptivePriors
from loopllm.errors import MisuseError
from loopllm.priors import CallObservation
from loopllm.priors.calibration import forecasts_of, reliability

RECORDED = Path(__file__).parents[3] / "benchmarks" / "recorded" / "sentences.jsonl"

FORECASTS = st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), max_size=60)


def recorded():
    """Runs of the embedded model, none of them stopped early."""
    rows = [json.loads(line) for line in RECORDED.read_text(encoding="utf-8").splitlines()]
    return [
        CallObservation(row["task_type"], row["model"], row["scores"], actions=row["actions"]) for row in rows
    ]


@given(FORECASTS)
def test_the_error_is_between_0_and_1_and_the_bins_hold_every_forecast(forecasts):
    table = reliability(forecasts)
    assert 0.0 <= table.error <= 1.0
    assert sum(b.count for b in table.bins) == table.count == len(forecasts)
    assert all(b.low <= b.forecast <= b.high + 1e-12 for b in table.bins)
    assert all(b.interval[0] <= b.interval[1] for b in table.bins)


def test_forecasts_that_come_true_as_often_as_they_say_have_no_error():
    right = [(0.25, n % 4 == 0) for n in range(40)] + [(0.75, n % 4 != 0) for n in range(40)]
    assert reliability(right).error == pytest.approx(0.0)
    assert reliability([(0.9, False)] * 10).error == pytest.approx(0.9)


def test_what_chance_would_show_is_what_a_perfect_forecaster_shows():
    draw, errors, expected = random.Random(1), [], []
    for _ in range(60):
        chances = [draw.random() for _ in range(200)]
        table = reliability([(p, draw.random() < p) for p in chances])
        errors.append(table.error)
        expected.append(table.chance_error)
    assert sum(errors) / 60 == pytest.approx(sum(expected) / 60, rel=0.15)


def test_no_forecasts_are_an_empty_table():
    assert str(reliability([])).startswith("0 forecasts")


@pytest.mark.parametrize(("forecasts", "bins"), [([(1.2, True)], 10), ([(float("nan"), True)], 10), ([], 0)])
def test_what_is_no_probability_is_refused(forecasts, bins):
    with pytest.raises(MisuseError):
        reliability(forecasts, bins)


def test_a_run_is_forecast_call_by_call_until_it_is_perfect():
    policy = AdaptivePriors().policy("t", "m")
    forecasts = list(forecasts_of(policy, [0.2, 0.2, 1.0, 1.0]))
    assert [happened for _, happened in forecasts] == [False, True]
    assert forecasts[0][0] == pytest.approx(policy.decide([0.2]).probability_of_improvement)


def test_each_way_of_asking_is_forecast_by_what_it_has_done():
    priors = AdaptivePriors()
    for _ in range(30):
        priors.observe(CallObservation("t", "m", [0.2, 0.1], actions=["last"]))
        priors.observe(CallObservation("t", "m", [0.2, 0.9], actions=["fresh"]))
    policy = priors.policy("t", "m", ways=("last", "fresh"))
    [(last, _)] = forecasts_of(policy, [0.2, 0.9], ["last"])
    [(fresh, _)] = forecasts_of(policy, [0.2, 0.9], ["fresh"])
    assert fresh > last + 0.4


def test_on_recorded_runs_of_a_real_model_each_call_is_forecast_before_it_is_learned():
    table = AdaptivePriors().calibration(recorded())
    assert table.count > 200
    assert table.error < 0.05 + table.chance_error
    assert table.brier < table.base_rate * (1.0 - table.base_rate) + 0.01  # as good as knowing the base rate


def test_on_recorded_runs_of_items_that_were_not_learned():
    runs = recorded()
    priors = AdaptivePriors()
    for run in runs[::4] + runs[1::4]:  # both task types of every other topic
        priors.observe(run)
    held_out = priors.calibration(runs[2::4] + runs[3::4], learn=False)
    assert held_out.error < 0.05 + held_out.chance_error


def test_measuring_changes_nothing_that_was_learned():
    priors = AdaptivePriors()
    for _ in range(10):
        priors.observe(CallObservation("t", "m", [0.2, 0.5]))
    before = priors.policy("t", "m").decide([0.2]).message, priors.report("t", "m")
    priors.calibration([CallObservation("t", "m", [0.2, 0.9])] * 50)
    assert before == (priors.policy("t", "m").decide([0.2]).message, priors.report("t", "m"))


def test_what_was_learned_before_is_known_to_the_forecasts():
    stuck = [CallObservation("t", "m", [0.5, 0.5])] * 40
    taught = AdaptivePriors()
    for run in stuck:
        taught.observe(run)
    known, unknown = taught.calibration(stuck, learn=False), AdaptivePriors().calibration(stuck, learn=False)
    assert known.error < unknown.error / 3


@pytest.mark.parametrize("bins", [3, 10, 20, 40])
def test_the_borders_of_narrow_bins_are_told_apart(bins):
    rows = reliability([((at + 0.5) / bins, True) for at in range(bins)], bins)._rows()
    lows, highs = zip(*(str(row[0]).split(" to ") for row in rows), strict=True)
    assert lows[1:] == highs[:-1]
    assert len({*lows, *highs}) == bins + 1
