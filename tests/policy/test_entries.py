"""The store of answers: rule by rule, and a machine beside a model that is a plain list in order of use."""

from __future__ import annotations

import tracemalloc

import attrs
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from penstock.policy.entries import ENTRY_OVERHEAD, Entries, EntriesStatistics, Entry


def bytes_of(*sizes: int) -> int:
    """What entries with keys of one byte take."""
    return sum(1 + size + ENTRY_OVERHEAD for size in sizes)


def put(entries: Entries, key: str, value: bytes = b"", *, now: float = 0.0, ttl: float = 100.0) -> bool:
    return entries.put(key, Entry(value, now, now + ttl), now=now)


def test_what_was_stored_is_found_until_its_time_is_over() -> None:
    entries = Entries(10_000)
    assert put(entries, "k", b"answer", now=50.0)
    found = entries.get("k", 149.9)
    assert found is not None
    assert (found.value, found.stored_at, found.fresh_until) == (b"answer", 50.0, 150.0)
    assert entries.get("k", 150.0) is None
    assert entries.statistics() == EntriesStatistics(entries=0, bytes=0, hits=1, misses=1, evictions=0)


def test_what_is_kept_past_its_time_is_still_found_and_says_how_old_it_is() -> None:
    entries = Entries(10_000, kept=30.0)
    put(entries, "k", now=50.0)
    found = entries.get("k", 179.9)
    assert found is not None
    assert (found.stored_at, found.fresh_until) == (50.0, 150.0)
    assert entries.get("k", 180.0) is None


def test_what_is_over_by_the_time_it_comes_is_not_stored() -> None:
    entries = Entries(10_000)
    assert not entries.put("k", Entry(b"", 10.0, 20.0), now=20.0)
    assert not entries.put("k", Entry(b"", 30.0, 40.0), now=20.0), "of the future: a clock was set back"
    assert entries.statistics().entries == 0


def test_the_newest_are_told_first_and_by_prefix() -> None:
    entries = Entries(10_000)
    for key in ("a/1", "b/1", "a/2"):
        put(entries, key)
    assert entries.get("a/1", 1.0) is not None
    assert [key for key, _ in entries.newest("a/")] == ["a/1", "a/2"]
    assert entries.statistics().hits == 1


def test_the_least_recently_used_gives_way() -> None:
    entries = Entries(bytes_of(10, 10))
    put(entries, "a", bytes(10))
    put(entries, "b", bytes(10))
    assert entries.get("a", 1.0) is not None
    put(entries, "c", bytes(10))
    assert [key for key in "abc" if entries.get(key, 1.0)] == ["a", "c"]
    assert entries.statistics().evictions == 1


def test_one_large_entry_may_push_out_several() -> None:
    entries = Entries(bytes_of(0, 0, 0, 500))
    for key in "abc":
        put(entries, key)
    assert put(entries, "d", bytes(500 + bytes_of(0)))
    assert [key for key in "abcd" if entries.get(key, 1.0)] == ["b", "c", "d"]


def test_the_bound_counts_the_key_and_the_overhead() -> None:
    assert put(Entries(5 + ENTRY_OVERHEAD), "key", b"12")
    assert not put(Entries(4 + ENTRY_OVERHEAD), "key", b"12")
    assert put(Entries(6 + ENTRY_OVERHEAD), "öä", b"12")
    assert not put(Entries(5 + ENTRY_OVERHEAD), "öä", b"12")


def test_an_entry_larger_than_the_bound_is_not_stored_and_pushes_nothing_out() -> None:
    entries = Entries(bytes_of(10, 10))
    put(entries, "a", bytes(10))
    assert not put(entries, "b", bytes(10_000))
    assert entries.get("b", 1.0) is None
    assert entries.get("a", 1.0) is not None


@pytest.mark.parametrize(("value", "ttl"), [(bytes(10_000), 100.0), (b"new", 0.0)])
def test_what_was_superseded_is_not_served_even_where_the_new_one_cannot_be_stored(value: bytes, ttl: float) -> None:
    entries = Entries(1_000)
    put(entries, "k", b"old")
    assert not put(entries, "k", value, ttl=ttl)
    assert entries.get("k", 1.0) is None
    assert entries.statistics().bytes == 0


def test_an_older_answer_that_comes_later_does_not_take_the_place_of_the_newer_one() -> None:
    entries = Entries(10_000)
    put(entries, "k", b"newer", now=50.0)
    assert entries.put("k", Entry(b"older", 40.0, 200.0), now=60.0)
    found = entries.get("k", 60.0)
    assert found is not None
    assert found.value == b"newer"
    assert entries.put("k", Entry(b"before a clock was set back", 40.0, 200.0), now=45.0)


