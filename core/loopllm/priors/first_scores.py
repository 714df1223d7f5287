"""How do first drafts score: counts by bin, which need no second call and so are never censored."""

from __future__ import annotations

from loopllm.priors.counts import Row

FIRST_BINS = 21
"""Bins of the first score: twenty of width 0.05, and exactly 1."""


def first_bin(score: float) -> int:
    """Bin of a first score.

    >>> first_bin(0.0), first_bin(0.999), first_bin(1.0)
    (0, 19, 20)
    """
    return FIRST_BINS - 1 if score >= 1.0 else int(score * (FIRST_BINS - 1))


def no_first_scores() -> Row:
    """A row in which nothing was counted."""
    return [0.0] * FIRST_BINS
