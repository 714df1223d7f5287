"""How the shipped prior is made: simulators, counts, encoding. The full fit is `benchmarks.cold_start.fit --check`."""

import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks.cold_start import fit
from benchmarks.cold_start.families import CALLS, FAMILIES, judged
from benchmarks.cold_start.tables import WIDTH, counted, featurise, smoothed
from hypothesis import given
from hypothesis import strategies as st

from loopllm.priors.coded_rows import LEAST, decode_row
from loopllm.priors.cold_start import read_archetypes
from loopllm.priors.run_state import CELLS, GAIN_EDGES, cell_of, state_of, transitions

RUNS = 25
SMALL = {"environments": 240, "runs": 8, "seed": 3, "rounds": 3}
SEEDS = range(40)
"""Enough that every branch of every simulator is taken."""

# Continuous scores, and those where the classes meet.
marks = st.sampled_from([0.0, 0.3, 0.5, 0.65, 0.8, 0.9, 1.0, *GAIN_EDGES])
trajectories = st.lists(st.floats(0, 1) | marks, min_size=2, max_size=12)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_environment_has_a_score_within_0_and_1_for_each_run_and_call(name: str) -> None:
    for seed in SEEDS:
        found = FAMILIES[name].simulate(np.random.default_rng(seed), RUNS)
        for values in (found.scores, found.quality):
            assert values.shape == (RUNS, CALLS)
            assert np.all((values >= 0) & (values <= 1))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_seed_gives_the_same_environment_and_another_seed_another(name: str) -> None:
    first, again, other = (FAMILIES[name].simulate(np.random.default_rng(seed), RUNS) for seed in (5, 5, 6))
    assert np.array_equal(first.scores, again.scores)
    assert np.array_equal(first.quality, again.quality)
    assert not np.array_equal(first.scores, other.scores)


@pytest.mark.parametrize("name", FAMILIES)
def test_only_a_judge_errs(name: str) -> None:
    found = FAMILIES[name].simulate(np.random.default_rng(0), RUNS)
    assert np.array_equal(found.scores, found.quality) == (name != "judged")
    assert (found.judge_sd > 0) == (name == "judged")


@pytest.mark.parametrize("name", ["verifier", "trap"])
def test_a_verifier_says_yes_or_no(name: str) -> None:
    found = FAMILIES[name].simulate(np.random.default_rng(0), RUNS)
    assert set(np.unique(found.scores)) == {0.0, 1.0}


@given(trajectories)
def test_cells_and_outcomes_are_those_of_the_run_state(scores: list[float]) -> None:
    found = featurise(np.array([scores]), np.array([scores]))
    assert list(zip(found.cells[0, :-1], found.outcomes[0], strict=True)) == list(transitions(scores))
    assert found.cells[0, -1] == state_of(scores).cell


@pytest.mark.parametrize("name", FAMILIES)
def test_all_runs_of_an_environment_are_told_apart_as_one_by_one(name: str) -> None:
    scores = FAMILIES[name].simulate(np.random.default_rng(1), RUNS).scores
    found = featurise(scores, scores)
    for run, cells, outcomes in zip(scores.tolist(), found.cells, found.outcomes, strict=True):
        assert list(zip(cells[:-1], outcomes, strict=True)) == list(transitions(run))


def test_optimism_is_the_best_score_less_the_quality_of_the_draft_that_got_it() -> None:
    scores, quality = np.array([[0.5, 0.9, 0.9, 0.7]]), np.array([[0.6, 0.7, 0.8, 1.0]])
    assert featurise(scores, quality).optimism[0] == pytest.approx([-0.1, 0.2, 0.2, 0.2])


def test_every_call_of_every_run_is_counted_once() -> None:
    environment = judged(np.random.default_rng(2), RUNS)
    found = counted(environment)
    assert found.transitions.sum() == RUNS * (CALLS - 1)
    assert found.visits.sum() == RUNS * CALLS
    assert found.first.sum() == RUNS
    assert found.optimism.sum() == pytest.approx(
        featurise(environment.scores, environment.quality).optimism.sum()
    )


def test_an_unvisited_cell_leans_to_its_neighbour_and_a_visited_one_to_its_own_counts() -> None:
    counts = np.zeros((1, CELLS, WIDTH))
    visited, neighbour, far = (cell_of(6, best, 2) for best in (0.4, 0.6, 0.0))
    counts[0, visited, 7] = 50
    rows = smoothed(counts)[0]
    assert rows.sum(-1) == pytest.approx(np.ones(CELLS))
    assert rows[visited, 7] > rows[neighbour, 7] > rows[far, 7] > 1 / WIDTH


@given(st.lists(st.integers(0, 1000), min_size=WIDTH, max_size=WIDTH).filter(any))
def test_a_row_that_was_written_is_read_again(weights: list[int]) -> None:
    row = [weight / sum(weights) for weight in weights]
    text = fit.encode_row(row)
    assert len(text) == WIDTH
    step = 1 / (len(fit.LEVELS) - 1)
    raw = [max((p**0.5 + error * step / 2) ** 2, LEAST) for error in (-1, 1) for p in row]
    lows, highs = raw[:WIDTH], raw[WIDTH:]
    for p, low, high in zip(decode_row(text, fit.LEVELS), lows, highs, strict=True):
        assert low / sum(highs) - 1e-6 <= p <= high / sum(lows) + 1e-6


def test_every_level_has_a_character_of_its_own_that_json_leaves_alone() -> None:
    assert len(set(fit.LEVELS)) == len(fit.LEVELS)
    assert json.dumps(fit.LEVELS) == f'"{fit.LEVELS}"'


@pytest.fixture(scope="module")
def small() -> list[fit.Fitted]:
    """A fit to far fewer environments than the shipped one, in fewer rounds."""
    return fit.fit(**SMALL)


def test_a_fit_is_read_as_a_mixture_of_all_families_and_a_catch_all(small: list[fit.Fitted]) -> None:
    catch_all, *archetypes = read_archetypes(json.loads(fit.export(small)))
    assert (catch_all.family, len(catch_all.reach)) == ("any", CELLS)
    assert {one.family for one in archetypes} == set(FAMILIES)
    assert sum(one.weight for one in archetypes) == pytest.approx(1, abs=1e-3)
    assert all(sum(one.first) == pytest.approx(1, abs=0.01) for one in archetypes)
    assert all(bool(one.optimism) == (one.family == "judged") for one in archetypes)


def test_the_same_seed_writes_the_same_file(small: list[fit.Fitted]) -> None:
    assert fit.export(fit.fit(**SMALL)) == fit.export(small)


def test_the_check_fails_on_another_fit_and_passes_on_the_shipped_one(
    small: list[fit.Fitted], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fit, "fit", lambda: small)
    assert fit.main(["--check", "--out", str(tmp_path / "small.json")]) == 1
    assert (tmp_path / "small.json").read_text(encoding="utf-8") == fit.export(small)
    monkeypatch.setattr(fit, "export", lambda _: fit.SHIPPED.read_text(encoding="utf-8"))
    assert fit.main(["--check"]) == 0


def test_neither_writing_nor_comparing_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        fit.main([])
    assert "--out PATH, --check, or both" in capsys.readouterr().err
