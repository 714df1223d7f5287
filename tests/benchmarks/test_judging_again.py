"""The quick form of the comparison: near a threshold a cheap second judgement earns more than it costs."""

import numpy as np
from benchmarks.judging_again import ARMS, GOALS, Reader, config_of, drawn, earned
from benchmarks.stopping_lab.environments import KNOBS

from loopllm import LoopedLLM


def test_judging_again_earns_more_than_it_costs_where_a_pass_counts() -> None:
    gains = []
    for seed in range(2):
        rng = np.random.default_rng([7, seed])
        runs = drawn(rng, rng.random(KNOBS), 100)
        once, again = (
            earned(
                LoopedLLM(runs.write, config_of(GOALS["pass"], ARMS[arm], explore=False), priors=Reader()),
                runs,
                GOALS["pass"],
            )
            for arm in ("once", "again")
        )
        assert once[2] == 0.0
        assert again[2] > 0.1
        gains.append(again[0] - once[0])
    assert sum(gains) > 0.0
