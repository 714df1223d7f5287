import functools
from pathlib import Path

import pytest

from loopllm.stores import JsonFileStore
from loopllm.testing import PriorStoreContract
from loopllm.testing.store_writers import LEFT, Reopen, start_acknowledging


class TestJsonFileStoreKeepsTheContract(PriorStoreContract):
    merges_per_process = 100

    @pytest.fixture
    def reopen(self, tmp_path: Path) -> Reopen:
        return functools.partial(JsonFileStore, tmp_path / "not there yet" / "priors.json")

    def test_a_reader_never_sees_a_merge_vanish_while_another_process_appends_and_folds(
        self, reopen: Reopen
    ) -> None:
        reader = reopen()
        writer, receiving = start_acknowledging(reopen)
        seen = 0.0
        while seen < 300:
            counters = reader.load(LEFT)
            assert counters.get("n", 0.0) >= seen
            assert counters.get("twice", 0.0) == 2 * counters.get("n", 0.0)
            seen = counters.get("n", 0.0)
        writer.kill()
        writer.join()
        receiving.close()
