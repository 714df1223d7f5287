"""How a loop behaves: every setting of a run, validated when it is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from inspect import iscoroutinefunction
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from loopllm.feedback import WAYS, FeedbackBuilder, FeedbackName
from loopllm.priors.objective import Goal, Objective
from loopllm.results import Usage

_TAKEN = frozenset({*WAYS, "auto", "first"})  # names of ways that mean something already
_LONGEST_MS = 1e11  # three years; what clocks cannot count to would fail in the middle of a run


class Prices(BaseModel):
    """What a model charges, to turn token counts into money.

    >>> Prices(prompt_per_million=0.15, completion_per_million=0.60).cost(1000, 500)
    0.00045

    Attributes:
        prompt_per_million: Price of a million tokens sent.
        completion_per_million: Price of a million tokens written.
        currency: For messages only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    prompt_per_million: float = Field(ge=0)
    completion_per_million: float = Field(ge=0)
    currency: str = "USD"

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the price of one call, in `currency`."""
        return (
            prompt_tokens * self.prompt_per_million + completion_tokens * self.completion_per_million
        ) / 1e6

    def priced(self, usage: Usage) -> Usage:
        """Return the usage of a call with its price, where the provider told the tokens of both sides and no cost."""
        prompt, completion = usage.prompt_tokens, usage.completion_tokens
        if usage.cost is not None or prompt is None or completion is None:
            return usage
        return replace(usage, cost=self.cost(prompt, completion))


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
            `"auto"`: what the priors have found best, and `"last"` without priors.
        feedback_ways: Further named ways that `"auto"` may choose from.
        require_pass: When an evaluator says `passed=False`, do not accept the draft whatever its score.
        token_budget: End before a further call would exceed this many tokens.
        cost_budget: End before a further call would exceed this much money.
        prices: Turns tokens into money for providers that report no cost; in the currency of the `Objective`.
        max_retries: Times a call is repeated after a transient failure (429, 5xx, connection).
        retry_base_s: Seconds of the first back-off; it doubles each time, with jitter, up to `retry_cap_s`.
        retry_cap_s: Longest back-off in seconds.
        learning: With priors: `"act"` learns and lets them end runs, `"observe"` learns and changes nothing, `"off"`
            does neither.
        objective: What the learned exit maximises, less the cost of the calls: `"threshold"` (1 when the best score
            reaches the threshold), `"quality"` (the best score), or an `Objective`, which states what one of them is
            worth in money, so that the cost of a call can be learned from what calls cost and how long they take.
        call_cost: Cost of one more call in the unit of the objective. With an `Objective` it stands in for the cost
            until a call told it, as a part of what the draft may be worth.
        judge_sd: Test-retest standard deviation of the evaluator's scores (0: the same draft always scores alike),
            instead of what the evaluator states; None: as it states, else as its repeats and the scores tell.
        judge_cost: Cost of judging a draft once more, in the unit of `call_cost`. When given, the learned exit may have
            the best draft judged again where that is worth more than it costs; None: a draft is judged once.
        explore: Let the learned exit go on now and then in order to learn (bounded).
        seed: Seed of that exploration.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    max_iterations: int = Field(default=5, ge=1)
    quality_threshold: float = Field(default=0.8, ge=0.0, le=1.0)
    min_iterations: int = Field(default=1, ge=1)
    convergence_delta: float = Field(default=0.01, ge=0.0)
    timeout_ms: float | None = Field(default=30_000.0, gt=0.0, le=_LONGEST_MS)
    best_of: bool = True
    feedback: FeedbackName | FeedbackBuilder = "auto"
    feedback_ways: Mapping[str, FeedbackBuilder] = Field(default_factory=dict)
    require_pass: bool = True
    token_budget: int | None = Field(default=None, ge=1)
    cost_budget: float | None = Field(default=None, gt=0.0)
    prices: Prices | None = None
    max_retries: int = Field(default=2, ge=0)
    retry_base_s: float = Field(default=0.5, ge=0.0)
    retry_cap_s: float = Field(default=20.0, ge=0.0)
    learning: Literal["act", "observe", "off"] = "act"
    objective: Goal | Objective = "threshold"
    call_cost: float = Field(default=0.05, ge=0.0)
    judge_sd: float | None = Field(default=None, ge=0.0, le=1.0)
    judge_cost: float | None = Field(default=None, ge=0.0)
    explore: bool = True
    seed: int = 0

    @field_validator("feedback", mode="before")
    @classmethod
    def _feedback_is_known(cls, value: Any) -> Any:
        known = ("auto", *WAYS)  # no set, since what cannot be hashed may come
        if not callable(value) and value not in known:
            raise ValueError(f"feedback must be one of {', '.join(known)}, or a callable; got {value!r}")
        return _plain(value)

    @field_validator("feedback_ways")
    @classmethod
    def _ways_have_their_own_names(
        cls, value: Mapping[str, FeedbackBuilder]
    ) -> Mapping[str, FeedbackBuilder]:
        taken = sorted(_TAKEN.intersection(value))
        if taken:
            raise ValueError(f"feedback_ways may not redefine {', '.join(taken)}")
        for build in value.values():
            _plain(build)
        return value

    @model_validator(mode="after")
    def _limits_agree(self) -> Self:
        if self.min_iterations > self.max_iterations:
            raise ValueError(
                f"min_iterations={self.min_iterations} is above max_iterations={self.max_iterations}"
            )
        return self

    @model_validator(mode="after")
    def _currencies_agree(self) -> Self:
        if isinstance(self.objective, Objective) and self.prices:
            wanted, charged = self.objective.currency, self.prices.currency
            if wanted != charged:
                raise ValueError(
                    f"objective is in {wanted} and prices are in {charged}: state both in one currency"
                )
        return self

    @property
    def currency(self) -> str | None:
        """What money is counted in, or None when nobody said."""
        if isinstance(self.objective, Objective):
            return self.objective.currency
        return self.prices.currency if self.prices else None

    def ways(self) -> Mapping[str, FeedbackBuilder]:
        """Return the ways of asking this configuration allows, the default one first."""
        if callable(self.feedback):
            name = getattr(self.feedback, "__name__", "custom")
            # What is learned of it must not be taken for what is learned of a way that has this name already.
            return {f"own_{name}" if name in _TAKEN else name: self.feedback}
        if self.feedback == "auto":
            return {**WAYS, **self.feedback_ways}
        return {self.feedback: WAYS[self.feedback]}


def _plain(builder: Any) -> Any:
    if iscoroutinefunction(builder):  # the model would be sent what it returns, a coroutine, as its prompt
        name = getattr(builder, "__name__", type(builder).__name__)
        raise ValueError(f"{name} is async; a feedback builder is a plain function")
    return builder
