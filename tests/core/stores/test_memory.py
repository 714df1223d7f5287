import pickle

import pytest

from loopllm.stores import MemoryStore, PriorStore
from loopllm.testing import InProcessPriorStoreContract


class TestMemoryStoreKeepsTheContract(InProcessPriorStoreContract):
    merges_per_thread = 2000

    @pytest.fixture
    def store(self) -> PriorStore:
        return MemoryStore()


def test_a_pickled_memory_store_is_a_copy_that_goes_its_own_way() -> None:
    original = MemoryStore()
    original.merge({"a": {"n": 1.0}})
    copy = pickle.loads(pickle.dumps(original))
    copy.merge({"a": {"n": 1.0}})
    assert (original.load("a"), copy.load("a")) == ({"n": 1.0}, {"n": 2.0})
