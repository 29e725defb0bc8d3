"""The second level of the cache as calls use it: a store that may fail, hang or be slow, and never matters.

Reading happens in the calling task, for `store_timeout` seconds at most; writing in one bounded background job. Not
here: what is stored (`_answers`), the memory (`actors.cache_actor`), how the store is kept open and when it is left
alone (`_kept_store`), and the stores (plugins).
"""

from __future__ import annotations

import contextvars
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

import attrs
import trio
from msgspec import Struct

from penstock._clock import Clock
from penstock._events import Event
from penstock._kept_store import AWAY, Away, KeptStore
from penstock.abc import CacheStore, StoredEntry
from penstock.policy.entries import Entry
from penstock.policy.sealed import seal, unseal
from penstock.policy.unwritten import Unwritten

__all__ = ["SecondLevel", "SecondLevelSettings", "SecondLevelStatistics"]

logger = logging.getLogger("penstock")
T = TypeVar("T")

MOST_WAITING = 1_024
MOST_WAITING_BYTES = 32 * 2**20
"""What may wait to be written: about a second of a busy kernel. More means that the store cannot keep up, and then the
oldest is let go: a lost entry is a miss, a longer queue is memory."""
BATCH = 64
"""Entries written together: a transaction or a round trip is shared, and the store is not held for long."""
WRITING = 5.0
"""Seconds for one batch; nobody waits for it."""
LEASE = 6.0
"""Seconds after which a process that asks upstream, and died, is no longer waited for by others."""
LARGE = 256 * 1024
"""Bytes from which on an answer is sealed in a thread: compressing it takes longer than everything else a loop does."""


@attrs.frozen(kw_only=True)
class SecondLevelSettings:
    """`timeout`: seconds that a call waits for the store. `kept`: seconds an entry is of use after it was fresh."""

    store: str
    timeout: float
    kept: float


@attrs.frozen(kw_only=True)
class SecondLevelStatistics:
    """The second level at one moment; counters begin at the start of the kernel."""

    store: str
    reads: bool
    """False while it is left alone because reading failed."""
    writes: bool
    waiting: int
    """Entries that are not written yet."""
    hits: int
    misses: int
    """Asked, and not there, or not readable."""
    failures: int
    written: int
    dropped: int
    """Entries that were not written: the store failed, or could not keep up."""


class _Put(Struct, frozen=True):
    key: str
    entry: Entry


class _Release(Struct, frozen=True):
    key: str
    owner: str


