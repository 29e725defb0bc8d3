"""The process in which one row is measured: it opens its clients, then does the jobs that it is told.

Not here: what a row does (`benchmarks.rows`), and who tells it (`benchmarks.processes`). This file is imported in the
environments of peers, so that it needs nothing but the standard library, and trio where a row runs on trio.

A row says what it is in the first line it prints. Then it reads one line of JSON for each measurement and prints one:

    {"at": "now", "job": "call", "concurrency": 32, "count": 300, "at_most_s": 5, "warm_up": 32}
    {"units": 300, "cpu_us": 141.3, "wall_us": 150.2, "rss_kib": 40312}

`cpu_us` and `wall_us` are for one unit: a call, a chunk of a stream. CPU is `time.process_time`: user and system, all
threads of the process, until it is idle again: what a row leaves for later is part of what it costs.

By hand: `python -m benchmarks.rows.floor PORT --concurrency 1,32 --calls 300 --rounds 3`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

with contextlib.suppress(ImportError):  # peers on asyncio live without it
    import trio

Job = Callable[[int], Awaitable[int]]
"""Does one piece of work; returns how many units it was. The number keeps its request apart from all others."""
Jobs = Mapping[str, Job]
Opened = Callable[[str, str], AbstractAsyncContextManager[Jobs]]
"""Opens the clients of a row: from the upstream's origin and the kind of answer that is to be asked for."""

PROMPT = "why is the sky blue? " * 48
"""About 1 KB."""
PAUSE_S, PAUSES, IDLE_S = 0.01, 200, 0.001
"""A row is idle where it used less than a millisecond in a pause of ten. It is waited for two seconds at most."""


class NotBuiltError(Exception):
    """What the row would measure is not in this version."""


@dataclass(frozen=True)
class Row:
    """What a row says of itself."""

    opened: Opened
    loop: Literal["trio", "asyncio"]
    packages: tuple[str, ...]
    """Whose versions are told."""
    does: str
    """And what it leaves out, for the report."""
    jobs: tuple[str, ...]


@dataclass
class Worker:
    """The jobs of a row as they are opened, one set for each kind of answer."""

    row: Row
    origin: str
    stack: AsyncExitStack
    numbers: Iterator[int]
    jobs: dict[str, Jobs] = field(default_factory=dict)

    async def job(self, at: str, name: str) -> Job:
        if at not in self.jobs:
            self.jobs[at] = await self.stack.enter_async_context(self.row.opened(self.origin, at))
        return self.jobs[at][name]

    async def told(self, order: dict[str, Any]) -> dict[str, Any]:
        """One measurement."""
        job = await self.job(order["at"], order["job"])
        concurrency, at_most_s = order["concurrency"], order["at_most_s"]
        if order["warm_up"]:
            await self.many(job, order["warm_up"], concurrency, at_most_s)
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        units = await self.many(job, order["count"], concurrency, at_most_s)
        wall = time.perf_counter() - wall
        await self.idle()
        cpu = time.process_time() - cpu
        return {
            "units": units,
            "cpu_us": cpu / units * 1e6,
            "wall_us": wall / units * 1e6,
            "rss_kib": resident_kib(),
        }

    async def many(self, job: Job, count: int, concurrency: int, at_most_s: float) -> int:
        """So many at once, until all are done or the time is up: how many units it was."""
        until = time.monotonic() + at_most_s
        left, units = count, 0

        async def caller() -> None:
            nonlocal left, units
            while left > 0 and time.monotonic() < until:
                left -= 1
                done = await job(next(self.numbers))
                units += done  # not in one line: it would add to what was there before the wait

        if concurrency == 1:
            await caller()
        elif self.row.loop == "trio":
            async with trio.open_nursery() as nursery:
                for _ in range(concurrency):
                    nursery.start_soon(caller)
        else:
            await asyncio.gather(*(caller() for _ in range(concurrency)))
        return units

    async def idle(self) -> None:
        """Until nothing is being done, on the event loop or in threads of the row's."""
        for _ in range(PAUSES):
            before = time.process_time()
            await (trio.sleep if self.row.loop == "trio" else asyncio.sleep)(PAUSE_S)
            if time.process_time() - before < IDLE_S:
                return

    async def order(self) -> str:
        """The next line of standard input, "" at its end. The event loop goes on: a row's own deadlines are kept."""
        if self.row.loop == "trio":
            return await trio.to_thread.run_sync(sys.stdin.readline)
        return await asyncio.to_thread(sys.stdin.readline)


def resident_kib() -> int:
    """Memory of this process: now where /proc tells it, else the most that it has been."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def serve(row: Row, origin: str) -> None:
    """Does what standard input tells until it ends."""
    async with AsyncExitStack() as stack:
        worker = Worker(row, origin, stack, numbers_of_this_process())
        while line := await worker.order():
            try:
                said = await worker.told(json.loads(line))
            except NotBuiltError as missing:
                said = {"not_built": str(missing)}
            except Exception as error:  # noqa: BLE001 - whatever goes wrong in a peer is told, and the run goes on
                traceback.print_exc()
                said = {"error": f"{type(error).__name__}: {error}"[:500]}
            say(said)


async def by_hand(row: Row, origin: str, levels: list[int], calls: int, rounds: int) -> None:
    """Prints the medians of calls."""
    async with AsyncExitStack() as stack:
        worker = Worker(row, origin, stack, numbers_of_this_process())
        for level in levels:
            order = {"at": "now", "job": "call", "concurrency": level, "count": calls, "at_most_s": 60}
            seen = [(await worker.told({**order, "warm_up": level}))["cpu_us"] for _ in range(rounds)]
            say({"concurrency": level, "cpu_us": round(statistics.median(seen), 1)})


def numbers_of_this_process() -> Iterator[int]:
    """Each once, and all of one length: requests are of one size."""
    return iter(range(10**9, 10**10))


def say(what: Mapping[str, Any]) -> None:
    print(json.dumps(what), flush=True)


def keep_output_for_answers() -> None:
    """Whatever a library prints, of Rust or of Python, goes to standard error from now on."""
    sys.stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages}


def run(row: Row) -> None:
    """The program of a row."""
    parser = argparse.ArgumentParser(description=row.does)
    parser.add_argument("port", type=int, help="of the upstream: python -m benchmarks.upstream.server prints it")
    parser.add_argument("--serve", action="store_true", help="take orders from standard input")
    parser.add_argument("--core", type=int, help="to run on")
    parser.add_argument("--concurrency", default="1,32,256")
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if given.core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {given.core})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    origin = f"http://127.0.0.1:{given.port}"
    act: Callable[[], Coroutine[Any, Any, None]]
    if given.serve:
        keep_output_for_answers()
        say({"versions": versions(row.packages), "does": row.does, "jobs": row.jobs, "loop": row.loop})

        async def act() -> None:
            await serve(row, origin)
    else:
        levels = [int(level) for level in given.concurrency.split(",")]

        async def act() -> None:
            await by_hand(row, origin, levels, given.calls, given.rounds)

    if row.loop == "trio":
        trio.run(act)
    else:
        asyncio.run(act())
