"""A run as JSON-able data, for the metadata of a response."""

from __future__ import annotations

from typing import Any

from loopllm.results import IterationRecord, RefinementResult, Usage


def story_of(result: RefinementResult[Any, Any]) -> dict[str, Any]:
    """Return a run in numbers and words, without prompts and outputs."""
    metrics = result.metrics
    return {
        "exit_reason": metrics.exit_reason.condition,
        "exit_message": metrics.exit_reason.message,
        "best_iteration": metrics.best_iteration,
        "best_score": metrics.best_score,
        "converged": metrics.converged,
        "scores": [record.score for record in result.iterations],
        "total_iterations": metrics.total_iterations,
        "total_latency_ms": metrics.total_latency_ms,
        "usage": usage_dict(metrics.usage),
        "iterations": [_round(record) for record in result.iterations],
    }


def usage_dict(usage: Usage) -> dict[str, Any]:
    """Return a usage with the names that LlamaIndex's token counters read; unknown fields are left out.

    >>> usage_dict(Usage(7, 2))
    {'prompt_tokens': 7, 'completion_tokens': 2, 'total_tokens': 9}
    """
    named = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "cost": usage.cost,
    }
    return {name: value for name, value in named.items() if value is not None}


def _round(record: IterationRecord[Any, Any]) -> dict[str, Any]:
    return {
        "iteration": record.iteration,
        "action": record.action,
        "score": record.score,
        "passed": record.passed,
        "deficiencies": list(record.deficiencies),
        "error": record.error,
        "latency_ms": record.latency_ms,
        "usage": usage_dict(record.usage),
    }
