"""Runs whose process is really killed, at every node, with the checkpoints in a file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WORKER = Path(__file__).with_name("dying_worker.py")


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
@pytest.mark.parametrize("kind", ["graph", "agent"])
def test_a_run_killed_at_every_node_goes_on_and_pays_for_no_draft_twice(
    tmp_path: Path, kind: str, how: str
) -> None:
    done = subprocess.run(
        [sys.executable, str(WORKER), kind, how, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told == {
        "killed": 6,
        "paid": ["no", "maybe", "yes"],
        "judged": ["no", "maybe", "yes"],
        "answer": "yes",
        "trajectory": [0.2, 0.2, 1.0],
    }
