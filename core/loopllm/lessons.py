"""What a run teaches the priors: its rounds and its end, as observations."""

from __future__ import annotations

from collections.abc import Sequence
from math import nextafter
from typing import Any

from loopllm.config import LoopConfig
from loopllm.priors import CallObservation, RoundObservation
from loopllm.priors.hindsight import look_back
from loopllm.priors.observation import Hindsight
from loopllm.snapshot import Ledger
from loopllm.terms import Terms


def learned_scores(ledger: Ledger[Any, Any], config: LoopConfig) -> Sequence[float]:
    """Return the scores as the priors should see them.

    A draft that its evaluator refused is no success, whatever its score: it counts as just below the threshold.
    """
    below = nextafter(config.quality_threshold, 0.0)
    return tuple(
        record.score if record.passed else min(record.score, below)
        for record in ledger.records
        if record.score is not None
    )


def round_taught(ledger: Ledger[Any, Any], terms: Terms[Any, Any]) -> RoundObservation:
    """Return what the newest round taught."""
    newest = ledger.records[-1]
    return RoundObservation(
        task_type=terms.task_type,
        model_id=terms.model_id,
        scores=learned_scores(ledger, terms.config),
        actions=tuple(ledger.actions),
        latency_ms=newest.latency_ms,
        usage=newest.usage,
        quality_threshold=terms.config.quality_threshold,
        max_iterations=terms.config.max_iterations,
    )


def run_taught(ledger: Ledger[Any, Any], terms: Terms[Any, Any]) -> CallObservation:
    """Return what the whole run taught, and what its policy would have changed if it only observed."""
    scored = [record for record in ledger.records if record.score is not None]
    scores = learned_scores(ledger, terms.config)
    return CallObservation(
        task_type=terms.task_type,
        model_id=terms.model_id,
        scores=scores,
        latencies_ms=tuple(record.latency_ms for record in scored),
        converged=any(record.passed for record in scored),
        total_iterations=len(scored),
        max_iterations=terms.config.max_iterations,
        quality_threshold=terms.config.quality_threshold,
        actions=tuple(ledger.actions),
        hindsight=_hindsight(scores, ledger, terms),
    )


def _hindsight(scores: Sequence[float], ledger: Ledger[Any, Any], terms: Terms[Any, Any]) -> Hindsight | None:
    policy = terms.policy
    if policy is None or policy.acts:
        return None
    return look_back(policy, scores, ledger.actions, first=terms.config.min_iterations)
