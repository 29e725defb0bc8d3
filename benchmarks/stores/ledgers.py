"""What a ledger store costs: reserve and settle by 1 and by 256 callers, on an empty ledger and on 100,000 accounts.

    python -m benchmarks.stores.ledgers [--stores memory,sqlite-normal,sqlite-full] [--rounds 7] [--folder DIR]
        [--json FILE]

Accounts three levels deep with limits per day (those per request are judged before a store is asked); each call holds
the dearest of three targets, and tells its charge for reports. What comes while a batch is under way is the next one,
as the kernel's keeper sends it. CPU is `time.process_time`: user and system of the whole process, the store's thread
included, on one core, as in `python -m benchmarks`: on two, a thread that wakes the other costs as much again. Medians
of the rounds are printed, with how long the disk takes to sync, which is what `full` waits for, and with what one
caller could not do without: two jobs for another thread (`trio.to_thread`), and two transactions of such rows by
`sqlite3`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from penstock.abc import LedgerStore
from penstock.hookspecs import PluginTools
from penstock.policy.holds import Amount, Line
from penstock.policy.ledger_steps import Answer, Held, Reserve, Settle, Spent, Step, WindowUse

STORES = ("memory", "sqlite-normal", "sqlite-full")
ACCOUNTS = 100_000
END = time.time() // 86_400 * 86_400 + 7 * 86_400
"""Of all windows: no run goes over it."""
LINES = tuple(Line(500 + n, 1_500_000, 15_000_000_000, 1_000) for n in range(3))


@attrs.define
class Callers:
    """Calls on one store, one batch at a time."""

    store: LedgerStore
    accounts: Iterator[str]
    name: str
    count: int = 0
    waiting: list[tuple[Step, trio.lowlevel.Task]] = attrs.field(factory=list[tuple[Step, trio.lowlevel.Task]])
    answers: dict[int, Answer] = attrs.field(factory=dict[int, Answer])
    busy: bool = False
    waits: list[float] = attrs.field(factory=list[float])

    async def call(self) -> None:
        """One call's hold and charge."""
        self.count += 1
        hold_id, account = f"{self.name}-{self.count}", next(self.accounts)
        held = await self.ask(
            Reserve(
                hold_id=hold_id,
                account=account,
                windows=windows(account),
                lines=LINES,
                min_output=1_000,
                max_output=1_000,
                lease=60.0,
            )
        )
        assert isinstance(held, Held), held
        spent = Spent(target="openai/gpt-4o", input_tokens=400, output_tokens=300, nano_usd=4_000_000)
        await self.ask(Settle(hold_id=hold_id, charged=Amount(700, 4_000_000), spent=(spent,), turns=False))

    async def ask(self, step: Step) -> Answer:
        """Its answer: whoever comes while no batch is under way sends those that came in the meantime."""
        if self.busy:
            task = trio.lowlevel.current_task()
            self.waiting.append((step, task))
            await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
            answer = self.answers.pop(id(task), None)
            if answer is not None:
                return answer
        else:
            self.waiting.append((step, trio.lowlevel.current_task()))
        return await self.send()

    async def send(self) -> Answer:
        """The waiting steps, our own among them; the first that comes in the meantime sends the next."""
        self.busy = True
        batch, self.waiting = self.waiting, []
        landed = await self.store.commit([step for step, _ in batch])
        own = trio.lowlevel.current_task()
        mine: Answer | None = None
        for (_, task), answer in zip(batch, landed.answers, strict=True):
            if task is own:
                mine = answer
            else:
                self.answers[id(task)] = answer
                trio.lowlevel.reschedule(task)
        if self.waiting:
            trio.lowlevel.reschedule(self.waiting[0][1])
        else:
            self.busy = False
        assert mine is not None
        return mine


def accounts(many: int, seed: int) -> Iterator[str]:
    """Names of accounts at random."""
    chance = random.Random(seed)
    while True:
        number = chance.randrange(many)
        yield account(number)


def account(number: int) -> str:
    """The third level of the tree."""
    return f"team-{number % 100}/user-{number}"


def windows(account: str) -> tuple[WindowUse, ...]:
    """The day of the root, of the team, and of its user."""
    return tuple(
        [
            WindowUse(f"day:UTC:{path}", END, rolling=False, limit_tokens=10**13, limit_nano_usd=10**16)
            for path in ("", account.partition("/")[0], account)
        ]
    )


@asynccontextmanager
async def opened(kind: str, folder: Path, name: str) -> AsyncIterator[LedgerStore]:
    """A store of that kind."""
    tools = PluginTools(name=kind, wall=time.time, logger=logging.getLogger("benchmark"))
    if kind == "memory":
        from penstock_plugins.ledgers.memory import MemoryLedger

        yield MemoryLedger(time.time)
        return
    from penstock_plugins.ledgers.sqlite import SqliteLedgerOptions, open_sqlite_ledger

    synchronous = "full" if kind == "sqlite-full" else "normal"
    options = SqliteLedgerOptions(path=folder / f"{kind}-{name}.db", synchronous=synchronous)
    async with open_sqlite_ledger(options, tools) as store:
        yield store


