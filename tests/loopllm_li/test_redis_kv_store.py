"""`KVStorePriorStore` on a real Redis server, through LlamaIndex's own `RedisKVStore`."""

import multiprocessing
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from loopllm import AdaptivePriors, CallObservation
from loopllm.errors import StoreError
from loopllm.testing import PriorStoreContract
from loopllm_li import KVStorePriorStore

PROCESSES, MERGES = 4, 200


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis server of the test's own, on a free port of this machine, stopped when the tests are over."""
    server = shutil.which("redis-server")
    if server is None:
        pytest.fail(
            "redis-server is not installed: `apt install redis-server` on Debian, `brew install redis` on macOS"
        )
    port, folder = _free_port(), tmp_path_factory.mktemp("redis")
    command = [
        server,
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        str(folder),
        "--save",
        "",
        "--daemonize",
        "no",
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _wait_until_it_listens(port, process, folder / "log")
            yield f"redis://127.0.0.1:{port}"
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_until_it_listens(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)  # a starting server tells nobody but whoever connects
    pytest.fail(f"redis-server did not start: {log.read_text()[-500:]}")


def opened(address: str, collection: str) -> KVStorePriorStore:
    from llama_index.storage.kvstore.redis import RedisKVStore

    return KVStorePriorStore(RedisKVStore(redis_uri=address), collection=collection)


@pytest.fixture
def collection() -> str:
    return f"priors-{uuid.uuid4().hex}"


def merge_often(address: str, collection: str) -> None:
    store = opened(address, collection)
    for number in range(MERGES):
        store.merge({"task": {"n": 1.0, "sum": float(number)}})


class TestOnRedis(PriorStoreContract):
    @pytest.fixture
    def reopen(self, address: str, collection: str, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.syspath_prepend(
            str(Path(__file__).parents[2])
        )  # spawned writers import this module by name
        return partial(opened, address, collection)


def test_four_processes_lose_none_of_800_merges(
    address: str, collection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """get and put of one document lost 286 of 400."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=merge_often, args=(address, collection)) for _ in range(PROCESSES)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(300)
    assert [writer.exitcode for writer in writers] == [0] * PROCESSES
    total = opened(address, collection).load("task")
    assert total == {"n": float(PROCESSES * MERGES), "sum": PROCESSES * MERGES * (MERGES - 1) / 2}


def test_each_writer_has_one_document_whatever_it_merged(address: str, collection: str) -> None:
    one, two = opened(address, collection), opened(address, collection)
    for store in (one, two, one):
        store.merge({"task": {"n": 1.0}})
    from llama_index.storage.kvstore.redis import RedisKVStore

    assert len(RedisKVStore(redis_uri=address).get_all(collection)) == 2


def test_priors_learned_on_one_machine_are_known_on_another(address: str, collection: str) -> None:
    seen = CallObservation(task_type="seas", model_id="tiny", scores=[0.3, 0.9])
    AdaptivePriors(store=opened(address, collection)).observe(seen)
    assert AdaptivePriors(store=opened(address, collection)).report("seas", "tiny").total_calls == 1


def test_a_server_that_is_away_is_a_store_error() -> None:
    store = opened(f"redis://127.0.0.1:{_free_port()}", "priors")
    with pytest.raises(StoreError, match="RedisKVStore cannot be read"):
        store.load("task")
