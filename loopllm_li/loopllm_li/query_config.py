"""How a loop over queries asks again when nobody says."""

from __future__ import annotations

from collections.abc import Mapping

from loopllm import LoopConfig
from loopllm.feedback import WAYS, FeedbackBuilder


class QueryConfig(LoopConfig):
    """A `LoopConfig` whose `feedback="auto"` begins with `"fresh"` until priors know better.

    A query loop asks in another way each round by itself, and what is wrong with a query ("the passages are
    not close in meaning") helps small models less than it confuses them: SmolLM2-135M lost more than half of
    its hits at rank 1 on `examples/corpus` when it was told.
    """

    def ways(self) -> Mapping[str, FeedbackBuilder]:
        """Return the ways of asking this configuration allows, the default one first."""
        ways = super().ways()
        return {"fresh": WAYS["fresh"], **ways} if self.feedback == "auto" else ways


def query_config(config: LoopConfig) -> LoopConfig:
    """Return the same settings for a loop over queries."""
    return QueryConfig(**{name: getattr(config, name) for name in LoopConfig.model_fields})
