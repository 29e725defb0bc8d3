"""`[cache] store = "sqlite"`: answers in a file that outlives the process and is shared by others on the same machine.

Two threads, each with a connection of its own: one reads, one writes, and in WAL mode neither waits for the other.
Several processes may use one file; a process that forks opens a kernel anew. Not for network file systems.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import attrs
import trio

from penstock.abc import CacheStore, CacheStoreStatistics, StoredEntry
from penstock.errors import CacheStoreError, PluginLoadError
from penstock.hookspecs import CacheStoreSpec, PluginTools, hookimpl
from penstock_plugins.caches.sqlite_file import ROW_OVERHEAD, open_reader, open_writer
from penstock_plugins.caches.sqlite_thread import ConnectionThread
from penstock_plugins.sqlite.options import names_a_file

__all__ = ["SqliteCache", "SqliteCacheOptions", "open_sqlite_cache", "penstock_caches"]

T = TypeVar("T")

SWEEP = 128
"""Rows that one write removes at most because their time is over: it must not take long."""
EVICTION = 64
"""Rows that give way at once, so that not each entry has to look for room."""
MOST_EVICTIONS = 32
"""Times that one write makes room: after `max_bytes` was lowered a lot, the file comes down to it write by write."""
CHUNK = 1_000
"""Rows that one step of a purge removes: others write between the steps."""
NEWEST_ROWS = 20_000
"""Rows that are looked through for the newest of a prefix."""


@attrs.frozen(kw_only=True)
class SqliteCacheOptions:
    """What `[cache]` may say beside the kernel's own."""

    path: str = attrs.field(default="penstock-cache.db", validator=names_a_file)
    """Relative to the configuration's file."""
    max_bytes: int = attrs.field(default=2**30, validator=attrs.validators.ge(1))
    """What all entries may take together; the file may be a little larger."""


class SqliteCache(CacheStore):
    """Entries in a table by key; the totals beside them, kept by triggers, so that every process knows them."""

    def __init__(self, path: Path, max_bytes: int, wall: Callable[[], float]) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._wall = wall
        self._reader = ConnectionThread(path, open_reader, "penstock cache: reader")
        self._writer = ConnectionThread(path, open_writer, "penstock cache: writer")

    async def get(self, key: str) -> bytes | None:
        """One look-up by the reader."""
        asked = (key, self._wall())

        def read(connection: sqlite3.Connection) -> bytes | None:
            row = connection.execute("SELECT sealed FROM entries WHERE key = ? AND keep_until > ?", asked).fetchone()
            return None if row is None else row[0]

        return await self._by(self._reader, read)

    async def put(self, entries: Sequence[StoredEntry]) -> None:
        """One transaction, which also removes what is over and what is too much."""
        now, most = self._wall(), self._max_bytes
        await self._by(
            self._writer, lambda connection: _transact(connection, lambda: _put(connection, entries, now, most))
        )

    async def purge(self, prefix: str = "") -> int:
        """Chunk by chunk, so that others can write meanwhile."""
        gone = 0
        while True:
            removed = await self._by(self._writer, lambda db: _transact(db, lambda: _purge(db, prefix)))
            gone += removed
            if removed < CHUNK:
                return gone

    async def newest(self, prefix: str, most: int) -> Sequence[StoredEntry]:
        """Those stored last, among the last rows of the table."""
        asked = (NEWEST_ROWS, prefix, prefix, self._wall(), most)

        def read(connection: sqlite3.Connection) -> list[StoredEntry]:
            rows = connection.execute(
                "SELECT key, sealed, keep_until FROM entries"
                " WHERE id > (SELECT coalesce(max(id), 0) FROM entries) - ?"
                " AND substr(key, 1, length(?)) = ? AND keep_until > ? ORDER BY id DESC LIMIT ?",
                asked,
            )
            return [StoredEntry(key, sealed, keep_until) for key, sealed, keep_until in rows]

        # By the writer: it may take a while, and calls wait for the reader.
        return await self._by(self._writer, read)

    async def statistics(self) -> CacheStoreStatistics:
        """The totals."""
        row = await self._by(
            self._writer,
            lambda connection: connection.execute("SELECT entries, bytes, evictions FROM totals").fetchone(),
        )
        return CacheStoreStatistics(entries=row[0], bytes=row[1], evictions=row[2])

    async def close(self) -> None:
        """Ends both threads when they have done what waits."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._reader.close)
            nursery.start_soon(self._writer.close)

    async def _by(self, thread: ConnectionThread, act: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await thread.run(act)
        except sqlite3.Error as error:
            # SQLite's own sentences: they name no entry.
            raise CacheStoreError(f"{self._path.name}: {error}") from error


def _transact(connection: sqlite3.Connection, act: Callable[[], T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = act()
        connection.execute("COMMIT")
    except BaseException:
        # A full disk ends the transaction by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def _put(connection: sqlite3.Connection, entries: Sequence[StoredEntry], now: float, most: int) -> None:
    for entry in entries:
        if len(entry.sealed) + len(entry.key) + ROW_OVERHEAD > most or entry.keep_until <= now:
            connection.execute("DELETE FROM entries WHERE key = ?", (entry.key,))
            continue
        connection.execute(
            "INSERT INTO entries (key, keep_until, sealed) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE"
            " SET keep_until = excluded.keep_until, sealed = excluded.sealed",
            (entry.key, entry.keep_until, entry.sealed),
        )
    connection.execute(
        "DELETE FROM entries WHERE id IN (SELECT id FROM entries WHERE keep_until <= ? LIMIT ?)", (now, SWEEP)
    )
    for _ in range(MOST_EVICTIONS):
        if connection.execute("SELECT bytes FROM totals").fetchone()[0] <= most:
            break
        evicted = connection.execute(
            "DELETE FROM entries WHERE id IN (SELECT id FROM entries ORDER BY keep_until LIMIT ?)", (EVICTION,)
        ).rowcount
        connection.execute("UPDATE totals SET evictions = evictions + ?", (evicted,))


def _purge(connection: sqlite3.Connection, prefix: str) -> int:
    # Keys are ASCII: all that begin with the prefix come before the prefix and one more character.
    return connection.execute(
        "DELETE FROM entries WHERE id IN (SELECT id FROM entries WHERE key >= ? AND key < ? LIMIT ?)",
        (prefix, prefix + "\x7f", CHUNK),
    ).rowcount


def _path(options: SqliteCacheOptions, folder: Path) -> Path:
    # The file itself, where the path is a link: a damaged one is renamed, and another begun in its place.
    path = Path(os.path.realpath(folder / Path(options.path).expanduser()))
    if not path.parent.is_dir():
        raise PluginLoadError(f"[cache] path: there is no folder {path.parent}; make it, or give another path")
    return path


@asynccontextmanager
async def open_sqlite_cache(options: SqliteCacheOptions, tools: PluginTools) -> AsyncGenerator[SqliteCache]:
    """The store. Raises PluginLoadError where its folder does not exist.

    A file that is there is opened at once, so that one of another program is told before calls do without it; one that
    is not there is made when it is first asked.
    """
    path = _path(options, tools.folder)
    store = SqliteCache(path, options.max_bytes, tools.wall)
    try:
        if path.exists():
            try:
                await store.statistics()
            except (CacheStoreError, sqlite3.Error) as trouble:
                tools.logger.warning("[cache] path: %s; calls go on without what it holds", trouble)
        yield store
    finally:
        await store.close()


@hookimpl
def penstock_caches() -> Sequence[CacheStoreSpec]:
    """One store."""
    return (CacheStoreSpec("sqlite", open_sqlite_cache, options=SqliteCacheOptions),)
