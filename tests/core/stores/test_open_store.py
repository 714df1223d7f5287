from pathlib import Path

import pytest

from loopllm.errors import MisuseError
from loopllm.stores import JsonFileStore, MemoryStore, loaders, open_store


def test_memory_is_a_new_store_each_time() -> None:
    first, second = open_store("memory://"), open_store("memory://")
    assert isinstance(first, MemoryStore)
    assert first is not second


def test_paths_and_file_urls_open_json_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "two words.json"
    for address in (
        target,
        str(target),
        "two words.json",
        f"file://{tmp_path}/two%20words.json",
        f"file://localhost{target}",
    ):
        store = open_store(address)
        assert isinstance(store, JsonFileStore)
        assert store.path == target


@pytest.mark.parametrize("scheme", ["sqlite", "redis", "postgresql", "https"])
def test_an_address_without_a_back_end_is_refused_without_repeating_its_password(scheme: str) -> None:
    with pytest.raises(MisuseError, match=f"{scheme}://.*memory and JSON files.*priors.json") as raised:
        open_store(f"{scheme}://user:hunter2@host/0")
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("address", ["", "file://server/share.json", "file://"])
def test_an_address_that_names_no_file_is_refused(address: str) -> None:
    with pytest.raises(MisuseError, match="path"):
        open_store(address)


def test_a_back_end_of_ones_own_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = MemoryStore()
    monkeypatch.setitem(loaders, "mine", lambda address: mine)
    assert open_store("mine://anything") is mine


@pytest.mark.parametrize("address", [MemoryStore(), b"priors.json", 7, None])
def test_what_is_no_address_is_refused(address: object) -> None:
    with pytest.raises(MisuseError, match="must be a path or a URL"):
        open_store(address)  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize("end", ["?mode=ro", "?", "#2", "#"])
def test_a_file_url_with_more_than_a_path_is_refused_instead_of_opening_another_file(
    tmp_path: Path, end: str
) -> None:
    with pytest.raises(MisuseError, match=r"more than a path.*%3F.*%23"):
        open_store(f"file://{tmp_path}/priors.json{end}")
    store = open_store(f"file://{tmp_path}/a%23b%3F.json")
    assert isinstance(store, JsonFileStore)
    assert store.path == tmp_path / "a#b?.json"
