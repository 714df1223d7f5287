"""From beliefs to a policy: what is asked for, the plan that answers, and how long it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import log2
from typing import get_args
from zlib import crc32

from loopllm.errors import MisuseError
from loopllm.priors.beliefs import Beliefs, Believer, Scopes
from loopllm.priors.call_cost import CallCosts, WayCost, expected_by_way
from loopllm.priors.cost_sums import FIRST_WAY, CostRow
from loopllm.priors.counts import TransitionCounts
from loopllm.priors.evidence import Evidence, evidence_of
from loopllm.priors.exploration import (
    Price,
    chance,
    curiosity,
    discounted_price,
    fixed_price,
    glance,
    hopes,
    is_drawing,
)
from loopllm.priors.judge_spread import JudgeSpread
from loopllm.priors.objective import Goal, Objective, goal_of
from loopllm.priors.observation import MOST, USUAL_WAY, check_text, is_within, whole
from loopllm.priors.planner import Plan, Stopping
from loopllm.priors.policy import Policy
from loopllm.priors.score_grid import score_grid
from loopllm.priors.tilting import Outlook
from loopllm.priors.ways import hoping
from loopllm.priors.worth import Worth

REPLAN_AFTER = 0.12
"""A plan is made anew when the pair's runs have grown by this part."""

REPLAN_WITHIN = 20.0
"""Runs of the pair after which it is made anew in any case, so that a change is followed."""

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
    objective: Goal | Objective = "threshold"
    quality_threshold: float = 0.8
    call_cost: float = 0.05
    max_iterations: int = 8
    ways: tuple[str, ...] | None = None
    judge_sd: float | None = None
    explore: bool = False

    def __post_init__(self) -> None:
        if goal_of(self.objective) not in get_args(Goal):
            goals = ", ".join(get_args(Goal))
            raise MisuseError(f"objective must be one of {goals}, or an Objective; got {self.objective!r}")
        check_text("task_type", self.task_type)
        check_text("model_id", self.model_id)
        if not is_within(self.quality_threshold, 0.0, 1.0):
            raise MisuseError(f"quality_threshold must be in [0, 1], got {self.quality_threshold!r}")
        if not is_within(self.call_cost, 0.0, MOST):
            raise MisuseError(f"call_cost must be >= 0, got {self.call_cost!r}")
        object.__setattr__(self, "max_iterations", whole("max_iterations", self.max_iterations))
        if self.judge_sd is not None and not is_within(self.judge_sd, 0.0, 1.0):
            raise MisuseError(f"judge_sd must be in [0, 1] or None, got {self.judge_sd!r}")
        if self.ways is not None and not self.ways:
            raise MisuseError("ways must name at least one way of asking, or be None")
        if FIRST_WAY in (self.ways or ()):
            raise MisuseError(f"ways may not hold {FIRST_WAY!r}, which is the name of a run's first call")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan and what it was made from.

    Attributes:
        request: What was asked for.
        plan: What going on is worth.
        beliefs: What is expected of a call.
        worth: What it is worth to stop.
        prices: What a call was reckoned to cost, by way of asking, while learning.
        costs: What it costs.
        runs: Runs of the pair then.
        pooled: Runs of all pairs then.
        evidence: Runs behind the beliefs, by kind.
        supposed: While learning, what going on is worth if one archetype, drawn by its probability, were the truth.
        told: Plans for first runs, by what their first call cost.
    """

    request: PlanRequest
    plan: Plan
    beliefs: Beliefs
    worth: Worth
    prices: Mapping[str, Price]
    costs: CallCosts
    runs: float
    pooled: float
    evidence: Evidence
    supposed: Plan | None = None
    told: dict[int | None, Prepared] = field(default_factory=dict, compare=False)

    def holds(self, runs: float, pooled: float) -> bool:
        """Whether so little was learned since that the plan may stay."""
        own = self.runs <= runs <= self.runs + min(self.runs * REPLAN_AFTER + 0.5, REPLAN_WITHIN)
        return own and pooled <= self.pooled * (1.0 + REPLAN_AFTER_OTHERS) + 3.0

    def policy(self, runs: float, seed: int, *, acts: bool, least_probability: float = 0.0) -> Policy:
        """The rule for the run that follows `runs` runs of the pair."""
        return Policy(
            self.plan,
            self.beliefs.outlooks,
            self.worth,
            costs=self.costs,
            evidence=self.evidence,
            weight_of=self.beliefs.weight_of,
            prices=self.prices,
            acts=acts,
            glance=glance(seed, int(runs)) if self.request.explore else 0,
            supposed=self.supposed if runs <= self.runs else None,
            revise=partial(self._revised, runs, seed, acts, least_probability)
            if self.costs.guessed
            else None,
            least_probability=least_probability,
        )

    def _revised(
        self, runs: float, seed: int, acts: bool, least_probability: float, seen: Mapping[str, CostRow]
    ) -> Policy:
        """The rule once a first run's own calls have told what a call costs; runs of similar cost share a plan."""
        costs = self.costs.told(seen)
        if costs.guessed:
            return self.policy(runs, seed, acts=acts, least_probability=least_probability)
        known = _rung(costs.of(self.plan.ways[0], 2))
        plan = self.told.get(known)
        if plan is None:
            behind = (self.runs, self.pooled, self.evidence)
            plan = self.told[known] = _prepared(self.request, self.beliefs, costs, *behind)
        return plan.policy(runs, seed, acts=acts, least_probability=least_probability)


