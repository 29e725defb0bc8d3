"""The second level of the cache as calls use it: a store that may fail, hang or be slow, and never matters.

Reading happens in the calling task, for `store_timeout` seconds at most; writing in one bounded background job. Each
has a breaker of its own: a store that takes nothing more may still be read. Not here: what is stored (`_answers`), the
memory (`actors.cache_actor`), and the stores (plugins).
"""

from __future__ import annotations

import contextvars
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final, TypeVar

import attrs
import trio
from msgspec import Struct

from penstock._clock import Clock
from penstock._events import CacheStoreChanged, Event
from penstock.abc import CacheStore, StoredEntry
from penstock.errors import CacheStoreError, PluginError, PluginLoadError
from penstock.policy.entries import Entry
from penstock.policy.sealed import seal, unseal
from penstock.policy.store_health import StoreHealth
from penstock.policy.unwritten import Unwritten

__all__ = ["AWAY", "Away", "SecondLevel", "SecondLevelSettings", "SecondLevelStatistics"]

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
OPENING = 30.0
"""Seconds for the store's plugin to open it."""
CLOSING = 5.0
"""Seconds for it to close it; one that hangs is left behind."""
LONGEST_PAUSE = 30.0
"""Seconds until a store whose plugin broke is opened again, at most; the first time after one."""
LARGE = 256 * 1024
"""Bytes from which on an answer is sealed in a thread: compressing it takes longer than everything else a loop does."""


@attrs.frozen
class Away:
    """The store does not say: it is left alone, it failed, or it was not done in time."""


