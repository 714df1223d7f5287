"""The laws of `PriorStore` as tests.

Subclass `PriorStoreContract` in a test module and say how your store is opened:

    class TestMyStore(PriorStoreContract):
        @pytest.fixture
        def reopen(self, tmp_path):
            return functools.partial(MyStore, tmp_path / "priors")

`reopen` is called many times, also in other processes: it must be picklable, and every handle must see the
same store, which is empty when a test begins. For a store that lives in one process only, subclass
`InProcessPriorStoreContract` and give the fixture `store`.
"""

# ruff: noqa: S101  a contract suite is made of assertions

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from loopllm.errors import MisuseError
from loopllm.stores.base import PriorStore
from loopllm.testing.store_writers import (
    LEFT,
    RIGHT,
    Reopen,
    acknowledged,
    paired_delta,
    start_acknowledging,
    write_at_once,
)

_Deltas = dict[str, dict[str, float]]

# Multiples of an eighth add without rounding, so that the laws hold to the last bit in any order.
_values = st.integers(-(2**30), 2**30).map(lambda eighths: eighths / 8)
_deltas: st.SearchStrategy[_Deltas] = st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=4),
    st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), _values, max_size=3),
    max_size=3,
)

# One store serves all examples of a test: each example writes under keys of its own.
_laws = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)


