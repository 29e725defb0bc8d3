"""The SQLite store alone: bounds, processes, versions, and files that are not what they should be."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from penstock.abc import CacheStoreStatistics, StoredEntry
from penstock.errors import CacheStoreError, PluginLoadError
from penstock.hookspecs import PluginTools
from penstock_plugins.caches.sqlite import SqliteCache, SqliteCacheOptions, open_sqlite_cache
from penstock_plugins.caches.sqlite_file import MIGRATIONS, open_writer

pytestmark = pytest.mark.slow


def tools(folder: Path) -> PluginTools:
    return PluginTools(name="cache", wall=time.time, logger=logging.getLogger("test"), folder=folder)


def with_store(folder: Path, act: Callable[[SqliteCache], Awaitable[None]], *, max_bytes: int = 2**30) -> None:
    async def main() -> None:
        async with open_sqlite_cache(SqliteCacheOptions(path="c.db", max_bytes=max_bytes), tools(folder)) as store:
            await act(store)

    trio.run(main)


def entry(key: str, size: int = 100, *, lasts: float = 1_000.0) -> StoredEntry:
    return StoredEntry(key, key.encode().ljust(size, b"."), time.time() + lasts)


async def put_one(store: SqliteCache) -> None:
    await store.put([entry("k")])


async def find_one(store: SqliteCache) -> None:
    assert await store.get("k") is not None


def test_a_store_that_is_closed_in_a_cancelled_scope_leaves_no_thread_and_no_open_file(tmp_path: Path) -> None:
    async def main() -> None:
        with trio.CancelScope() as scope:
            async with open_sqlite_cache(SqliteCacheOptions(path="c.db"), tools(tmp_path)) as store:
                await put_one(store)
                await find_one(store)
                scope.cancel()
        for thread in threading.enumerate():
            if thread.name.startswith("penstock cache"):
                await trio.to_thread.run_sync(thread.join, 10.0)
                assert not thread.is_alive()
        assert not (tmp_path / "c.db-wal").exists(), "who closes the last connection puts the WAL into the file"

    trio.run(main)


def test_what_lasts_least_gives_way_and_the_bound_holds(tmp_path: Path) -> None:
    async def act(store: SqliteCache) -> None:
        statistics = await store.statistics()
        for number in range(200):
            await store.put([entry(f"k{number}", 1_000, lasts=1_000.0 + number)])
            statistics = await store.statistics()
            assert statistics.bytes is not None
            assert statistics.bytes <= 100_000
        assert statistics.evictions
        assert await store.get("k199") is not None
        assert await store.get("k0") is None
        await store.purge()
        assert await store.statistics() == CacheStoreStatistics(entries=0, bytes=0, evictions=statistics.evictions)

    with_store(tmp_path, act, max_bytes=100_000)


def test_what_is_over_is_swept_by_those_who_write(tmp_path: Path) -> None:
    async def act(store: SqliteCache) -> None:
        await store.put([entry(f"old{number}", lasts=0.05) for number in range(100)])
        await trio.sleep(0.1)
        await store.put([entry("new")])
        assert (await store.statistics()).entries == 1

    with_store(tmp_path, act)


WRITER = """
import logging, sys, time, trio
from pathlib import Path
from penstock.abc import StoredEntry
from penstock.hookspecs import PluginTools
from penstock_plugins.caches.sqlite import SqliteCacheOptions, open_sqlite_cache

async def main(folder, name, rounds):
    tools = PluginTools(name="c", wall=time.time, logger=logging.getLogger(), folder=Path(folder))
    async with open_sqlite_cache(SqliteCacheOptions(path="c.db"), tools) as store:
        for number in range(rounds):
            keys = [f"{name}/{number}/{each}" for each in range(10)]
            await store.put([StoredEntry(key, b"x" * 50, time.time() + 1000) for key in keys])
            assert await store.get(f"{name}/{number}/3") is not None
            print(number, flush=True)