AWAY: Final = Away()


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
        self._clock = clock
        self._emit = emit
        self._store: CacheStore | None = None
        self._reads, self._writes = StoreHealth(), StoreHealth()
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
        self._stop = trio.Event()
        self._stopped = trio.Event()
        self._hits = self._misses = self._failures = self._puts = self._dropped = 0

    # What calls do

    @property
    def shares_flights(self) -> bool:
        """True where other processes may be waited for."""
        return self._store is not None and self._store.shares_flights

    async def get(self, key: str) -> Entry | Away | None:
        """The entry of that key; None: there is none that can be read; AWAY: the store does not say in time.

        One that is older than what was put there, and was not written, is none.
        """
        sealed = await self._ask(self._reads, "reading", self._settings.timeout, lambda store: store.get(key))
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
        leads = await self._ask(
            self._writes, "writing", self._settings.timeout, lambda store: store.claim(key, owner, LEASE)
        )
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
            reads=self._reads.is_closed,
            writes=self._writes.is_closed,
            waiting=sum(isinstance(job, _Put) for job in self._waiting),
            hits=self._hits,
            misses=self._misses,
            failures=self._failures,
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
        found = await self._ask(self._reads, "reading", WRITING, lambda store: store.newest(prefix, most))
        return () if isinstance(found, Away) else found

    async def ask_store(self, ask: Callable[[CacheStore], Awaitable[T]]) -> T | None:
        """For people: whatever goes wrong is raised. None: the store is not open just now."""
        return None if self._store is None else await ask(self._store)

    # The background

    async def hold(
        self,
        opening: Callable[[], AbstractAsyncContextManager[CacheStore | None]],
        *,
        task_status: trio.TaskStatus[bool] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Keeps the store open until `close`, and opens it again where its plugin breaks. Told whether there is one.

        Raises PluginLoadError where it cannot be opened the first time. Shielded once it is open, like the actors.
        """
        pause, begun = 0.0, False
        try:
            while not self._stop.is_set():
                if pause:
                    with trio.move_on_after(pause, shield=True):
                        await self._stop.wait()
                        return
                pause = min(LONGEST_PAUSE, pause * 2 or 1.0)
                try:
                    with trio.CancelScope(deadline=trio.current_time() + OPENING) as scope:
                        async with opening() as store:
                            if not begun and trio.current_effective_deadline() == -math.inf:
                                # Then nobody takes it over: a task that stays is waited for where it was started.
                                self._stop.set()
                            scope.shield, scope.deadline = True, math.inf
                            if not begun:
                                task_status.started(store is not None)
                            begun, self._store = True, store
                            await self._stop.wait()
                            scope.deadline = trio.current_time() + CLOSING
                except Exception as error:
                    if not begun:
                        raise _cannot_open(self._settings.store, error) from error
                    if not self._stop.is_set():
                        logger.warning(
                            "cache store %s broke and is opened again: %s", self._settings.store, _why(error)
                        )
                finally:
                    self._store = None
                if not begun:
                    raise PluginLoadError(f"cache store {self._settings.store!r} did not open within {OPENING:g} s")
        finally:
            self._stopped.set()

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
        self._stop.set()
        await self._stopped.wait()

    def give_up(self) -> None:
        """The kernel does not come about: nothing is written, and the store is closed."""
        self._stop.set()

    async def _live(self) -> None:
        # Ended by the end of the store, not by whoever cancels the kernel: what waits is owed to it.
        with trio.CancelScope(shield=True) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.write)
                await self._stop.wait()
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
            done = await self._ask(self._writes, "writing", WRITING, lambda store: store.put(batch))
            if done is AWAY:
                self._dropped += len(batch)
            else:
                self._puts += len(batch)
                for key, at in stored_at.items():
                    self._unwritten.written(key, at)
        async with trio.open_nursery() as nursery:
            for release in releases:
                nursery.start_soon(self._ask, self._writes, "writing", WRITING, partial(_release, release))

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
                    await self._ask(self._writes, "writing", self._settings.timeout, partial(_renew, key, owner))

    def _let_go(self) -> None:
        oldest = self._waiting.popleft()
        if isinstance(oldest, _Put):
            self._waiting_bytes -= len(oldest.entry.value)
            self._dropped += 1

    async def _ask(
        self, health: StoreHealth, part: str, seconds: float, ask: Callable[[CacheStore], Awaitable[T]]
    ) -> T | Away:
        """What the store says; AWAY where it is left alone, fails, or is not done in time."""
        store = self._store
        if store is None:
            return AWAY
        admission = health.admit(self._clock.monotonic())
        if admission is None:
            return AWAY
        says: T | Away = AWAY
        why = f"no answer within {seconds:g} s"
        try:
            with trio.move_on_after(seconds):
                says = await ask(store)
        except Exception as error:  # noqa: BLE001 - foreign code; whatever it is, it is a miss
            why = _why(error)
        except BaseException:
            health.gave_up(admission)
            raise
        if says is not AWAY:
            if health.succeeded(admission):
                self._tell(part, usable=True, why="")
            return says
        self._failures += 1
        was_closed = health.is_closed
        if health.failed(admission, self._clock.monotonic()) and was_closed:
            self._tell(part, usable=False, why=why)
        return AWAY

    def _tell(self, part: str, *, usable: bool, why: str) -> None:
        name = self._settings.store
        if usable:
            logger.info("cache store %s: %s works again", name, part)
        else:
            logger.warning("cache store %s: %s fails (%s); calls go on without it", name, part, why)
        self._emit(CacheStoreChanged(name, part, usable, why))


async def _release(claim: _Release, store: CacheStore) -> None:
    await store.release(claim.key, claim.owner)


async def _renew(key: str, owner: str, store: CacheStore) -> bool:
    return await store.claim(key, owner, LEASE)


def _why(error: BaseException) -> str:
    """A store's own words, or the name of what went wrong: the words of strangers may hold what nobody shall read."""
    return str(error) if isinstance(error, CacheStoreError) else type(error).__name__


def _cannot_open(name: str, error: Exception) -> PluginError:
    if isinstance(error, PluginError):
        return error
    return PluginLoadError(f"cache store {name!r} failed to open: {type(error).__name__}")
