"""One of several processes that spend from one SQLite ledger until they are killed: see `plugins/ledgers`.

    python ledger_process.py LEDGER SERVED LIMIT CALLERS SEED LEASE

What it serves it writes to SERVED, a number a line, before it settles: a count of its own, which `kill -9` does not
take away. It ends at the end of its input.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

import attrs
import trio
from ledgering import Batches, reserve, settle, sqlite_ledger

from penstock.policy.ledger_steps import Held, Lacking, WindowUse

MOST = 1_000
"""Tokens of one call at most."""


@attrs.define
class Spender:
    """Callers that share one connection to the ledger, and one limit with all other processes."""

    ledger: Path
    served: int
    """The file of what was served."""
    limit: int
    chance: random.Random
    lease: float

    async def run(self, callers: int) -> None:
        """Until the end of the input."""
        async with sqlite_ledger(self.ledger, time.time, lock_timeout=60.0) as store:
            batches = Batches(store)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(batches.run)
                for caller in range(callers):
                    nursery.start_soon(self.call, batches, f"{os.getpid()}-{caller}")
                await trio.to_thread.run_sync(sys.stdin.read)
                nursery.cancel_scope.cancel()

    async def call(self, batches: Batches, name: str) -> None:
        """Calls of one caller, one after the other."""
        account = f"team/{os.getpid() % 4}"
        # They end far away: no run goes over midnight.
        windows = tuple(
            WindowUse(f"month:UTC:{path}", 4e9, rolling=False, limit_tokens=self.limit)
            for path in ("", "team", account)
        )
        for number in range(1_000_000):
            hold_id, most = f"{name}-{number}", self.chance.randint(1, MOST)
            answer = await batches.ask(reserve(hold_id, most, *windows, account=account, lease=self.lease))
            if isinstance(answer, Lacking):
                await trio.sleep(0.02)
                continue
            assert isinstance(answer, Held), answer
            tokens = self.chance.choice((0, most // 2, most))
            await trio.sleep(self.chance.random() * 0.005)
            os.write(self.served, f"{tokens}\n".encode())
            await batches.ask(settle(hold_id, tokens))


if __name__ == "__main__":
    path, log, limit, callers, seed, lease = sys.argv[1:]
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    trio.run(Spender(Path(path), file, int(limit), random.Random(seed), float(lease)).run, int(callers))
