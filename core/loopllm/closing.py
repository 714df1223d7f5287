"""What comes of a run that is over: the accepted draft, the numbers, every round."""

from __future__ import annotations

from loopllm.errors import StoreError
from loopllm.results import ExitReason, LoopMetrics, OutputT, PromptT, RefinementResult
from loopllm.run_errors import describe
from loopllm.snapshot import Ledger
from loopllm.terms import Terms


def result_of(
    ledger: Ledger[PromptT, OutputT], terms: Terms[PromptT, OutputT], reason: ExitReason
) -> RefinementResult[PromptT, OutputT]:
    """Return the result of a run that ends for that reason."""
    records = tuple(ledger.records)
    chosen = ledger.best if terms.config.best_of else ledger.last_scored
    chosen = chosen or (records[-1] if records else None)
    metrics = LoopMetrics(
        total_iterations=len(records),
        best_score=max(ledger.scores, default=0.0),
        final_score=ledger.scores[-1] if ledger.scores else 0.0,
        converged=chosen.passed if chosen else False,
        exit_reason=reason,
        total_latency_ms=ledger.elapsed_s * 1000.0,
        score_trajectory=tuple(ledger.scores),
        usage=ledger.usage,
        best_iteration=chosen.iteration if chosen else 0,
        retries=ledger.retries,
    )
    output = chosen.output if chosen else terms.format.empty()
    return RefinementResult(output, metrics, records)


def reason_of(error: Exception) -> ExitReason:
    """Return why a run ended that an error broke off: the store failed, or something of the caller's own."""
    return ExitReason("store_error" if isinstance(error, StoreError) else "caller_error", describe(error))
