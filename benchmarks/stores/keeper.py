"""What reserve and settle cost through the kernel's BudgetKeeper: all that a call pays for its hold, store included.

    nice -n -15 python -m benchmarks.stores.keeper [--stores memory,sqlite-normal] [--rounds 7] [--folder DIR]
        [--json FILE]

Accounts three deep, each with a limit of tokens per day; 1, 32 and 256 calls at once that hold, and settle at once.
CPU is `time.process_time` on one core, as in `python -m benchmarks.stores.ledgers`. Of the rounds the median is printed
and the least: on a machine that others use, that is nearer to what it takes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import trio

from benchmarks.stores.ledgers import opened
from penstock._clock import Clock
from penstock.abc import LedgerStore
from penstock.actors.budget_keeper import open_budget_keeper
from penstock.actors.budget_ref import BudgetRef
from penstock.policy.budget import AccountSpec, Amount, Granted, Limit, Line, Per

CONCURRENCY = (1, 32, 256)
CALLS = {"memory": 10_000, "sqlite-normal": 2_000, "sqlite-full": 1_000}
ACCOUNT = "team/user"
ACCOUNTS = [
    AccountSpec(path=path, limits=(Limit(per=Per.DAY, tokens=10**12), Limit(per=Per.REQUEST, tokens=10**9)))
    for path in ("", "team", ACCOUNT)
]


async def calls(budget: BudgetRef, names: Iterator[str]) -> None:
    """One caller's, one after the other, while there are names for them."""
    for name in names:
        granted = await budget.reserve(
            name, ACCOUNT, [Line(100, 1_000, 3_000, 500)], min_output=100, max_output=500, wait=5, deadline=1e9
        )
        assert isinstance(granted, Granted), granted
        budget.settle(name, Amount(50, 500), estimated=False)


async def cost(store: LedgerStore, concurrency: int, count: int, begins: str) -> float:
    """Microseconds of CPU per call."""
    keeper, inbox, budget = open_budget_keeper(
        ACCOUNTS, store, Clock(), slots=512, on_event=lambda _: None, on_store=lambda _: None
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run, inbox)
        names = map(f"{begins}-{{}}".format, range(count))
        began = time.process_time()
        async with trio.open_nursery() as callers:
            for _ in range(concurrency):
                callers.start_soon(calls, budget, names)
        took = time.process_time() - began
        budget.close()
    return took / count * 1e6


async def main(stores: list[str], rounds: int, folder: Path) -> dict[str, dict[str, float]]:
    """Microseconds of CPU by store and concurrency."""
    figures: dict[str, dict[str, float]] = {}
    for kind in stores:
        async with opened(kind, folder, "keeper") as store:
            costs: dict[int, list[float]] = {level: [] for level in CONCURRENCY}
            for at, level in itertools.product(range(rounds + 1), CONCURRENCY):
                took = await cost(store, level, CALLS[kind], f"{at}-{level}")
                if at:  # the first round warms up
                    costs[level].append(took)
            for level, times in costs.items():
                figures[f"{kind}, {level}"] = {
                    "median": round(statistics.median(times), 1),
                    "least": round(min(times), 1),
                }
    return figures


def run() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", default="memory,sqlite-normal")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where the files are made: on the disk that is to be measured")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures = trio.run(main, options.stores.split(","), options.rounds, Path(folder))
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores; us of CPU per call in {options.rounds} rounds")
    for name, figure in figures.items():
        print(f"{name:24} {figure['median']:8} {figure['least']:8}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    run()
