"""The wheel that users install: it holds the three packages, and works without any framework."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

QUICK_START = """
import sys
from loopllm import LoopedLLM, LoopConfig
from loopllm.providers.mock import MockLLMProvider
from loopllm.evaluators import JSONSchemaEvaluator

provider = MockLLMProvider(responses=[
    "not json",
    '{"name": "Alice"}',
    '{"name": "Alice", "age": 30, "email": "alice@example.com"}',
])
loop = LoopedLLM(provider=provider, config=LoopConfig(max_iterations=5, quality_threshold=0.8))
evaluator = JSONSchemaEvaluator(required_fields=["name", "age", "email"], field_types={"age": int, "name": str})
result = loop.refine("Generate a JSON user profile.", evaluator)
assert result.metrics.total_iterations == 3
assert "langchain_core" not in sys.modules and "llama_index" not in sys.modules
for adapter, extra in (("loopllm_lc", "langchain"), ("loopllm_li", "llama-index")):
    try:
        __import__(adapter)
    except ImportError as error:
        assert f"pip install 'loopllm[{extra}]'" in str(error), error
    else:
        raise SystemExit(f"{adapter} imported without its framework")
print(result.output, sys.modules["loopllm"].__file__)
"""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl"))


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"loopllm", "loopllm_lc", "loopllm_li"}
    assert {f"{top}/py.typed" for top in tops} <= set(names)


@pytest.fixture(scope="session")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment that holds the wheel, what it needs, and pytest."""
    environment = tmp_path_factory.mktemp("fresh") / "env"
    venv.create(environment, with_pip=True)
    interpreter = environment / "bin" / "python"
    subprocess.run([interpreter, "-m", "pip", "install", "--quiet", f"{wheel}[testing]"], check=True)
    return interpreter


def run(command: list[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run where no source folder is in reach."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=clean, check=False)


def test_the_installed_wheel_runs_the_quick_start_and_names_missing_extras(
    python: Path, tmp_path: Path
) -> None:
    done = run([python, "-c", QUICK_START], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Alice" in done.stdout
    assert str(python.parents[1]) in done.stdout, "it was not the wheel that was imported"


def test_the_installed_wheel_passes_the_import_tests(python: Path, tmp_path: Path) -> None:
    tests = ROOT / "tests" / "architecture" / "test_imports.py"
    settings = tmp_path / "pytest.ini"  # instead of the project's own, which asks for more plugins
    settings.write_text("[pytest]\n")
    command: list[str | Path] = [
        python,
        "-m",
        "pytest",
        "-q",
        "-c",
        settings,
        "-p",
        "no:cacheprovider",
        tests,
    ]
    done = run(command, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
