"""What a run teaches the priors: its rounds and its end, as observations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf, nextafter
from typing import Any

from loopllm.config import LoopConfig
from loopllm.judging import is_good_enough
from loopllm.priors import CallObservation, Policy, RoundObservation
from loopllm.priors.hindsight import look_back
from loopllm.priors.learning import costs_of
from loopllm.priors.objective import goal_of
from loopllm.results import UNKNOWN_USAGE, EvaluationResult, Usage
from loopllm.snapshot import Ledger
from loopllm.terms import Terms

LEAST_ENOUGH = 1e-6
"""The lowest threshold that priors are told."""

REFUSED_AT = 0.6
"""Part of the threshold at which a refused draft is learned where only passing counts. Its score was enough, so it does
not say how near the next draft is; were it learned as just below the threshold, every small gain would seem to pass."""


def learned_scores(ledger: Ledger[Any, Any], config: LoopConfig) -> Sequence[float]:
    """Return the scores as the priors should see them.

    A draft that its evaluator refused is no success, whatever its score: see `refused_at`. Of a draft that was judged
    again it is the first score, so that all compare.
    """
    low = refused_at(config)
    return tuple(_learned(judged[0], config, low) for judged in _judged(ledger))


def judgements_of(ledger: Ledger[Any, Any], config: LoopConfig) -> Sequence[Sequence[float]]:
    """Return all scores of each scored draft; one of a judgement that refused it is just below the threshold."""
    low = just_below(config)
    return [[_learned(each, config, low) for each in judged] for judged in _judged(ledger)]


def enough(config: LoopConfig) -> float:
    """Return the threshold as the priors should know it: above 0, so that a refused draft can be below it."""
    return max(config.quality_threshold, LEAST_ENOUGH)


def refused_at(config: LoopConfig) -> float:
    """Return the score at which a refused draft is learned; where the score itself is the value, just below enough."""
    return REFUSED_AT * enough(config) if goal_of(config.objective) == "threshold" else just_below(config)


def just_below(config: LoopConfig) -> float:
    """Return the highest score that is not enough."""
    return nextafter(enough(config), 0.0)


def _learned(result: EvaluationResult, config: LoopConfig, refused: float) -> float:
    if result.score < config.quality_threshold:
        return result.score
    return max(result.score, enough(config)) if is_good_enough(result, config) else refused


def _stated(ledger: Ledger[Any, Any], learned: Sequence[float]) -> Sequence[float]:
    """Return what the evaluator said, where that is not what is learned."""
    stated = tuple(judged[0].score for judged in _judged(ledger))
    return stated if stated != learned else ()


def _judged(ledger: Ledger[Any, Any]) -> list[Sequence[EvaluationResult]]:
    """Return the judgements of each scored draft."""
    return [
        record.judgements or (record.evaluation,)
        for record in ledger.records
        if record.evaluation is not None
    ]


def round_taught(ledger: Ledger[Any, Any], terms: Terms[Any, Any]) -> RoundObservation:
    """Return what the newest round taught."""
    newest, learned = ledger.records[-1], learned_scores(ledger, terms.config)
    return RoundObservation(
        task_type=terms.task_type,
        model_id=terms.model_id,
        scores=learned,
        stated=_stated(ledger, learned),
        actions=tuple(ledger.actions),
        latency_ms=newest.latency_ms or None,  # 0 is what nobody measured
        usage=_plausible(newest.usage),
        quality_threshold=enough(terms.config),
        max_iterations=terms.config.max_iterations,
        evaluation_ms=newest.evaluation_ms,
    )


def run_taught(ledger: Ledger[Any, Any], terms: Terms[Any, Any]) -> CallObservation:
    """Return what the whole run taught, and what its rule would have changed if that only observed."""
    seen, policy = run_seen(ledger, terms), policy_of(ledger, terms)
    if policy is None or policy.acts:
        return seen
    return replace(
        seen, hindsight=look_back(policy, seen.scores, seen.actions, first=terms.config.min_iterations)
    )


def run_seen(ledger: Ledger[Any, Any], terms: Terms[Any, Any]) -> CallObservation:
    """Return what was seen of a run so far."""
    scored = [record for record in ledger.records if record.score is not None]
    latencies, learned = tuple(r.latency_ms for r in scored), learned_scores(ledger, terms.config)
    return CallObservation(
        task_type=terms.task_type,
        model_id=terms.model_id,
        scores=learned,
        stated=_stated(ledger, learned),
        latencies_ms=latencies if all(latencies) else (),
        converged=any(record.passed for record in scored),
        total_iterations=len(scored),
        max_iterations=terms.config.max_iterations,
        quality_threshold=enough(terms.config),
        actions=tuple(ledger.actions),
        usages=tuple(_plausible(record.usage) for record in scored),
        evaluations_ms=tuple(record.evaluation_ms for record in scored),
        judgements=tuple(
            tuple(each.score for each in record.judgements) for record in scored if record.judgements
        ),
    )


def policy_of(ledger: Ledger[Any, Any], terms: Terms[Any, Any]) -> Policy | None:
    """Return the rule of the run, told what the run's own calls cost where nothing else is known of that."""
    policy = terms.policy
    if policy is None or policy.revise is None:
        return policy
    return policy.after(costs_of(run_seen(ledger, terms)))


def _plausible(usage: Usage) -> Usage:
    """Return the usage without what cannot be: a server's -1 for "I do not know" must not be learned from."""
    if usage is UNKNOWN_USAGE:
        return usage
    amounts = (usage.prompt_tokens, usage.completion_tokens, usage.cost)
    if all(amount is None or 0.0 <= amount < inf for amount in amounts):
        return usage
    prompt, completion, cost = (None if a is None or not 0.0 <= a < inf else a for a in amounts)
    return Usage(_whole(prompt), _whole(completion), cost)


def _whole(count: float | None) -> int | None:
    return None if count is None else int(count)
