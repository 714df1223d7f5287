import json
import multiprocessing
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from loopllm.errors import MisuseError, StoreError
from loopllm.stores import JsonFileStore, journaled_file

ONE = {"a": {"n": 1.0}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "priors.json"


def run(code: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_after_close_one_json_file_says_everything(path: Path) -> None:
    store = JsonFileStore(path)
    for _ in range(3):
        store.merge(ONE)
    assert names(path.parent) == ["priors.json", "priors.json.journal", "priors.json.lock"]
    store.close()
    assert names(path.parent) == ["priors.json", "priors.json.lock"]
    document = json.loads(path.read_text())
    assert (document["format"], document["version"]) == ("loopllm-priors", 1)
    assert document["counters"] == {"a": {"n": 3.0}}


def test_a_normal_exit_folds_the_journal_of_a_store_nobody_closed(path: Path) -> None:
    code = "import sys; from loopllm.stores import JsonFileStore as S; s = S(sys.argv[1]); [s.merge({'a': {'n': 1}}) for _ in range(3)]"
    run(code, path)
    assert names(path.parent) == ["priors.json", "priors.json.lock"]
    assert json.loads(path.read_text())["counters"] == {"a": {"n": 3.0}}


def test_an_exit_after_the_folder_was_removed_is_quiet(tmp_path: Path) -> None:
    code = (
        "import shutil, sys; from loopllm.stores import JsonFileStore as S; s = S(sys.argv[1] + '/p.json');"
        "[s.merge({'a': {'n': 1}}) for _ in range(3)]; shutil.rmtree(sys.argv[1])"
    )
    run(code, tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("keys", [1, 100, 1000])
def test_a_merge_writes_as_much_as_its_delta_whatever_the_store_holds(
    path: Path, keys: int, record_property: Callable[[str, object], None]
) -> None:
    store = JsonFileStore(path)
    store.merge({f"key {number}": {f"counter {n}": 1.5 for n in range(40)} for number in range(keys)})
    snapshot = path.stat()
    sizes = []
    began = time.perf_counter()
    for _ in range(5):
        store.merge({"key 0": {"counter 0": 1.0}})
        sizes.append(store.path.with_name("priors.json.journal").stat().st_size)
    assert sizes == [sizes[0] * count for count in range(1, 6)]
    assert sizes[0] < 150
    assert path.stat().st_ino == snapshot.st_ino
    record_property(
        "milliseconds per merge", round((time.perf_counter() - began) / 5 * 1000, 2)
    )  # pytest --junitxml


def test_a_journal_that_outgrew_its_snapshot_is_folded_during_use(path: Path) -> None:
    store = JsonFileStore(path)
    journal = path.with_name("priors.json.journal")
    wide = {"a": {f"counter number {number}": 1.0 for number in range(60)}}
    sizes = []
    for _ in range(100):
        store.merge(wide)
        sizes.append(journal.stat().st_size if journal.exists() else 0)
    assert sizes[-1] < max(sizes) < 64 * 1024 + 2500
    assert set(store.load("a").values()) == {100.0}


def test_reading_needs_no_lock_and_makes_no_file(path: Path) -> None:
    assert JsonFileStore(path).load("a") == {}
    assert names(path.parent) == []
    JsonFileStore(path).merge(ONE)
    with FileLock(path.with_name("priors.json.lock")):
        assert JsonFileStore(path, lock_timeout=0.01).load("a") == {"n": 1.0}


def test_a_lock_that_stays_taken_is_a_store_error_that_names_it(path: Path) -> None:
    store = JsonFileStore(path, lock_timeout=0.01)
    with FileLock(path.with_name("priors.json.lock")), pytest.raises(StoreError, match=r"priors\.json\.lock"):
        store.merge(ONE)
    store.merge(ONE)
    assert store.load("a") == {"n": 1.0}


def test_an_older_copy_put_back_starts_from_what_it_holds(path: Path) -> None:
    store = JsonFileStore(path)
    store.merge(ONE)
    store.close()
    backup = path.read_bytes()
    for _ in range(3):
        store.merge(ONE)
    store.close()
    store.merge(ONE)
    path.write_bytes(backup)
    assert store.load("a") == {"n": 1.0}
    store.merge(ONE)
    assert store.load("a") == JsonFileStore(path).load("a") == {"n": 2.0}


def test_a_file_that_was_deleted_is_begun_anew_without_its_old_journal(path: Path) -> None:
    store = JsonFileStore(path)
    store.merge(ONE)
    store.merge(ONE)
    path.unlink()
    assert store.load("a") == {}
    store.merge(ONE)
    assert store.load("a") == JsonFileStore(path).load("a") == {"n": 1.0}


def test_a_fold_between_reading_the_file_and_reading_its_journal_hides_no_merge(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = JsonFileStore(path)
    other.merge(ONE)
    other.merge(ONE)
    read = journaled_file._bytes_from

    def fold_then_read(*arguments: Any) -> bytes:
        monkeypatch.undo()
        other.close()
        return read(*arguments)

    monkeypatch.setattr(journaled_file, "_bytes_from", fold_then_read)
    assert JsonFileStore(path).load("a") == {"n": 2.0}
    assert journaled_file._bytes_from is read


def test_a_journal_that_somebody_removed_takes_only_its_own_merges_with_it(path: Path) -> None:
    store, other = JsonFileStore(path), JsonFileStore(path)
    for _ in range(3):
        store.merge(ONE)
    assert store.load("a") == {"n": 3.0}
    path.with_name("priors.json.journal").unlink()
    other.merge({"a": {"a longer name than before, so that the new journal is as long": 1.0, "n": 1.0}})
    assert store.load("a")["n"] == 2.0


def test_all_names_of_a_file_are_one_store_wherever_the_process_goes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = path.with_name("link.json")
    link.symlink_to(path)
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("HOME", str(path.parent))
    stores = [JsonFileStore(name) for name in (path, str(path), "priors.json", "~/priors.json", link)]
    monkeypatch.chdir("/")
    for store in stores:
        store.merge(ONE)
    stores[0].close()
    assert stores[-1].load("a") == {"n": 5.0}
    assert link.is_symlink()


def test_the_permissions_of_the_file_survive_a_rewrite(path: Path) -> None:
    store = JsonFileStore(path)
    store.merge(ONE)
    path.chmod(0o640)
    store.merge(ONE)
    store.close()
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_pickled_store_reopens_its_file(path: Path) -> None:
    store = JsonFileStore(path, durability="batched", lock_timeout=3.0)
    store.merge(ONE)
    copy = pickle.loads(pickle.dumps(store))
    assert repr(copy) == repr(store) == f"JsonFileStore({str(path)!r}, durability='batched')"
    assert copy.load("a") == {}
    store.flush()
    assert copy.load("a") == {"n": 1.0}


def _load_and_merge_in_child(store: JsonFileStore, report: Connection) -> None:
    seen = store.load("a")
    store.merge(ONE)
    report.send((seen, store.load("a")))


def test_a_forked_child_can_use_the_store_while_a_thread_of_its_parent_is_inside(path: Path) -> None:
    store = JsonFileStore(path)
    store.merge(ONE)
    fork = multiprocessing.get_context("fork")
    receiving, sending = fork.Pipe(duplex=False)
    child = fork.Process(target=_load_and_merge_in_child, args=(store, sending), daemon=True)
    with FileLock(path.with_name("priors.json.lock")):
        inside = threading.Thread(target=store.merge, args=(ONE,))
        inside.start()
        while store._lock.acquire(
            blocking=False
        ):  # until the thread waits for the file lock, holding its own
            store._lock.release()
        child.start()
    inside.join()
    assert receiving.poll(30)
    seen, after = receiving.recv()
    child.join()
    assert seen["n"] in {1.0, 2.0}
    assert after["n"] in {2.0, 3.0}
    assert store.load("a") == {"n": 3.0}


@pytest.mark.parametrize("name", ["\ud800", "a\udfff"])
def test_a_name_that_is_not_unicode_is_refused_before_anything_is_written(path: Path, name: str) -> None:
    store = JsonFileStore(path)
    for delta in ({name: {"n": 1.0}}, {"a": {name: 1.0}}):
        with pytest.raises(MisuseError, match="surrogate"):
            store.merge(delta)
    assert names(path.parent) == []


def test_impossible_settings_are_refused_naming_the_field(path: Path) -> None:
    with pytest.raises(MisuseError, match="durability='sometimes'"):
        JsonFileStore(path, durability="sometimes")  # type: ignore[arg-type]  # the point of the test
    for seconds in (0.0, -1.0, float("nan")):
        with pytest.raises(MisuseError, match="lock_timeout"):
            JsonFileStore(path, lock_timeout=seconds)


def test_importing_and_reading_loads_neither_asyncio_nor_a_lock() -> None:
    code = (
        "import sys; from loopllm.stores import JsonFileStore as S; S('nowhere/p.json').load('a');"
        "print(sorted({'asyncio', 'filelock', 'numpy', 'httpx'} & set(sys.modules)))"
    )
    assert run(code) == "[]\n"


def test_a_path_that_leads_nowhere_is_refused_when_the_store_is_made(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path in ("a\0b", "~nobody-of-this-name/priors.json", 7):
        with pytest.raises(MisuseError, match="cannot be the path of a store"):
            JsonFileStore(path)  # type: ignore[arg-type]  # the point of the test
    with pytest.raises((MisuseError, StoreError), match="loop"):
        JsonFileStore(loop).load("a")
