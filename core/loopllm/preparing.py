"""What a run is held to, made from a loop's settings and what its priors advise; and what it cannot be made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from loopllm.config import LoopConfig
from loopllm.errors import MisuseError
from loopllm.evaluators.adapt import as_evaluator
from loopllm.exits import Condition
from loopllm.feedback import PromptFormat
from loopllm.lessons import enough
from loopllm.priors import Policy
from loopllm.priors.judging_again import JudgingRule
from loopllm.results import OutputT, PromptT
from loopllm.tables import shorten
from loopllm.telemetry.log import logger
from loopllm.terms import Terms

if TYPE_CHECKING:
    from loopllm.adaptive_priors import AdaptivePriors


def require_loop_parts(config: Any, priors: Any, observers: Any) -> None:
    """Refuse what a loop cannot be built from.

    Raises:
        MisuseError: An argument is of another kind; the message names it and what to pass.
    """
    if config is not None and not isinstance(config, LoopConfig):
        raise MisuseError(
            f"config must be a LoopConfig, got {config!r}; write LoopConfig(max_iterations=3, ...)"
        )
    if priors is not None and not hasattr(priors, "policy"):
        raise MisuseError(
            f"priors must be AdaptivePriors, got {priors!r}; write AdaptivePriors(store_path=...)"
        )
    if not isinstance(observers, Sequence) or not all(hasattr(each, "on_event") for each in observers):
        raise MisuseError(f"observers must be a list of objects with on_event(event), got {observers!r}")


def require_run_parts(context: Any, cancellation: Any) -> None:
    """Refuse what a run cannot be given.

    Raises:
        MisuseError: An argument is of another kind.
    """
    if context is not None and not isinstance(context, Mapping):
        raise MisuseError(f"context must be a dict of facts for the evaluator, got {context!r}")
    if cancellation is not None and not hasattr(cancellation, "is_set"):
        raise MisuseError(f"cancellation must have is_set(), as threading.Event has; got {cancellation!r}")


def listed(prompts: Iterable[PromptT]) -> list[PromptT]:
    """Return the prompts of a batch; one string in their place would be refined letter by letter.

    Raises:
        MisuseError: It is a single string, or a single message, which would be refined key by key.
    """
    if isinstance(prompts, str | Mapping):
        kind = "string" if isinstance(prompts, str) else "message"
        raise MisuseError(f"prompts must be a list of prompts, got the single {kind} {shorten(prompts)!r}")
    return list(prompts)


def make_terms(
    config: LoopConfig,
    form: PromptFormat[PromptT, OutputT],
    conditions: Sequence[Condition],
    priors: AdaptivePriors | None,
    task_type: str,
    model_id: str,
    evaluator: Any = None,
    asks: str | None = None,
) -> Terms[PromptT, OutputT]:
    """Return the terms of one run.

    Args:
        config: Limits and settings.
        form: How prompts and outputs are written.
        conditions: The caller's own exit conditions.
        priors: What was learned, or None.
        task_type: First half of the key of what is learned.
        model_id: Second half.
        evaluator: What the run will be judged by, when it is known; it may state its test-retest spread.
        asks: The model that the caller named, or None: the provider's own.

    Raises:
        MisuseError: The run is to be learned from, and nobody knows the model's name.
    """
    learns = priors is not None and config.learning != "off"
    if learns and not model_id:
        raise MisuseError(
            "learning needs to know the model, and the provider does not name it: pass model=... to refine, "
            "or build the provider with model_id=..."
        )
    judge_sd = config.judge_sd
    if judge_sd is None and evaluator is not None:
        judge_sd = as_evaluator(evaluator).test_retest_sd
    policy = None if priors is None or not learns else _advice(config, priors, task_type, model_id, judge_sd)
    judging = None
    if priors is not None and policy is not None and policy.acts:
        judging = _judging(config, priors, task_type, model_id, judge_sd)
    held_to = (config, form, config.ways(), tuple(conditions))
    return Terms(*held_to, policy, task_type, model_id, learns, judging, asks)


def _judging(
    config: LoopConfig, priors: AdaptivePriors, task_type: str, model_id: str, judge_sd: float | None
) -> JudgingRule | None:
    """Return the rule for judging again, None where it cannot pay or the caller did not say what it costs."""
    if config.judge_cost is None or not config.best_of:
        return None
    spread = priors.judge_spread(task_type, model_id).learned if judge_sd is None else judge_sd
    if spread == 0.0 or (spread is None and not config.explore):
        return None
    return JudgingRule(spread, config.judge_cost, config.quality_threshold)


def _advice(
    config: LoopConfig, priors: AdaptivePriors, task_type: str, model_id: str, judge_sd: float | None
) -> Policy:
    acts, ways = config.learning == "act" and priors.mode == "act", tuple(config.ways())
    # A run that is only observed is asked in one way: what drafts of other ways would have scored, nobody can say.
    ways = ways if acts else ways[:1]
    policy = priors.policy(
        task_type,
        model_id,
        objective=config.objective,
        quality_threshold=enough(config),
        call_cost=config.call_cost,
        max_iterations=config.max_iterations,
        ways=ways,
        explore=config.explore,
        seed=config.seed,
        judge_sd=judge_sd,
        acts=acts,
    )
    if policy.runs and not policy.costs.money_is_known:
        _warn_of_unknown_money(task_type, model_id)
    return policy


@lru_cache(maxsize=256)  # once per task type and model is enough
def _warn_of_unknown_money(task_type: str, model_id: str) -> None:
    logger.warning(
        "no call of %s with %s has told what it costs in money, which the objective weighs: set "
        "LoopConfig(prices=Prices(...)) (0 when it is free), or use a provider that reports its cost",
        task_type,
        model_id,
    )
