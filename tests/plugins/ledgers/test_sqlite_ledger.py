"""The ledger in a file, by example: what is kept over restarts, what readers see, and what several stores share."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
from ledgering import MIDNIGHT, NOON, ROOT, Wall, answer, answers, day, reserve, root_window, settle, sqlite_ledger

from penstock.abc import LedgerStore
from penstock.policy.holds import Amount
from penstock.policy.ledger_steps import (
    Change,
    Changed,
    Charged,
    Held,
    Known,
    Lacking,
    Release,
    Renew,
    SpendRow,
    Spent,
    Stale,
    TopUp,
    WindowRow,
)

Story = Callable[[LedgerStore], Awaitable[None]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a ledger?.db"


@pytest.fixture
def wall() -> Wall:
    return Wall()


def told(path: Path, wall: Wall, *stories: Story) -> None:
    """Each story with a store of its own, opened when the one before is closed."""

    async def main() -> None:
        with trio.fail_after(20):
            for story in stories:
                async with sqlite_ledger(path, wall) as store:
                    await story(store)

    trio.run(main)


def test_what_is_held_and_spent_is_there_after_a_restart(path: Path, wall: Wall) -> None:
    async def first(store: LedgerStore) -> None:
        await answers(store, reserve("one", 300), reserve("two", 200), settle("one", 30))

    async def second(store: LedgerStore) -> None:
        assert await root_window(store) == (200, 30)
        assert [row.hold_id for row in await store.holds()] == ["two"]
        assert isinstance(await answer(store, reserve("three", 800)), Lacking)
        assert await answer(store, settle("two", 50)) == Charged(
            Amount(200), ((await answers(store))[0:0]) or _turn(30, 80)
        )

    told(path, wall, first, second)


def _turn(before: int, after: int) -> tuple[object, ...]:
    from penstock.policy.ledger_steps import Turn

    return (Turn(ROOT, Amount(before), Amount(after), MIDNIGHT),)
