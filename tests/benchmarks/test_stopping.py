"""The quick form of the comparison: the marks are right, and the learned exit keeps its share of the gap."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.stopping import QUICK_UTILITIES, arguments, planned, quick, run_all
from benchmarks.stopping_lab import baselines, summary
from benchmarks.stopping_lab.calibration import calibration_error, tallied
from benchmarks.stopping_lab.dp_star import Regression, boosting, dp_star, induct, linear, stops_of, table
from benchmarks.stopping_lab.environments import FAMILIES
from benchmarks.stopping_lab.picture import draw
from benchmarks.stopping_lab.real_runs import record
from benchmarks.stopping_lab.table import report
from benchmarks.stopping_lab.trajectories import UTILITIES, Runs, Utility, earned, simulated
from benchmarks.stopping_lab.trial import Settings, simulate

Cells = list[dict[str, Any]]

SMALL = Settings(seed=3, test=600, fit=6000, trees=0)
PASS = Utility("threshold", 0.05)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Cells:
    """The quick comparison, run once."""
    return quick(cache=tmp_path_factory.mktemp("marks"))


def pooled_share(cells: Cells, policy: str) -> float:
    return summary.share(summary.rows_of(cells, policy))


def test_after_ten_runs_most_of_the_gap_to_the_best_rule_is_closed(cells: Cells) -> None:
    assert pooled_share(cells, "ours @10") > 0.45


def test_after_thirty_runs_more_of_it_is(cells: Cells) -> None:
    assert pooled_share(cells, "ours @30") > 0.55


def test_without_a_single_run_it_is_no_worse_than_the_best_fixed_number_of_calls(cells: Cells) -> None:
    assert pooled_share(cells, "ours @0") > 0.0


def test_it_beats_the_threshold_rule_and_the_plateau_rule(cells: Cells) -> None:
    assert pooled_share(cells, "ours @30") > pooled_share(cells, "threshold")
    assert pooled_share(cells, "ours @30") > pooled_share(cells, "threshold + plateau")


def test_the_same_seed_gives_the_same_figures(tmp_path: Path) -> None:
    options = [
        "--quick",
        "--env",
        "mixture",
        "--utility",
        "pass.05",
        "--runs",
        "0",
        "10",
        "--cache",
        str(tmp_path),
    ]
    first, second = (run_all(*planned(arguments(options))) for _ in range(2))
    assert json.dumps(first) == json.dumps(second)


@pytest.mark.parametrize("family", [*FAMILIES, "drift"])
def test_no_fixed_or_reactive_rule_beats_dp_star_and_nothing_beats_the_clairvoyant(family: str) -> None:
    pair = simulate(family, 0, SMALL).pairs[0]
    fit, judge, test = pair.fits[0].take(slice(4000)), pair.fits[0].take(slice(4000, None)), pair.tests[0]
    chosen = dp_star(fit, judge, UTILITIES, [test], trees=0, seed=0)
    tuned = baselines.best_reactive([test], UTILITIES)
    for utility, (stops,), rule in zip(UTILITIES, chosen, tuned, strict=True):
        payoff = test.payoff(utility)
        best = earned(payoff, stops).mean()
        noise = 3 * payoff.std() / np.sqrt(len(test)) / 4
        assert best >= payoff.mean(axis=0).max() - noise
        assert best >= earned(payoff, baselines.reactive(test, *rule)).mean() - noise
        assert earned(payoff, baselines.clairvoyant(test, utility)).mean() >= best


def test_dp_star_finds_the_exact_optimum_of_a_known_process() -> None:
    # Success probability 0.6 (half of the tasks) or 0.05: after k failures the posterior mean falls, so the exact
    # rule is found by induction over the number of failures.
    easy, hard, horizon, cost = 0.6, 0.05, 6, 0.12
    weight = (
        np.array([(1 - easy) ** k for k in range(horizon)]),
        np.array([(1 - hard) ** k for k in range(horizon)]),
    )
    chance = (weight[0] * easy + weight[1] * hard) / (weight[0] + weight[1])
    ahead = 0.0
    for k in range(horizon - 1, 0, -1):
        ahead = max(0.0, chance[k] - cost + (1 - chance[k]) * ahead)
    exact = chance[0] - cost + (1 - chance[0]) * ahead

    def runs_of(seed: int, n: int) -> Runs:
        rng = np.random.default_rng(seed)
        odds = np.where(rng.random(n) < 0.5, easy, hard)
        return simulated((rng.random((n, horizon)) < odds[:, None]).astype(float))

    utility, test = Utility("threshold", cost), runs_of(2, 60_000)
    ((stops,),) = dp_star(runs_of(0, 12_000), runs_of(1, 6_000), [utility], [test], trees=0, seed=0)
    assert earned(test.payoff(utility), stops).mean() == pytest.approx(exact, abs=0.006)


@pytest.mark.parametrize(
    ("regress", "tolerance"),
    [(linear, 0.002), (partial(table, bands=25), 0.005), (boosting(np.random.default_rng(0), 15), 0.002)],
    ids=["linear", "table", "boosted"],
)
def test_each_regression_finds_the_reservation_score_of_independent_uniform_drafts(
    regress: Regression, tolerance: float
) -> None:
    # With recall and s ~ U(0, 1), stop once the expected gain (1 - best)^2 / 2 of a call is below its cost.
    utility = Utility("quality", 0.06)
    reservation = 1 - np.sqrt(2 * utility.cost)
    fit, test = (simulated(np.random.default_rng(seed).random((8_000, 6))) for seed in (0, 1))
    (stops,) = stops_of(induct(fit, [utility], regress), test, 1)
    exact = baselines.reactive(test, reservation, patience=9)
    payoff = test.payoff(utility)
    assert earned(payoff, stops).mean() == pytest.approx(earned(payoff, exact).mean(), abs=tolerance)


def test_a_lucky_score_of_a_noisy_judge_earns_what_the_draft_is_worth() -> None:
    runs = simulated(np.array([[0.5, 0.95, 0.9]]), np.array([[0.5, 0.6, 0.9]]))
    assert runs.value("quality").tolist() == [[0.5, 0.6, 0.6]]
    assert runs.value("threshold").tolist() == [[0.0, 0.0, 0.0]]


def test_nothing_is_paid_or_gained_after_a_run_has_ended_by_itself() -> None:
    runs = Runs(np.array([[0.1, 0.2, 0.2]]), np.array([[0.1, 0.2, 0.2]]), np.array([2]))
    assert runs.payoff(Utility("quality", 0.03)).round(3).tolist() == [[0.07, 0.14, 0.14]]
    assert baselines.fixed(runs, 3).tolist() == [2]


def test_the_clairvoyant_never_loses_to_a_fixed_number_of_calls() -> None:
    runs = simulate("regress", 1, SMALL).pairs[0].tests[0]
    best = earned(runs.payoff(PASS), baselines.clairvoyant(runs, PASS))
    assert (best[:, None] >= runs.payoff(PASS) - 1e-12).all()


def recorded(folder: Path) -> Path:
    path = folder / "made_up.jsonl"
    rng = np.random.default_rng(0)
    rows = []
    for i in range(120):
        calls = int(rng.integers(1, 5))
        scores = [0.0] * (calls - 1) + [float(rng.random() < 0.7)]
        rows.append(
            {"source": "made up", "task_type": "t", "model": "m", "mode": "x", "item": f"item{i}#{i % 2}",
             "scores": scores, "max_turns": 4, "kind": "refinement"}
        )  # fmt: skip
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_recorded_runs_are_split_by_item_and_read_back_as_they_were(tmp_path: Path) -> None:
    trial = record(recorded(tmp_path), 0, SMALL)
    (pair,) = trial.pairs
    assert trial.real
    assert trial.newcomer is None
    assert len(pair.tests[0]) == 60
    assert set(np.unique(pair.train.observed)) <= {0.0, 1.0}
    assert pair.train.horizon == 4


def test_recorded_runs_go_through_the_whole_comparison(tmp_path: Path) -> None:
    recorded(tmp_path)
    options = [
        "--quick",
        "--env",
        "--data",
        str(tmp_path),
        "--runs",
        "0",
        "10",
        "--cache",
        str(tmp_path / "c"),
    ]
    cells = run_all(*planned(arguments(options)))
    assert {c["env"] for c in cells} == {"r_made_up"}
    assert {c["utility"] for c in cells} == set(QUICK_UTILITIES)
    for c in cells:
        assert c["policies"]["DP*"]["u"] <= c["policies"]["clairvoyant"]["u"] + 1e-12


def test_table_and_picture_are_made_from_the_cells(cells: Cells, tmp_path: Path) -> None:
    text = report(cells)
    draw(cells, tmp_path / "stopping.svg")
    assert "| ours @30 |" in text
    assert (tmp_path / "stopping.svg").stat().st_size > 10_000


def test_a_forecast_that_is_always_right_on_average_has_no_calibration_error() -> None:
    assert calibration_error(tallied([(0.25, 1), (0.25, 0), (0.25, 0), (0.25, 0)])) == pytest.approx(0.0)
    assert calibration_error(tallied([(0.9, 0)] * 10)) == pytest.approx(0.9)
