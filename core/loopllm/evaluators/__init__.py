"""What makes a draft good: evaluators that score it and say what to mend.

Every name is imported when first asked for, so that a run with a plain function loads none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loopllm.evaluators.adapt import as_evaluator
    from loopllm.evaluators.base import Evaluator
    from loopllm.evaluators.composite import CompositeEvaluator
    from loopllm.evaluators.json_schema import JSONSchemaEvaluator
    from loopllm.evaluators.length import LengthEvaluator
    from loopllm.evaluators.measuring import ameasure_judge, measure_judge
    from loopllm.evaluators.patterns import RegexEvaluator
    from loopllm.evaluators.threshold import ThresholdEvaluator

__all__ = [
    "CompositeEvaluator",
    "Evaluator",
    "JSONSchemaEvaluator",
    "LengthEvaluator",
    "RegexEvaluator",
    "ThresholdEvaluator",
    "ameasure_judge",
    "as_evaluator",
    "measure_judge",
]

_HOMES = {
    "CompositeEvaluator": "composite",
    "Evaluator": "base",
    "JSONSchemaEvaluator": "json_schema",
    "LengthEvaluator": "length",
    "RegexEvaluator": "patterns",
    "ThresholdEvaluator": "threshold",
    "ameasure_judge": "measuring",
    "as_evaluator": "adapt",
    "measure_judge": "measuring",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
