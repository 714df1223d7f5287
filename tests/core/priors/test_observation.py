"""What is observed is checked when it is made, and the message names the field."""

import numpy as np
import pytest

from loopllm.adaptive_priors import AdaptivePriors
from loopllm.errors import MisuseError
from loopllm.priors.observation import CallObservation, RoundObservation
from loopllm.results import Usage

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("total_iterations", value) for value in (NAN, INF, 2.5, 1, "2")),
        *(("max_iterations", value) for value in (NAN, INF, 2.5, 0, "5")),
        *(
            ("latencies_ms", value)
            for value in (None, 5.0, [100.0, None], [1.0, NAN], [1.0, INF], ["1", "2"])
        ),
        *(("evaluations_ms", value) for value in (None, [None, 3.0])),
        *(("usages", value) for value in (None, [Usage(1, 2), None])),
        *(("actions", value) for value in (None, "last", [3], ["first"])),
        *(("judgements", value) for value in (None, [0.3, 0.9], [[0.3, 1.2]])),
        *(("quality_threshold", value) for value in (None, "0.8", NAN)),
    ],
)
def test_what_is_no_observation_is_refused_naming_the_field(field, value):
    with pytest.raises(MisuseError, match=field):
        CallObservation("t", "m", [0.3, 0.9], **{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [("latency_ms", "fast"), ("evaluation_ms", NAN), ("max_iterations", NAN), ("actions", None)],
)
def test_a_round_is_checked_in_the_same_way(field, value):
    with pytest.raises(MisuseError, match=field):
        RoundObservation("t", "m", [0.3], **{field: value})


def learned_from(kind):
    priors = AdaptivePriors()
    numbers = {"latencies_ms": kind([120.0, 80.0]), "evaluations_ms": kind([1.0, 2.0])}
    priors.observe(CallObservation("t", "m", kind([0.25, 0.75]), **numbers))
    return priors.report("t", "m")


def test_arrays_of_numpy_are_learned_like_lists():
    assert learned_from(np.array) == learned_from(list)
