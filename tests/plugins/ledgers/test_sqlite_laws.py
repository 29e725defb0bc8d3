"""The ledger in an SQLite file keeps the laws of all stores, several stores on one file included."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from ledgering import Wall, sqlite_ledger

from penstock.testing import LEDGER_LAWS, LedgerAtHand, LedgerLaw


@asynccontextmanager
async def in_a_file() -> AsyncGenerator[LedgerAtHand]:
    wall = Wall()

    async def elapse(seconds: float) -> None:
        wall.now += seconds

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ledger.db")
        async with sqlite_ledger(path, wall) as store:
            yield LedgerAtHand(store, elapse, another=lambda: sqlite_ledger(path, wall))


@pytest.mark.slow
@pytest.mark.parametrize("law", LEDGER_LAWS, ids=lambda law: law.__name__)
def test_a_ledger_in_a_file_keeps_the_law(law: LedgerLaw) -> None:
    trio.run(law, in_a_file)
