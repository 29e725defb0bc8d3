"""How long calls wait for their hold in SQLite: 500 calls a second, open loop.

    nice -n -15 python -m benchmarks.stores.reserves [--rate 500] [--seconds 20] [--rounds 3]
        [--synchronous full|normal] [--whole] [--folder DIR] [--json FILE]

Calls arrive when they are due, by chance and whatever became of those before, for accounts three levels deep; each
holds at the kernel's BudgetKeeper, goes on for 0.2 s, and settles. `reserve` is what it waits for its hold, `commit`
what the keeper waits for one batch in the store. What is wanted: p99 of reserve at most 5 ms more than p99 of commit in
the same run.

One batch is under way at a time, so a call waits for what is left of the one that it finds there, and then for its own:
where a sync of the disk takes 3 ms or 12, as chance will have it, that alone is more than 5 ms above p99 of a commit,
for a long batch keeps more calls waiting than a short one. So two more lines are printed: `commits, by call` counts
each batch once for every call that waited for it, and `outside` is what a call waited while no batch was under way: the
part of the keeper and the program, not of the store.

`--whole` makes each a whole `kernel.complete` over an upstream in memory: then it is also the time that the process
needs for everything else. How late the arrivals were, and how much of a processor was used, is printed beside it: a run
in which the machine had no time for them says nothing. Ends with status 1 where a round misses.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import random
import sys
import tempfile
import time
from bisect import bisect_right
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import httpx
import trio

import penstock
from penstock.actors import budget_keeper
from penstock.actors.budget_ref import BudgetRef
from penstock.policy.holds import Amount, Granted, Line, Refused
from penstock.policy.ledger_steps import Landed, Spent, Step
from penstock_plugins.ledgers import sqlite_store
from penstock_plugins.ledgers.sqlite_store import SqliteLedger

ALLOWANCE_MS = 5.0
TAKES = 0.2
"""Seconds of an answer: some hundred holds are open at any time."""
ANSWER = {
    "id": "c-1",
    "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "because"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
}


@attrs.define
class Times:
    """Milliseconds, in the order in which they were taken."""

    reserves: list[float] = attrs.field(factory=list[float])
    commits: list[float] = attrs.field(factory=list[float])
    lateness: list[float] = attrs.field(factory=list[float])
    spans: list[tuple[float, float]] = attrs.field(factory=list[tuple[float, float]])
    """From when to when each batch was under way, and each call waited (seconds)."""
    waits: list[tuple[float, float]] = attrs.field(factory=list[tuple[float, float]])
    busy: float = 0.0
    """The share of a processor that the process used."""


class TimedRef(BudgetRef):
    """Asks for holds, and times it."""

    times = Times()

    async def reserve(self, *args: Any, **kwargs: Any) -> Granted | Refused:
        began = time.perf_counter()
        result = await super().reserve(*args, **kwargs)
        ended = time.perf_counter()
        self.times.reserves.append((ended - began) * 1e3)
        self.times.waits.append((began, ended))
        return result


class TimedLedger(SqliteLedger):
    """Carries batches out, and times it."""

    times = Times()

    async def commit(self, steps: Sequence[Step]) -> Landed:
        began = time.perf_counter()
        landed = await super().commit(steps)
        ended = time.perf_counter()
        self.times.commits.append((ended - began) * 1e3)
        self.times.spans.append((began, ended))
        return landed


class Upstream(httpx.AsyncBaseTransport):
    """Answers after a while, without a socket."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.sleep(TAKES)
        return httpx.Response(200, json=ANSWER, request=request)


@contextmanager
def timed() -> Generator[None]:
    """Kernels that are opened meanwhile time their holds and batches."""
    budget_keeper.BudgetRef, sqlite_store.SqliteLedger = TimedRef, TimedLedger  # type: ignore[misc]
    try:
        yield
    finally:
        budget_keeper.BudgetRef, sqlite_store.SqliteLedger = BudgetRef, SqliteLedger  # type: ignore[misc]


def settings(folder: Path, synchronous: str) -> penstock.Config:
    """One target, three levels of accounts with limits that are never reached."""
    limits = [{"per": "day", "tokens": 10**14, "usd": 10**8}]
    tables: dict[str, Any] = {
        "kernel": {"max_in_flight": 4_096},
        "providers": {"openai": {"api_key": "sk-bench"}},
        "routes": {"default": {"cascade": ["openai/gpt-4o"]}},
        "budget": {"limits": limits},
        "accounts": {"*": {"limits": limits}, "*/*": {"limits": limits}},
        "ledger": {"store": "sqlite", "path": "ledger.db", "synchronous": synchronous},
    }
    return penstock.Config.from_dict(tables, source=folder / "penstock.toml", environ={})


