import errno
import json
import multiprocessing
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from loopllm.errors import CorruptStoreError, MisuseError, StoreError
from loopllm.stores import JsonFileStore

ONE = {"a": {"n": 1.0}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "priors.json"


@pytest.fixture
def journal(path: Path) -> Path:
    return path.with_name("priors.json.journal")


def written(path: Path, merges: int) -> JsonFileStore:
    store = JsonFileStore(path)
    for _ in range(merges):
        store.merge(ONE)
    return store


def damaged(whole: bytes) -> list[bytes]:
    return [
        b"",
        b"{not json",
        b"\0" * len(whole),
        b"\xff\xfe" + whole,
        whole.replace(b'"n": 1.0', b'"n": "one"'),
        whole.replace(b'"n": 1.0', b'"n": NaN'),
        *(whole[:length] for length in range(1, len(whole), 17)),
    ]


USES: list[Callable[[JsonFileStore], object]] = [
    lambda store: store.load("a"),
    lambda store: store.keys(),
    lambda store: store.merge(ONE),
]


@pytest.mark.parametrize("use", USES, ids=["load", "keys", "merge"])
def test_a_damaged_file_is_set_aside_unchanged_and_named_and_the_store_goes_on(
    path: Path, use: Callable[[JsonFileStore], object]
) -> None:
    written(path, 1)
    for number, bad in enumerate(damaged(path.read_bytes()), start=1):
        path.write_bytes(bad)
        store = JsonFileStore(path)
        aside = path.with_name(f"priors.json.corrupt-{number}")
        with pytest.raises(CorruptStoreError) as raised:
            use(store)
        assert str(path) in str(raised.value)
        assert str(aside) in str(raised.value)
        assert aside.read_bytes() == bad
        assert store.load("a") == {}
        store.merge(ONE)
        assert JsonFileStore(path).load("a") == {"n": 1.0}


def test_a_file_damaged_during_use_is_noticed_too(path: Path) -> None:
    store = written(path, 2)
    path.write_bytes(b"{")
    with pytest.raises(CorruptStoreError, match=r"corrupt-1, .*journal\.corrupt-1"):
        store.load("a")
    assert store.load("a") == {}


def test_a_damaged_line_inside_the_journal_sets_the_journal_aside_and_keeps_the_snapshot(
    path: Path, journal: Path
) -> None:
    written(path, 1).close()
    written(path, 3)
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0] + b"\0" * 40 + b"\n" + lines[2])
    with pytest.raises(
        CorruptStoreError, match=r"journal is damaged: there are merges after a line that is none"
    ):
        JsonFileStore(path).load("a")
    assert JsonFileStore(path).load("a") == {"n": 1.0}
    assert journal.with_name("priors.json.journal.corrupt-1").read_bytes().startswith(lines[0])


def test_a_torn_last_line_is_no_damage_and_the_next_merge_replaces_it(path: Path, journal: Path) -> None:
    written(path, 4)
    whole = journal.read_bytes()
    length = len(whole) // 3
    for torn in [*(whole[: 2 * length + cut] for cut in range(length)), whole[: 2 * length] + b"\0\0\0\n"]:
        journal.write_bytes(torn)
        store = JsonFileStore(path)
        assert store.load("a") == {"n": 3.0}
        store.merge({"b": {"n": 1.0}})
        assert (store.load("a"), store.load("b")) == ({"n": 3.0}, {"n": 1.0})
        assert JsonFileStore(path).keys() == ["a", "b"]
        assert b"\0" not in journal.read_bytes()


def test_a_crash_between_the_new_snapshot_and_the_removal_of_the_journal_counts_nothing_twice(
    path: Path, journal: Path
) -> None:
    store = written(path, 3)
    left_behind = journal.read_bytes()
    store.close()
    journal.write_bytes(left_behind)
    assert store.load("a") == JsonFileStore(path).load("a") == {"n": 3.0}
    JsonFileStore(path).merge(ONE)
    assert store.load("a") == JsonFileStore(path).load("a") == {"n": 4.0}
    store.close()
    assert JsonFileStore(path).load("a") == {"n": 4.0}


def test_a_crash_before_the_new_snapshot_is_in_place_leaves_the_old_one(path: Path) -> None:
    written(path, 2)
    path.with_name("priors.json.tmp").write_bytes(b'{"half')
    store = JsonFileStore(path)
    assert store.load("a") == {"n": 2.0}
    store.close()
    assert JsonFileStore(path).load("a") == {"n": 2.0}
    assert not path.with_name("priors.json.tmp").exists()


@pytest.mark.parametrize("change", ["{}", '{"counters": "in a shape unheard of"}'])
def test_a_file_of_a_newer_version_is_refused_and_left_alone(path: Path, change: str) -> None:
    written(path, 1).close()
    newer = json.dumps({**json.loads(path.read_text()), "version": 2, **json.loads(change)})
    path.write_text(newer)
    for use in USES:
        with pytest.raises(StoreError, match=r"schema version 2.*reads up to 1.*upgrade") as raised:
            use(JsonFileStore(path))
        assert not isinstance(raised.value, CorruptStoreError)
    assert path.read_text() == newer
    assert not list(path.parent.glob("*.corrupt-*"))


