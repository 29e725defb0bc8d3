"""A store of answers in memory, bounded by bytes: least recently used out first, and nothing older than its time.

Not here: what may be stored and under which key (the cache), and the second level on disk.
"""

from __future__ import annotations

from collections import OrderedDict

import attrs
from msgspec import Struct

__all__ = ["ENTRY_OVERHEAD", "Entries", "EntriesStatistics", "Entry"]

ENTRY_OVERHEAD = 400
"""Bytes that an entry takes beside its key and value, rounded up: CPython 3.11 to 3.13 on 64 bits."""
TTL_JITTER = 0.1
"""Share by which a time to live varies: what was stored together does not expire together."""


class Entry(Struct, frozen=True):
    """One stored answer. Times are Unix times."""

    value: bytes
    stored_at: float
    expires_at: float


@attrs.frozen
class EntriesStatistics:
    """Now (`entries`, `bytes`), and since the start."""

    entries: int
    bytes: int
    hits: int
    misses: int
    evictions: int
    """Entries that gave way to others before their time was over."""


class Entries:
    """Answers by key.

    Laws: `bytes` never exceeds the bound, keys, values and overhead included; an entry is found only from the moment
    it was stored until its time is over; once missed, it stays missing until it is stored again.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._bytes = 0
        self._hits = 0
        self._misses = 0
        self._evictions = 0

    def get(self, key: str, now: float) -> Entry | None:
        """The entry, now the most recently used; None where there is none, or its time is over."""
        entry = self._entries.get(key)
        # An entry of the future means that the clock was set back: its age is unknown, so it is not served.
        if entry is None or not entry.stored_at <= now < entry.expires_at:
            self._drop(key)
            self._misses += 1
            return None
        self._entries.move_to_end(key)
        self._hits += 1
        return entry

    def put(self, key: str, value: bytes, *, now: float, ttl: float, jitter: float) -> bool:
        """Stores `value` for `ttl` seconds, more or less a tenth by `jitter` in [0, 1].

        False where it was not stored: it is larger than the bound, or its time to live is none. What was there before
        is gone in any case: it has been superseded.
        """
        self._drop(key)
        size = _size(key, value)
        if size > self._max_bytes or ttl <= 0:
            return False
        while self._bytes + size > self._max_bytes:
            self._drop(next(iter(self._entries)))
            self._evictions += 1
        lasts = ttl * (1 - TTL_JITTER + 2 * TTL_JITTER * jitter)
        self._entries[key] = Entry(value, now, now + lasts)
        self._bytes += size
        return True

    def purge(self, prefix: str = "") -> int:
        """Removes the entries whose key begins with `prefix`, all by default; says how many."""
        gone = [key for key in self._entries if key.startswith(prefix)]
        for key in gone:
            self._drop(key)
        return len(gone)

    def statistics(self) -> EntriesStatistics:
        """Counts for the cache's state and metrics."""
        return EntriesStatistics(len(self._entries), self._bytes, self._hits, self._misses, self._evictions)

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= _size(key, entry.value)


def _size(key: str, value: bytes) -> int:
    return len(key.encode()) + len(value) + ENTRY_OVERHEAD
