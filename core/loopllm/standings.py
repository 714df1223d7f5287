"""Where do the drafts of a run stand once one was judged again, and is the best one worth judging once more?

Rule: without a rule for judging again the scores are what they are, and the highest leads.
"""

from __future__ import annotations

from collections.abc import Sequence

from loopllm.config import LoopConfig
from loopllm.lessons import judgements_of, learned_scores, policy_of, refused_at
from loopllm.priors import Policy
from loopllm.results import IterationRecord, OutputT, PromptT
from loopllm.snapshot import Ledger
from loopllm.terms import Terms


def is_worth_judging_again(
    ledger: Ledger[PromptT, OutputT], terms: Terms[PromptT, OutputT], *, late: bool
) -> bool:
    """Return whether to judge the best draft once more: from `min_iterations` on, and while there is time.

    An objection that is not about the score is final.

    Args:
        ledger: The books of the run.
        terms: What it is held to.
        late: Whether no time is left.
    """
    config, best = terms.config, ledger.best
    if terms.judging is None or late or ledger.judges_no_more or ledger.failed_evaluations:
        return False
    if best is None or best.score is None or len(ledger.records) < config.min_iterations:
        return False
    policy = policy_of(ledger, terms)
    if policy is None or _was_refused(best, config):
        return False
    return terms.judging.judges_again(policy, judgements_of(ledger, config))


def leading(
    ledger: Ledger[PromptT, OutputT], terms: Terms[PromptT, OutputT]
) -> IterationRecord[PromptT, OutputT] | None:
    """Return the draft that would be returned: a good enough one first, then the one that stands highest."""
    policy, scored = policy_of(ledger, terms), ledger.scored
    if not scored:
        return None
    standing: Sequence[float] = [record.score or 0.0 for record in scored]
    if terms.judging is not None and policy is not None:
        standing = terms.judging.standings(policy, judgements_of(ledger, terms.config))
    ranks = [(record.passed, height) for record, height in zip(scored, standing, strict=True)]
    return scored[ranks.index(max(ranks))]


def standings(
    ledger: Ledger[PromptT, OutputT], terms: Terms[PromptT, OutputT], policy: Policy
) -> Sequence[float]:
    """Return the scores by which the policy is asked: those of refused drafts as they are learned."""
    config = terms.config
    if terms.judging is None:
        return learned_scores(ledger, config)
    heights = terms.judging.standings(policy, judgements_of(ledger, config))
    low = refused_at(config)
    return [
        min(height, low) if _was_refused(record, config) else height
        for record, height in zip(ledger.scored, heights, strict=True)
    ]


def _was_refused(record: IterationRecord[PromptT, OutputT], config: LoopConfig) -> bool:
    """Return True for a scored draft whose score was enough, and which its evaluator refused all the same."""
    return (record.score or 0.0) >= config.quality_threshold and not record.passed
