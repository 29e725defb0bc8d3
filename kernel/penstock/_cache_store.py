"""CacheStore: what keeps answers beyond the process. Part of `penstock.abc`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from msgspec import Struct

__all__ = ["CacheStore", "CacheStoreStatistics", "StoredEntry"]


class StoredEntry(Struct, frozen=True):
    """What a store keeps under a key: bytes that mean nothing to it, and until when (Unix time) they are of use."""

    key: str
    """A tenant's prefix, then the key itself; ASCII, at most 200 characters."""
    sealed: bytes
    keep_until: float


class CacheStoreStatistics(Struct, frozen=True, kw_only=True):
    """A store at one moment, as far as it knows."""

    entries: int
    bytes: int | None = None
    """None: it cannot tell."""
    evictions: int | None = None
    """Entries that gave way to others before their time was over; None: it cannot tell."""


class CacheStore(ABC):
    """The second level of the cache: answers that outlive the process, or are shared with others.

    Laws: `get` gives what the last `put` of exactly that key left, or None; never another key's, and never one whose
    `keep_until` has passed. `put` replaces, and may be repeated; an entry that is too large for the store is left out
    without an error, and an older one under its key is then gone too. The store keeps to its own bounds: it evicts.
    What another version of the store has left is never read. Every method may be called by many tasks at once, ends
    soon where its caller is cancelled, and leaves the store usable then. It never waits for a lock of another process
    longer than a moment. An error means nothing but "not now": the kernel takes it for a miss, leaves the store alone
    for a while, and asks again; so a store heals by itself, and raises where it cannot answer instead of waiting.
    """

    @abstractmethod
    async def get(self, key: str) -> bytes | None:
        """What is kept under the key; None: nothing. Raises whatever went wrong."""

    @abstractmethod
    async def put(self, entries: Sequence[StoredEntry]) -> None:
        """Keeps the entries; of two with one key the last. Raises where not all of them could be kept."""

    @abstractmethod
    async def purge(self, prefix: str = "") -> int:
        """Removes every entry whose key begins with `prefix`; says how many there were."""

    @abstractmethod
    async def newest(self, prefix: str, most: int) -> Sequence[StoredEntry]:
        """Some of the entries whose key begins with `prefix`, at most so many; the newest, where it can tell."""

    @abstractmethod
    async def statistics(self) -> CacheStoreStatistics:
        """What is in it."""

    shares_flights: ClassVar[bool] = False
    """True where `claim` lets one process ask upstream while the others wait for its answer."""

    async def claim(self, key: str, owner: str, lease: float) -> bool:
        """True where `owner` is now the one who asks upstream for the key, for `lease` seconds. Again: it is renewed.

        False: somebody else is, and its lease has not ended.
        """
        del key, owner, lease
        return True

    async def release(self, key: str, owner: str) -> None:
        """`owner` asks no longer; nothing where it was somebody else."""
        del key, owner