def prepare(believer: Believer, scopes: Scopes, request: PlanRequest, half_life: float) -> Prepared:
    """Form the beliefs of a pair and plan on them."""
    stated = request.judge_sd
    judge_sd = JudgeSpread.seen(scopes.task).learned if stated is None else stated
    beliefs = believer.believe(scopes, request.ways, USUAL_WAY, judge_sd)
    by_way = costs_by_way(scopes, half_life, request.ways)
    costs = CallCosts(request.objective, request.call_cost, by_way)
    runs, pooled = scopes.pair.runs, scopes.everything.runs
    return _prepared(request, beliefs, costs, runs, pooled, evidence_of(scopes, beliefs.outdated))


def costs_by_way(scopes: Scopes, half_life: float, ways: Sequence[str] | None = ()) -> Mapping[str, WayCost]:
    """What a pair's calls are expected to cost, by way of asking; see `call_cost`."""
    return expected_by_way((scopes.pair, scopes.task, scopes.model, scopes.everything), half_life, ways)


def _prepared(
    request: PlanRequest,
    beliefs: Beliefs,
    costs: CallCosts,
    runs: float,
    pooled: float,
    evidence: Evidence,
) -> Prepared:
    optimism = beliefs.mixture.optimism if beliefs.mixture.judge_errs else None
    goal = goal_of(request.objective)
    worth = Worth(goal, request.quality_threshold, optimism)
    stopping = Stopping(worth, score_grid(request.quality_threshold if goal == "threshold" else None))
    prices = {
        way: costs.price(way, request.max_iterations, part)
        for way, part in _parts(beliefs, explore=request.explore).items()
    }
    make_plan, horizon = beliefs.arithmetic.make_plan, request.max_iterations
    plan, supposed = make_plan(_hopeful(beliefs, explore=request.explore), stopping, prices, horizon), None
    if request.explore and is_drawing(runs, REPLAN_AFTER, REPLAN_WITHIN):
        drawn = chance(crc32(f"{request.task_type}\n{request.model_id}".encode()), int(runs))
        full = {way: costs.price(way, horizon, fixed_price(1.0)) for way in prices}
        supposed = make_plan(beliefs.supposing(drawn), stopping, full, horizon)
    return Prepared(request, plan, beliefs, worth, prices, costs, runs, pooled, evidence, supposed)


def _parts(beliefs: Beliefs, *, explore: bool) -> dict[str, Price]:
    """The part of a call's cost that is reckoned, by way of asking: all of it, or less where it teaches."""
    if not explore:
        return dict.fromkeys(beliefs.outlooks, fixed_price(1.0))
    together = TransitionCounts()
    for counts in beliefs.counts.values():
        together.merge(counts)
    curious = curiosity(beliefs.first_scores)
    return dict.fromkeys(beliefs.outlooks, discounted_price(together, 1.0, curious))


def _hopeful(beliefs: Beliefs, *, explore: bool) -> Mapping[str, Outlook]:
    """What is planned on: the beliefs, but while learning in favour of the ways that are known less."""
    if not explore or len(beliefs.outlooks) == 1:
        return beliefs.outlooks
    leaning, factors = beliefs.arithmetic.leaning, hopes(beliefs.tried)
    return {way: leaning(look, hoping(factors[way])) for way, look in beliefs.outlooks.items()}


def _rung(cost: float) -> int | None:
    """A cost rounded to a quarter of a power of two: a plan made for one serves those within a tenth of it.

    >>> _rung(0.100) == _rung(0.105), _rung(0.100) == _rung(0.2), _rung(0.0)
    (True, False, None)
    """
    return round(4.0 * log2(cost)) if cost > 0.0 else None
