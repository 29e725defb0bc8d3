"""Whole kernels that share a ledger, killed at random: the upstream's own count never exceeds what they may spend.

The upstream is a process that nobody kills, and counts what it serves by model; each account uses a model of its own.
Ordinary runs are small; PENSTOCK_SOAK=1 runs 8 processes with 64 calls each for a minute, for each kind of ledger.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path

import attrs
import pytest
import trio
from kernel_process import INPUT_PRICE, OUTPUT_PRICE, Account, accounts
from ledger_worker import Workers
from ledgering import sqlite_ledger
from redis_stores import opened
from rehearsal_process import Rehearsing, rehearsing
from soak import SOAK
from valkey_process import running

from penstock.abc import LedgerStore
from penstock.policy.holds import Amount
from penstock_plugins.rehearsal import Statistics

PROCESSES, CALLS, SECONDS = (8, 64, 60.0) if SOAK else (3, 16, 2.0)
PROGRAM = Path(__file__).parents[2] / "kernel_process.py"
LEASE, TIMEOUT = (10.0, 5.0) if SOAK else (2.0, 1.0)
"""Seconds: of a hold that nobody renews, and for one batch at the store."""
PATIENCE = 300.0 if SOAK else 60.0
"""Seconds within which calls must come."""
ACCOUNTS = 100
TOKENS = 250 * PROCESSES * CALLS
"""Each account's limit: a little more than all calls at once hold, so that many are used up in one run."""
NANO_USD = TOKENS * 3_500
"""Its limit where it is in money: nearly as many, for most of them are output."""


@attrs.frozen
class Shared:
    """A ledger: how a configuration names it, and how it is opened beside its kernels."""

    table: str
    open: Callable[[], AbstractAsyncContextManager[LedgerStore]]


@contextmanager
def shared(kind: str, folder: Path) -> Generator[Shared]:
    if kind == "sqlite":
        pytest.importorskip("fcntl", reason="writers queue by flock, which this system does not have")
        yield Shared('store = "sqlite"\npath = "ledger.db"', lambda: sqlite_ledger(folder / "ledger.db", time.time))
        return
    with running(folder, "--appendonly", "yes", "--appendfsync", "always") as server:
        yield Shared(
            f'store = "redis"\nurl = "{server.url}"\nnamespace = "kernels"',
            lambda: opened(server.url, "kernels"),
        )


def noon() -> str:
    """A time zone in which no day ends within the next hours."""
    offset = time.gmtime().tm_hour - 12
    return f"Etc/GMT{offset:+d}" if offset else "UTC"


def written(folder: Path, upstream: str, table: str, zone: str) -> Path:
    """The configuration of all the kernels."""
    file = folder / "penstock.toml"
    limit = f'per = "day", timezone = "{zone}"'
    tables = (
        f'[providers.openai]\napi_key = "any"\nbase_url = "{upstream}/v1"\nhidden_tokens = 0\n'
        f'[providers.anthropic]\napi_key = "any"\nbase_url = "{upstream}"\nhidden_tokens = 0\n'
        '[routes.default]\ncascade = ["t0"]\n'
        # What fails, fails at once, before the first good answers of a process are whole: many failures in a row.
        "[breaker]\nfailures_in_a_row = 32\nfailure_ratio = 1.0\n"
        f"[budget]\nhold_wait = 0.2\nlimits = [{{ {limit}, tokens = {TOKENS * ACCOUNTS} }}]\n"
        f'[accounts."tokens/*"]\nlimits = [{{ {limit}, tokens = {TOKENS} }}]\n'
        f'[accounts."money/*"]\nlimits = [{{ {limit}, usd = {NANO_USD / 1e9:.9f} }}]\n'
        f"[ledger]\nlease = {LEASE}\ntimeout = {TIMEOUT}\n{table}\n"
    )
    file.write_text(tables + "".join(account.table() for account in accounts(ACCOUNTS)))
    return file


