"""A ledger in memory: it lives as long as the kernel, and nobody shares it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

from penstock.abc import LedgerStore
from penstock.hookspecs import LedgerSpec, PluginTools, hookimpl
from penstock.policy.ledger_book import LedgerBook
from penstock.policy.ledger_steps import HistoryRow, HoldRow, Landed, SpendRow, Step, WindowRow
from penstock.policy.memory_pages import MemoryPages

__all__ = ["MemoryLedger", "penstock_ledgers"]


class MemoryLedger(LedgerStore):
    """The book itself, on pages in memory."""

    shared: ClassVar[bool] = False
    durable: ClassVar[bool] = False
    waits: ClassVar[bool] = False

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._pages = MemoryPages()
        self._book = LedgerBook(self._pages)

    async def commit(self, steps: Sequence[Step]) -> Landed:
        """Carries out the steps at once."""
        return self._book.run(steps, self._wall())

    async def windows(self, keys: Sequence[str] | None = None) -> Sequence[WindowRow]:
        """As they are now."""
        self._book.advance(self._wall())
        return self._pages.windows(keys, self._book.now)

    def peek(self) -> Sequence[WindowRow]:
        """As they are now."""
        self._book.advance(self._wall())
        return self._pages.windows(None, self._book.now)

    async def holds(self) -> Sequence[HoldRow]:
        """As they are now."""
        self._book.advance(self._wall())
        return self._pages.holds()

    async def history(self, *, since: float, until: float) -> Sequence[HistoryRow]:
        """What was done by hand, the latest thousand."""
        return self._pages.history(since, until)

    async def spending(self, *, since: float, until: float) -> Sequence[SpendRow]:
        """The latest ten thousand rows."""
        self._book.advance(self._wall())
        return self._pages.spent(since, until)


@asynccontextmanager
async def _open(_: object, tools: PluginTools) -> AsyncGenerator[LedgerStore]:
    yield MemoryLedger(tools.wall)


@hookimpl
def penstock_ledgers() -> Sequence[LedgerSpec]:
    """The store named `memory`."""
    return [LedgerSpec("memory", _open)]
