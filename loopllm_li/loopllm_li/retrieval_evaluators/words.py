"""Which words does a text consist of, and how alike are two words?

Likeness is graded, so that "glaciers" covers "glacier" and a spelling corrected is a step in the right
direction: Dice's coefficient over the character trigrams of both words (L. R. Dice, Ecology 26, 1945).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_WORD = re.compile(r"([^\W_]+)(?:['\u2019][^\W_]+)?")  # without what follows an apostrophe
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")  # kana, han, hangul
ALIKE_FROM = 0.65  # "erupt" and "eruption" are alike (0.67), "moon" and "mood" are not (0.60)
_SHORTEST_ALIKE = 4  # letters; below, one letter more or less is another word

_STOPWORD_LINES = (
    "a about after again all also am an and any are as at be because been before being both but by can could",
    "did do does doing down during each few for from further had has have having he her here hers him his how",
    "i if in into is it its itself just let me more most my no nor not now of off on once only or other our out",
    "over own please same she so some such than that the their them then there these they this those through to",
    "too under until up us very was we were what when where which while who whom whose why will with would you",
    "your",
)
STOPWORDS = frozenset(word for line in _STOPWORD_LINES for word in line.split())
"""English words that carry no topic."""


def words_of(text: str) -> list[str]:
    """Return the words of a text, in lower case; scripts without spaces give pairs of characters.

    >>> words_of("The Moon's tides, 2 a day")
    ['the', 'moon', 'tides', '2', 'a', 'day']
    >>> words_of("潮汐表")
    ['潮汐', '汐表']
    """
    found: list[str] = []
    for match in _WORD.finditer(text.casefold()):
        word = match.group(1)
        found.extend(_pairs(word) if _UNSPACED.fullmatch(word) else [word])
    return found


def topic_words(text: str) -> list[str]:
    """Return the distinct words of a text without stopwords, in order; all of them when nothing else is left.

    >>> topic_words("What causes the tides of the sea?")
    ['causes', 'tides', 'sea']
    """
    words = list(dict.fromkeys(words_of(text)))
    return [word for word in words if word not in STOPWORDS] or words


@lru_cache(maxsize=65_536)
def likeness(one: str, other: str) -> float:
    """Return how alike two words are, in [0, 1]; below `ALIKE_FROM` they count as different.

    Dice = 2 |A and B| / (|A| + |B|) over the trigrams A and B of "##word#", the hashes marking the ends:

    >>> round(likeness("glacier", "glaciers"), 3)  # 2 * 7 / (8 + 9)
    0.824
    >>> likeness("tide", "tile"), likeness("tide", "tide")
    (0.0, 1.0)
    """
    if one == other:
        return 1.0
    if min(len(one), len(other)) < _SHORTEST_ALIKE:
        return 0.0
    mine, theirs = _trigrams(one), _trigrams(other)
    dice = 2.0 * len(mine & theirs) / (len(mine) + len(theirs))
    return dice if dice >= ALIKE_FROM else 0.0


def best_likeness(word: str, among: Iterable[str]) -> float:
    """Return the likeness of the most alike word, 0.0 when there is none."""
    return max((likeness(word, other) for other in among), default=0.0)


@lru_cache(maxsize=16_384)
def _trigrams(word: str) -> frozenset[str]:
    marked = f"##{word}#"
    return frozenset(marked[start : start + 3] for start in range(len(marked) - 2))


def _pairs(run: str) -> list[str]:
    return [run] if len(run) == 1 else [run[start : start + 2] for start in range(len(run) - 1)]
