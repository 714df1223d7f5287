"""Beliefs and plans on whole tables are those worked out cell by cell."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopllm.adaptive_priors import AdaptivePriors
from loopllm.priors.archetypes import posterior_weights, voice_of
from loopllm.priors.arithmetic import CellByCell
from loopllm.priors.beliefs import Believer
from loopllm.priors.counts import TransitionCounts
from loopllm.priors.first_scores import FIRST_BINS, first_bin
from loopllm.priors.observation import CallObservation
from loopllm.priors.run_state import CELLS, transitions
from loopllm.priors.table_arithmetic import OnTables
from loopllm.shipped_prior import shipped_arithmetic

ON_TABLES = shipped_arithmetic()
PLAIN = CellByCell(ON_TABLES.archetypes)

scores = st.one_of(
    st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=8),
    st.lists(st.integers(0, 10).map(lambda tenths: tenths / 10), min_size=1, max_size=8),
    st.lists(st.floats(0, 1), min_size=1, max_size=8),
)
runs = st.lists(scores, min_size=1, max_size=12)


def counted(some_runs):
    counts, first = TransitionCounts(), [0.0] * FIRST_BINS
    for run in some_runs:
        first[first_bin(run[0])] += 1
        for cell, outcome in transitions(run):
            counts.add(cell, outcome)
    return counts, first


def start(arithmetic):
    weights = [archetype.weight for archetype in arithmetic.archetypes]
    return [weight / sum(weights) for weight in weights]


def test_numpy_is_used_where_it_is_installed():
    assert isinstance(ON_TABLES, OnTables)


@settings(max_examples=25, deadline=None)
@given(runs)
def test_the_likelihoods_of_the_archetypes_are_the_same(some_runs):
    counts, first = counted(some_runs)
    expected = PLAIN.log_likelihoods(counts, first)
    assert ON_TABLES.log_likelihoods(counts, first) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=15, deadline=None)
@given(runs, st.sampled_from([None, 0.0, 0.08]), st.sampled_from([0.4, 1.0]))
def test_mixture_optimism_and_corrections_are_the_same(some_runs, judge_sd, strength):
    counts, first = counted(some_runs)
    voice = voice_of(counts.size + sum(first), 1.0)
    weights = posterior_weights(start(PLAIN), PLAIN.log_likelihoods(counts, first), voice)
    plain, tables = (arithmetic.mixture(weights, judge_sd) for arithmetic in (PLAIN, ON_TABLES))
    assert tables.judge_errs == plain.judge_errs
    assert tables.families() == pytest.approx(plain.families())
    corrected = [a.corrected(m, counts, strength) for a, m in ((PLAIN, plain), (ON_TABLES, tables))]
    for cell in range(CELLS):
        assert tables(cell) == pytest.approx(plain(cell), abs=1e-9)
        assert tables.optimism(cell) == pytest.approx(plain.optimism(cell), abs=1e-6)
        assert corrected[1](cell) == pytest.approx(corrected[0](cell), abs=1e-9)


@settings(max_examples=10, deadline=None)
@given(
    runs,
    st.sampled_from(["quality", "threshold"]),
    st.sampled_from([None, ("last", "fresh")]),
    st.sampled_from([0.01, 0.12]),
    st.integers(2, 10),
)
def test_plans_are_the_same(some_runs, objective, ways, call_cost, horizon):
    plans = []
    for arithmetic in (PLAIN, ON_TABLES):
        priors = AdaptivePriors()
        priors._acting._believer = Believer(arithmetic, priors.half_life)
        for run in some_runs:
            priors.observe(CallObservation(task_type="t", model_id="m", scores=run))
        policy = priors.policy(
            "t",
            "m",
            objective=objective,
            call_cost=call_cost,
            max_iterations=horizon,
            ways=ways,
            explore=True,
        )
        plans.append(policy.plan)
    plain, tables = plans
    for depth, by_momentum in plain.ahead.items():
        for momentum, values in by_momentum.items():
            assert tables.ahead[depth][momentum] == pytest.approx(values, abs=1e-7)


def test_without_numpy_plans_are_made_cell_by_cell():
    code = """
import sys
sys.modules["numpy"] = None
from loopllm import AdaptivePriors, CallObservation
priors = AdaptivePriors()
priors.observe(CallObservation(task_type="t", model_id="m", scores=[0.2, 0.4, 0.9]))
print(type(priors.policy("t", "m").decide([0.2]).message).__name__, type(priors._acting._believer.arithmetic).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "str CellByCell\n"


def test_numpy_is_loaded_by_the_first_plan_and_not_before():
    code = """
import sys
from loopllm import AdaptivePriors, CallObservation
priors = AdaptivePriors()
priors.observe(CallObservation(task_type="t", model_id="m", scores=[0.2, 0.4, 0.9]))
print("numpy" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_what_was_folded_twice_counts_for_nothing_in_both():
    first = [3.0] * FIRST_BINS
    first[4] = -2.0
    told = PLAIN.log_likelihoods(TransitionCounts(), first)
    assert ON_TABLES.log_likelihoods(TransitionCounts(), first) == pytest.approx(told)


def test_a_numpy_that_cannot_be_loaded_is_as_good_as_none(tmp_path):
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").write_text("raise ImportError('built for another Python')")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from loopllm import AdaptivePriors
from loopllm.shipped_prior import shipped_arithmetic
print(AdaptivePriors().policy("t", "m").decide([0.3]).stop, type(shipped_arithmetic()).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False CellByCell\n"
