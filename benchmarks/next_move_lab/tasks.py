"""What is asked of the model: five types of task, fifty items each, every one with a graded evaluator of the package.

A small model does some of each type at once, some never, and some when it is told what was wrong: that is what makes it
matter how it is asked again. Prompts and answers are short, so that tens of thousands of calls can be recorded.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from loopllm import EvaluationResult
from loopllm.evaluators import CompositeEvaluator, JSONSchemaEvaluator, LengthEvaluator, RegexEvaluator

TOPICS = (
    "rain", "wolves", "bread", "trains", "coffee", "gardens", "violins", "deserts", "castles", "rivers",
    "clocks", "lemons", "winter", "bridges", "horses", "music", "islands", "candles", "markets", "dreams",
    "bicycles", "cheese", "thunder", "libraries", "owls", "football", "honey", "mountains", "paper", "robots",
    "salt", "sailing", "shadows", "silk", "snow", "spiders", "stars", "stones", "tea", "tides",
    "tigers", "towers", "umbrellas", "volcanoes", "whales", "wheat", "windows", "wool", "yoga", "zebras",
)  # fmt: skip

PERSONS = (
    "baker", "pilot", "nurse", "farmer", "painter", "teacher", "sailor", "lawyer", "singer", "judge",
    "miner", "tailor", "cook", "dentist", "actor", "poet", "guard", "waiter", "plumber", "driver",
    "doctor", "barber", "chemist", "coach", "dancer", "editor", "fisher", "guide", "hunter", "jeweller",
    "king", "monk", "officer", "potter", "queen", "runner", "scout", "surgeon", "trader", "vet",
    "weaver", "writer", "clerk", "diver", "florist", "gardener", "banker", "butcher", "carpenter", "student",
)  # fmt: skip

FIELDS = (
    (("name", str), ("age", int)),
    (("city", str), ("salary", int)),
    (("name", str), ("tools", list)),
    (("title", str), ("retired", bool)),
    (("name", str), ("height", float)),
)

KINDS = (
    "fruits", "animals", "colours", "countries", "rivers", "metals", "birds", "tools", "sports", "trees",
    "flowers", "planets", "drinks", "vegetables", "fish", "cities", "insects", "spices", "shoes", "dances",
    "fabrics", "games", "jobs", "languages", "mountains", "oceans", "painters", "poets", "queens", "reptiles",
    "rocks", "shapes", "ships", "soups", "songs", "stars", "toys", "trains", "vehicles", "weapons",
    "islands", "herbs", "nuts", "cheeses", "breads", "hats", "instruments", "months", "deserts", "lakes",
)  # fmt: skip

TYPED = {str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list"}


@dataclass(frozen=True, slots=True)
class Task:
    """One item: what is asked, how the answer is scored, and the most tokens of an answer."""

    kind: str
    name: str
    prompt: str
    evaluator: Any
    max_tokens: int = 22


def word_range(i: int) -> Task:
    """A text within a range of words."""
    low = 6 + i % 3
    prompt = f"Describe {TOPICS[i]} in {low} to {low + 3} words."
    return Task("word range", TOPICS[i], prompt, LengthEvaluator(min_words=low, max_words=low + 3))


def given_words(i: int) -> Task:
    """A short sentence with given words."""
    words = [TOPICS[i], TOPICS[(i + 18) % 50], TOPICS[(7 * i + 5) % 50]]
    named = f'"{words[0]}", "{words[1]}" and "{words[2]}"'
    evaluator = CompositeEvaluator(
        [RegexEvaluator(required=[rf"\b{w}\b" for w in words], descriptions={rf"\b{w}\b": f'"{w}"' for w in words}),
         LengthEvaluator(max_words=12)],
        weights=[3, 1],
    )  # fmt: skip
    return Task(
        "given words", "-".join(words), f"Write a sentence of at most 12 words with {named}.", evaluator
    )


def json_object(i: int) -> Task:
    """A JSON object with given keys."""
    fields = FIELDS[i % len(FIELDS)]
    keys = ", ".join(f'"{key}" ({TYPED[kind]})' for key, kind in fields)
    prompt = f"Reply with one line of JSON that describes a {PERSONS[i]}. Keys: {keys}."
    evaluator = JSONSchemaEvaluator([key for key, _ in fields], dict(fields))
    return Task("json", PERSONS[i], prompt, evaluator, max_tokens=30)


def rule_list(i: int) -> Task:
    """A list that keeps to rules of form."""
    count = 3 + i % 2
    lines = rf"\A[^\n]+(?:\n[^\n]+){{{count - 1}}}\s*\Z"
    start, other, stop, long = r"\A\* ", r"^(?!\* )\S", r"[.:;]\s*$", r"^(?:\S+ ){4}"
    evaluator = RegexEvaluator(
        required=[start, lines],
        forbidden=[other, stop, long],
        flags=re.MULTILINE,
        descriptions={
            start: 'a "* " at the very beginning',
            lines: f"exactly {count} lines",
            other: 'a line that does not start with "* "',
            stop: "a full stop or colon at the end of a line",
            long: "a line of more than 3 words",
        },
    )
    prompt = f'List {count} {KINDS[i]}, one per line. Start each line with "* ". No other text.'
    return Task("list", KINDS[i], prompt, evaluator)


@dataclass(frozen=True, slots=True)
class CloseNumber:
    """How close the last number of a text is to the right one: 1 when it is right, else 0.6 less the relative error."""

    right: int
    name: str = "number"

    def evaluate(self, output: str, context: Any = None) -> EvaluationResult:
        """Score the last number in `output`."""
        numbers = re.findall(r"\d+", output.replace(",", ""))
        if not numbers:
            return EvaluationResult(0.0, False, ("There is no number.",))
        given = int(numbers[-1][:12])
        if given == self.right:
            return EvaluationResult(1.0, True)
        error = abs(given - self.right) / self.right
        side = "small" if given < self.right else "large"
        return EvaluationResult(max(0.0, 0.6 - error), False, (f"{given} is too {side}.",))


def arithmetic(i: int) -> Task:
    """A sum or a product, the number only."""
    a, b, c = 7 + 3 * i % 41, 5 + 11 * i % 37, 2 + i % 9
    asked, right = (f"{a} + {b}", a + b) if i % 3 else (f"{c} * {b}", c * b)
    if i % 3 == 2:
        asked, right = f"{asked} + {c}", right + c
    only = r"\A\s*\d[\d,]*\.?\s*\Z"
    evaluator = CompositeEvaluator(
        [CloseNumber(right), RegexEvaluator(required=[only], descriptions={only: "one number and nothing else"})],
        weights=[4, 1],
    )  # fmt: skip
    return Task(
        "arithmetic", asked, f"What is {asked}? Reply with the number only.", evaluator, max_tokens=14
    )


TYPES = (word_range, given_words, json_object, rule_list, arithmetic)
KINDS_OF_TASK = ("word range", "given words", "json", "list", "arithmetic")
ITEMS = 50


def all_tasks(items: int = ITEMS, order: int = 0) -> Iterator[Task]:
    """The first `items` items of every type, the types taking turns; from order 1 on shuffled within each type."""
    draw = Random(order)
    columns = [draw.sample(range(items), items) if order else range(items) for _ in TYPES]
    for turn in zip(*columns, strict=True):
        for make, i in zip(TYPES, turn, strict=True):
            yield make(i)
