"""How a loop behaves: every setting of a run, validated when it is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from loopllm.feedback import WAYS, FeedbackBuilder


class Prices(BaseModel):
    """What a model charges, to turn token counts into money.

    >>> Prices(prompt_per_million=0.15, completion_per_million=0.60).cost(1000, 500)
    0.00045

    Attributes:
        prompt_per_million: Price of a million tokens sent.
        completion_per_million: Price of a million tokens written.
        currency: For messages only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    prompt_per_million: float = Field(ge=0)
    completion_per_million: float = Field(ge=0)
    currency: str = "USD"

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the price of one call, in `currency`."""
        return (
            prompt_tokens * self.prompt_per_million + completion_tokens * self.completion_per_million
        ) / 1e6


class LoopConfig(BaseModel):
    """Settings of a loop. A wrong value is refused here, naming the field.

    >>> LoopConfig(max_iterations=3).quality_threshold
    0.8

    Attributes:
        max_iterations: Calls at most.
        quality_threshold: Score in [0, 1] from which a draft is good enough.
        min_iterations: Calls at least before quality, plateau, learned and own conditions may end the run.
        convergence_delta: Two successive score changes below this end the run; 0 turns the plateau exit off.
        timeout_ms: Milliseconds for the whole run, interrupting the call in flight; None means no limit.
        best_of: Return the best draft; False returns the last.
        feedback: How to ask again: `"last"` (task, previous answer, deficiencies), `"best"` (the best answer instead),
            `"deficiencies"` (no answer shown), `"fresh"` (the task again), a callable taking a `FeedbackRequest`, or
            `"auto"`: what the priors have found best, and `"last"` until they know.
        feedback_ways: Further named ways that `"auto"` may choose from.
        require_pass: When an evaluator says `passed=False`, do not accept the draft whatever its score.
        token_budget: End before a further call would exceed this many tokens.
        cost_budget: End before a further call would exceed this much money.
        prices: Turns tokens into money for providers that report no cost.
        max_retries: Times a call is repeated after a transient failure (429, 5xx, connection).
        retry_base_s: Seconds of the first back-off; it doubles each time, with jitter, up to `retry_cap_s`.
        retry_cap_s: Longest back-off in seconds.
        learning: With priors: `"act"` learns and lets them end runs, `"observe"` learns and changes nothing, `"off"`
            does neither.
        objective: What the learned exit maximises: `"threshold"` (1 when the best score reaches the threshold) or
            `"quality"` (the best score), each less the cost of the calls.
        call_cost: Cost of one more call in the unit of the objective.
        explore: Let the learned exit go on now and then in order to learn (bounded).
        seed: Seed of that exploration.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_iterations: int = Field(default=5, ge=1)
    quality_threshold: float = Field(default=0.8, ge=0.0, le=1.0)
    min_iterations: int = Field(default=1, ge=1)
    convergence_delta: float = Field(default=0.01, ge=0.0)
    timeout_ms: float | None = Field(default=30_000.0, gt=0.0)
    best_of: bool = True
    feedback: str | FeedbackBuilder = "auto"
    feedback_ways: Mapping[str, FeedbackBuilder] = Field(default_factory=dict)
    require_pass: bool = True
    token_budget: int | None = Field(default=None, ge=1)
    cost_budget: float | None = Field(default=None, gt=0.0)
    prices: Prices | None = None
    max_retries: int = Field(default=2, ge=0)
    retry_base_s: float = Field(default=0.5, ge=0.0)
    retry_cap_s: float = Field(default=20.0, ge=0.0)
    learning: Literal["act", "observe", "off"] = "act"
    objective: Literal["threshold", "quality"] = "threshold"
    call_cost: float = Field(default=0.05, ge=0.0)
    explore: bool = True
    seed: int = 0

    @field_validator("feedback")
    @classmethod
    def _feedback_is_known(cls, value: Any) -> Any:
        if isinstance(value, str) and value != "auto" and value not in WAYS:
            known = ", ".join(["auto", *WAYS])
            raise ValueError(f"feedback must be one of {known}, or a callable; got {value!r}")
        return value

    @field_validator("feedback_ways")
    @classmethod
    def _ways_have_their_own_names(
        cls, value: Mapping[str, FeedbackBuilder]
    ) -> Mapping[str, FeedbackBuilder]:
        taken = sorted(set(value) & {*WAYS, "auto", "first"})
        if taken:
            raise ValueError(f"feedback_ways may not redefine {', '.join(taken)}")
        return value

    @model_validator(mode="after")
    def _limits_agree(self) -> Self:
        if self.min_iterations > self.max_iterations:
            raise ValueError(
                f"min_iterations={self.min_iterations} is above max_iterations={self.max_iterations}"
            )
        return self

    def ways(self) -> Mapping[str, FeedbackBuilder]:
        """Return the ways of asking this configuration allows, the default one first."""
        if callable(self.feedback):
            name = getattr(self.feedback, "__name__", "custom")
            # What is learned of it must not be taken for what is learned of a way that has this name already.
            return {f"own_{name}" if name in WAYS else name: self.feedback}
        if self.feedback == "auto":
            return {**WAYS, **self.feedback_ways}
        return {self.feedback: WAYS[self.feedback]}
