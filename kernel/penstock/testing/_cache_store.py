"""A cache store in memory that can be told to fail, to be slow, or to hang: for tests of what stands on a store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Literal, TypeAlias

import trio

from penstock.abc import CacheStore, CacheStoreStatistics, StoredEntry
from penstock.hookspecs import CacheStoreSpec, PluginTools

__all__ = ["FakeCacheStore"]

Trouble: TypeAlias = Literal["reading", "writing", "both"]


class FakeCacheStore(CacheStore):
    """Keeps the laws of `CacheStore`, with claims. Hand `plugin()` to `open_kernel`, and say `store = "fake"`.

    `wall` tells Unix time; the kernel that opens it lends its own.
    """

    shares_flights: ClassVar[bool] = True

    def __init__(self, wall: Callable[[], float] | None = None) -> None:
        self.entries: dict[str, StoredEntry] = {}
        self.claims: dict[str, tuple[str, float]] = {}
        """Owner, and the moment on which its lease ends."""
        self.error: Exception | None = None
        """Raised by what is in `trouble`."""
        self.delay = 0.0
        """Seconds before an answer of what is in `trouble`; infinite: it hangs."""
        self.trouble: Trouble = "both"
        self.reads = 0
        self.writes = 0
        self.times_open = 0
        self._wall = wall or trio.current_time

    def plugin(self) -> CacheStoreSpec:
        """A spec that opens this very store."""
        return CacheStoreSpec("fake", self._open)

    async def get(self, key: str) -> bytes | None:
        """What is there."""
        self.reads += 1
        await self._suffer("reading")
        entry = self.entries.get(key)
        return None if entry is None or entry.keep_until <= self._wall() else entry.sealed

    async def put(self, entries: Sequence[StoredEntry]) -> None:
        """All at once."""
        self.writes += 1
        await self._suffer("writing")
        self.entries.update({entry.key: entry for entry in entries})

    async def purge(self, prefix: str = "") -> int:
        """Those that are over count for nothing."""
        await self._suffer("writing")
        gone = [key for key, _ in self._alive() if key.startswith(prefix)]
        self.entries = {key: entry for key, entry in self.entries.items() if not key.startswith(prefix)}
        return len(gone)

    async def newest(self, prefix: str, most: int) -> Sequence[StoredEntry]:
        """Those put last."""
        await self._suffer("reading")
        return [entry for key, entry in reversed(self._alive()) if key.startswith(prefix)][:most]

    async def statistics(self) -> CacheStoreStatistics:
        """Counted."""
        await self._suffer("reading")
        alive = self._alive()
        return CacheStoreStatistics(entries=len(alive), bytes=sum(len(entry.sealed) for _, entry in alive), evictions=0)

    async def claim(self, key: str, owner: str, lease: float) -> bool:
        """One step."""
        await self._suffer("writing")
        now = self._wall()
        holder, until = self.claims.get(key, ("", 0.0))
        if holder not in ("", owner) and now < until:
            return False
        self.claims[key] = (owner, now + lease)
        return True

    async def release(self, key: str, owner: str) -> None:
        """One step."""
        await self._suffer("writing")
        if self.claims.get(key, ("", 0.0))[0] == owner:
            del self.claims[key]

    def _alive(self) -> list[tuple[str, StoredEntry]]:
        now = self._wall()
        return [(key, entry) for key, entry in self.entries.items() if entry.keep_until > now]

    async def _suffer(self, part: Trouble) -> None:
        await trio.lowlevel.checkpoint()
        if self.trouble in (part, "both"):
            if self.delay:
                await trio.sleep(self.delay)
            if self.error is not None:
                raise self.error

    @asynccontextmanager
    async def _open(self, _options: Any, tools: PluginTools) -> AsyncGenerator[CacheStore]:
        self._wall = tools.wall
        self.times_open += 1
        yield self