class SecondLevel:
    """One for each kernel that has a store."""

    def __init__(self, settings: SecondLevelSettings, clock: Clock, emit: Callable[[Event], None]) -> None:
        self._settings = settings
        self.store = KeptStore(settings.store, clock, emit)
        self._waiting: deque[_Put | _Release] = deque()
        self._waiting_bytes = 0
        self._unwritten = Unwritten()
        self._wanted = trio.Event()
        """Set where there is something to write, or the writer is to end."""
        self._writing = False
        self._batch_done = trio.Event()
        self._batch_done.set()
        self._claims: dict[str, str] = {}
        self._claiming = trio.Event()
        self._closing = False
        self._written = trio.Event()
        """Set when the writer has ended."""
        self._writer_runs = False
        self._hits = self._misses = self._puts = self._dropped = 0

    # What calls do

    @property
    def shares_flights(self) -> bool:
        """True where other processes may be waited for."""
        return self.store.now is not None and self.store.now.shares_flights

    async def get(self, key: str) -> Entry | Away | None:
        """The entry of that key; None: there is none that can be read; AWAY: the store does not say in time.

        One that is older than what was put there, and was not written, is none.
        """
        sealed = await self.store.ask("reading", self._settings.timeout, lambda store: store.get(key))
        entry = unseal(key, sealed) if isinstance(sealed, bytes) else None
        if entry is not None and self._unwritten.is_superseded(key, entry.stored_at):
            entry = None
        if entry is None:
            self._misses += 1
            return AWAY if sealed is AWAY else None
        self._hits += 1
        return entry

    def put(self, key: str, entry: Entry) -> None:
        """Leaves an entry for the writer. Never waits, never raises."""
        while self._waiting and (
            len(self._waiting) >= MOST_WAITING or self._waiting_bytes + len(entry.value) > MOST_WAITING_BYTES
        ):
            self._let_go()
        self._waiting.append(_Put(key, entry))
        self._unwritten.put(key, entry.stored_at)
        self._waiting_bytes += len(entry.value)
        self._wanted.set()

    async def claim(self, key: str, owner: str) -> bool | Away:
        """True where this process is the first to ask upstream; AWAY where it cannot be told who is."""
        # Noted first: whoever is cancelled while it asks may have got it, and releases it then.
        self._claims[key] = owner
        self._claiming.set()
        leads = await self.store.ask("writing", self._settings.timeout, lambda store: store.claim(key, owner, LEASE))
        if leads is not True and self._claims.get(key) == owner:
            del self._claims[key]
        return leads if isinstance(leads, Away) else bool(leads)

    def release(self, key: str, owner: str) -> None:
        """What was claimed is done with: what was put before is written first. Never waits, never raises."""
        if self._claims.get(key) == owner:
            del self._claims[key]
            self._waiting.append(_Release(key, owner))
            self._wanted.set()

    # What onlookers do

    def statistics(self) -> SecondLevelStatistics:
        """How it goes."""
        return SecondLevelStatistics(
            store=self._settings.store,
            reads=self.store.health["reading"].is_closed,
            writes=self.store.health["writing"].is_closed,
            waiting=sum(isinstance(job, _Put) for job in self._waiting),
            hits=self._hits,
            misses=self._misses,
            failures=self.store.failures,
            written=self._puts,
            dropped=self._dropped,
        )

    async def written(self) -> None:
        """Waits until nothing waits to be written that did before, for as long as one batch may take."""
        with trio.move_on_after(WRITING):
            while self._waiting or self._writing:
                await self._batch_done.wait()

    async def newest(self, prefix: str, most: int) -> Sequence[StoredEntry]:
        """Entries of that prefix, as they are stored; none where the store does not say."""
        found = await self.store.ask("reading", WRITING, lambda store: store.newest(prefix, most))
        return () if isinstance(found, Away) else found

    async def ask_store(self, ask: Callable[[CacheStore], Awaitable[T]]) -> T | None:
        """For people: whatever goes wrong is raised. None: the store is not open just now."""
        return None if self.store.now is None else await ask(self.store.now)

    # The background

    async def write(self) -> None:
        """The writer: until `close`, and then until nothing waits any more."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._renew)
                while True:
                    if not self._waiting:
                        if self._closing:
                            break
                        self._wanted = trio.Event()
                        await self._wanted.wait()
                        continue
                    self._writing, self._batch_done = True, trio.Event()
                    await self._write_batch()
                    self._writing = False
                    self._batch_done.set()
                nursery.cancel_scope.cancel()
        finally:
            self._written.set()

    def start(self, nursery: trio.Nursery) -> None:
        """Starts the writer, in a context of nobody's."""
        self._writer_runs = True
        contextvars.Context().run(nursery.start_soon, self._live)

    async def close(self, seconds: float) -> None:
        """Writes what waits, for so many seconds at most, and closes the store."""
        self._closing = True
        self._wanted.set()
        with trio.move_on_after(seconds if self._writer_runs else 0.0):
            await self._written.wait()
        if self._waiting:
            logger.warning("%d answers were not written to the cache before the end", len(self._waiting))
        self.store.stop()
        await self.store.closed()

    def give_up(self) -> None:
        """The kernel does not come about: nothing is written, and the store is closed."""
        self.store.stop()

    async def _live(self) -> None:
        # Ended by the end of the store, not by whoever cancels the kernel: what waits is owed to it.
        with trio.CancelScope(shield=True) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.write)
                await self.store.until_stop()
                scope.cancel()

    async def _write_batch(self) -> None:
        entries: dict[str, StoredEntry] = {}
        stored_at: dict[str, float] = {}
        releases: list[_Release] = []
        while self._waiting and len(entries) + len(releases) < 2 * BATCH and len(entries) < BATCH:
            match self._waiting.popleft():
                case _Put(key=key, entry=entry):
                    self._waiting_bytes -= len(entry.value)
                    sealed = await self._sealed(key, entry)
                    if sealed is not None:
                        entries[key] = StoredEntry(key, sealed, entry.fresh_until + self._settings.kept)
                        stored_at[key] = entry.stored_at
                case _Release() as release:
                    releases.append(release)
        if entries:
            batch = list(entries.values())
            done = await self.store.ask("writing", WRITING, lambda store: store.put(batch))
            if done is AWAY:
                self._dropped += len(batch)
            else:
                self._puts += len(batch)
                for key, at in stored_at.items():
                    self._unwritten.written(key, at)
        async with trio.open_nursery() as nursery:
            for release in releases:
                nursery.start_soon(self.store.ask, "writing", WRITING, partial(_release, release))

    async def _sealed(self, key: str, entry: Entry) -> bytes | None:
        if len(entry.value) < LARGE:
            return seal(key, entry)
        return await trio.to_thread.run_sync(seal, key, entry)

    async def _renew(self) -> None:
        """Claims end by themselves where nobody renews them: a process that is killed keeps nobody waiting."""
        while True:
            if not self._claims:
                self._claiming = trio.Event()
                await self._claiming.wait()
            await trio.sleep(LEASE / 3)
            for key, owner in tuple(self._claims.items()):
                if self._claims.get(key) == owner:
                    await self.store.ask("writing", self._settings.timeout, partial(_renew, key, owner))

    def _let_go(self) -> None:
        oldest = self._waiting.popleft()
        if isinstance(oldest, _Put):
            self._waiting_bytes -= len(oldest.entry.value)
            self._dropped += 1


async def _release(claim: _Release, store: CacheStore) -> None:
    await store.release(claim.key, claim.owner)


async def _renew(key: str, owner: str, store: CacheStore) -> bool:
    return await store.claim(key, owner, LEASE)
