"""The corpus of the retrieval benchmark is what it is said to be, and the measures are right."""

import hashlib
import json
from pathlib import Path

import pytest
from benchmarks.llamaindex_retrieval import figures, rank_of
from benchmarks.retrieval_lab.corpus import passages, questions

from loopllm_li.retrieval_evaluators.words import STOPWORDS, words_of

ROOT = Path(__file__).parents[2]
SPLITS = ("development", "held-out")
CORPUS = {passage.id: passage.text for passage in passages()}


def test_it_is_the_same_on_every_machine() -> None:
    written = "\n".join(f"{passage.id}\t{passage.text}" for passage in passages())
    assert hashlib.sha256(written.encode()).hexdigest().startswith("86dcc664f4fd770e")


def test_there_are_as_many_passages_and_questions_as_the_readme_says() -> None:
    assert len(CORPUS) == len(passages()) == 1200
    assert [len(questions(split)) for split in SPLITS] == [112, 133]  # type: ignore[arg-type]  # both are splits


@pytest.mark.parametrize("split", SPLITS)
def test_every_question_is_asked_once_and_its_passage_is_in_the_corpus(split: str) -> None:
    asked = questions(split)  # type: ignore[arg-type]  # as above
    assert len({question.words for question in asked}) == len(asked)
    assert {question.answer for question in asked} <= set(CORPUS)


def test_nothing_held_out_is_in_the_development_split() -> None:
    answers = [{question.answer for question in questions(split)} for split in SPLITS]  # type: ignore[arg-type]
    assert answers[0] & answers[1] == set()


def test_a_held_out_question_shares_no_word_with_its_passage_and_so_needs_rewriting() -> None:
    shared = {
        question.words: words
        for question in questions("held-out")
        if (words := (set(words_of(question.words)) & set(words_of(CORPUS[question.answer]))) - STOPWORDS)
    }
    assert shared == {}


def test_no_passage_is_generated_twice() -> None:
    assert len(set(CORPUS.values())) == len(CORPUS)


def test_the_readme_quotes_the_figures_that_were_recorded() -> None:
    readme = (ROOT / "README.md").read_text()
    recorded = json.loads((ROOT / "benchmarks/retrieval_lab/held_out.json").read_text())
    assert (recorded["questions"], recorded["passages"]) == (133, 1200)
    for row in recorded["rows"].values():
        ranks = row.pop("ranks")
        assert figures(ranks, [0] * len(ranks)) == {**row, "calls": 0.0}
        quoted = [f"{row[name]:.2f}" for name in ("hit@1", "hit@3", "mrr")]
        assert " | ".join(quoted) in readme.replace("**", "")


def test_hit_rates_and_the_mean_reciprocal_rank_are_those_of_the_ranks() -> None:
    ranks = [rank_of("a", found) for found in (["a", "b"], ["b", "a"], ["b"], [])]
    assert ranks == [1, 2, 0, 0]
    assert figures(ranks, [1, 2, 3, 0]) == {"hit@1": 0.25, "hit@3": 0.5, "mrr": 0.375, "calls": 1.5}
    json.dumps(figures(ranks, [0, 0, 0, 0]))
