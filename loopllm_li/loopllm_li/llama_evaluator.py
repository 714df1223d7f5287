"""Any evaluator of LlamaIndex as an evaluator of the engine."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.evaluation import BaseEvaluator
from llama_index.core.evaluation import EvaluationResult as LlamaResult
from llama_index.core.evaluation.guideline import GuidelineEvaluator
from llama_index.core.evaluation.pairwise import PairwiseComparisonEvaluator
from llama_index.core.evaluation.semantic_similarity import SemanticSimilarityEvaluator
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from loopllm.errors import EvaluatorError, MisuseError
from loopllm.evaluators.checks import stated_spread
from loopllm.results import EvaluationResult
from loopllm_li.background_loop import run_apart, run_blocking
from loopllm_li.chat_messages import as_chat_messages, asked_in
from loopllm_li.evaluation_verdicts import known_kind, scaled, verdict_of
from loopllm_li.pretended_async import judge_blocks_when_awaited

_PICTURES = ("image_paths", "image_urls")  # what multi-modal evaluators look at
_UNREADABLE = (ValueError, TypeError, AttributeError, KeyError)  # what LlamaIndex's own parsers raise


class LlamaIndexEvaluator:
    """Brings an evaluator of LlamaIndex to scores in [0, 1] with deficiencies that a model can act on.

    It scores answers (text) and retrievals (a list of `NodeWithScore`). From the context it takes `query`
    (or `prompt`), `contexts` (texts of the sources), `reference`, `image_paths` and `image_urls`. Blocking
    calls run on one background event loop, never a new one a call. What cannot be read is no score.

    Args:
        evaluator: Any `BaseEvaluator` of LlamaIndex.
        reference: The expected answer, for evaluators that compare with one; `context["reference"]` goes first.
        threshold: Score in [0, 1] from which it passes, instead of the evaluator's own verdict.
        scale: Lowest and highest score of an evaluator of your own that does not score from 0 to 1.
        test_retest_sd: Standard deviation of its scores in [0, 1] of one answer, when it is known; None leaves it to be
            learned.
        **arguments: Passed to every call of the evaluator; `context["contexts"]` goes before `contexts`, and
            `second_response` before the previous answer.

    Raises:
        MisuseError: It is no evaluator of LlamaIndex, or the scale is empty.
    """

    def __init__(
        self,
        evaluator: BaseEvaluator,
        *,
        reference: str | None = None,
        threshold: float | None = None,
        scale: tuple[float, float] | None = None,
        test_retest_sd: float | None = None,
        **arguments: Any,
    ) -> None:
        if not isinstance(evaluator, BaseEvaluator):
            raise MisuseError(
                f"evaluator must be a LlamaIndex BaseEvaluator, got a {type(evaluator).__name__}"
            )
        if scale is not None and not scale[0] < scale[1]:
            raise MisuseError(f"scale must be (lowest, highest), got {scale!r}")
        self.evaluator = _with_own_template(evaluator)
        self.name = type(evaluator).__name__
        self.test_retest_sd = stated_spread(test_retest_sd)
        self._kind = known_kind(evaluator)
        self._reference, self._threshold, self._scale = reference, threshold, scale
        self._arguments = arguments

    def __repr__(self) -> str:
        return f"LlamaIndexEvaluator({self.name})"

    def evaluate(self, output: Any, context: Mapping[str, Any] | None = None) -> EvaluationResult:
        """Score an answer or a list of nodes, blocking.

        Raises:
            EvaluatorError: There is no usable score.
        """
        return run_blocking(self.aevaluate(output, context))

    async def aevaluate(self, output: Any, context: Mapping[str, Any] | None = None) -> EvaluationResult:
        """Score an answer or a list of nodes without blocking the event loop.

        Raises:
            EvaluatorError: There is no usable score.
        """
        facts = context or {}
        arguments = self._question(output, facts)
        if (
            isinstance(self.evaluator, PairwiseComparisonEvaluator)
            and arguments.get("second_response") is None
        ):
            return EvaluationResult(0.5)  # nothing to compare the first answer with
        try:
            result = await self._asked(arguments)
        except _UNREADABLE as error:
            raise EvaluatorError(f"{self.name} failed: {error}") from error
        return verdict_of(self._kind, self._rescaled(result), self._threshold)

    async def _asked(self, arguments: dict[str, Any]) -> LlamaResult:
        asked = self.evaluator.aevaluate(**arguments)
        return await (run_apart(asked) if judge_blocks_when_awaited(self.evaluator) else asked)

    def _question(self, output: Any, facts: Mapping[str, Any]) -> dict[str, Any]:
        arguments: dict[str, Any] = {"query": _words(facts), "response": output, **self._arguments}
        arguments["contexts"] = facts.get("contexts", self._arguments.get("contexts"))
        if isinstance(output, list):
            arguments["contexts"], arguments["response"] = [_text(node) for node in output], ""
        arguments.update({name: facts[name] for name in _PICTURES if name in facts})
        reference = facts.get("reference", self._reference)
        if reference is not None:
            arguments["reference"] = reference
        elif isinstance(self.evaluator, SemanticSimilarityEvaluator):
            raise EvaluatorError(
                f'{self.name} compares with an expected answer: give reference= or context["reference"]'
            )
        if isinstance(self.evaluator, PairwiseComparisonEvaluator):
            arguments.setdefault("second_response", facts.get("previous_answer"))
        return arguments

    def _rescaled(self, result: LlamaResult) -> LlamaResult:
        if self._scale is None or result.score is None:
            return result
        return result.model_copy(update={"score": scaled(result.score, *self._scale)})


def adapted(evaluator: Any) -> Any:
    """Return an evaluator of LlamaIndex in its adapter, and anything else as it is."""
    return LlamaIndexEvaluator(evaluator) if isinstance(evaluator, BaseEvaluator) else evaluator


def _with_own_template(evaluator: BaseEvaluator) -> BaseEvaluator:
    """Give a `GuidelineEvaluator` its own template: its constructor changes one that all instances share."""
    if isinstance(evaluator, GuidelineEvaluator):
        template = copy.copy(evaluator._eval_template)  # noqa: SLF001 - there is no public way to it
        template.output_parser = evaluator._output_parser  # noqa: SLF001
        evaluator._eval_template = template  # noqa: SLF001
    return evaluator


def _words(facts: Mapping[str, Any]) -> str:
    query = facts.get("query", facts.get("prompt"))
    if (
        isinstance(query, list | tuple)
        and query
        and all(isinstance(each, ChatMessage | Mapping) for each in query)
    ):
        return asked_in(as_chat_messages(query))  # a conversation
    return query.query_str if isinstance(query, QueryBundle) else str(query or "")


def _text(node: Any) -> str:
    if not isinstance(node, NodeWithScore):
        raise EvaluatorError(f"cannot judge a list of {type(node).__name__}: nodes or a text are scored")
    return node.node.get_content(metadata_mode=MetadataMode.NONE)
