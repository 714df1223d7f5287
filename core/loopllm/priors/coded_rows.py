"""How a row of probabilities is written in a few characters, and read again.

One character stands for the square root of a probability, in equal steps: equal steps of the probability itself would
call all small ones 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from loopllm.priors.counts import Row

LEAST = 1e-4
"""Every outcome keeps at least this probability: nothing is impossible before it was tried."""


@lru_cache(maxsize=4)
def level_probabilities(levels: str) -> Mapping[str, float]:
    """What each character says, before a row sums to 1."""
    top = len(levels) - 1
    return {letter: max((level / top) ** 2, LEAST) for level, letter in enumerate(levels)}


def decode_row(text: str, levels: str) -> Row:
    """Probabilities from one character each.

    >>> [round(p, 6) for p in decode_row("ac", "abc")]
    [0.0001, 0.9999]
    """
    known = level_probabilities(levels)
    raw = [known[letter] for letter in text]
    scale = 1.0 / sum(raw)
    return [p * scale for p in raw]


@dataclass(frozen=True, slots=True)
class CodedRows:
    """Rows that are read when they are asked for.

    Attributes:
        texts: The row of each cell, written.
        levels: The characters, ascending.
    """

    texts: Mapping[int, str]
    levels: str

    def row(self, cell: int) -> Row:
        """The row of a cell."""
        return decode_row(self.texts[cell], self.levels)
