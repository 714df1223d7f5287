import json
import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

from loopllm.errors import StoreError
from loopllm.stores import JsonFileStore, json_file

ONE = {"a": {"n": 1.0}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "priors.json"


def batched(path: Path) -> JsonFileStore:
    return JsonFileStore(path, durability="batched")


def test_a_batched_store_shows_its_own_merges_and_writes_them_at_flush(path: Path) -> None:
    store = batched(path)
    before = store.revision()
    store.merge(ONE)
    assert store.revision() != before
    store.merge({"b": {"n": 2.0}})
    assert (store.load("a"), store.keys()) == ({"n": 1.0}, ["a", "b"])
    assert not path.exists()
    store.flush()
    assert json.loads(path.read_text())["counters"] == {"a": {"n": 1.0}, "b": {"n": 2.0}}
    assert store.load("a") == {"n": 1.0}


def test_a_batched_store_holds_back_a_hundred_merges_at_most(path: Path) -> None:
    store = batched(path)
    for _ in range(101):
        store.merge(ONE)
    assert JsonFileStore(path).load("a") == {"n": 100.0}
    assert store.load("a") == {"n": 101.0}
    store.close()


def test_a_batched_store_writes_what_is_old_when_it_is_next_used(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = batched(path)
    store.merge(ONE)
    monkeypatch.setattr(json_file, "MAX_PENDING_SECONDS", 0.0)
    assert store.load("b") == {}
    assert JsonFileStore(path).load("a") == {"n": 1.0}


def test_a_normal_exit_writes_what_is_held_back_even_of_a_store_that_was_dropped(path: Path) -> None:
    code = (
        "import sys; from loopllm.stores import JsonFileStore as S\n"
        "for _ in range(3): S(sys.argv[1], durability='batched').merge({'a': {'n': 1.0}})"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert json.loads(path.read_text())["counters"] == {"a": {"n": 3.0}}


def test_a_forked_child_does_not_write_what_its_parent_holds_back(path: Path) -> None:
    store = batched(path)
    store.merge(ONE)
    child = multiprocessing.get_context("fork").Process(target=store.close, daemon=True)
    child.start()
    child.join()
    assert child.exitcode == 0
    store.close()
    assert JsonFileStore(path).load("a") == {"n": 1.0}


def test_what_could_not_be_written_stays_held_back_and_is_counted_once(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    store = batched(folder / "priors.json")
    store.merge(ONE)
    folder.write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="folder"):
        store.flush()
    folder.unlink()
    store.flush()
    store.flush()
    assert JsonFileStore(folder / "priors.json").load("a") == {"n": 1.0}
