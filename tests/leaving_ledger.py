"""A ledger in memory that is away when it is told to be."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

from penstock.abc import LedgerStore
from penstock.errors import LedgerUnavailableError
from penstock.hookspecs import LedgerSpec, PluginTools, hookimpl
from penstock.policy.ledger_steps import Landed, Step
from penstock_plugins.ledgers.memory import MemoryLedger


class LeavingLedger:
    """The plugin: `[ledger] store = "leaving"`. It behaves like a server that others use too."""

    def __init__(self) -> None:
        self.away = False

    @hookimpl
    def penstock_ledgers(self) -> Sequence[LedgerSpec]:
        """The one store."""
        plugin = self

        class Leaving(MemoryLedger):
            shared: ClassVar[bool] = True
            durable: ClassVar[bool] = True

            def peek(self) -> None:  # type: ignore[override]
                return None

            async def commit(self, steps: Sequence[Step]) -> Landed:
                if plugin.away:
                    raise LedgerUnavailableError("out to lunch")
                return await super().commit(steps)

        @asynccontextmanager
        async def opening(_: object, tools: PluginTools) -> AsyncGenerator[LedgerStore]:
            yield Leaving(tools.wall)

        return [LedgerSpec("leaving", opening)]