@pytest.mark.parametrize("content", ["{}", "[]", "3", '{"decompose::gpt-4o": {"total_calls": 3}}'])
def test_json_of_somebody_else_is_refused_and_left_alone(path: Path, content: str) -> None:
    path.write_text(content)
    for use in USES:
        with pytest.raises(StoreError, match="left alone: give the store another path"):
            use(JsonFileStore(path))
    assert path.read_text() == content


def test_a_path_that_cannot_be_a_file_is_a_store_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "priors.json"):
        for use in USES[:: 2 if path == tmp_path else -2]:
            with pytest.raises(StoreError, match=str(path)):
                use(JsonFileStore(path))


def test_a_device_or_a_pipe_is_refused_before_it_is_touched(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (os.devnull, tmp_path / "pipe"):
        with pytest.raises(MisuseError, match="a device or a pipe and no file"):
            JsonFileStore(path)
    assert [each.name for each in tmp_path.iterdir()] == ["pipe"]


def _use_as_nobody(store: JsonFileStore, report: Connection) -> None:
    if os.geteuid() == 0:
        os.setuid(65534)
    for use in USES:
        try:
            use(store)
        except StoreError as error:
            report.send(str(error))
        else:
            report.send("no error")


def test_a_file_of_another_user_is_a_store_error_that_says_what_to_do(path: Path) -> None:
    store = written(path, 1)
    path.parent.chmod(0o000)
    fork = multiprocessing.get_context("fork")
    receiving, sending = fork.Pipe(duplex=False)
    child = fork.Process(target=_use_as_nobody, args=(store, sending), daemon=True)
    child.start()
    messages = [receiving.recv() for _ in USES]
    child.join()
    path.parent.chmod(0o700)
    assert all(str(path) in message and "writable for this user" in message for message in messages)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 1, 20])
def test_a_disk_that_is_full_fails_the_merge_and_leaves_the_state_before_it(
    path: Path, journal: Path, room: int
) -> None:
    store = written(path, 4)
    size = journal.stat().st_size
    with files_of_at_most(size + room):
        with pytest.raises(StoreError, match=r"priors\.json cannot be used: File too large"):
            store.merge(ONE)
        with pytest.raises(StoreError):
            store.merge({"a": {f"counter {number}": 1.0 for number in range(1000)}})
    assert journal.stat().st_size == size
    assert store.load("a") == JsonFileStore(path).load("a") == {"n": 4.0}
    store.merge(ONE)
    assert JsonFileStore(path).load("a") == {"n": 5.0}


def test_a_snapshot_that_cannot_be_written_leaves_the_old_state_readable(path: Path) -> None:
    store = JsonFileStore(path)
    store.merge({"a": {f"counter {number}": 1.0 for number in range(100)}})
    store.merge(ONE)
    with files_of_at_most(500), pytest.raises(StoreError, match="File too large"):
        store.close()
    assert store.load("a") == JsonFileStore(path).load("a")
    assert len(store.load("a")) == 101


@pytest.mark.parametrize(
    "content", [b"# Notes\nfor years", b"a,b\n1,2\n", b"SQLite format 3\0...", b"\x89PNG\r\n"]
)
def test_a_file_that_is_no_json_and_was_never_ours_is_refused_and_stays_where_it_is(
    path: Path, content: bytes
) -> None:
    path.write_bytes(content)
    for use in USES:
        with pytest.raises(
            StoreError, match=r"no file of loopllm's.*left alone: give the store another path"
        ) as raised:
            use(JsonFileStore(path))
        assert not isinstance(raised.value, CorruptStoreError)
    assert path.read_bytes() == content
    assert not list(path.parent.glob("*.corrupt-*"))


def test_a_byte_order_mark_and_lines_that_end_as_on_windows_are_no_damage(path: Path) -> None:
    written(path, 2).close()
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    store = JsonFileStore(path)
    assert store.load("a") == {"n": 2.0}
    store.merge(ONE)
    store.close()
    assert JsonFileStore(path).load("a") == {"n": 3.0}
    foreign = b"\xef\xbb\xbf{}"
    path.write_bytes(foreign)
    with pytest.raises(StoreError, match="holds JSON that is not loopllm's"):
        store.load("a")
    assert path.read_bytes() == foreign


def test_a_disk_without_room_says_what_to_do(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = written(path, 1)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"No space left on device \(make room on its disk\)"):
        store.merge(ONE)
    monkeypatch.undo()
    assert store.load("a") == {"n": 1.0}


def test_a_snapshot_that_could_not_be_written_takes_no_room_from_the_next_merge(path: Path) -> None:
    store = JsonFileStore(path)
    store.merge({"a": {f"counter {number}": 1.0 for number in range(100)}})
    store.merge(ONE)
    with files_of_at_most(500), pytest.raises(StoreError, match="File too large"):
        store.close()
    assert sorted(each.name for each in path.parent.iterdir()) == [
        "priors.json",
        "priors.json.journal",
        "priors.json.lock",
    ]
