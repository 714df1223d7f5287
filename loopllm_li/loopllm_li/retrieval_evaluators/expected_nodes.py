"""Were the passages found that are known to answer? For labelled queries: benchmarks, tests, regression suites."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llama_index.core.evaluation.retrieval.metrics import resolve_metrics
from llama_index.core.schema import NodeWithScore

from loopllm.errors import EvaluatorError, MisuseError
from loopllm.results import EvaluationResult
from loopllm_li.retrieval_evaluators.asked_query import asked_words

Labels = Mapping[str, Sequence[str]] | Callable[[str], Sequence[str]]
"""Ids of the right nodes by the words of the query."""


class ExpectedNodes:
    """Scores nodes by LlamaIndex's own retrieval metrics against labelled ids; the score is their mean.

    >>> from llama_index.core.schema import TextNode
    >>> found = [NodeWithScore(node=TextNode(id_=name)) for name in ("x", "right")]
    >>> said = ExpectedNodes({"q": ["right"]}).evaluate(found, {"query": "q"})
    >>> said.score, dict(said.sub_scores)  # the hit counts 1, its rank 1/2
    (0.75, {'hit_rate': 1.0, 'mrr': 0.5})

    Args:
        labels: Ids of the right nodes by query.
        metrics: Names that LlamaIndex knows: `hit_rate`, `mrr`, `precision`, `recall`, `ap`, `ndcg`.
    """

    name = "expected_nodes"
    test_retest_sd = 0.0

    def __init__(self, labels: Labels, metrics: Sequence[str] = ("hit_rate", "mrr")) -> None:
        if not metrics:
            raise MisuseError("metrics must name at least one of LlamaIndex's retrieval metrics")
        try:
            self._metrics = {
                name: kind() for name, kind in zip(metrics, resolve_metrics(list(metrics)), strict=True)
            }
        except ValueError as error:
            raise MisuseError(f"metrics: {error}") from error
        self._labels = labels

    def __repr__(self) -> str:
        return f"ExpectedNodes(metrics={list(self._metrics)})"

    def evaluate(
        self, nodes: Sequence[NodeWithScore], context: Mapping[str, Any] | None = None
    ) -> EvaluationResult:
        """Score nodes against the ids labelled for `context["query"]`.

        Raises:
            EvaluatorError: The query is not labelled.
        """
        expected = self._expected(asked_words(context, self.name))
        found = [node.node_id for node in nodes]
        scores = {name: self._measure(metric, expected, found) for name, metric in self._metrics.items()}
        hits = sum(each in found for each in expected)
        faults = (
            []
            if hits == len(expected)
            else [f"{len(expected) - hits} of {len(expected)} right passages are missing"]
        )
        return EvaluationResult(
            math.fsum(scores.values()) / len(scores), deficiencies=faults, sub_scores=scores
        )

    def _expected(self, words: str) -> list[str]:
        labels = self._labels
        ids = list(labels(words) if callable(labels) else labels.get(words, ()))
        if not ids:
            raise EvaluatorError(f"no node ids are labelled for the query {words!r}")
        return ids

    @staticmethod
    def _measure(metric: Any, expected: list[str], found: list[str]) -> float:
        if not found:  # the metrics refuse an empty list
            return 0.0
        return min(1.0, max(0.0, float(metric.compute(expected_ids=expected, retrieved_ids=found).score)))
