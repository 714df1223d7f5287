"""What a run is held to, made from a loop's settings and what its priors advise."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from loopllm.config import LoopConfig
from loopllm.errors import MisuseError
from loopllm.exits import Condition
from loopllm.feedback import PromptFormat
from loopllm.priors import Policy
from loopllm.results import OutputT, PromptT
from loopllm.telemetry.log import logger
from loopllm.terms import Terms

if TYPE_CHECKING:
    from loopllm.adaptive_priors import AdaptivePriors


def make_terms(
    config: LoopConfig,
    form: PromptFormat[PromptT, OutputT],
    conditions: Sequence[Condition],
    priors: AdaptivePriors | None,
    task_type: str,
    model_id: str,
) -> Terms[PromptT, OutputT]:
    """Return the terms of one run.

    Raises:
        MisuseError: The run is to be learned from, and nobody knows the model's name.
    """
    learns = priors is not None and config.learning != "off"
    if learns and not model_id:
        raise MisuseError(
            "learning needs to know the model, and the provider does not name it: pass model=... to refine, "
            "or build the provider with model_id=..."
        )
    policy = None if priors is None or not learns else _advice(config, priors, task_type, model_id)
    return Terms(config, form, config.ways(), tuple(conditions), policy, task_type, model_id, learns)


def _advice(config: LoopConfig, priors: AdaptivePriors, task_type: str, model_id: str) -> Policy:
    policy = priors.policy(
        task_type,
        model_id,
        objective=config.objective,
        quality_threshold=config.quality_threshold,
        call_cost=config.call_cost,
        max_iterations=config.max_iterations,
        ways=tuple(config.ways()),
        explore=config.explore,
        seed=config.seed,
        acts=config.learning == "act",
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
