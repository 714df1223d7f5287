"""How is the policy under test asked and taught? Through its public calls only.

`AdaptivePriors()`, `observe(CallObservation(...))`, `BayesianExitCondition(...).should_exit(...)`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from benchmarks.stopping_lab.trajectories import THRESHOLD, Floats, Ints, Runs, Utility
from benchmarks.stopping_lab.trial import Pair, Trial

SECONDS_PER_CALL = 1.0


@dataclass(frozen=True, slots=True)
class Api:
    """The three public names.

    Attributes:
        priors: `AdaptivePriors`, or the class given by `--policy`.
        observation: `CallObservation`.
        condition: `BayesianExitCondition`, or the class given by `--exit`.
    """

    priors: Callable[[], Any]
    observation: Callable[..., Any]
    condition: Callable[..., Any]


def named(spec: str) -> Any:
    """The object behind `module:Name`."""
    module, _, name = spec.partition(":")
    return getattr(import_module(module), name)


def api(policy: str | None = None, exit_class: str | None = None) -> Api:
    """The public names; a `policy` module may bring its own `CallObservation` and `BayesianExitCondition`."""
    own = import_module(policy.partition(":")[0]) if policy else None

    def pick(name: str, default: str) -> Any:
        return getattr(own, name) if own is not None and hasattr(own, name) else named(default)

    condition = pick("BayesianExitCondition", "loopllm.adaptive_exit:BayesianExitCondition")
    return Api(
        priors=named(policy or "loopllm.adaptive_priors:AdaptivePriors"),
        observation=pick("CallObservation", "loopllm.adaptive_priors:CallObservation"),
        condition=named(exit_class) if exit_class else condition,
    )


def condition(names: Api, priors: Any, pair: Pair, utility: Utility, *, explore: bool, seed: int) -> Any:
    return names.condition(
        priors=priors,
        task_type=pair.task_type,
        model_id=pair.model_id,
        quality_threshold=THRESHOLD,
        objective=utility.objective,
        call_cost=utility.cost,
        max_iterations=pair.train.horizon,
        explore=explore,
        seed=seed,
    )


def observation(names: Api, pair: Pair, scores: Sequence[float]) -> Any:
    return names.observation(
        task_type=pair.task_type,
        model_id=pair.model_id,
        scores=list(scores),
        latencies_ms=[SECONDS_PER_CALL * 1000] * len(scores),
        converged=max(scores) >= THRESHOLD,
        total_iterations=len(scores),
        max_iterations=pair.train.horizon,
        quality_threshold=THRESHOLD,
    )


def play(rule: Any, scores: list[float], length: int) -> int:
    """Calls made when the rule is asked after every call that another could follow."""
    for k in range(1, length):
        if rule.should_exit(k, scores[k - 1], scores[:k]) is not None:
            return k
    return length


def frozen(names: Api, priors: Any, pair: Pair, utility: Utility, runs: Runs) -> Ints:
    """Calls made on each run without learning or exploring; equal histories are decided once."""
    rule = condition(names, priors, pair, utility, explore=False, seed=0)
    decided: dict[tuple[float, ...], bool] = {}
    stops = np.zeros(len(runs), dtype=np.int64)
    for i, (scores, length) in enumerate(zip(runs.observed.tolist(), runs.length.tolist(), strict=True)):
        k = 1
        while k < length:
            seen = tuple(scores[:k])
            if seen not in decided:
                decided[seen] = rule.should_exit(k, scores[k - 1], scores[:k]) is not None
            if decided[seen]:
                break
            k += 1
        stops[i] = k
    return stops


@dataclass(slots=True)
class Apprentice:
    """Priors that learn online: plays a run of each pair in turn, under its own exploring rule.

    Attributes:
        earnings: Utility of every run so far, one list per pair.
        seen: Every observation made, in order.
    """

    names: Api
    trial: Trial
    utility: Utility
    seed: int
    priors: Any
    payoffs: list[Floats]
    earnings: list[list[float]]
    seen: list[Any]

    def advance(self, runs: int) -> None:
        """Play until every pair has had `runs` runs."""
        for n in range(len(self.earnings[0]), runs):
            for p, pair in enumerate(self.trial.pairs):
                self.meet(p, pair, n)

    def meet(self, p: int, pair: Pair, n: int) -> None:
        rule = condition(
            self.names, self.priors, pair, self.utility, explore=True, seed=self.seed + 1000 * n + p
        )
        scores = pair.train.observed[n].tolist()
        calls = play(rule, scores, int(pair.train.length[n]))
        self.earnings[p].append(float(self.payoffs[p][n, calls - 1]))
        self.seen.append(observation(self.names, pair, scores[:calls]))
        self.priors.observe(self.seen[-1])

    def test(self, regime: int) -> list[Ints]:
        return [frozen(self.names, self.priors, p, self.utility, p.tests[regime]) for p in self.trial.pairs]


def apprentice(names: Api, trial: Trial, utility: Utility, seed: int) -> Apprentice:
    payoffs = [pair.train.payoff(utility) for pair in trial.pairs]
    return Apprentice(names, trial, utility, seed, names.priors(), payoffs, [[] for _ in trial.pairs], [])


def schooled(names: Api, pairs: Sequence[Pair], sets: Sequence[Runs], runs: int) -> Any:
    """Priors that saw the first `runs` runs of each pair whole: nothing censored, nothing spent on exploring."""
    priors = names.priors()
    for n in range(runs):
        for pair, given in zip(pairs, sets, strict=True):
            if n < len(given):
                scores = given.observed[n, : given.length[n]].tolist()
                priors.observe(observation(names, pair, scores))
    return priors
