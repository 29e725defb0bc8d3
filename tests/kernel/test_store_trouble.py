"""Trouble with the real thing: a SQLite file and a Valkey server, under a kernel that answers calls meanwhile.

The cache becomes misses, no call hangs or fails, and all of it heals by itself. On the machine's own clock, for a file
and a server know no other.
"""

from __future__ import annotations

import gc
import os
import sqlite3
import subprocess
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from valkey_process import Valkey, running
from worlds import ANSWER, GPT, good

import penstock
from penstock.testing import ScriptedTransport
from penstock_plugins.caches import sqlite, sqlite_file

pytestmark = [
    pytest.mark.slow,
    # coredis leaves the buffers of connections that never came about to the collector, which tells of each.
    pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def collected() -> Generator[None]:
    """What coredis leaves behind is found here, where it is known of, and not in the middle of another test."""
    yield
    gc.collect()


LONGEST_CALL = 5.0
"""Seconds: far more than a call waits for a store (0.25), for a machine that does other things beside."""
HEALED_WITHIN = 40.0
"""Seconds: more than the longest pause of a store that is left alone."""


class World:
    """A kernel, and questions that were never asked before."""

    def __init__(self, kernel: penstock.Kernel) -> None:
        self.kernel = kernel
        self.asked = 0

    async def ask(self, count: int = 6) -> None:
        """So many new questions, each answered in time."""
        for _ in range(count):
            self.asked += 1
            with trio.fail_after(LONGEST_CALL):
                response = await self.kernel.complete(f"question {self.asked}", model=GPT)
            assert (response.cache, response.text) == ("miss", ANSWER)

    async def read(self, question: int) -> str:
        """What the cache says to a question that was asked, with an empty memory."""
        engine = cast("Any", self.kernel)._engine
        await engine.cache.purge()
        with trio.fail_after(LONGEST_CALL):
            return (await self.kernel.complete(f"question {question}", model=GPT)).cache

    @property
    def store(self) -> Any:
        return self.kernel.snapshot().cache_store

    async def until(self, healthy: Callable[[], bool]) -> None:
        """Asks until it is so, and fails where it never is."""
        with trio.fail_after(HEALED_WITHIN):
            while not healthy():
                await self.ask(1)
                await self.read(self.asked)
                await trio.sleep(0.1)

    async def heals(self) -> None:
        """Both ways work again, and what is written is found."""
        before = self.store.written
        await self.until(lambda: self.store.reads and self.store.writes and self.store.written > before)
        await self.ask(1)
        await self.kernel.cache.contents()
        await self.until_written()
        assert await self.read(self.asked) == "hit"

    async def until_written(self) -> None:
        await cast("Any", self.kernel)._engine.second_level.written()


def troubled(story: Callable[[World], Awaitable[None]], cache: dict[str, Any], folder: Path) -> None:
    """Tells a story in a kernel, on the machine's own clock."""
    settings = penstock.Config.from_dict(
        {
            "providers": {"openai": {"api_key": "sk-canary"}},
            "routes": {"default": {"cascade": [GPT]}},
            "cache": {"when": "always", **cache},
        },
        source=folder / "penstock.toml",
        environ={},
    )

    async def main() -> None:
        with trio.fail_after(120):
            async with penstock.open_kernel(settings, transport=ScriptedTransport(good)) as kernel:
                world = World(kernel)
                await world.ask(1)
                await world.until_written()
                await story(world)
                began = trio.current_time()
            assert trio.current_time() - began < 15, "nor does the end hang"

    trio.run(main)


# SQLite


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer waits for other processes a tenth of a second, so that these tests need not wait for seconds."""
    monkeypatch.setattr(sqlite_file, "WRITER_PATIENCE", 0.1)


@pytest.mark.usefixtures("impatient")
def test_a_file_that_another_process_holds_locked(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        other = sqlite3.connect(tmp_path / "penstock-cache.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await world.ask()
        await world.until(lambda: not world.store.writes)
        assert await world.read(1) == "hit", "who reads waits for nobody"
        other.execute("ROLLBACK")
        other.close()
        await world.heals()

    troubled(story, {}, tmp_path)


@pytest.mark.usefixtures("impatient")
def test_a_file_that_another_process_has_to_itself(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "penstock-cache.db", isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")

    async def story(world: World) -> None:
        await world.ask()
        await world.until(lambda: not world.store.writes)
        other.execute("ROLLBACK")
        other.close()
        await world.heals()

    troubled(story, {}, tmp_path)


def test_a_file_that_may_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow: list[sqlite3.Connection] = []

    def open_narrow(path: Path) -> sqlite3.Connection:
        connection = sqlite_file.open_writer(path)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages if not narrow else pages + 1_000}")
        narrow.append(connection)
        return connection

    monkeypatch.setattr(sqlite, "open_writer", open_narrow)

    async def story(world: World) -> None:
        await world.ask(20)
        await world.until(lambda: not world.store.writes)
        assert world.store.reads
        # There is room again once the file is another one: it was moved away.
        (tmp_path / "penstock-cache.db").rename(tmp_path / "full.db")
        await world.heals()

    troubled(story, {}, tmp_path)


@contextmanager
def small_disk(folder: Path) -> Generator[Path]:
    """A disk of a megabyte, where this machine lets us have one."""
    disk = folder / "disk"
    disk.mkdir()
    if os.name != "posix" or not done("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)):
        pytest.skip("no disk of a megabyte can be mounted here (that takes root): see test_a_file_that_may_not_grow")
    try:
        yield disk
    finally:
        done("umount", "-l", str(disk))


def done(*command: str) -> bool:
    """Runs a command; says whether it did what it is for."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def remount(disk: Path, how: str) -> bool:
    """Read-only (`ro`), or not (`rw`)."""
    return done("mount", "-o", f"remount,{how}", str(disk))


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:

        async def story(world: World) -> None:
            ballast = disk / "ballast"
            with ballast.open("wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(b"x" * 4_096)
            await world.ask(20)
            await world.until(lambda: not world.store.writes)
            ballast.unlink()
            await world.heals()

        troubled(story, {"path": "disk/c.db"}, tmp_path)


def test_a_disk_that_is_read_only_for_a_while(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        with sqlite3.connect(disk / "c.db") as other:
            other.execute("PRAGMA journal_mode = DELETE")
        other.close()
        assert remount(disk, "ro")

        async def story(world: World) -> None:
            await world.ask()
            assert remount(disk, "rw")
            await world.heals()

        troubled(story, {"path": "disk/c.db"}, tmp_path)


@pytest.mark.parametrize("damage", ["overwritten", "removed", "truncated"])
def test_a_file_that_is_damaged_under_an_open_kernel(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "penstock-cache.db"

    async def story(world: World) -> None:
        await world.ask(30)
        await world.until_written()
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        other.close()
        match damage:
            case "overwritten":
                with path.open("r+b") as file:
                    file.write(b"\xa5" * path.stat().st_size)
            case "removed":
                path.unlink()
            case _:
                # Not the file beside it that SQLite has mapped: cutting that kills any process that uses it.
                with path.open("r+b") as file:
                    file.truncate(5_000)
        await world.ask()
        await world.heals()

    troubled(story, {}, tmp_path)


# Valkey


def with_valkey(story: Callable[[World, Valkey], Awaitable[None]], folder: Path) -> None:
    with running(folder) as server:
        troubled(lambda world: story(world, server), {"store": "redis", "url": server.url}, folder)


def other(folder: Path) -> Path:
    """Where a second server lives."""
    path = folder / "other"
    path.mkdir()
    return path


def test_a_server_that_goes_down_and_comes_back(tmp_path: Path) -> None:
    async def story(world: World, server: Valkey) -> None:
        server.kill()
        await world.ask(10)
        await world.until(lambda: not world.store.writes)
        server.start()
        await world.heals()
        server.kill()
        server.start()  # a restart between two calls
        await world.heals()

    with_valkey(story, tmp_path)


def test_a_server_that_is_not_there_when_the_kernel_opens(tmp_path: Path) -> None:
    server = Valkey(tmp_path)
    server.start()
    server.kill()

    async def story(world: World) -> None:
        await world.ask(10)
        server.start()
        await world.heals()

    try:
        troubled(story, {"store": "redis", "url": server.url}, tmp_path)
    finally:
        server.kill()


def test_a_server_that_says_nothing_for_a_while(tmp_path: Path) -> None:
    async def story(world: World, server: Valkey) -> None:
        server.say("CLIENT", "PAUSE", "3000", "ALL")
        began = trio.current_time()
        await world.ask(10)
        assert trio.current_time() - began < 3.0, "after three silences it is left alone"
        await world.heals()

    with_valkey(story, tmp_path)


def test_a_server_that_takes_no_more(tmp_path: Path) -> None:
    async def story(world: World, server: Valkey) -> None:
        server.say("CONFIG", "SET", "maxmemory-policy", "noeviction")
        server.say("CONFIG", "SET", "maxmemory", "1mb")
        await world.ask(10)
        await world.until(lambda: not world.store.writes)
        assert world.store.reads
        assert await world.read(1) == "hit", "it is still read"
        server.say("CONFIG", "SET", "maxmemory", "0")
        await world.heals()

    with_valkey(story, tmp_path)


def test_a_server_that_becomes_a_replica_and_a_primary_again(tmp_path: Path) -> None:
    async def story(world: World, server: Valkey) -> None:
        with running(other(tmp_path)) as primary:
            server.say("REPLICAOF", "127.0.0.1", str(primary.port))
            await world.ask(10)
            await world.until(lambda: not world.store.writes)
            server.say("REPLICAOF", "NO", "ONE")
            await world.heals()

    with_valkey(story, tmp_path)


def test_a_server_that_cuts_every_connection_now_and_then(tmp_path: Path) -> None:
    async def story(world: World, server: Valkey) -> None:
        for _ in range(5):
            server.say("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await world.ask(3)
        await world.heals()

    with_valkey(story, tmp_path)


def test_a_server_whose_place_another_one_takes(tmp_path: Path) -> None:
    async def story(world: World, server: Valkey) -> None:
        # As a failover does it: the address stays, and behind it is what was a replica, after a while of nothing.
        server.kill()
        await world.ask(3)
        server.start()
        with running(other(tmp_path)) as elsewhere:
            server.say("REPLICAOF", "127.0.0.1", str(elsewhere.port))
            await world.ask(6)
            server.say("REPLICAOF", "NO", "ONE")
        await world.heals()

    with_valkey(story, tmp_path)
