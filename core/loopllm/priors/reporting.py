"""How the statistics of a pair become a report and suggestions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from loopllm.priors.beta import beta_quantile
from loopllm.priors.call_cost import UNKNOWN, WayCost
from loopllm.priors.cost_estimate import ExpectedCost
from loopllm.priors.depth_profile import DepthRecord, deepest_success, depth_profile, paying_depth
from loopllm.priors.forecast import ScoreForecast, score_forecasts
from loopllm.priors.hindsight import saved_report
from loopllm.priors.policy import Policy
from loopllm.priors.report import CallCostReport, IterationReport, PriorsReport, SuggestedConfig
from loopllm.priors.run_state import MOMENTA
from loopllm.priors.statistics import Statistics

USUAL_BUDGET, USUAL_THRESHOLD = 5, 0.8
"""What is suggested before the first run."""

SCORE_PER_CALL = 0.1
"""Rise of the best score that a call must bring per unit of `cost_weight`."""

_GAINED, _STALLED = MOMENTA.index("gain"), MOMENTA.index("1 lower")
_TRUSTED_AFTER = 10.0
_PRIOR_GAIN, _PRIOR_GAIN_RUNS = 0.2, 2.0


def optimal_depth(statistics: Statistics, cost_weight: float) -> int:
    """The depth up to which calling pays, never below one at which success was seen."""
    profile = depth_profile(statistics)
    if not profile:
        return USUAL_BUDGET
    return max(paying_depth(profile, SCORE_PER_CALL * cost_weight), deepest_success(statistics))


def expected_gain_of_call(statistics: Statistics, call: int) -> float:
    """By how much call number `call` raises the best score; of the first, its expected score."""
    profile = depth_profile(statistics)
    if call == 1:
        return profile[0].mean_best if profile else 0.5
    prior = _PRIOR_GAIN / call
    if call > len(profile):
        return prior
    seen = profile[call - 1]
    return (seen.runs * seen.mean_gain + _PRIOR_GAIN_RUNS * prior) / (seen.runs + _PRIOR_GAIN_RUNS)


def usual_threshold(statistics: Statistics) -> float:
    """The threshold that most runs used."""
    prefix = "s/threshold/"
    used = {name: count for name, count in statistics.sums.items() if name.startswith(prefix)}
    return float(max(used, key=lambda name: used[name]).removeprefix(prefix)) if used else USUAL_THRESHOLD


def suggestion(statistics: Statistics, task_type: str, model_id: str) -> SuggestedConfig:
    """A budget that cuts off nothing that was seen to succeed, and the threshold in use."""
    why = {"task_type": task_type, "model_id": model_id, "runs": int(statistics.runs)}
    return SuggestedConfig(optimal_depth(statistics, 0.5), usual_threshold(statistics), why)


def build_report(
    statistics: Statistics,
    policy: Policy,
    costs: Mapping[str, WayCost],
    kinds: Mapping[str, float],
    task_type: str,
    model_id: str,
) -> PriorsReport:
    """Everything that is known about a pair, for people."""
    profile = depth_profile(statistics)
    reached, ended = statistics.get("s/reached"), statistics.get("s/ended")
    a, b = 1.0 + reached, 1.0 + ended - reached
    timed, believed = statistics.get("s/ms/n"), statistics.runs - policy.evidence.outdated
    return PriorsReport(
        task_type=task_type,
        model_id=model_id,
        total_calls=int(statistics.runs),
        optimal_depth=optimal_depth(statistics, 0.5),
        converge_rate=a / (a + b),
        converge_interval=(beta_quantile(0.1, a, b), beta_quantile(0.9, a, b)),
        first_call_quality=profile[0].mean_score if profile else None,
        confidence=believed / (believed + _TRUSTED_AFTER),
        outdated_calls=policy.evidence.outdated,
        iterations=_iterations(statistics, policy, profile),
        model_calls=int(statistics.get("s/calls")),
        mean_latency_ms=statistics.get("s/ms/sum") / timed if timed else None,
        kinds=kinds,
        saved=saved_report(statistics),
        call_costs={way: _call_cost(way, cost) for way, cost in costs.items() if cost != UNKNOWN},
    )


def _call_cost(way: str, cost: WayCost) -> CallCostReport:
    known = [expected for expected in (cost.money, cost.ms, cost.tokens) if expected is not None]
    return CallCostReport(
        way=way,
        calls=max(expected.calls for expected in known),
        money=_with_interval(cost.money, 1.0),
        seconds=_with_interval(cost.ms, 0.001),
        tokens=_with_interval(cost.tokens, 1.0),
    )


def _with_interval(expected: ExpectedCost | None, scale: float) -> tuple[float, float, float] | None:
    if expected is None:
        return None
    low, high = expected.interval
    return expected.mean * scale, low * scale, high * scale


def _iterations(
    statistics: Statistics, policy: Policy, profile: Sequence[DepthRecord]
) -> tuple[IterationReport, ...]:
    if not profile:
        return ()
    forecasts = score_forecasts(statistics, policy.expects, len(profile))
    pairs = zip(profile, forecasts, strict=True)
    return tuple(_iteration(record, forecast, policy) for record, forecast in pairs)


def _iteration(record: DepthRecord, forecast: ScoreForecast, policy: Policy) -> IterationReport:
    later = record.depth > 1
    # One success and one failure in advance, as for `converge_rate`.
    a, b = record.improved + 1.0, record.runs - record.improved + 1.0
    return IterationReport(
        iteration=record.depth,
        runs=record.runs,
        expected_score=forecast.mean,
        score_range=(forecast.low, forecast.high),
        observed_score=record.mean_best,
        expected_improvement=record.mean_gain if later else record.mean_score,
        improvement_probability=a / (a + b) if later else 1.0,
        improvement_interval=(beta_quantile(0.1, a, b), beta_quantile(0.9, a, b)) if later else (1.0, 1.0),
        goes_on_within=policy.goes_on_within(record.depth, _GAINED if later else 0),
        goes_on_after_stall=policy.goes_on_within(record.depth, _STALLED if later else 0),
    )
