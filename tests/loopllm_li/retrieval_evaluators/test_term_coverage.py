"""`TermCoverage`: do the passages speak of what was asked?"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode

from loopllm.errors import EvaluatorError, MisuseError
from loopllm_li import TermCoverage
from loopllm_li.retrieval_evaluators.words import likeness, topic_words


def said(texts: Any, query: Any, judge: Any = None) -> Any:
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in texts]
    return (judge or TermCoverage()).evaluate(nodes, {"query": QueryBundle(query)})


def test_everything_in_one_passage_scores_one_and_nothing_is_missing() -> None:
    verdict = said(["the moon raises the tides", "the sun shines"], "moon tides")
    assert (verdict.score, list(verdict.deficiencies)) == (1.0, [])


def test_nothing_found_scores_zero_and_asks_for_more_common_words() -> None:
    verdict = said([], "moon tides")
    assert verdict.score == 0.0
    assert "common" in verdict.deficiencies[0]


def test_a_step_in_the_right_direction_raises_the_score() -> None:
    passages = ["the sun shines", "the tides", "the tides and moons", "the tides of the moon"]
    scores = [said([passage], "moon tides").score for passage in passages]
    assert scores == sorted(scores)
    assert len(set(scores)) == 4


def test_one_passage_about_everything_beats_two_about_a_half_each() -> None:
    apart, together = (
        said(["the moon", "the tides"], "moon tides"),
        said(["the moon and the tides", ""], "moon tides"),
    )
    assert apart.score < together.score
    assert "no single passage" in apart.deficiencies[0]


def test_missing_words_are_named_for_the_rewriter() -> None:
    assert said(["tides"], "What do tides and earthquakes share?").deficiencies == [
        "no passage mentions: earthquakes, share"
    ]


def test_rare_words_of_the_corpus_weigh_more_than_common_ones() -> None:
    judge = TermCoverage.of_corpus(["water flows", "water freezes", "water and whirlpools"])
    query = "water whirlpools"
    assert said(["whirlpools"], query, judge).score > 0.7
    assert said(["water"], query, judge).score < 0.4


def test_the_metadata_of_a_node_is_not_taken_for_its_text() -> None:
    node = TextNode(text="tides", metadata={"topic": "moon"})
    assert "moon" in node.get_content(metadata_mode=MetadataMode.ALL)
    assert TermCoverage().evaluate([NodeWithScore(node=node)], {"query": "moon"}).score == 0.0


def test_only_the_first_nodes_count_when_told_so() -> None:
    assert said(["sun", "moon"], "moon", TermCoverage(considered=1)).score == 0.0


def test_without_a_query_there_is_no_score() -> None:
    with pytest.raises(EvaluatorError, match="context"):
        TermCoverage().evaluate([], {})


def test_a_query_without_words_has_no_score() -> None:
    with pytest.raises(EvaluatorError, match="without words"):
        said(["moon"], "???")


@pytest.mark.parametrize("wrong", [{"concentration": 1.5}, {"considered": 0}])
def test_wrong_settings_are_refused_by_name(wrong: Any) -> None:
    with pytest.raises(MisuseError, match=next(iter(wrong))):
        TermCoverage(**wrong)


@given(
    st.lists(st.text(), max_size=4), st.text().filter(lambda text: any(letter.isalnum() for letter in text))
)
def test_whatever_is_asked_and_found_the_score_is_in_range(texts: Any, query: Any) -> None:
    assert 0.0 <= said(texts, query).score <= 1.0


@given(st.text(min_size=1, max_size=12), st.text(min_size=1, max_size=12))
def test_likeness_is_symmetric_and_one_for_equal_words(one: Any, other: Any) -> None:
    assert likeness(one, other) == likeness(other, one)
    assert likeness(one, one) == 1.0


def test_inflected_and_misspelt_words_are_alike_and_others_are_not() -> None:
    assert likeness("glaciers", "glacier") > 0.75
    assert likeness("volcanoe", "volcano") > 0.75
    assert likeness("moon", "mood") == 0.0


def test_a_question_of_stopwords_only_keeps_them() -> None:
    assert topic_words("Who is he?") == ["who", "is", "he"]
