"""A program with a store in a SQLite file open, whose forks open one of their own on it: see `plugins/sqlite`.

    python forking.py ledger|cache STORY FILE

It fails where anything is refused that should not be, or is not that should be.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias

import attrs
import pytest
import trio
from ledgering import Wall, answers, reserve, settle, sqlite_ledger

from penstock.abc import StoredEntry
from penstock.errors import CacheStoreError, ConfigError
from penstock.hookspecs import PluginTools
from penstock_plugins.caches.sqlite import SqliteCache, SqliteCacheOptions, open_sqlite_cache
from penstock_plugins.ledgers.sqlite_store import SqliteLedger
from penstock_plugins.sqlite import forks

Story: TypeAlias = Callable[["Program"], Awaitable[None]]
BRIEF = 0.3
"""Seconds that something is waited for that must not come."""
AT_ONCE = forks.PATIENCE / 2
"""Seconds in which what waits for nobody is through, on a loaded machine too."""


class Store(Protocol):
    """A store as the stories use it."""

    async def use(self, times: int = 3) -> None:
        """Writes and reads, each time something new."""

    async def write(self, act: Callable[[], None]) -> None:
        """Runs `act` in the store's own thread, in a transaction that has written."""


@attrs.define
class Ledger:
    """Each use spends one token."""

    store: SqliteLedger

    async def use(self, times: int = 3) -> None:
        for number in range(times):
            name = f"{os.getpid()}-{threading.get_ident()}-{time.monotonic()}-{number}"
            await answers(self.store, reserve(name, 1))
            await answers(self.store, settle(name, 1))

    async def write(self, act: Callable[[], None]) -> None:
        def write(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE ledger SET latest = latest")
            act()

        file = self.store._file  # pyright: ignore[reportPrivateUsage] - only its own thread forks in a transaction
        await self.store._ask(partial(file.write, write))  # pyright: ignore[reportPrivateUsage] - as above


@attrs.define
class Cache:
    """Each use keeps one entry."""

    store: SqliteCache

    async def use(self, times: int = 3) -> None:
        for number in range(times):
            key = f"{os.getpid()}-{time.monotonic()}-{number}"
            await self.store.put([StoredEntry(key, b"sealed", time.time() + 1_000)])
            assert await self.store.get(key) == b"sealed"

    async def write(self, act: Callable[[], None]) -> None:
        def write(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE totals SET evictions = evictions")
            act()
            connection.execute("COMMIT")

        await self.store._writer.run(write)  # pyright: ignore[reportPrivateUsage] - as above


@attrs.define
class Program:
    """One process's view of the file."""

    kind: str
    path: Path

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[Store]:
        """The store in its file."""
        if self.kind == "ledger":
            async with sqlite_ledger(self.path, Wall(), lock_timeout=2.0) as store:
                assert isinstance(store, SqliteLedger)
                yield Ledger(store)
        else:
            tools = PluginTools(name="cache", wall=time.time, logger=logging.getLogger("test"), folder=self.path.parent)
            async with open_sqlite_cache(SqliteCacheOptions(path=self.path.name), tools) as cache:
                yield Cache(cache)

    async def refused(self) -> None:
        """Nothing can be opened here, which is said at once."""
        begun = time.monotonic()
        with pytest.raises((ConfigError, CacheStoreError), match="spawn or forkserver"):
            async with self.opened() as store:
                await store.use()
        assert time.monotonic() - begun < AT_ONCE

    async def used(self) -> None:
        """All goes well here."""
        async with self.opened() as store:
            await store.use()

    def other_process(self) -> None:
        """Opens the file, uses it, and closes it."""
        subprocess.run([sys.executable, __file__, self.kind, "used", str(self.path)], check=True, timeout=30)

    def fork(self, act: Callable[[], Awaitable[None]]) -> int:
        """A child in which trio runs `act`; it fails if that does."""
        child = os.fork()
        if child:
            return child
        failed = True

        def run() -> None:
            nonlocal failed
            try:
                trio.run(in_time, act)
                failed = False
            except BaseException:  # noqa: BLE001 - the parent is told by the status
                traceback.print_exc()

        try:
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
        finally:
            sys.stderr.flush()
            os._exit(failed)


async def in_time(act: Callable[[], Awaitable[None]]) -> None:
    with trio.fail_after(20):
        await act()


async def ended_well(child: int) -> None:
    _, status = await trio.to_thread.run_sync(os.waitpid, child, 0)
    assert status == 0, f"the fork ended with {os.waitstatus_to_exitcode(status)}"


def open_files(path: Path) -> list[str]:
    """Those of this process whose names begin with this path."""
    has = [os.path.realpath(file) for file in Path("/proc/self/fd").iterdir()]
    return [name for name in has if name.startswith(str(path))]


async def at_rest(program: Program) -> None:
    """Nothing of the file is open in the fork; all three go on."""

    async def alone() -> None:
        if sys.platform == "linux":
            assert not open_files(program.path)
        await program.used()

    async with program.opened() as store:
        await store.use()
        for fork in (program.fork, None):
            child = program.fork(alone) if fork else await trio.to_thread.run_sync(program.fork, alone)
            await store.use()
            await ended_well(child)
        await trio.to_thread.run_sync(program.other_process)
        await store.use()


async def while_it_writes(program: Program) -> None:
    """The fork comes when the transaction has ended, and not in it."""
    writes, forking, forked = threading.Event(), threading.Event(), threading.Event()
    os.register_at_fork(before=forking.set)

    def until_it_forks() -> None:
        writes.set()
        assert forking.wait(10)
        assert not forked.wait(BRIEF)

    def fork_meanwhile() -> int:
        writes.wait()
        child = program.fork(program.used)
        forked.set()
        return child

    async with program.opened() as store, trio.open_nursery() as nursery:
        await store.use()
        nursery.start_soon(store.write, until_it_forks)
        child = await trio.to_thread.run_sync(fork_meanwhile)
        await store.use()
        await ended_well(child)


async def parent_leaves(program: Program) -> None:
    """The fork goes on when the parent has closed the file, and others open and close it."""
    (opened, has_opened), (left, has_left) = os.pipe(), os.pipe()

    async def go_on() -> None:
        async with program.opened() as store:
            await store.use()
            os.write(has_opened, b"o")
            await trio.to_thread.run_sync(os.read, left, 1)
            await store.use()
        os.write(has_opened, b"c")

    async with program.opened() as store:
        await store.use()
        child = program.fork(go_on)
        await store.use()
        os.close(has_opened)
        assert await trio.to_thread.run_sync(os.read, opened, 1) == b"o"
    await trio.to_thread.run_sync(program.other_process)
    os.write(has_left, b"l")
    assert await trio.to_thread.run_sync(os.read, opened, 1) == b"c"
    await ended_well(child)


async def in_its_own_thread(program: Program) -> None:
    """What is in a transaction cannot be closed: the fork is told, and does no harm."""
    children: list[int] = []
    async with program.opened() as store:
        await store.use()
        begun = time.monotonic()
        await store.write(lambda: children.append(program.fork(program.refused)))
        assert time.monotonic() - begun < AT_ONCE
        await store.use()
        await ended_well(children[0])
        await ended_well(program.fork(program.used))
        await store.use()


async def that_cannot_wait(program: Program) -> None:
    """A disk that hangs holds no fork up for ever."""
    forks.PATIENCE = BRIEF
    writes, forked = threading.Event(), threading.Event()

    def until_it_has_forked() -> None:
        writes.set()
        assert forked.wait(10)

    def fork_meanwhile() -> int:
        writes.wait()
        try:
            return program.fork(program.refused)
        finally:
            forked.set()

    async with program.opened() as store, trio.open_nursery() as nursery:
        nursery.start_soon(store.write, until_it_has_forked)
        child = await trio.to_thread.run_sync(fork_meanwhile)
        await store.use()
        await ended_well(child)


async def many(program: Program) -> None:
    """Threads that fork at once, and one that uses the store all the time."""

    async def fork(_: int) -> None:
        for _ in range(5):
            await ended_well(await trio.to_thread.run_sync(program.fork, program.used))

    async def work() -> None:
        while True:
            await store.use()

    async with program.opened() as store, trio.open_nursery() as all_of_them:
        all_of_them.start_soon(work)
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(fork, number)
        all_of_them.cancel_scope.cancel()


async def last(program: Program) -> None:
    """What was closed for a fork, and not used since, is closed as ever: all is in the file."""
    async with program.opened() as store:
        await store.use()
        await ended_well(program.fork(trio.lowlevel.checkpoint))
    assert not list(program.path.parent.glob("*-wal"))


STORIES: tuple[Story, ...] = (at_rest, while_it_writes, parent_leaves, in_its_own_thread, that_cannot_wait, many, last)


async def main() -> None:
    kind, named, path = sys.argv[1:]
    program = Program(kind, Path(path))
    if named == "used":
        await program.used()
    for story in STORIES:
        if story.__name__ == named:
            await in_time(partial(story, program))


if __name__ == "__main__":
    trio.run(main)
