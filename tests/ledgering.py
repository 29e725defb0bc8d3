"""Steps for ledger stores, a store in a file, and callers whose steps go out in batches, as a keeper sends them."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import attrs
import trio

from penstock.abc import LedgerStore
from penstock.hookspecs import PluginTools
from penstock.policy.holds import Amount, Line
from penstock.policy.ledger_steps import Answer, Reserve, Settle, Spent, Step, WindowUse

NOON = 1_777_896_000.0  # 2026-05-04 12:00 UTC
MIDNIGHT = NOON + 43_200
ROOT = "day:UTC:"


@attrs.define
class Wall:
    """A clock that stands until it is set."""

    now: float = NOON

    def __call__(self) -> float:
        return self.now


def tools(wall: Callable[[], float]) -> PluginTools:
    return PluginTools(name="sqlite", wall=wall, logger=logging.getLogger("penstock.plugins.sqlite"))


@asynccontextmanager
async def sqlite_ledger(
    path: Path,
    wall: Callable[[], float],
    *,
    synchronous: Literal["full", "normal"] = "normal",
    lock_timeout: float = 5.0,
    report_days: int = 400,
) -> AsyncGenerator[LedgerStore]:
    from penstock_plugins.ledgers.sqlite import SqliteLedgerOptions, open_sqlite_ledger

    options = SqliteLedgerOptions(
        path=path, synchronous=synchronous, lock_timeout=lock_timeout, report_days=report_days
    )
    async with open_sqlite_ledger(options, tools(wall)) as store:
        yield store


def day(
    account: str = "", *, end: float = MIDNIGHT, zone: str = "UTC", tokens: int | None = 1_000, usd: int | None = None
) -> WindowUse:
    return WindowUse(f"day:{zone}:{account}", end, rolling=False, limit_tokens=tokens, limit_nano_usd=usd)


def reserve(
    hold_id: str, tokens: int = 100, *windows: WindowUse, account: str = "", lease: float = 60.0, nano_usd: int = 0
) -> Reserve:
    return Reserve(
        hold_id=hold_id,
        account=account,
        windows=windows or (day(),),
        lines=(Line(tokens, nano_usd, 0, 0),),
        min_output=0,
        max_output=0,
        lease=lease,
    )


def settle(hold_id: str, tokens: int = 100, *, target: str = "", nano_usd: int = 0) -> Settle:
    spent = (Spent(target=target, input_tokens=tokens, nano_usd=nano_usd),) if target else ()
    return Settle(hold_id=hold_id, charged=Amount(tokens, nano_usd), spent=spent)


async def answers(store: LedgerStore, *steps: Step) -> tuple[Answer, ...]:
    return (await store.commit(steps)).answers


async def answer(store: LedgerStore, step: Step) -> Answer:
    return (await store.commit((step,))).answers[0]


async def root_window(store: LedgerStore) -> tuple[int, int]:
    """Tokens held and spent in the root's day."""
    rows = await store.windows((ROOT,))
    return (rows[0].held.tokens, rows[0].spent.tokens) if rows else (0, 0)


class Batches:
    """Sends what came in the meantime as one batch, one batch at a time."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store
        self._waiting: list[tuple[Step, Callable[[Answer], None]]] = []
        self._woken = trio.Event()
        self.committed = 0

    async def ask(self, step: Step) -> Answer:
        """Its answer."""
        answered: list[Answer] = []
        done = trio.Event()

        def take(answer: Answer) -> None:
            answered.append(answer)
            done.set()

        self._waiting.append((step, take))
        self._woken.set()
        await done.wait()
        return answered[0]

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._woken.wait()
            self._woken = trio.Event()
            batch, self._waiting = self._waiting, []
            landed = await self._store.commit([step for step, _ in batch])
            self.committed += 1
            for (_, take), answer in zip(batch, landed.answers, strict=True):
                take(answer)
