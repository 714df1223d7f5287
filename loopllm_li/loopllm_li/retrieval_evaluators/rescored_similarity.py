"""How close in meaning are the retrieved passages to what was asked?

Rule: a node's own `score` is never used. It belongs to the rewritten query, so it would reward drift; and retrievers
give cosines, rank sums, negative distances or nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import NodeWithScore

from loopllm.errors import MisuseError
from loopllm.providers.deadline import call_in_thread
from loopllm.results import EvaluationResult
from loopllm_li.pretended_async import embedding_blocks_when_awaited
from loopllm_li.retrieval_evaluators.asked_query import asked_words
from loopllm_li.retrieval_evaluators.term_coverage import content_of

_Vector = Sequence[float]


class RescoredSimilarity:
    """Scores nodes by the similarity of their texts to the original query.

    With s(p) = clip((cosine(query, p) - floor) / (ceiling - floor), 0, 1):

        score = first_weight s(first node) + (1 - first_weight) max_p s(p)

    so that finding a good passage counts, and ranking it first counts too.

    Args:
        embed_model: Any LlamaIndex embedding model.
        first_weight: Share of the first node in the score, in [0, 1].
        floor: Cosine that means "unrelated" for this model; it scores 0.
        ceiling: Cosine that means "answers it"; it scores 1.
        wanted: Score from which nothing is said to be missing.
    """

    name = "rescored_similarity"

    def __init__(
        self,
        embed_model: BaseEmbedding,
        *,
        first_weight: float = 0.5,
        floor: float = 0.0,
        ceiling: float = 1.0,
        wanted: float = 0.8,
    ) -> None:
        if not 0.0 <= first_weight <= 1.0:
            raise MisuseError(f"first_weight must be a number in [0, 1], got {first_weight!r}")
        if not -1.0 <= floor < ceiling <= 1.0:
            raise MisuseError(
                f"-1 <= floor < ceiling <= 1 must hold, got floor={floor!r}, ceiling={ceiling!r}"
            )
        self._embed_model = embed_model
        self._first_weight = first_weight
        self._floor, self._ceiling = floor, ceiling
        self._wanted = wanted

    @classmethod
    def local(cls, **settings: Any) -> Self:
        """Judge with the model that is embedded in this process (`LocalEmbedding`), on the scale measured for it.

        Args:
            **settings: Further arguments of the constructor.

        Raises:
            MissingExtraError: The embedded model is not installed; the message says how to install it.
        """
        from loopllm_li.local_embedding import CEILING, FLOOR, LocalEmbedding  # noqa: PLC0415 - loads native code

        return cls(LocalEmbedding(), **{"floor": FLOOR, "ceiling": CEILING, **settings})

    def __repr__(self) -> str:
        return f"RescoredSimilarity({type(self._embed_model).__name__}, floor={self._floor}, ceiling={self._ceiling})"

    def evaluate(
        self, nodes: Sequence[NodeWithScore], context: Mapping[str, Any] | None = None
    ) -> EvaluationResult:
        """Score nodes against `context["query"]`, blocking.

        Raises:
            EvaluatorError: The context names no query.
        """
        scores = self.score_nodes(nodes, context)
        return self._verdict(scores) if scores else _nothing_found()

    async def aevaluate(
        self, nodes: Sequence[NodeWithScore], context: Mapping[str, Any] | None = None
    ) -> EvaluationResult:
        """Score nodes against `context["query"]` without blocking the event loop."""
        scores = await self.ascore_nodes(nodes, context)
        return self._verdict(scores) if scores else _nothing_found()

    def score_nodes(
        self, nodes: Sequence[NodeWithScore], context: Mapping[str, Any] | None = None
    ) -> list[float]:
        """Return s(p) of each node, blocking.

        Raises:
            EvaluatorError: The context names no query.
        """
        words = asked_words(context, self.name)
        if not nodes:
            return []
        query = self._embed_model.get_query_embedding(words)
        texts = self._embed_model.get_text_embedding_batch([content_of(node) for node in nodes])
        return [self._scaled(cosine(query, text)) for text in texts]

    async def ascore_nodes(
        self, nodes: Sequence[NodeWithScore], context: Mapping[str, Any] | None = None
    ) -> list[float]:
        """Return s(p) of each node without blocking the event loop. Errors as in `score_nodes`."""
        if embedding_blocks_when_awaited(self._embed_model):
            return await call_in_thread(self.score_nodes, nodes, context)
        words = asked_words(context, self.name)
        if not nodes:
            return []
        query = await self._embed_model.aget_query_embedding(words)
        texts = await self._embed_model.aget_text_embedding_batch([content_of(node) for node in nodes])
        return [self._scaled(cosine(query, text)) for text in texts]

    def _verdict(self, scaled: Sequence[float]) -> EvaluationResult:
        first, closest = scaled[0], max(scaled)
        score = min(1.0, self._first_weight * first + (1.0 - self._first_weight) * closest)
        faults = [] if score >= self._wanted else [_fault(first, closest)]
        return EvaluationResult(score, deficiencies=faults, sub_scores={"first": first, "closest": closest})

    def _scaled(self, value: float) -> float:
        return min(1.0, max(0.0, (value - self._floor) / (self._ceiling - self._floor)))


def cosine(one: _Vector, other: _Vector) -> float:
    """Return the cosine of the angle between two vectors, 0.0 when one of them is zero.

    >>> cosine([1.0, 0.0], [1.0, 1.0])  # doctest: +ELLIPSIS
    0.707...
    """
    lengths = math.hypot(*one) * math.hypot(*other)
    return math.fsum(a * b for a, b in zip(one, other, strict=True)) / lengths if lengths else 0.0


def _nothing_found() -> EvaluationResult:
    return EvaluationResult(0.0, deficiencies=["nothing was found; use more common words"])


def _fault(first: float, closest: float) -> str:
    if first == closest:
        return f"the passages are only {closest:.0%} close in meaning to the question"
    return (
        f"the first passage is only {first:.0%} close in meaning to the question, a later one {closest:.0%}"
    )
