"""Loop any LLM call until it is good enough, and learn when another call is worth its cost.

Names are imported when they are first used, so that `import loopllm` loads no framework, no HTTP client and no asyncio.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from loopllm._version import __version__

if TYPE_CHECKING:
    from loopllm.adaptive_exit import BayesianExitCondition
    from loopllm.adaptive_priors import AdaptivePriors
    from loopllm.config import LoopConfig, Prices
    from loopllm.engine import LoopedLLM
    from loopllm.errors import (
        CallTimeoutError,
        CorruptStoreError,
        EvaluatorError,
        LoopLLMError,
        MissingExtraError,
        MisuseError,
        ProviderError,
        StoreError,
    )
    from loopllm.evaluators import CompositeEvaluator, as_evaluator
    from loopllm.exits import Condition, RunView
    from loopllm.feedback import FeedbackRequest
    from loopllm.priors import CallObservation, Objective
    from loopllm.providers.adapt import as_provider
    from loopllm.providers.base import Completion
    from loopllm.refinement import Refinement
    from loopllm.results import (
        EvaluationResult,
        ExitReason,
        IterationRecord,
        LoopMetrics,
        RefinementResult,
        Usage,
    )

_HOMES = {
    "AdaptivePriors": "adaptive_priors",
    "BayesianExitCondition": "adaptive_exit",
    "CallObservation": "priors",
    "CallTimeoutError": "errors",
    "Completion": "providers.base",
    "CompositeEvaluator": "evaluators",
    "Condition": "exits",
    "CorruptStoreError": "errors",
    "EvaluationResult": "results",
    "EvaluatorError": "errors",
    "ExitReason": "results",
    "FeedbackRequest": "feedback",
    "IterationRecord": "results",
    "LoopConfig": "config",
    "LoopLLMError": "errors",
    "LoopMetrics": "results",
    "LoopedLLM": "engine",
    "MissingExtraError": "errors",
    "MisuseError": "errors",
    "Objective": "priors",
    "Prices": "config",
    "ProviderError": "errors",
    "Refinement": "refinement",
    "RefinementResult": "results",
    "RunView": "exits",
    "StoreError": "errors",
    "Usage": "results",
    "as_evaluator": "evaluators",
    "as_provider": "providers.adapt",
}

__all__ = [
    "AdaptivePriors",
    "BayesianExitCondition",
    "CallObservation",
    "CallTimeoutError",
    "Completion",
    "CompositeEvaluator",
    "Condition",
    "CorruptStoreError",
    "EvaluationResult",
    "EvaluatorError",
    "ExitReason",
    "FeedbackRequest",
    "IterationRecord",
    "LoopConfig",
    "LoopLLMError",
    "LoopMetrics",
    "LoopedLLM",
    "MissingExtraError",
    "MisuseError",
    "Objective",
    "Prices",
    "ProviderError",
    "Refinement",
    "RefinementResult",
    "RunView",
    "StoreError",
    "Usage",
    "__version__",
    "as_evaluator",
    "as_provider",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
