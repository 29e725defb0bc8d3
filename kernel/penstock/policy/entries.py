"""A store of answers in memory, bounded by bytes: least recently used out first, and nothing older than its time.

Not here: what may be stored and under which key (the cache), what an answer's age allows (`freshness`), and the second
level on disk.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import attrs
from msgspec import Struct

__all__ = ["ENTRY_OVERHEAD", "Entries", "EntriesStatistics", "Entry"]

ENTRY_OVERHEAD = 440
"""Bytes that an entry takes beside its key, value and parts, rounded up: CPython 3.11 to 3.13 on 64 bits."""


class Entry(Struct, frozen=True, gc=False):
    """One stored answer. Times are Unix times."""

    value: bytes
    stored_at: float
    fresh_until: float
    parts: bytes = b""
    """What tells how its request differs from others (`cache_key.Parts`), encoded; it shows nothing of either."""


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
    """Answers by key, kept for `kept` seconds after they were fresh.

    Laws: `bytes` never exceeds the bound, keys, values and overhead included; an entry is found only from the moment
    it was stored until its time is over; once missed, it stays missing until it is stored again; the newer of two
    answers stays, in whatever order they come.
    """

    def __init__(self, max_bytes: int, *, kept: float = 0.0) -> None:
        self._max_bytes = max_bytes
        self._kept = kept
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._bytes = 0
        self._hits = 0
        self._misses = 0
        self._evictions = 0

    def look(self, key: str, now: float) -> Entry | None:
        """The entry as `get` would give it. Counts for no use, and no miss."""
        entry = self._entries.get(key)
        # An entry of the future means that the clock was set back: its age is unknown, so it is not served.
        return entry if entry is not None and entry.stored_at <= now < entry.fresh_until + self._kept else None

    def get(self, key: str, now: float) -> Entry | None:
        """The entry, now the most recently used; None where there is none, or its time is over."""
        entry = self.look(key, now)
        if entry is None:
            self._drop(key)
            self._misses += 1
            return None
        self._entries.move_to_end(key)
        self._hits += 1
        return entry

    def put(self, key: str, entry: Entry, *, now: float) -> bool:
        """Stores the entry in place of what was there, but for a newer one, which stays.

        False where nothing is stored: it is larger than the bound, or its time is over. What was there before is gone
        then all the same: it has been superseded.
        """
        known = self._entries.get(key)
        if known is not None and entry.stored_at < known.stored_at <= now:
            return True
        self._drop(key)
        size = _size(key, entry)
        if size > self._max_bytes or not entry.stored_at <= now < entry.fresh_until + self._kept:
            return False
        while self._bytes + size > self._max_bytes:
            self._drop(next(iter(self._entries)))
            self._evictions += 1
        self._entries[key] = entry
        self._bytes += size
        return True

    def newest(self, prefix: str) -> Iterator[tuple[str, Entry]]:
        """The entries whose key begins with `prefix`, those used last first. Counts for no use."""
        return ((key, entry) for key, entry in reversed(self._entries.items()) if key.startswith(prefix))

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
            self._bytes -= _size(key, entry)


def _size(key: str, entry: Entry) -> int:
    return len(key.encode()) + len(entry.value) + len(entry.parts) + ENTRY_OVERHEAD
