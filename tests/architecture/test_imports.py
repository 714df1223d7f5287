"""What `import loopllm` loads, and what it costs; run in processes of their own."""

import json
import resource
import statistics
import subprocess
import sys

import pytest

HEAVY = (
    "langchain_core",
    "llama_index",
    "httpx",
    "httpx2",
    "asyncio",
    "numpy",
    "openai",
    "jsonschema",
    "regex",
    "rich",
)


def loaded_by(code: str) -> set[str]:
    script = (
        f"{code}\nimport json, sys; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_importing_loopllm_loads_nothing_heavy() -> None:
    assert loaded_by("import loopllm").isdisjoint(HEAVY)


FRAMEWORKS = {"langchain_core", "llama_index", "httpx", "httpx2", "openai"}


def test_a_blocking_run_loads_no_framework_no_http_client_and_no_numpy() -> None:
    code = """
from loopllm import LoopedLLM
from loopllm.providers.mock import MockLLMProvider
LoopedLLM(MockLLMProvider(responses=["x"])).refine("task", lambda output: 1.0)
"""
    assert loaded_by(code).isdisjoint(FRAMEWORKS | {"numpy"})


def test_a_run_that_learns_loads_no_framework_and_no_http_client() -> None:
    code = """
from loopllm import LoopedLLM, AdaptivePriors
from loopllm.providers.mock import MockLLMProvider
LoopedLLM(MockLLMProvider(responses=["x"]), priors=AdaptivePriors()).refine("task", lambda output: 1.0)
"""
    assert loaded_by(code).isdisjoint(FRAMEWORKS)


def test_every_public_name_is_there() -> None:
    import loopllm

    for name in loopllm.__all__:
        assert getattr(loopllm, name) is not None
        assert name in dir(loopllm)


def test_an_unknown_name_is_an_attribute_error() -> None:
    import loopllm

    with pytest.raises(AttributeError, match="Looper"):
        loopllm.Looper  # noqa: B018


def cpu_seconds(code: str) -> float:
    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return statistics.median(once() for _ in range(7))


def test_importing_loopllm_costs_at_most_two_and_a_half_times_importing_pydantic() -> None:
    assert cpu_seconds("import loopllm") <= 2.5 * cpu_seconds("import pydantic")
