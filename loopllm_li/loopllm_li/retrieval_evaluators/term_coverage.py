"""Do the retrieved passages speak of what was asked?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore

from loopllm.errors import MisuseError
from loopllm.results import EvaluationResult
from loopllm_li.retrieval_evaluators.asked_query import asked_words
from loopllm_li.retrieval_evaluators.words import best_likeness, topic_words, words_of

_COVERED = 0.75  # a likeness from which a word need not be named as missing
_NAMED_AT_MOST = 8


class TermCoverage:
    """Scores nodes by the share of the original query's words that they cover, rare words weighing more.

    With w(t) the weight of word t and c(t, X) the likeness of t to the most alike word in X (see `words`):

        cover(X) = sum_t w(t) c(t, X) / sum_t w(t)
        score    = (1 - concentration) cover(all passages) + concentration max_p cover(passage p)

    so one passage that speaks of everything beats several that each speak of a part. Weights are the idf of
    BM25, ln(1 + (N - n + 0.5) / (n + 0.5)) for a word in n of N texts (Robertson and Zaragoza 2009), when the
    corpus was given (`of_corpus`), and equal otherwise.

    >>> from llama_index.core.schema import QueryBundle, TextNode
    >>> nodes = [NodeWithScore(node=TextNode(text="The moon raises the tides."))]
    >>> said = TermCoverage().evaluate(nodes, {"query": QueryBundle("moon tides earthquakes")})
    >>> round(said.score, 3), said.deficiencies
    (0.667, ['no passage mentions: earthquakes'])

    Args:
        weights: Weight of each word, or None for equal ones; words not in it get the highest weight there is.
        concentration: Share of the score that the best single passage decides, in [0, 1].
        considered: How many of the first nodes are looked at, or None for all.
    """

    name = "term_coverage"
    test_retest_sd = 0.0

    def __init__(
        self,
        weights: Mapping[str, float] | None = None,
        *,
        concentration: float = 0.5,
        considered: int | None = None,
    ) -> None:
        if not 0.0 <= concentration <= 1.0:
            raise MisuseError(f"concentration must be a number in [0, 1], got {concentration!r}")
        if considered is not None and considered < 1:
            raise MisuseError(f"considered must be at least 1, got {considered!r}")
        self._weights = dict(weights or {})
        self._unseen = max(self._weights.values(), default=1.0)
        self._concentration = concentration
        self._considered = considered

    def __repr__(self) -> str:
        return f"TermCoverage({len(self._weights)} weights, concentration={self._concentration})"

    @classmethod
    def of_corpus(
        cls,
        corpus: Iterable[str | BaseNode],
        *,
        concentration: float = 0.5,
        considered: int | None = None,
    ) -> Self:
        """Weigh words by how rare they are in a corpus.

        Args:
            corpus: Its texts or nodes.
            concentration: As in the constructor.
            considered: As in the constructor.
        """
        return cls(idf_of(corpus), concentration=concentration, considered=considered)

    def evaluate(
        self, nodes: Sequence[NodeWithScore], context: Mapping[str, Any] | None = None
    ) -> EvaluationResult:
        """Score nodes against `context["query"]`.

        Raises:
            EvaluatorError: The context names no query, or the query has no words.
        """
        asked = topic_words(asked_words(context, self.name))
        texts = [set(words_of(content_of(node))) for node in nodes[: self._considered]]
        if not texts:
            return EvaluationResult(0.0, deficiencies=["nothing was found; use more common words"])
        alike = {word: [best_likeness(word, text) for text in texts] for word in asked}
        whole = self._cover({word: max(values) for word, values in alike.items()})
        single = max(
            self._cover({word: values[index] for word, values in alike.items()})
            for index in range(len(texts))
        )
        score = (1.0 - self._concentration) * whole + self._concentration * single
        return EvaluationResult(
            min(1.0, score),
            deficiencies=_faults(alike),
            sub_scores={"all_passages": min(1.0, whole), "best_passage": min(1.0, single)},
        )

    def score_nodes(
        self, nodes: Sequence[NodeWithScore], context: Mapping[str, Any] | None = None
    ) -> list[float]:
        """Return cover(p) of each node.

        Raises:
            EvaluatorError: The context names no query, or the query has no words.
        """
        asked = topic_words(asked_words(context, self.name))
        texts = [set(words_of(content_of(node))) for node in nodes]
        return [min(1.0, self._cover({word: best_likeness(word, text) for word in asked})) for text in texts]

    async def ascore_nodes(
        self, nodes: Sequence[NodeWithScore], context: Mapping[str, Any] | None = None
    ) -> list[float]:
        """Return what `score_nodes` does; it takes microseconds a node and waits for nothing."""
        return self.score_nodes(nodes, context)

    def _cover(self, alike: Mapping[str, float]) -> float:
        total = math.fsum(self._weight(word) for word in alike)
        return math.fsum(self._weight(word) * value for word, value in alike.items()) / total

    def _weight(self, word: str) -> float:
        return self._weights.get(word, self._unseen)


def idf_of(corpus: Iterable[str | BaseNode]) -> dict[str, float]:
    """Return the BM25 idf of every word of a corpus.

    >>> weights = idf_of(["the moon", "the tides", "the sea"])
    >>> round(weights["moon"], 3), round(weights["the"], 3)  # ln(1 + 2.5 / 1.5), ln(1 + 0.5 / 3.5)
    (0.981, 0.134)
    """
    containing: Counter[str] = Counter()
    texts = 0
    for text in corpus:
        texts += 1
        containing.update(set(words_of(text if isinstance(text, str) else _text(text))))
    return {word: math.log(1.0 + (texts - n + 0.5) / (n + 0.5)) for word, n in containing.items()}


def content_of(node: NodeWithScore) -> str:
    """Return the text of a node, without its metadata."""
    return _text(node.node)


def _text(node: BaseNode) -> str:
    return node.get_content(metadata_mode=MetadataMode.NONE)


def _faults(alike: Mapping[str, Sequence[float]]) -> list[str]:
    missing = [word for word, values in alike.items() if max(values) < _COVERED]
    if missing:
        return [f"no passage mentions: {', '.join(missing[:_NAMED_AT_MOST])}"]
    if len(alike) > 1 and not any(
        all(values[p] >= _COVERED for values in alike.values()) for p in _passages(alike)
    ):
        return [f"no single passage mentions all of: {', '.join(list(alike)[:_NAMED_AT_MOST])}"]
    return []


def _passages(alike: Mapping[str, Sequence[float]]) -> range:
    return range(len(next(iter(alike.values()))))
