"""The corpus and its questions: 1,200 passages, of which 189 answer a question that is asked in other words.

Written for this repository: 56 passages with two questions each (`examples/corpus`, the development split, on which
every default of the package was chosen) and 133 passages with one question each (`written.jsonl` beside this file,
the held-out split, on which nothing was chosen). A held-out question shares no word with its passage but stopwords.

Generated, the same on every machine: the other passages, sentences drawn with a fixed seed from two small grammars. One
is of everyday words, so that the words of a question ("first", "water", "night") also occur where they answer nothing;
the other is of learned words, so that the words of a rewrite do too.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PASSAGES = 1200
SEED = 7
HERE = Path(__file__).parent
DEVELOPMENT = HERE.parents[1] / "examples" / "corpus"

Split = Literal["development", "held-out"]


def _parts(text: str) -> list[list[str]]:
    """Read the parts of a sentence: paragraphs of words to choose from, with a bar between them."""
    return [
        ["".join(each.split("\n    ")) for each in part.strip().split("|")] for part in text.split("\n\n")
    ]


EVERYDAY = _parts(
    """
    the baker|a farmer|my aunt|the teacher|a doctor|two sailors|the mayor|an old painter|the children

    repaired|sold|painted|carried|found|lost|measured|built|cleaned|borrowed|hid|moved|described|bought|
    drew

    a wooden boat|the green door|a heavy machine|the first book|a letter|the water pump|a warm coat|
    the long rope|a map of the world|an iron gate|the small engine|a glass of juice|the old clock|
    a basket of fruit|the white horse

    near the beach|in the mountains|by the river|at the market|behind the school|in the forest|
    on the island|at the harbour|in the capital|beside the road|under the bridge|in the desert|
    at the top of the hill

    in the night|every year|before winter|after the storm|in the morning|on a cold day|last summer|
    when it rained

    and nobody knew why|and walked home in the dark|while the sky was cloudy|
    because the weather was cold|and told the people about it|before the light went out|
    and kept it for many years|so that it stayed dry
    """
)
LEARNED = _parts(
    """
    the committee|an encyclopedia|the museum|a laboratory in Vienna|the observatory|a museum of science|
    the survey

    catalogued|compared|dated|illustrated|classified|photographed|reviewed|exhibited|debated|listed|
    restored

    the enzymes of the stomach|a species of bird|the oxygen in the atmosphere|an ancient temple|
    the muscles of the heart|a chemical reaction|the cells of a leaf|electric charges|
    the orbit of a satellite|the minerals of the crust|a steam engine|the empire and its emperor|
    the hormones of mammals|the bones of a reptile|the energy of the sun|a virus|the pressure of a gas|
    the language of the priests|the ocean currents|the temperature of the soil

    in the nineteenth century|during the war|at a congress in Paris|for the university|
    under a new director|after the revolution|in the southern hemisphere|with a microscope|
    by order of the king|in a famous paper

    without an explanation|among two hundred other objects|and published no result|
    for the third edition|to train its students|although the instruments were poor|
    and gave the catalogue to a library
    """
)


@dataclass(frozen=True, slots=True)
class Passage:
    """One text to be found, or to be passed over."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the id of the one passage that answers it."""

    words: str
    answer: str


def passages() -> list[Passage]:
    """Return the whole corpus in a shuffled order, the same for both splits."""
    dice = random.Random(SEED)
    known = [*_lines(DEVELOPMENT / "passages.jsonl"), *_lines(HERE / "written.jsonl")]
    found = [Passage(line["id"], line["text"]) for line in known]
    while len(found) < PASSAGES:
        grammar = EVERYDAY if len(found) % 2 else LEARNED
        found.append(
            Passage(f"generated-{len(found)}", f"{_sentence(dice, grammar)} {_sentence(dice, grammar)}")
        )
    dice.shuffle(found)
    return found


def questions(split: Split) -> list[Question]:
    """Return the labelled questions of a split."""
    if split == "development":
        return [Question(line["query"], line["answer"]) for line in _lines(DEVELOPMENT / "queries.jsonl")]
    return [Question(line["query"], line["id"]) for line in _lines(HERE / "written.jsonl")]


def _sentence(dice: random.Random, grammar: Sequence[Sequence[str]]) -> str:
    words = " ".join(dice.choice(part) for part in grammar)
    return f"{words[0].upper()}{words[1:]}."


def _lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
