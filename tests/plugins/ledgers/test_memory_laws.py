"""The ledger in memory keeps the laws of all stores."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest
import trio

from penstock.policy.ledger_steps import Landed, Step
from penstock.testing import LEDGER_LAWS, BrokenLawError, LedgerAtHand, LedgerLaw, check_ledger
from penstock_plugins.ledgers.memory import MemoryLedger


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    async def elapse(self, seconds: float) -> None:
        self.now += seconds


@asynccontextmanager
async def in_memory(ledger: type[MemoryLedger] = MemoryLedger) -> AsyncGenerator[LedgerAtHand]:
    clock = Clock()
    yield LedgerAtHand(ledger(lambda: clock.now), clock.elapse)


@pytest.mark.parametrize("law", LEDGER_LAWS, ids=lambda law: law.__name__)
def test_a_ledger_in_memory_keeps_the_law(law: LedgerLaw) -> None:
    trio.run(law, in_memory)


def test_all_laws_are_checked_at_once() -> None:
    assert len(LEDGER_LAWS) > 30
    trio.run(check_ledger, in_memory)


def test_a_store_that_waits_and_says_that_it_never_does_breaks_a_law() -> None:
    class Hasty(MemoryLedger):
        waits: ClassVar[bool] = False

        async def commit(self, steps: Sequence[Step]) -> Landed:
            await trio.lowlevel.checkpoint()
            return await super().commit(steps)

    class Patient(MemoryLedger):
        async def commit(self, steps: Sequence[Step]) -> Landed:
            await trio.lowlevel.checkpoint()
            return await super().commit(steps)

    trio.run(check_ledger, lambda: in_memory(Patient))
    with pytest.raises(BrokenLawError, match="its class needs `waits = True`"):
        trio.run(check_ledger, lambda: in_memory(Hasty))
