import functools
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

import loopllm.testing
from loopllm.stores import Counters, JsonFileStore, MemoryStore
from loopllm.testing import InProcessPriorStoreContract, PriorStoreContract

LAWS = InProcessPriorStoreContract()


class Aliasing(MemoryStore):
    def load(self, key: str) -> dict[str, float]:
        return self._counters.get(key, {})


class LastWins(MemoryStore):
    def merge(self, deltas: Mapping[str, Counters]) -> None:
        self._counters.update({key: dict(counters) for key, counters in deltas.items() if counters})
        self._merges += 1


class Unlocked(MemoryStore):
    def merge(self, deltas: Mapping[str, Counters]) -> None:
        for key, counters in deltas.items():
            found = self.load(key)
            time.sleep(0)  # lets another thread in, where a slow store would
            self._counters[key] = {name: found.get(name, 0.0) + value for name, value in counters.items()}
        self._merges += 1


class ConfusesKeys(MemoryStore):
    def load(self, key: str) -> dict[str, float]:
        return super().load(key.lower())

    def merge(self, deltas: Mapping[str, Counters]) -> None:
        for key, counters in deltas.items():
            super().merge({key.lower(): counters})


class TrustsAnyNumber(MemoryStore):
    def merge(self, deltas: Mapping[str, Counters]) -> None:
        for key, counters in deltas.items():
            self._counters[key] = dict(counters)


class StandsStill(MemoryStore):
    def revision(self) -> int:
        return 0


@pytest.mark.parametrize(
    ("store", "law"),
    [
        (Aliasing, LAWS.test_what_is_loaded_is_the_callers_own_copy),
        (LastWins, LAWS.test_a_merge_adds_counter_by_counter),
        (LastWins, LAWS.test_the_order_of_merges_does_not_matter),
        (LastWins, LAWS.test_deltas_may_be_summed_before_they_are_merged),
        (Unlocked, LAWS.test_threads_that_merge_at_once_lose_nothing_and_readers_see_whole_merges),
        (ConfusesKeys, LAWS.test_keys_are_sorted_and_kept_apart),
        (StandsStill, LAWS.test_the_revision_changes_with_every_merge_and_only_then),
    ],
)
def test_a_store_that_breaks_a_law_fails_the_contract(store, law) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(AssertionError):
        law(store=store())


def test_a_store_that_takes_nan_fails_the_contract() -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        LAWS.test_a_value_that_is_no_number_is_refused_and_nothing_is_added(TrustsAnyNumber(), float("nan"))


def test_a_store_that_acknowledges_before_it_writes_fails_the_contract(tmp_path: Path) -> None:
    batched = functools.partial(JsonFileStore, tmp_path / "priors.json", durability="batched")
    with pytest.raises(AssertionError):
        PriorStoreContract().test_a_writer_killed_at_any_moment_leaves_the_state_before_or_after_a_merge(
            batched
        )


def test_a_store_in_memory_fails_the_part_for_processes() -> None:
    with pytest.raises(AssertionError):
        PriorStoreContract().test_processes_that_merge_at_once_lose_nothing(MemoryStore)


def test_pytest_is_loaded_only_when_a_suite_is_asked_for() -> None:
    code = "import sys, loopllm.testing.store_writers as w; print('pytest' in sys.modules, 'hypothesis' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="NoSuchContract"):
        loopllm.testing.NoSuchContract  # noqa: B018  asking is the point