class InProcessPriorStoreContract:
    """What every store promises to the threads of one process."""

    threads = 8
    merges_per_thread = 25

    @pytest.fixture
    def store(self) -> Iterator[PriorStore]:
        """Give an empty store."""
        raise NotImplementedError(
            'override the fixture "store", or "reopen" for a store that outlives a process'
        )

    def test_has_every_method_of_the_port(self, store: PriorStore) -> None:
        """A type checker sees the signatures, this sees the names."""
        assert isinstance(store, PriorStore)

    def test_a_key_never_written_is_empty_and_reading_it_does_not_create_it(self, store: PriorStore) -> None:
        """Reads change nothing."""
        before = store.revision()
        assert store.load("never written") == {}
        assert list(store.keys()) == []
        assert store.revision() == before

    def test_a_merge_adds_counter_by_counter(self, store: PriorStore) -> None:
        """Old counters stay, new ones appear, common ones are summed."""
        store.merge({"a": {"n": 1.0, "s": 0.5}})
        store.merge({"a": {"n": 2.0, "q": -0.25}})
        assert store.load("a") == {"n": 3.0, "s": 0.5, "q": -0.25}

    def test_one_merge_reaches_several_keys(self, store: PriorStore) -> None:
        """And leaves the others alone."""
        store.merge({"other": {"n": 7.0}})
        store.merge({"a": {"n": 1.0}, "b": {"n": 2.0}})
        assert [store.load(key) for key in ("a", "b", "other")] == [{"n": 1.0}, {"n": 2.0}, {"n": 7.0}]

    def test_an_empty_delta_changes_nothing(self, store: PriorStore) -> None:
        """The identity of addition; it creates no key either."""
        store.merge({"a": {"n": 1.0}})
        nothings: list[_Deltas] = [{}, {"a": {}}, {"new": {}}]
        for nothing in nothings:
            store.merge(nothing)
        assert store.load("a") == {"n": 1.0}
        assert list(store.keys()) == ["a"]

    @_laws
    @given(first=_deltas, second=_deltas)
    @example(first={"a": {"n": 1.0}}, second={"a": {"n": 2.0}})  # a common key, which chance may never draw
    def test_the_order_of_merges_does_not_matter(
        self, store: PriorStore, first: _Deltas, second: _Deltas
    ) -> None:
        """Addition commutes."""
        assert _after(store, first, second) == _after(store, second, first)

    @_laws
    @given(first=_deltas, second=_deltas, third=_deltas)
    @example(first={"a": {"n": 1.0}}, second={"a": {"n": 2.0}}, third={"a": {"n": 4.0}})
    def test_deltas_may_be_summed_before_they_are_merged(
        self, store: PriorStore, first: _Deltas, second: _Deltas, third: _Deltas
    ) -> None:
        """Addition associates, so a process may send one delta for many rounds."""
        assert _after(store, first, _sum(second, third)) == _after(store, _sum(first, second), third)

    @_laws
    @given(delta=_deltas)
    def test_what_was_merged_comes_back_under_the_same_names(self, store: PriorStore, delta: _Deltas) -> None:
        """Any text is a name: no two keys are confused."""
        assert _after(store, delta) == _sum(delta, {})

    def test_keys_are_sorted_and_kept_apart(self, store: PriorStore) -> None:
        """Separators that a store may use itself mean nothing inside a key."""
        names = ["a::b", "a", "b::a", "a/b", "a\nb", "A", "ä", "模型", "a b", '"', "%", "*", "{a}"]
        store.merge({name: {"n": float(number)} for number, name in enumerate(names, start=1)})
        assert list(store.keys()) == sorted(names)
        assert [store.load(name)["n"] for name in names] == list(range(1, len(names) + 1))

    def test_what_is_loaded_is_the_callers_own_copy(self, store: PriorStore) -> None:
        """Changing it changes neither the store nor what others loaded."""
        store.merge({"a": {"n": 1.0}})
        mine = store.load("a")
        mine["n"] = 99.0
        mine["new"] = 1.0
        assert store.load("a") == {"n": 1.0}

    def test_what_is_merged_stays_the_callers_own(self, store: PriorStore) -> None:
        """The store keeps no reference to a delta and changes none."""
        delta = {"a": {"n": 1.0}}
        store.merge(delta)
        store.merge(delta)
        assert delta == {"a": {"n": 1.0}}
        delta["a"]["n"] = 99.0
        assert store.load("a") == {"n": 2.0}

    @pytest.mark.parametrize("poison", [float("nan"), float("inf"), float("-inf")])
    def test_a_value_that_is_no_number_is_refused_and_nothing_is_added(
        self, store: PriorStore, poison: float
    ) -> None:
        """One NaN would spoil every later sum, for everyone."""
        store.merge({"a": {"n": 1.0}})
        with pytest.raises(MisuseError, match="spoilt"):
            store.merge({"a": {"n": 1.0}, "b": {"spoilt": poison}})
        assert store.load("a") == {"n": 1.0}
        assert list(store.keys()) == ["a"]

    def test_the_revision_changes_with_every_merge_and_only_then(self, store: PriorStore) -> None:
        """Who asks for it between reads learns whether to read again."""
        seen = [store.revision()]
        for _ in range(3):
            store.merge({"a": {"n": 1.0}})
            seen.append(store.revision())
            assert store.revision() == seen[-1]
        assert all(one != other for one, other in pairwise(seen))

    def test_threads_that_merge_at_once_lose_nothing_and_readers_see_whole_merges(
        self, store: PriorStore
    ) -> None:
        """N threads times M merges are N*M merges; a counter and its double are never seen apart."""
        start = threading.Barrier(self.threads + 1)
        with ThreadPoolExecutor(self.threads + 1) as pool:
            writers = [
                pool.submit(_merge_often, store, start, self.merges_per_thread) for _ in range(self.threads)
            ]
            reads = pool.submit(
                _read_until, store, start, float(self.threads * self.merges_per_thread), writers
            )
            for writer in writers:
                writer.result()
            assert all(seen.get("twice", 0.0) == 2 * seen.get("n", 0.0) for seen in reads.result())
        assert store.load(LEFT)["n"] == store.load(RIGHT)["n"] == self.threads * self.merges_per_thread

    def test_closing_twice_is_fine(self, store: PriorStore) -> None:
        """Nobody has to remember who closes."""
        store.merge({"a": {"n": 1.0}})
        store.close()
        store.close()


