"""What `import loopllm_lc` gives, and what it says when LangChain is missing."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import loopllm_lc


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", loopllm_lc.__all__)
def test_every_public_name_is_there_and_documented(name: Any) -> None:
    assert getattr(loopllm_lc, name).__doc__
    assert name in dir(loopllm_lc)


@pytest.mark.parametrize("first", loopllm_lc.__all__)
def test_whichever_name_is_imported_first_the_others_are_what_they_should_be(first: str) -> None:
    """A module of the same name as a function would take its place."""
    others = ", ".join(loopllm_lc.__all__)
    code = f"from loopllm_lc import {first}, {others}\nprint([n for n in ({others},) if not callable(n)])"
    assert run(code) == "[]"


def test_an_unknown_name_is_refused_as_in_any_module() -> None:
    with pytest.raises(AttributeError, match="no attribute 'LopedRunnable'"):
        _ = loopllm_lc.LopedRunnable


def test_without_langchain_the_message_is_the_line_that_mends_it() -> None:
    code = (
        "import sys; sys.modules['langchain_core'] = None\n"
        "try:\n import loopllm_lc\n"
        "except ImportError as error:\n print(type(error).__name__, error)"
    )
    assert (
        run(code)
        == "MissingExtraError langchain-core is not installed. Run: pip install 'loopllm[langchain]'"
    )


@pytest.mark.parametrize(
    ("missing", "name", "extra"),
    [
        ("langgraph", "loop_graph", "graphs"),
        ("langgraph", "GraphPriorStore", "graphs"),
        ("langchain", "LoopMiddleware", "agents"),
        ("langchain", "CheckpointedLoopMiddleware", "agents"),
    ],
)
def test_a_name_that_needs_more_than_the_core_package_says_the_line_that_mends_it(
    missing: str, name: str, extra: str
) -> None:
    code = (
        f"import sys; sys.modules['{missing}'] = None\n"
        f"try:\n from loopllm_lc import {name}\n"
        "except ImportError as error:\n print(type(error).__name__, error)"
    )
    expected = f"MissingExtraError {missing} is not installed. Run: pip install 'loopllm[{extra}]'"
    assert run(code) == expected


def test_importing_it_loads_no_langchain_beyond_the_core_package() -> None:
    code = "import sys, loopllm_lc; print([m for m in ('langchain', 'langgraph', 'langchain_openai') if m in sys.modules])"
    assert run(code) == "[]"