def test_storing_again_replaces_and_counts_once() -> None:
    entries = Entries(10_000)
    put(entries, "k", bytes(100))
    put(entries, "k", b"new", now=90.0)
    found = entries.get("k", 150.0)
    assert found is not None
    assert found.value == b"new"
    assert entries.statistics().bytes == bytes_of(3)


def test_a_clock_that_was_set_back_revives_nothing() -> None:
    entries = Entries(10_000)
    put(entries, "k", now=1_000.0)
    assert entries.get("k", 999.0) is None
    assert entries.get("k", 1_001.0) is None


def test_purge_takes_a_prefix_or_all() -> None:
    entries = Entries(10_000)
    for key in ("team-a/1", "team-a/2", "team-b/1"):
        put(entries, key)
    assert entries.purge("team-a/") == 2
    assert entries.get("team-b/1", 1.0) is not None
    assert entries.purge() == 1
    assert (entries.statistics().entries, entries.statistics().bytes) == (0, 0)


def test_the_stated_overhead_covers_what_an_entry_takes() -> None:
    entries = Entries(100_000_000)
    count = 2_000
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(count):
            key, parts = f"{number:016x}/{number:064x}", number.to_bytes(120, "big")
            entries.put(key, Entry(bytes(200), float(number), float(number) + 100.0, parts), now=float(number))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before <= entries.statistics().bytes


KEYS = ("a", "b", "bb", "c", "ccc")
KEPT = 20.0
BOUND = 3 * ENTRY_OVERHEAD + 300


@attrs.frozen
class Stored:
    key: str
    entry: Entry

    @property
    def size(self) -> int:
        return len(self.key) + len(self.entry.value) + len(self.entry.parts) + ENTRY_OVERHEAD


class EntriesMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0
        self.entries = Entries(BOUND, kept=KEPT)
        self.used: list[Stored] = []
        """Least recently used first."""
        self.hits = self.misses = self.evictions = 0

    def taken(self) -> int:
        return sum(one.size for one in self.used)

    @rule(step=st.sampled_from([-5.0, 0.5, 5.0, 9.5, 10.5, 40.0]))
    def wait(self, step: float) -> None:
        self.now += step

    @rule(
        key=st.sampled_from(KEYS),
        value=st.binary(max_size=120) | st.just(bytes(BOUND)),
        parts=st.binary(max_size=20),
        before=st.sampled_from([0.0, 5.0, -5.0]),
        ttl=st.sampled_from([-30.0, 0.0, 10.0, 50.0]),
    )
    def put(self, key: str, value: bytes, parts: bytes, before: float, ttl: float) -> None:
        entry = Entry(value, self.now - before, self.now + ttl, parts)
        stored = self.entries.put(key, entry, now=self.now)
        if any(one.key == key and entry.stored_at < one.entry.stored_at <= self.now for one in self.used):
            assert stored
            return
        self.used = [one for one in self.used if one.key != key]
        one = Stored(key, entry)
        assert stored == (before >= 0 and ttl + KEPT > 0 and one.size <= BOUND)
        if not stored:
            return
        self.used.append(one)
        while self.taken() > BOUND:
            del self.used[0]
            self.evictions += 1

    @rule(key=st.sampled_from(KEYS))
    def get(self, key: str) -> None:
        found = self.entries.get(key, self.now)
        known = next((one for one in self.used if one.key == key), None)
        self.used = [one for one in self.used if one.key != key]
        if known is None or self.now < known.entry.stored_at or self.now >= known.entry.fresh_until + KEPT:
            assert found is None
            self.misses += 1
            return
        assert found == known.entry
        self.used.append(known)
        self.hits += 1

    @rule(prefix=st.sampled_from(["", "b", "bb", "x"]))
    def purge(self, prefix: str) -> None:
        gone = [one for one in self.used if one.key.startswith(prefix)]
        assert [key for key, _ in self.entries.newest(prefix)] == [one.key for one in reversed(gone)]
        assert self.entries.purge(prefix) == len(gone)
        self.used = [one for one in self.used if one not in gone]

    @invariant()
    def statistics_agree_and_the_bound_holds(self) -> None:
        assert self.entries.statistics() == EntriesStatistics(
            len(self.used), self.taken(), self.hits, self.misses, self.evictions
        )
        assert self.entries.statistics().bytes <= BOUND


TestEntriesMachine = EntriesMachine.TestCase