async def fill(callers: Callers) -> None:
    """A charge for every account."""
    names = [account(number) for number in range(ACCOUNTS)]
    for start in range(0, ACCOUNTS, 1_000):
        await callers.store.commit(
            [
                Settle(
                    hold_id=f"fill-{name}",
                    charged=Amount(1, 1),
                    account=name,
                    windows=windows(name),
                    turns=False,
                )
                for name in names[start : start + 1_000]
            ]
        )


async def measured(callers: Callers, calls: int, concurrency: int) -> tuple[float, float]:
    """Microseconds of CPU per call, and calls per second."""

    async def worker(count: int) -> None:
        for _ in range(count):
            await callers.call()

    began, cpu = time.perf_counter(), time.process_time()
    async with trio.open_nursery() as nursery:
        for n in range(concurrency):
            nursery.start_soon(worker, calls // concurrency + (n < calls % concurrency))
    return (time.process_time() - cpu) / calls * 1e6, calls / (time.perf_counter() - began)


async def threads_time(calls: int) -> float:
    """Microseconds of CPU for two jobs that do nothing, in a thread of trio's."""
    cpu = time.process_time()
    for _ in range(2 * calls):
        await trio.to_thread.run_sync(int)
    return (time.process_time() - cpu) / calls * 1e6


def rows_time(folder: Path, calls: int) -> float:
    """Microseconds of CPU for two transactions that write such rows, without asking anything of them."""
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE IF NOT EXISTS windows (key TEXT PRIMARY KEY, held, spent) WITHOUT ROWID")
    connection.execute("CREATE TABLE IF NOT EXISTS holds (id TEXT PRIMARY KEY, parts) WITHOUT ROWID")
    windows = [(1, 1, f"day:UTC:{name}") for name in ("", "team", "team/user")]
    connection.executemany("INSERT OR IGNORE INTO windows (held, spent, key) VALUES (?, ?, ?)", windows)
    cpu = time.process_time()
    for number in range(calls):
        for statement in ("INSERT OR REPLACE INTO holds VALUES (?, ?)", "UPDATE holds SET parts = ?2 WHERE id = ?1"):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("UPDATE windows SET held = held + ?, spent = spent + ? WHERE key = ?", windows)
            connection.execute(statement, (f"hold-{number}", b"x" * 200))
            connection.execute("COMMIT")
    cpu = time.process_time() - cpu
    connection.close()
    return cpu / calls * 1e6


def sync_time(folder: Path) -> float:
    """Microseconds that the disk takes to sync one page."""
    file = os.open(folder / "sync", os.O_WRONLY | os.O_CREAT)
    times: list[float] = []
    for _ in range(50):
        os.write(file, b"x" * 4_096)
        began = time.perf_counter()
        os.fdatasync(file) if hasattr(os, "fdatasync") else os.fsync(file)
        times.append(time.perf_counter() - began)
    os.close(file)
    return statistics.median(times) * 1e6


async def main(stores: list[str], rounds: int, folder: Path) -> dict[str, object]:
    """All figures."""
    figures: dict[str, list[float]] = {}

    async def note(name: str, callers: Callers, concurrency: int, calls: int) -> None:
        cpu, rate = await measured(callers, calls, concurrency)
        figures.setdefault(f"{name}, {concurrency}: us CPU", []).append(cpu)
        figures.setdefault(f"{name}, {concurrency}: calls/s", []).append(rate)

    syncs: list[float] = []
    bare: dict[str, list[float]] = {"two jobs for a thread, bare": [], "two transactions, bare": []}
    for kind in stores:
        async with (
            opened(kind, folder, "few") as few,
            opened(kind, folder, "many") as many,
            opened(kind, folder, "empty") as empty,
        ):
            one = Callers(few, accounts(1, 1), "few")
            full = Callers(many, accounts(ACCOUNTS, 2), "many")
            fresh = Callers(empty, accounts(ACCOUNTS, 2), "empty")
            await fill(full)
            for round_number in range(rounds + 1):
                if round_number == 1:
                    figures = {name: times for name, times in figures.items() if not name.startswith(kind)}
                syncs.append(sync_time(folder))
                bare["two jobs for a thread, bare"].append(await threads_time(500))
                bare["two transactions, bare"].append(rows_time(folder, 500))
                await note(kind, one, 1, 50 if kind == "sqlite-full" else 500)
                await note(kind, one, 256, 5_120)
                # The same calls on a ledger that knows all their accounts, and on one that was empty before.
                await note(f"{kind}, 100,000 accounts", full, 1, 50 if kind == "sqlite-full" else 500)
                await note(f"{kind}, empty", fresh, 1, 50 if kind == "sqlite-full" else 500)
                await note(f"{kind}, 100,000 accounts", full, 256, 5_120)
                await note(f"{kind}, empty", fresh, 256, 5_120)
    medians: dict[str, object] = {name: round(statistics.median(times), 1) for name, times in figures.items()}
    medians |= {f"{name}: us CPU": round(statistics.median(times), 1) for name, times in bare.items()}
    medians["the disk: us per sync"] = round(statistics.median(syncs), 1)
    return medians


def print_figures(figures: dict[str, object]) -> None:
    """A line each."""
    for name, figure in figures.items():
        print(f"{name:50} {figure}")


def run() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", default=",".join(STORES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where the files are made: on the disk that is to be measured")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        act: Callable[[list[str], int, Path], object] = main
        figures = trio.run(act, options.stores.split(","), options.rounds, Path(folder))
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores; medians of {options.rounds} rounds")
    print_figures(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    run()
