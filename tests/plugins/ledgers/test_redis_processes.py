"""Many processes on one ledger on Redis, killed at random: no limit is exceeded, nothing that was served forgotten."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio
from ledger_worker import ACCOUNTS, LEASE, Limits, Upstream, Workers
from redis_stores import opened
from soak import SOAK
from valkey_process import Valkey, running

PROCESSES, TASKS, SECONDS = (8, 64, 60.0) if SOAK else (3, 16, 5.0)
LIMITS = Limits(total=3_000 * int(SECONDS), account=1_200 * int(SECONDS), second=5_000)


@pytest.mark.slow
def test_no_limit_is_exceeded_however_many_processes_are_killed(tmp_path: Path) -> None:
    print(f"{PROCESSES} processes x {TASKS} tasks for {SECONDS:g} s")
    upstream = Upstream()

    async def main(server: Valkey) -> None:
        async with upstream.listening() as port:
            limits = [str(LIMITS.total), str(LIMITS.account), str(LIMITS.second)]
            program = str(Path(__file__).parents[2] / "redis_worker.py")
            workers = Workers(
                [program, server.url, "processes", str(port), *limits, str(TASKS)], PROCESSES, tmp_path / "log"
            )
            try:
                await killing(workers, server, upstream)
            finally:
                await trio.to_thread.run_sync(workers.kill_all)
            print(f"{workers.killed} killed, {upstream.by_account.total()} tokens served")
            assert workers.killed > 2
        async with opened(server.url, "processes") as store:
            await trio.sleep(LEASE + 0.5)
            rows = {row.key: row for row in await store.windows()}
            assert all(hold.lapsed for hold in await store.holds())
        for account in ACCOUNTS:
            spent = rows[f"month:UTC:{account}"].spent.tokens
            assert upstream.by_account[account] <= spent <= LIMITS.account
        assert upstream.by_account.total() <= rows["month:UTC:"].spent.tokens <= LIMITS.total
        assert rows["month:UTC:"].held.tokens == 0
        assert max(upstream.by_second.values()) <= LIMITS.second
        # The limits were felt: what is never reached is never exceeded either.
        served = upstream.by_account.total()
        assert served > LIMITS.total / 2 or max(upstream.by_second.values()) > LIMITS.second / 2, served

    with running(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as server:
        trio.run(main, server)


async def killing(workers: Workers, server: Valkey, upstream: Upstream) -> None:
    """Kills and replaces workers, and halfway the server itself, which keeps what it answered."""
    chance = random.Random(11)
    workers.start()
    with trio.fail_after(120):
        # A busy machine starts processes slowly, and one that has not begun is not worth a kill.
        while not upstream.by_account.total():  # noqa: ASYNC110 - other processes
            await trio.sleep(0.05)
    until, half = trio.current_time() + SECONDS, trio.current_time() + SECONDS / 2
    while trio.current_time() < until:
        await trio.sleep(chance.uniform(0.3, 1.5))
        workers.kill_one(chance)
        workers.start()
        if trio.current_time() > half:
            half = until
            server.kill()
            await trio.to_thread.run_sync(server.start)
