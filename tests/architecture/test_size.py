"""The code stays small enough to read: modules, functions and the share of long functions."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for package in ("core/loopllm", "loopllm_lc/loopllm_lc", "loopllm_li/loopllm_li")
    for path in (ROOT / package).rglob("*.py")
)
MODULE_LINES, FUNCTION_LINES, USUAL_FUNCTION_LINES, USUAL_SHARE = 400, 50, 30, 0.95
FORBIDDEN_NAMES = {"utils", "util", "helpers", "common", "misc"}


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Each function of a module with its length, the docstring not counted."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            has_docstring = ast.get_docstring(node) is not None
            docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
            yield (
                f"{path.name}:{node.lineno} {node.name}",
                (node.end_lineno or 0) - node.lineno + 1 - docstring,
            )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_fits_in_the_head(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MODULE_LINES
    assert path.stem not in FORBIDDEN_NAMES


def test_no_function_is_too_long() -> None:
    too_long = [entry for path in SOURCES for entry in functions(path) if entry[1] > FUNCTION_LINES]
    assert too_long == []


def test_nearly_all_functions_are_short() -> None:
    lengths = [length for path in SOURCES for _, length in functions(path)]
    short = sum(length <= USUAL_FUNCTION_LINES for length in lengths)
    assert short / len(lengths) >= USUAL_SHARE
