"""Similarity, stability and labelled ids as retrieval evaluators."""

import math
from typing import Any

import pytest
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from loopllm import CompositeEvaluator
from loopllm.errors import EvaluatorError, MisuseError
from loopllm_li import ExpectedNodes, NodeStability, RescoredSimilarity, TermCoverage


class Compass(BaseEmbedding):
    """Embeds "30" as the direction of 30 degrees."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return [math.cos(math.radians(float(text))), math.sin(math.radians(float(text)))]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


def nodes(*texts: Any, scores: Any = None) -> Any:
    scores = scores or [0.9] * len(texts)
    return [
        NodeWithScore(node=TextNode(id_=text, text=text), score=score)
        for text, score in zip(texts, scores, strict=True)
    ]


class TestRescoredSimilarity:
    def test_the_score_is_the_cosine_to_the_original_query_and_not_the_nodes_own(self) -> None:
        """Trap 23: a rewrite that quotes an irrelevant passage gives that passage a high score of its own."""
        verdict = RescoredSimilarity(Compass()).evaluate(
            nodes("90", scores=[1.0]), {"query": QueryBundle("0")}
        )
        assert verdict.score == pytest.approx(0.0)
        assert "close in meaning" in verdict.deficiencies[0]

    @pytest.mark.parametrize("raw", [None, -3.0, 0.017, 250.0])
    def test_whatever_the_retriever_gives_as_score_changes_nothing(self, raw: Any) -> None:
        verdict = RescoredSimilarity(Compass()).evaluate(nodes("60", scores=[raw]), {"query": "0"})
        assert verdict.score == pytest.approx(0.5)

    def test_a_negative_cosine_is_zero(self) -> None:
        assert RescoredSimilarity(Compass()).evaluate(nodes("180"), {"query": "0"}).score == 0.0

    def test_finding_a_good_passage_counts_and_ranking_it_first_counts_too(self) -> None:
        scores = [
            RescoredSimilarity(Compass()).evaluate(nodes(*order), {"query": "0"}).score
            for order in (("0", "90"), ("90", "0"), ("90", "60"))
        ]
        assert scores == pytest.approx([1.0, 0.5, 0.25])

    def test_the_scale_of_the_model_can_be_stretched(self) -> None:
        judge = RescoredSimilarity(Compass(), floor=0.5, ceiling=1.0)
        assert judge.evaluate(nodes("60"), {"query": "0"}).score == pytest.approx(0.0, abs=1e-9)

    async def test_awaited_it_says_the_same(self) -> None:
        judge = RescoredSimilarity(Compass())
        given = nodes("60", "90"), {"query": QueryBundle("0")}
        assert await judge.aevaluate(*given) == judge.evaluate(*given)

    def test_nothing_found_scores_zero(self) -> None:
        assert RescoredSimilarity(Compass()).evaluate([], {"query": "0"}).score == 0.0

    @pytest.mark.parametrize("wrong", [{"floor": 1.0}, {"first_weight": 2.0}])
    def test_wrong_settings_are_refused_by_name(self, wrong: Any) -> None:
        with pytest.raises(MisuseError, match=next(iter(wrong))):
            RescoredSimilarity(Compass(), **wrong)


class TestNodeStability:
    def test_agreement_with_the_round_before_is_the_score(self) -> None:
        verdict = NodeStability().evaluate(nodes("a", "b"), {"previous_nodes": nodes("b", "c")})
        assert verdict.score == pytest.approx(1 / 3)

    def test_the_first_round_is_not_confirmed(self) -> None:
        assert NodeStability().evaluate(nodes("a"), {"previous_nodes": None}).score == 0.0


class TestExpectedNodes:
    def test_the_score_is_the_mean_of_llama_indexs_own_metrics(self) -> None:
        judge = ExpectedNodes({"q": ["b"]}, metrics=["hit_rate", "mrr", "recall"])
        verdict = judge.evaluate(nodes("a", "b"), {"query": "q"})
        assert verdict.sub_scores == {"hit_rate": 1.0, "mrr": 0.5, "recall": 1.0}
        assert verdict.score == pytest.approx(2.5 / 3)

    def test_nothing_found_scores_zero_although_the_metrics_refuse_it(self) -> None:
        assert ExpectedNodes({"q": ["b"]}).evaluate([], {"query": "q"}).score == 0.0

    def test_labels_may_come_from_a_function(self) -> None:
        assert ExpectedNodes(lambda words: [words.upper()]).evaluate(nodes("Q"), {"query": "q"}).score == 1.0

    def test_a_query_without_labels_has_no_score(self) -> None:
        with pytest.raises(EvaluatorError, match="labelled"):
            ExpectedNodes({}).evaluate(nodes("a"), {"query": "q"})

    def test_an_unknown_metric_is_refused_when_built(self) -> None:
        with pytest.raises(MisuseError, match="metrics"):
            ExpectedNodes({}, metrics=["luck"])


def test_retrieval_evaluators_combine_like_any_others() -> None:
    judge = CompositeEvaluator([TermCoverage(), NodeStability()], weights=[3, 1])
    verdict = judge.evaluate(nodes("moon"), {"query": "moon", "previous_nodes": nodes("moon")})
    assert verdict.score == pytest.approx(1.0)