@attrs.frozen
class Books:
    """What the upstream has served, beside what the ledger says of it."""

    upstream: Rehearsing
    ledger: Shared
    zone: str

    def check(self, *, at_rest: bool) -> tuple[Statistics, Amount]:
        """The upstream first: whatever it has served must be known to the ledger by then."""
        counted = self.upstream.statistics()
        rows = trio.run(self._rows)
        total = Amount()
        for account in accounts(ACCOUNTS):
            served = amount_served(counted, account)
            held, spent = rows.get(account.path, (Amount(), Amount()))
            total += served
            known = held + spent
            assert served.tokens <= known.tokens, f"{account}: served {served}, held {held}, spent {spent}"
            assert served.nano_usd <= known.nano_usd, f"{account}: served {served}, held {held}, spent {spent}"
            if account.in_money:
                assert known.nano_usd <= NANO_USD, f"{account}: {known}"
            else:
                assert known.tokens <= TOKENS, f"{account}: {known}"
            assert not at_rest or held == Amount(), f"{account}: {held} is held by nobody"
        held, spent = rows.get("", (Amount(), Amount()))
        assert total.tokens <= (held + spent).tokens <= TOKENS * ACCOUNTS
        return counted, spent

    async def _rows(self) -> dict[str, tuple[Amount, Amount]]:
        async with self.ledger.open() as store:
            await store.commit(())
            prefix = f"day:{self.zone}:"
            return {row.key.removeprefix(prefix): (row.held, row.spent) for row in await store.windows()}

    def used_up(self) -> int:
        """How many accounts have nothing left, of those that were begun."""
        rows = trio.run(self._rows)
        spent = [rows[account.path][1] for account in accounts(ACCOUNTS) if account.path in rows]
        return sum(each.tokens > 0.95 * TOKENS or each.nano_usd > 0.95 * NANO_USD for each in spent)


def amount_served(counted: Statistics, account: Account) -> Amount:
    served = counted.served(model=account.model)
    price = 1_000 * (INPUT_PRICE * served.input_tokens + OUTPUT_PRICE * served.output_tokens)
    return Amount(served.input_tokens + served.output_tokens, price)


def furthest(counted: Statistics) -> int:
    """The number of the last account that something was served to."""
    return max((int(account.model.removeprefix("model-")) for account, _ in counted.accounts), default=0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_kernels_that_are_killed_at_random_never_have_more_served_than_the_limit_nor_book_less(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance, zone = random.Random(4), noon()
    with rehearsing() as upstream, shared(kind, tmp_path) as ledger:
        books = Books(upstream, ledger, zone)
        config = written(tmp_path, upstream.url, ledger.table, zone)
        command = [str(PROGRAM), str(config), str(CALLS)]
        workers = Workers([*command, "0", str(ACCOUNTS)], PROCESSES, tmp_path / "kernels.log")
        try:
            workers.start()
            wait_for_requests(upstream, PROCESSES * CALLS, workers)
            until, counted = time.monotonic() + SECONDS, upstream.statistics()
            # On a slow machine longer: what is not felt proves nothing.
            while time.monotonic() < until or workers.killed < PROCESSES or furthest(counted) < 2:
                time.sleep(chance.uniform(0.1, 1.0))
                workers.kill_one(chance)
                counted, _ = books.check(at_rest=False)
                # Those before are used up, or will be by the holds of others.
                workers.command = [*command, str(max(0, furthest(counted) - 2)), str(ACCOUNTS)]
                workers.start()
                wait_for_requests(upstream, CALLS, workers)
            for _ in range(PROCESSES // 2):
                workers.kill_one(chance)
            workers.end_all()
        finally:
            workers.kill_all()
        time.sleep(LEASE + 0.5)
        counted, spent = books.check(at_rest=True)
        used_up = books.used_up()
    served = counted.served()
    with capsys.disabled():
        print(
            f"\n{kind}: {PROCESSES} processes x {CALLS} calls for {SECONDS:g} s, {workers.killed} killed;"
            f" {served.requests} requests, {served.completed} answered whole, {dict(counted.faults)};"
            f" {served.input_tokens + served.output_tokens} tokens served, {spent.tokens} spent"
            f" in {furthest(counted) + 1} accounts of {TOKENS}, {used_up} of them used up;"
            f" calls of those that were not killed: {workers.log.read_text().strip()}"
        )
    # The limits were felt: what is never reached is never exceeded either.
    assert used_up >= 2, (tmp_path / "kernels.log").read_text()[-3_000:]
    assert served.completed > 100


def wait_for_requests(upstream: Rehearsing, more: int, workers: Workers) -> None:
    """Until so many more came. A busy machine starts processes slowly, and the idle ones are not worth a kill."""
    until, before = time.monotonic() + PATIENCE, upstream.statistics().served().requests
    while upstream.statistics().served().requests < before + more:
        assert workers.all_run, workers.log.read_text()[-3_000:]
        assert time.monotonic() < until, workers.log.read_text()[-3_000:]
        time.sleep(0.05)
