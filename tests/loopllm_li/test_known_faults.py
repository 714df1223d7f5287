"""The list in `known_faults.py` is whole, and every test that it names exists."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.loopllm_li.known_faults import MIRRORED, RETRY_ENGINES, TRAPS

FOLDER = Path(__file__).parent
NAMED = [
    *((f"trap {number}", test) for number, fault in TRAPS.items() for test in fault.tests),
    *((f"retry engine {number}", test) for number, fault in RETRY_ENGINES.items() for test in fault.tests),
    *((path, test) for path, tests in MIRRORED.items() for test in tests),
]


def names_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield f"{path.name}::{node.name}"


EXISTING = {test for path in FOLDER.rglob("test_*.py") for test in names_in(path)}


def test_no_number_is_missing() -> None:
    assert list(TRAPS) == list(range(1, 26))
    assert list(RETRY_ENGINES) == list(range(1, 18))


def test_each_has_a_test() -> None:
    assert [fault.what for fault in (*TRAPS.values(), *RETRY_ENGINES.values()) if not fault.tests] == []
    assert [path for path, tests in MIRRORED.items() if not tests] == []


@pytest.mark.parametrize(("where", "test"), NAMED, ids=[f"{where}: {test}" for where, test in NAMED])
def test_the_test_that_is_named_exists(where: str, test: str) -> None:
    assert test in EXISTING, f"{where} names {test}, which is gone: name the test that took its place"
