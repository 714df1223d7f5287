"""What a run is held to: the settings and the caller's code, the same for all its rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

from loopllm.config import LoopConfig
from loopllm.exits import Condition
from loopllm.feedback import FeedbackBuilder, PromptFormat
from loopllm.priors import Policy
from loopllm.priors.judging_again import JudgingRule
from loopllm.results import OutputT, PromptT


@dataclass(frozen=True, slots=True)
class Terms(Generic[PromptT, OutputT]):
    """What a run is held to; the same for all its rounds.

    Attributes:
        config: Limits and settings.
        format: How prompts and outputs are written.
        ways: Ways of asking again by name, the default one first.
        conditions: The caller's own exit conditions, asked in order.
        policy: What the priors advise, or None.
        task_type: First half of the key under which the run is learned from.
        model_id: Second half of that key.
        learns: Whether rounds are to be remembered.
        judging: Whether a draft is worth judging again, or None: each is judged once.
        asks: The model that the caller named, or None: the provider's own.
    """

    config: LoopConfig
    format: PromptFormat[PromptT, OutputT]
    ways: Mapping[str, FeedbackBuilder]
    conditions: Sequence[Condition] = ()
    policy: Policy | None = None
    task_type: str = "default"
    model_id: str = ""
    learns: bool = False
    judging: JudgingRule | None = None
    asks: str | None = None