async def hold(ref: BudgetRef, name: str, account: str) -> None:
    """What a call asks of its budget, and nothing else."""
    deadline = trio.current_time() + 600.0
    lines = (Line(2_200, 5_500_000, 10_000_000_000, 500),)
    held = await ref.reserve(name, account, lines, min_output=500, max_output=500, wait=5.0, deadline=deadline)
    assert isinstance(held, Granted)
    await trio.sleep(TAKES)
    spent = Spent(target="openai/gpt-4o", input_tokens=100, output_tokens=50, nano_usd=750_000)
    ref.settle(name, Amount(150, 750_000), estimated=False, spent=(spent,))


async def measured(config: penstock.Config, rate: float, seconds: float, seed: int, *, whole: bool) -> Times:
    """One round."""
    times = TimedRef.times = TimedLedger.times = Times()
    chance = random.Random(seed)
    async with penstock.open_kernel(config, transport=Upstream()) as kernel:
        ref = kernel._engine.budget

        async def call(number: int) -> None:
            account = f"team-{number % 10}/user-{number % 500}"
            if whole:
                await kernel.complete("why is the sky blue?", account=account, max_tokens=500)
            else:
                await hold(ref, f"{seed}-{number}", account)

        async def arrivals(numbers: range) -> None:
            due = trio.current_time()
            async with trio.open_nursery() as nursery:
                for number in numbers:
                    due += chance.expovariate(rate)
                    await trio.sleep_until(due)
                    times.lateness.append((trio.current_time() - due) * 1e3)
                    nursery.start_soon(call, number)

        await arrivals(range(int(rate)))
        # The first second fills what is read once.
        times.reserves, times.commits, times.lateness, times.spans, times.waits = [], [], [], [], []
        gc.collect()  # what starting left behind
        began, used = time.perf_counter(), time.process_time()
        await arrivals(range(int(rate), int(rate * (1 + seconds))))
        times.busy = (time.process_time() - used) / (time.perf_counter() - began)
    return times


def at(share: float, values: Sequence[float]) -> float:
    """The value that so large a share of them does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def met_by_calls(times: Times) -> tuple[list[float], list[float]]:
    """Of each call the time of the batch that held for it, and what it waited while none was under way (ms).

    Batches come one after the other, in order of their ends.
    """
    ends = [ended for _, ended in times.spans]
    own: list[float] = []
    outside: list[float] = []
    for began, ended in times.waits:
        last = bisect_right(ends, ended) - 1
        if last < 0 or times.spans[last][0] < began:
            continue  # held for by a batch that had begun before we looked
        own.append((ends[last] - times.spans[last][0]) * 1e3)
        first = bisect_right(ends, began)
        within = sum(ends[at] - max(times.spans[at][0], began) for at in range(first, last + 1))
        outside.append((ended - began - within) * 1e3)
    return own, outside


def figures(times: Times) -> dict[str, Any]:
    """One round's."""
    found: dict[str, Any] = {"calls": len(times.reserves), "batches": len(times.commits)}
    found["busy"] = round(times.busy, 2)
    own, outside = met_by_calls(times)
    for name, values in (
        ("commits", times.commits),
        ("commits, by call", own),
        ("reserves", times.reserves),
        ("outside", outside),
        ("lateness", times.lateness),
    ):
        found[name] = {f"p{share:g}": round(at(share / 100, values), 2) for share in (50, 90, 99, 99.9)}
    found["allowed_p99"] = round(ALLOWANCE_MS + at(0.99, times.commits), 2)
    found["met"] = at(0.99, times.reserves) <= ALLOWANCE_MS + at(0.99, times.commits)
    return found


def show(number: int, found: dict[str, Any]) -> None:
    """A few lines."""
    print(f"round {number}: {found['calls']} calls in {found['batches']} batches, {found['busy']:.0%} of a processor")
    for name in ("commits", "commits, by call", "reserves", "outside", "lateness"):
        print(f"  {name:16}" + "".join(f"{share:>7} {ms:7.2f} ms" for share, ms in found[name].items()))
    word = "met" if found["met"] else "MISSED"
    print(f"  p99 of reserve {found['reserves']['p99']} ms <= {found['allowed_p99']} ms: {word}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=500.0, help="calls a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--synchronous", choices=("full", "normal"), default="full")
    parser.add_argument("--whole", action="store_true", help="whole calls")
    parser.add_argument("--folder", type=Path, help="where the file is made: on the disk that is to be measured")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rounds: list[dict[str, Any]] = []
    with timed(), tempfile.TemporaryDirectory(dir=given.folder) as folder:
        config = settings(Path(folder), given.synchronous)
        for number in range(given.rounds):
            times = trio.run(partial(measured, config, given.rate, given.seconds, number, whole=given.whole))
            rounds.append(figures(times))
            show(number + 1, rounds[-1])
    if given.json:
        given.json.write_text(json.dumps({"python": platform.python_version(), "rounds": rounds}, indent=2))
    return 0 if all(found["met"] for found in rounds) else 1


if __name__ == "__main__":
    sys.exit(main())
