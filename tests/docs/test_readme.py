"""README's examples, run as they stand; the ones on a real model use the embedded one."""

import re
from pathlib import Path

import pytest

from loopllm import LoopConfig

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SECTION = re.compile(r"^#{2,3} (.+)$", re.MULTILINE)
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)


def examples() -> dict[str, str]:
    """Python examples by the heading above them, the second under a heading with its number."""
    found: dict[str, str] = {}
    for block in CODE.finditer(README):
        heading = SECTION.findall(README[: block.start()])[-1]
        number = sum(name.startswith(heading) for name in found) + 1
        found[heading if number == 1 else f"{heading} {number}"] = block.group(1)
    return found


def test_every_python_example_is_run() -> None:
    assert len(examples()) == README.count("```python\n")


def test_there_is_an_example_for_each_way_in() -> None:
    assert {"Quick start", "LangChain", "LlamaIndex", "Learning"} <= set(examples())


@pytest.mark.real_model
@pytest.mark.parametrize("heading", examples())
def test_the_examples_run_as_they_stand(
    heading: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(examples()[heading], f"README.md, {heading}", "exec"), {"__name__": "readme"})  # noqa: S102
    assert capsys.readouterr().out.strip()


def test_the_judge_that_errs_is_asked_again_about_the_draft_that_it_would_have_let_pass(
    capsys: pytest.CaptureFixture[str],
) -> None:
    exec(examples()["A judge that errs"], {"__name__": "readme"})  # noqa: S102
    assert "[0.82, 0.74]" in capsys.readouterr().out


def test_the_limits_that_it_names_are_the_defaults() -> None:
    usual = LoopConfig()
    assert usual.timeout_ms is not None
    limits = f"at most {usual.max_iterations} calls in {usual.timeout_ms / 1000:.0f} seconds"
    assert f"{limits}, and a score of {usual.quality_threshold} is good enough" in " ".join(README.split())


def test_every_file_that_it_names_is_there() -> None:
    named = set(re.findall(r"(?:benchmarks|notebooks|examples)/[\w/]+(?:\.\w+)?", README))
    assert named
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]


def test_the_two_commands_are_on_the_first_screen() -> None:
    first_screen = README[:1500]
    assert "make demo" in first_screen
    assert "make test" in first_screen
