"""What trips integrations of LangChain up, by number, and that each has a test of its own.

A test says in its docstring which of them it is about: search this folder for `T9`.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

TRAPS = {
    1: "a child run that is a root of its own, or takes over its parent's name",
    2: "a trace lost in the thread of an evaluator",
    3: "the same in async code on the oldest supported langchain-core (`make floor` runs these tests on it)",
    4: "a stream of one message that is no chunk",
    5: "drafts glued together downstream",
    6: "a timeout around a yield, which never fires",
    7: "a run left open by a consumer that breaks off",
    8: "drafts and verdicts shown as chat",
    9: "the caller's messages or config changed",
    10: "state of one call kept on an instance that serves many",
    11: "an interrupt of a graph swallowed as an error",
    12: "one failure that loses a whole batch",
    13: "siblings of a failed call that go on spending",
    14: "a run that was cancelled and goes on in a thread",
    15: "locks that break pickles, copies and equality",
    16: "evaluators that cannot be serialized, and the secrets in their reprs",
    17: "a misspelt keyword that is ignored",
    18: "schemas that tell nothing of what is bound",
    19: "keywords that do not reach the model",
    20: "usage that is no integer",
    21: "tokens counted twice",
    22: "a cache that hides the feedback, or knows nothing of the evaluator",
    23: "a structure that is silently None",
    24: "a call of tools judged as an empty answer",
    25: "a hook that exists in blocking form only",
    26: "updates of shared priors that are lost",
    27: "a store that hands out its live objects",
    28: "a later, worse draft returned",
    29: "one instance used from several threads and event loops",
    30: "two drafts with one message id",
    31: "an event without a run to hang it on",
    32: "retries around the loop that multiply its calls",
    33: "an evaluator that fails, taken for a score of zero",
    34: "an agent that cannot bind tools to its model",
    35: "a refusal refined like a weak answer",
}


def _tests() -> Iterator[tuple[str, str]]:
    for file in Path(__file__).parent.rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield node.name, ast.get_docstring(node) or ""


def _tests_by_trap() -> dict[int, list[str]]:
    found = defaultdict(list)
    for name, said in _tests():
        for number in re.findall(r"\bT(\d+)\b", said):
            found[int(number)].append(name)
    return found


BY_TRAP = _tests_by_trap()


@pytest.mark.parametrize("number", TRAPS, ids=lambda number: f"T{number}")
def test_every_trap_has_a_test_that_names_it(number: int) -> None:
    assert BY_TRAP[number], f"no test says that it is about T{number}, {TRAPS[number]}"


def test_no_test_names_a_trap_that_nobody_described() -> None:
    assert sorted(set(BY_TRAP) - set(TRAPS)) == []
