"""From beliefs to a policy: what is asked for, the plan that answers, and how long it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from loopllm.errors import MisuseError
from loopllm.priors.beliefs import Beliefs, Believer, Scopes
from loopllm.priors.counts import TransitionCounts
from loopllm.priors.exploration import (
    Price,
    discounted_price,
    fixed_price,
    glance,
    hopes,
    usual_discount,
)
from loopllm.priors.observation import USUAL_WAY
from loopllm.priors.planner import Plan, make_plan
from loopllm.priors.policy import Policy
from loopllm.priors.score_grid import score_grid
from loopllm.priors.tilting import Outlook
from loopllm.priors.ways import hoping
from loopllm.priors.worth import Objective, Worth

REPLAN_AFTER = 0.12
"""A plan is made anew when the pair's runs have grown by this part."""

REPLAN_AFTER_OTHERS = 0.3
"""The same for the runs of all pairs."""


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What a plan is asked for; the key under which it is kept. See `AdaptivePriors.policy`.

    Raises:
        MisuseError: A field is out of range; the message names it.
    """

    task_type: str
    model_id: str
    objective: Objective = "threshold"
    quality_threshold: float = 0.8
    call_cost: float = 0.05
    max_iterations: int = 8
    ways: tuple[str, ...] | None = None
    judge_sd: float | None = None
    explore: bool = False

    def __post_init__(self) -> None:
        if self.objective not in get_args(Objective):
            raise MisuseError(
                f"objective must be one of {', '.join(get_args(Objective))}, got {self.objective!r}"
            )
        if not 0.0 <= self.quality_threshold <= 1.0:
            raise MisuseError(f"quality_threshold must be in [0, 1], got {self.quality_threshold!r}")
        if not 0.0 <= self.call_cost < float("inf"):
            raise MisuseError(f"call_cost must be >= 0, got {self.call_cost!r}")
        if self.max_iterations < 1:
            raise MisuseError(f"max_iterations must be at least 1, got {self.max_iterations!r}")
        if self.judge_sd is not None and not 0.0 <= self.judge_sd <= 1.0:
            raise MisuseError(f"judge_sd must be in [0, 1] or None, got {self.judge_sd!r}")
        if self.ways is not None and not self.ways:
            raise MisuseError("ways must name at least one way of asking, or be None")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan and what it was made from.

    Attributes:
        request: What was asked for.
        plan: What going on is worth.
        beliefs: What is expected of a call.
        worth: What it is worth to stop.
        prices: What a call was reckoned to cost, by way of asking.
        runs: Runs of the pair then.
        pooled: Runs of all pairs then.
    """

    request: PlanRequest
    plan: Plan
    beliefs: Beliefs
    worth: Worth
    prices: Mapping[str, Price]
    runs: float
    pooled: float

    def holds(self, runs: float, pooled: float) -> bool:
        """Whether so little was learned since that the plan may stay."""
        own = runs <= self.runs * (1.0 + REPLAN_AFTER) + 0.5
        return own and pooled <= self.pooled * (1.0 + REPLAN_AFTER_OTHERS) + 3.0

    def policy(self, runs: float, seed: int, *, acts: bool) -> Policy:
        """The rule for the run that follows `runs` runs of the pair."""
        return Policy(
            self.plan,
            self.beliefs.outlooks,
            self.worth,
            call_cost=self.request.call_cost,
            runs=int(runs),
            weight_of=self.beliefs.weight_of,
            prices=self.prices,
            acts=acts,
            glance=glance(seed, int(runs)) if self.request.explore else 0,
        )


def prepare(believer: Believer, scopes: Scopes, request: PlanRequest) -> Prepared:
    """Form the beliefs of a pair and plan on them."""
    beliefs = believer.believe(scopes, request.ways, USUAL_WAY, request.judge_sd)
    optimism = beliefs.mixture.optimism if beliefs.mixture.judge_errs else None
    worth = Worth(request.objective, request.quality_threshold, optimism)
    grid = score_grid(request.quality_threshold if request.objective == "threshold" else None)
    prices = _prices(beliefs, request)
    plan = make_plan(_hopeful(beliefs, request), worth, prices, request.max_iterations, grid)
    return Prepared(request, plan, beliefs, worth, prices, scopes.pair.runs, scopes.everything.runs)


def _prices(beliefs: Beliefs, request: PlanRequest) -> dict[str, Price]:
    cost = request.call_cost
    if not request.explore:
        return dict.fromkeys(beliefs.outlooks, fixed_price(cost))
    together = TransitionCounts()
    for counts in beliefs.counts.values():
        together.merge(counts)
    return dict.fromkeys(beliefs.outlooks, discounted_price(together, cost, usual_discount(together)))


def _hopeful(beliefs: Beliefs, request: PlanRequest) -> Mapping[str, Outlook]:
    """What is planned on: the beliefs, but while learning in favour of the ways that are known less."""
    if not request.explore or len(beliefs.outlooks) == 1:
        return beliefs.outlooks
    factors = hopes({way: beliefs.tried.get(way, 0.0) for way in beliefs.outlooks})
    return {way: hoping(look, factors[way]) for way, look in beliefs.outlooks.items()}
