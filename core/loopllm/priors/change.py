"""Has the process changed: how far older runs may still be believed.

For a split of the generations into older and recent ones, the hypothesis that both came from one kind of loop is held
against the one that each came from a kind of its own, the kinds being the archetypes h with weights w_h. With l_h the
log likelihood of a part of the runs, the log Bayes factor of a change is

    Z(older) + Z(recent) - Z(all),   Z(part) = ln sum_h w_h exp(tau l_h(part)),

(Kass & Raftery 1995, JASA 90:773; as a run-length posterior: Adams & MacKay 2007, arXiv 0710.3742; tau < 1 since no
archetype is exactly true: Gruenwald 2012, "The safe Bayesian"). All that tells kinds apart tells a change, how often a
call gives a new best as well as how large it is and how first drafts score. Older generations keep the posterior
probability that nothing changed since as a factor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import exp, inf, log
from operator import add, sub

PRIOR_OF_CHANGE = 0.01
"""Probability that the process changed at a given split."""

VOICE = 0.5
"""tau. Of 168 simulated pairs that did not change 8 were then taken to have changed at some time in 200 runs."""

NEGLIGIBLE = 30.0
"""Log weights that are less than the largest by so much add nothing."""

LogLikelihoods = Sequence[float]
"""Of one part of the runs, by archetype."""


def evidence(prior: Sequence[float], told: LogLikelihoods) -> float:
    """Z: log probability of a part of the runs, whatever kind of loop they came from.

    >>> round(evidence([log(0.5), log(0.5)], [0.0, -2.0]), 3)
    -0.38

    Args:
        prior: Logarithms of the archetypes' weights.
        told: Log likelihoods of the part.
    """
    logs = [weight + VOICE * value for weight, value in zip(prior, told, strict=True)]
    top = max(logs)
    return top + log(sum([exp(value - top) for value in logs if value > top - NEGLIGIBLE]))


def belief_in_generations(told: Mapping[int, LogLikelihoods], prior: Sequence[float]) -> dict[int, float]:
    """For each generation the probability that the process is still the one it saw.

    >>> steady = belief_in_generations({1: [0.0, -40.0], 2: [0.0, -40.0]}, [0.5, 0.5])
    >>> changed = belief_in_generations({1: [0.0, -40.0], 2: [-40.0, 0.0]}, [0.5, 0.5])
    >>> round(steady[1], 3), round(changed[1], 3), changed[2]
    (0.995, 0.0, 1.0)

    Args:
        told: Log likelihoods of the archetypes, by generation.
        prior: Weights of the archetypes; 0 rules one out.
    """
    ages, start = sorted(told), [log(weight) if weight > 0.0 else -inf for weight in prior]
    ends = list(accumulate((told[age] for age in ages), lambda a, b: list(map(add, a, b))))
    whole = log(PRIOR_OF_CHANGE) - evidence(start, ends[-1]) if ages else 0.0
    odds = [
        whole + evidence(start, older) + evidence(start, list(map(sub, ends[-1], older)))
        for older in ends[:-1]
    ]
    top = max([0.0, *odds])  # the log odds that nothing changed
    chances = [exp(value - top) for value in odds]  # that it changed after each generation but the last
    total = exp(-top) + sum(chances)
    return {age: 1.0 - sum(chances[index:]) / total for index, age in enumerate(ages)}
