"""What is the rewriter asked, and what of its answer is a query? Pure text in, pure text out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llama_index.core.prompts import BasePromptTemplate, PromptTemplate

RewriteMode = Literal["replace", "expand"]

_REST = "Question: {query_str}\n{feedback}"
DEFAULT_REWRITE_PROMPTS = (
    PromptTemplate("Answer the question in one short sentence.\n\n" + _REST + "Answer:"),
    PromptTemplate(
        "Write one sentence from an encyclopedia that answers the question.\n\n" + _REST + "Sentence:"
    ),
    PromptTemplate(
        "Explain it in one sentence with scientific names and terms.\n\n" + _REST + "Explanation:"
    ),
)
"""What the rewriter is asked in rounds 2, 3, 4, then again from the start.

Searching for a likely answer finds texts that share its words, right or wrong (HyDE, Gao et al. 2022;
query2doc, Wang et al. 2023), and even a very small model can write one, where it only repeats a question
that it is asked to rewrite. Asking in different ways finds more than asking the same way again. Variables:
`query_str`, the caller's own words, and `feedback`, empty or whole lines about an earlier query.
"""

_FAULT = re.compile(r"^- (?P<fault>.+)$", re.MULTILINE)
_THOUGHT = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)
_LABEL = re.compile(
    r"^\W*(?:(?:better|new|rewritten|improved)\s+)*(?:(?:search\s+)?query|answer|sentence|words|explanation)\s*:\s*",
    re.IGNORECASE,
)
_AROUND = " \t\"'`*“”«»-•>"
_EDGES = re.compile(r"^\W+|\W+$")


@dataclass(frozen=True, slots=True)
class Wording:
    """How queries are rewritten.

    Attributes:
        prompts: What the rewriter is asked, in turn; see `DEFAULT_REWRITE_PROMPTS` for the variables.
        mode: `"replace"` searches for the rewrite; `"expand"` for the caller's words followed by the rewrite.
        longest: Characters above which an answer is not taken for a query.
    """

    prompts: Sequence[BasePromptTemplate] = DEFAULT_REWRITE_PROMPTS
    mode: RewriteMode = "replace"
    longest: int = 600

    def ask(self, turn: int, query: str, earlier: str | None, feedback: str | None) -> str:
        """Return the rewriting prompt.

        Args:
            turn: 0 for the first rewrite of a run.
            query: The caller's own words.
            earlier: A query that was tried, or None to leave it unmentioned.
            feedback: What was said of it, in the words of the loop.
        """
        lines = faults_in(feedback or "")
        if lines and earlier is not None and earlier != query:
            lines.insert(0, f"Not found with: {earlier}")
        prompt = self.prompts[turn % len(self.prompts)]
        return prompt.format(query_str=query, feedback="".join(f"{line}\n" for line in lines))

    def read(self, query: str, answer: str) -> str | None:
        """Return the query in a rewriter's answer, or None when there is none that can be used."""
        words = query_in(answer)
        if not words or len(words) > self.longest:
            return None
        return f"{query} {words}" if self.mode == "expand" else words


def faults_in(feedback: str) -> list[str]:
    r"""Return the listed faults of a feedback text, without the sentences around them.

    >>> faults_in("Problems to fix:\n- no passage mentions: tide\nWrite it again.")
    ['no passage mentions: tide']
    """
    return [found["fault"] for found in _FAULT.finditer(feedback)]


def query_in(answer: str) -> str:
    r"""Return the first line of an answer that says something, without labels, quotes and list marks.

    >>> query_in('<think>hm</think>\nSearch query: "moon tides gravity"\nThis finds ...')
    'moon tides gravity'
    """
    for line in _THOUGHT.sub("", answer).splitlines():
        words = _LABEL.sub("", line).strip(_AROUND)
        if _EDGES.sub("", words):
            return " ".join(words.split())
    return ""


def same_words(query: str) -> str:
    """Return a form in which two queries are equal when they differ in case, spaces and outer punctuation only.

    >>> same_words("  What is a Tide? ") == same_words("what is a tide")
    True
    """
    return _EDGES.sub("", " ".join(query.split()).casefold())