trio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
"""


def writer(folder: Path, name: str, rounds: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), name, str(rounds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_several_processes_write_one_file_and_all_is_counted(tmp_path: Path) -> None:
    writers = [writer(tmp_path, f"p{number}", 20) for number in range(3)]
    for each in writers:
        _, errors = each.communicate(timeout=60)
        assert each.returncode == 0, errors

    async def act(store: SqliteCache) -> None:
        statistics = await store.statistics()
        assert statistics.entries == 600
        assert await store.purge() == 600
        assert (await store.statistics()).bytes == 0

    with_store(tmp_path, act)


def test_a_process_that_is_killed_while_it_writes_leaves_a_whole_file(tmp_path: Path) -> None:
    killed = writer(tmp_path, "killed", 100_000)
    assert killed.stdout is not None
    for _ in range(5):
        killed.stdout.readline()
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=10)

    async def act(store: SqliteCache) -> None:
        statistics = await store.statistics()
        assert statistics.entries >= 50
        assert statistics.entries % 10 == 0, "a batch is written whole"
        await store.put([entry("k")])
        assert await store.get("k") is not None

    with_store(tmp_path, act)
    with sqlite3.connect(tmp_path / "c.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_after_a_fork_the_child_is_told_to_open_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(store: SqliteCache) -> None:
        await store.put([entry("k")])
        mine = os.getpid()
        with monkeypatch.context() as child:
            child.setattr(os, "getpid", lambda: mine + 1)  # as the child sees it
            for asked in (store.get("k"), store.put([entry("k")])):
                with pytest.raises(CacheStoreError, match="fork"):
                    await asked

    with_store(tmp_path, act)


def test_a_folder_that_is_not_there_is_told_when_the_store_is_opened(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(PluginLoadError, match="there is no folder"):
            async with open_sqlite_cache(SqliteCacheOptions(path="no/c.db"), tools(tmp_path)):
                pass

    trio.run(main)


@pytest.mark.parametrize("damage", ["header", "middle", "text"])
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "c.db"

    async def fill(store: SqliteCache) -> None:
        await store.put([entry(f"k{number}", 1_000) for number in range(100)])

    with_store(tmp_path, fill)
    whole = path.read_bytes()
    if damage == "text":
        path.write_text("this is no database, and never was one\n" * 200)
    else:
        start = {"header": 0, "middle": 4_096}[damage]
        path.write_bytes(whole[:start] + b"\xa5" * (len(whole) - start))
    damaged = path.read_bytes()

    async def heal(store: SqliteCache) -> None:
        failures = 0
        for _ in range(4):
            try:
                await store.put([entry("k")])
                break
            except CacheStoreError:
                failures += 1
        assert failures <= 2
        assert await store.get("k") is not None
        assert (await store.statistics()).entries == 1

    with_store(tmp_path, heal)
    kept = (tmp_path / "c.db.damaged").read_bytes()
    assert kept[:64] == damaged[:64], "what it held is not thrown away"


def test_a_damaged_file_behind_a_link_is_set_aside_where_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "a larger disk"
    folder.mkdir()
    link = tmp_path / "c.db"
    link.symlink_to(folder / "cache.db")
    with_store(tmp_path, put_one)
    (folder / "cache.db").write_bytes(b"\xa5" * 8_192)

    with_store(tmp_path, put_one)
    with_store(tmp_path, find_one)
    assert link.is_symlink()
    assert sorted(path.name for path in folder.glob("cache.db*")) == ["cache.db", "cache.db.damaged", "cache.db.lock"]


def test_a_file_that_is_damaged_or_removed_while_it_is_open_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "c.db"

    async def act(store: SqliteCache) -> None:
        await store.put([entry("k")])
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink()
        assert await store.get("k") is None
        await store.put([entry("k")])
        assert await store.get("k") is not None
        assert path.exists()

    with_store(tmp_path, act)


def test_a_database_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()

    async def act(store: SqliteCache) -> None:
        for asked in (store.get("k"), store.put([entry("k")])):
            with pytest.raises(CacheStoreError, match="database of something else"):
                await asked

    with_store(tmp_path, act)
    assert path.read_bytes() == before


def test_a_database_of_somebody_else_is_told_once_when_the_cache_is_opened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with sqlite3.connect(tmp_path / "c.db") as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()

    async def act(store: SqliteCache) -> None:
        for _ in range(3):
            with pytest.raises(CacheStoreError):
                await store.get("k")

    with caplog.at_level(logging.WARNING):
        with_store(tmp_path, act)
    (told,) = [record.getMessage() for record in caplog.records]
    assert "c.db is a database of something else; give the cache a path of its own" in told


def test_a_file_of_a_newer_version_is_not_read_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    with_store(tmp_path, put_one)
    open_writer(path, (*MIGRATIONS, "CREATE TABLE of_tomorrow (x);")).close()
    before = path.read_bytes()

    async def act(store: SqliteCache) -> None:
        with pytest.raises(CacheStoreError, match="newer penstock"):
            await store.get("k")

    with_store(tmp_path, act)
    assert path.read_bytes() == before


def test_a_file_of_an_older_version_is_brought_up_step_by_step(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    with_store(tmp_path, put_one)
    steps = (*MIGRATIONS, "CREATE TABLE more (x);\nINSERT INTO more VALUES (1);")
    for _ in range(2):
        connection = open_writer(path, steps)
        assert connection.execute("SELECT count(*) FROM more").fetchone() == (1,)
        assert connection.execute("SELECT entries FROM totals").fetchone() == (1,)
        connection.close()


def test_a_step_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    with_store(tmp_path, put_one)
    with pytest.raises(sqlite3.OperationalError):
        open_writer(path, (*MIGRATIONS, "CREATE TABLE more (x);\nCREATE TABLE more (x);"))
    with_store(tmp_path, find_one)


def test_two_processes_that_find_one_damaged_file_replace_it_once(tmp_path: Path) -> None:
    (tmp_path / "c.db").write_bytes(b"\xa5" * 10_000)

    async def main() -> None:
        options = SqliteCacheOptions(path="c.db")
        async with (
            open_sqlite_cache(options, tools(tmp_path)) as one,
            open_sqlite_cache(options, tools(tmp_path)) as other,
        ):
            for store in (one, other):
                for number in range(3):
                    try:
                        await store.put([entry(f"{id(store)}/{number}")])
                    except CacheStoreError:
                        continue
            assert (await one.statistics()).entries >= 4
            assert await one.statistics() == await other.statistics()

    trio.run(main)
    assert sorted(path.name for path in tmp_path.glob("*.damaged")) == ["c.db.damaged"]
