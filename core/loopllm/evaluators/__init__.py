"""What makes a draft good: evaluators that score it and say what to mend."""

from loopllm.evaluators.adapt import as_evaluator
from loopllm.evaluators.base import Evaluator
from loopllm.evaluators.composite import CompositeEvaluator
from loopllm.evaluators.json_schema import JSONSchemaEvaluator
from loopllm.evaluators.length import LengthEvaluator
from loopllm.evaluators.patterns import RegexEvaluator
from loopllm.evaluators.threshold import ThresholdEvaluator

__all__ = [
    "CompositeEvaluator",
    "Evaluator",
    "JSONSchemaEvaluator",
    "LengthEvaluator",
    "RegexEvaluator",
    "ThresholdEvaluator",
    "as_evaluator",
]
