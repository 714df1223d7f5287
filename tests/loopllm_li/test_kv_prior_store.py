"""`KVStorePriorStore`: learned statistics in any key-value store of LlamaIndex."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.core.storage.kvstore.types import BaseKVStore

from loopllm import AdaptivePriors, CallObservation
from loopllm.errors import CorruptStoreError, MisuseError, StoreError
from loopllm.testing import InProcessPriorStoreContract, PriorStoreContract
from loopllm_li import KVStorePriorStore


class TestOnASimpleKVStore(InProcessPriorStoreContract):
    @pytest.fixture
    def store(self) -> Any:
        return KVStorePriorStore(SimpleKVStore())


class FolderKVStore(BaseKVStore):
    """One file a key, replaced atomically: like the remote stores, the last writer wins and nothing is locked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _path(self, key: str, collection: str) -> Path:
        return self.folder / f"{quote(collection, safe='')}@{quote(key, safe='')}.json"

    def put(self, key: str, val: dict[str, Any], collection: str = "data") -> None:
        path = self._path(key, collection)
        draft = path.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps(val))
        draft.replace(path)

    def get(self, key: str, collection: str = "data") -> dict[str, Any] | None:
        path = self._path(key, collection)
        return json.loads(path.read_text()) if path.exists() else None

    def get_all(self, collection: str = "data") -> dict[str, dict[str, Any]]:
        start = f"{quote(collection, safe='')}@"
        files = self.folder.glob(f"{start}*.json")
        return {unquote(path.stem.removeprefix(start)): json.loads(path.read_text()) for path in files}

    def delete(self, key: str, collection: str = "data") -> bool:
        raise NotImplementedError

    async def aput(self, key: str, val: dict[str, Any], collection: str = "data") -> None:
        raise NotImplementedError

    async def aget(self, key: str, collection: str = "data") -> dict[str, Any] | None:
        raise NotImplementedError

    async def aget_all(self, collection: str = "data") -> dict[str, dict[str, Any]]:
        raise NotImplementedError

    async def adelete(self, key: str, collection: str = "data") -> bool:
        raise NotImplementedError


def opened(folder: Path) -> KVStorePriorStore:
    return KVStorePriorStore(FolderKVStore(folder))


class TestOnAStoreSharedByProcesses(PriorStoreContract):
    @pytest.fixture
    def reopen(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.syspath_prepend(
            str(Path(__file__).parents[2])
        )  # spawned writers import this module by name
        return partial(opened, tmp_path)


def test_eight_threads_with_a_store_each_lose_none_of_1600_merges() -> None:
    """get and put of one document kept 204 of them."""
    shared = SimpleKVStore()

    def merge_often(_: int) -> None:
        store = KVStorePriorStore(shared)
        for _ in range(200):
            store.merge({"task": {"n": 1.0}})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(merge_often, range(8)))
    assert KVStorePriorStore(shared).load("task") == {"n": 1600.0}


def test_a_named_writer_that_is_started_again_goes_on_with_its_own_document() -> None:
    shared = SimpleKVStore()
    for _ in range(3):
        KVStorePriorStore(shared, writer_id="worker-1").merge({"task": {"n": 1.0}})
    assert KVStorePriorStore(shared).load("task") == {"n": 3.0}
    assert list(shared.get_all("loopllm_priors")) == ["worker-1"]


def test_other_collections_of_the_same_store_are_left_alone() -> None:
    shared = SimpleKVStore()
    shared.put("doc", {"text": "hello"}, "documents")
    store = KVStorePriorStore(shared)
    store.merge({"task": {"n": 1.0}})
    assert (store.keys(), shared.get("doc", "documents")) == (["task"], {"text": "hello"})


def test_a_collection_with_other_documents_is_refused_by_name() -> None:
    shared = SimpleKVStore()
    shared.put("doc", {"text": "hello"}, "documents")
    with pytest.raises(CorruptStoreError, match="collection of its own"):
        KVStorePriorStore(shared, collection="documents").load("task")


def test_a_store_that_cannot_be_reached_is_a_store_error_and_nothing_was_added() -> None:
    class Away(SimpleKVStore):
        def put(self, *args: Any, **kwargs: Any) -> None:
            raise OSError("no route")

    store = KVStorePriorStore(Away())
    with pytest.raises(StoreError, match="no route"):
        store.merge({"task": {"n": 1.0}})
    assert store.load("task") == {}


@pytest.mark.parametrize("wrong", [{"kvstore": {}}, {"kvstore": SimpleKVStore(), "writer_id": ""}])
def test_wrong_arguments_are_refused_when_built(wrong: dict[str, Any]) -> None:
    with pytest.raises(MisuseError):
        KVStorePriorStore(**wrong)


def test_priors_learn_through_it_and_others_see_what_was_learned() -> None:
    shared = SimpleKVStore()
    seen = CallObservation(task_type="seas", model_id="tiny", scores=[0.3, 0.9])
    AdaptivePriors(store=KVStorePriorStore(shared)).observe(seen)
    assert AdaptivePriors(store=KVStorePriorStore(shared)).report("seas", "tiny").total_calls == 1