class PriorStoreContract(InProcessPriorStoreContract):
    """What a store that outlives a process promises besides; override the fixture `reopen`."""

    processes = 4
    merges_per_process = 50
    kills = 6

    @pytest.fixture
    def reopen(self) -> Reopen:
        """Give a picklable function that opens a further handle on the same, at first empty, store."""
        raise NotImplementedError('override the fixture "reopen"')

    @pytest.fixture
    def store(self, reopen: Reopen) -> Iterator[PriorStore]:
        """Open the store and close it after the test."""
        store = reopen()
        yield store
        store.close()

    def test_what_was_merged_is_there_when_the_store_is_opened_again(self, reopen: Reopen) -> None:
        """With and without closing before."""
        first = reopen()
        first.merge({"a": {"n": 1.0}})
        assert reopen().load("a") == {"n": 1.0}
        first.close()
        assert reopen().load("a") == {"n": 1.0}

    def test_two_handles_see_each_others_merges(self, reopen: Reopen) -> None:
        """The revision tells each of them that the other one wrote."""
        one, other = reopen(), reopen()
        assert one.load("a") == other.load("a") == {}
        for writer, reader, total in ((one, other, 1.0), (other, one, 2.0), (one, other, 3.0)):
            before = reader.revision()
            writer.merge({"a": {"n": 1.0}})
            assert reader.revision() != before
            assert reader.load("a") == writer.load("a") == {"n": total}
            writer.close()
            assert reader.load("a") == {"n": total}

    def test_processes_that_merge_at_once_lose_nothing(self, reopen: Reopen) -> None:
        """N processes times M merges are N*M merges."""
        assert write_at_once(reopen, self.processes, self.merges_per_process) == [0] * self.processes
        expected = self.processes * self.merges_per_process
        assert reopen().load(LEFT) == reopen().load(RIGHT) == {"n": expected, "twice": 2 * expected}

    def test_a_writer_killed_at_any_moment_leaves_the_state_before_or_after_a_merge(
        self, reopen: Reopen
    ) -> None:
        """All acknowledged merges are there, at most one more, none in part; the next writer can go on."""
        dice = random.Random(20)  # noqa: S311  moments to kill at, not secrets
        before = 0.0
        for _ in range(self.kills):
            done = _merges_before_a_kill(reopen, dice)
            left, right = reopen().load(LEFT), reopen().load(RIGHT)
            assert left == right
            assert left.get("twice", 0.0) == 2 * left.get("n", 0.0)
            assert before + done <= left.get("n", 0.0) <= before + done + 1
            reopen().merge(paired_delta())
            before = left.get("n", 0.0) + 1


def _after(store: PriorStore, *deltas: Mapping[str, Mapping[str, float]]) -> _Deltas:
    """Merge under keys never used before, and say what is there then, without the zeros."""
    prefix = uuid.uuid4().hex
    for delta in deltas:
        store.merge({prefix + key: counters for key, counters in delta.items()})
    keys = store.keys()
    found = {key.removeprefix(prefix): store.load(key) for key in keys if key.startswith(prefix)}
    return _sum(found, {})


def _sum(one: _Deltas, other: _Deltas) -> _Deltas:
    """Add two deltas, leaving out what is zero."""
    total: _Deltas = {}
    for key in one.keys() | other.keys():
        mine, theirs = one.get(key, {}), other.get(key, {})
        summed = {name: mine.get(name, 0.0) + theirs.get(name, 0.0) for name in mine.keys() | theirs.keys()}
        total[key] = {name: value for name, value in summed.items() if value}
    return {key: counters for key, counters in total.items() if counters}


def _merge_often(store: PriorStore, start: threading.Barrier, merges: int) -> None:
    start.wait()
    for _ in range(merges):
        store.merge(paired_delta())


def _read_until(
    store: PriorStore, start: threading.Barrier, total: float, writers: list[Future[None]]
) -> list[dict[str, float]]:
    start.wait()
    seen = [store.load(LEFT)]
    while seen[-1].get("n", 0.0) < total and not all(writer.done() for writer in writers):
        seen.append(store.load(LEFT))
    return seen


def _merges_before_a_kill(reopen: Reopen, dice: random.Random) -> int:
    """Let a writer work for a while, kill it, and return how many merges it was told are done."""
    writer, receiving = start_acknowledging(reopen)
    seen = 0
    for _ in range(dice.randint(1, 30)):
        receiving.recv_bytes()
        seen += 1
    time.sleep(
        dice.random() * 0.004
    )  # anywhere inside a merge: the moment is the point, there is no event for it
    writer.kill()
    writer.join()
    return seen + acknowledged(receiving)
