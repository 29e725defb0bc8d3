"""Every store keeps the same laws: the fake, SQLite and a real Valkey."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from valkey_process import running

from penstock.abc import CacheStore, CacheStoreStatistics, StoredEntry
from penstock.hookspecs import PluginTools
from penstock.testing import FakeCacheStore, check_cache_store
from penstock_plugins.caches.redis import RedisCacheOptions, open_redis_cache
from penstock_plugins.caches.sqlite import SqliteCacheOptions, open_sqlite_cache


def tools(folder: Path = Path()) -> PluginTools:
    return PluginTools(name="cache", wall=time.time, logger=logging.getLogger("test"), folder=folder)


@pytest.mark.slow
def test_sqlite_keeps_the_laws(tmp_path: Path) -> None:
    async def main() -> None:
        options = SqliteCacheOptions(path="cache.db", max_bytes=2_000_000)
        await check_cache_store(
            lambda: open_sqlite_cache(options, tools(tmp_path)), wall=time.time, too_large=2_000_000
        )

    trio.run(main)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning")  # of connections that coredis gave up
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_valkey_keeps_the_laws(tmp_path: Path) -> None:
    async def main(url: str) -> None:
        options = RedisCacheOptions(url=url, prefix="laws")
        await check_cache_store(lambda: open_redis_cache(options, tools()), wall=time.time)

    with running(tmp_path) as server:
        trio.run(main, server.url)
    gc.collect()


@pytest.mark.slow
def test_the_fake_keeps_the_laws() -> None:
    store = FakeCacheStore(time.time)

    @asynccontextmanager
    async def open_it() -> AsyncGenerator[CacheStore]:
        yield store

    async def main() -> None:
        await check_cache_store(open_it, wall=time.time)

    trio.run(main)


class Careless(FakeCacheStore):
    """Keeps what is over, and takes a prefix for a pattern of its own."""

    async def get(self, key: str) -> bytes | None:
        entry = self.entries.get(key)
        return None if entry is None else entry.sealed


class Counting(FakeCacheStore):
    async def statistics(self) -> CacheStoreStatistics:
        return CacheStoreStatistics(entries=1)


class Swallowing(FakeCacheStore):
    async def newest(self, prefix: str, most: int) -> list[StoredEntry]:
        del most
        return [entry for entry in self.entries.values() if entry.key.startswith(prefix)]


class Generous(FakeCacheStore):
    async def claim(self, key: str, owner: str, lease: float) -> bool:
        del key, owner, lease
        return True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broken", "law"),
    [(Careless, "not there"), (Counting, "all entries count"), (Swallowing, "newest"), (Generous, "exactly one")],
)
def test_a_store_that_breaks_a_law_is_told_which(broken: type[FakeCacheStore], law: str) -> None:
    store = broken(time.time)

    @asynccontextmanager
    async def open_it() -> AsyncGenerator[CacheStore]:
        yield store

    async def main() -> None:
        with pytest.raises(AssertionError, match=law):
            await check_cache_store(open_it, wall=time.time)

    trio.run(main)
