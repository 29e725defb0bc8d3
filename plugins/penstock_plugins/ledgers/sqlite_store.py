"""The SQLite ledger as trio sees it: batches go to the thread that owns the file, readers look for themselves."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import trio

from penstock.abc import LedgerStore
from penstock.errors import LedgerUnavailableError
from penstock.hookspecs import PluginTools
from penstock.policy.ledger_steps import ClockSetBack, HistoryRow, HoldRow, Landed, SpendRow, Step, WindowRow
from penstock_plugins.ledgers.sqlite import SqliteLedgerOptions
from penstock_plugins.ledgers.sqlite_file import SqliteFile
from penstock_plugins.ledgers.sqlite_ledger import SqliteLedgerBook, time_of
from penstock_plugins.ledgers.sqlite_reading import read_file, read_history, read_holds, read_spending, read_windows
from penstock_plugins.sqlite.own_thread import Begin, OwnThread, StuckError

__all__ = ["SqliteLedger"]

R = TypeVar("R")

PAUSE = 0.25
"""Seconds without a batch after which the WAL is put into the file."""


class SqliteLedger(LedgerStore):
    """A `LedgerStore` in a file that several processes of one machine share.

    Laws besides those of LedgerStore: nothing waits longer than twice `lock_timeout`; after trouble of any kind the
    next batch tries anew; it is of use to the process that opened it alone.
    """

    def __init__(self, options: SqliteLedgerOptions, tools: PluginTools) -> None:
        self._path = options.path.absolute()  # the program may change its folder
        self._patience = options.lock_timeout
        self._wall = tools.wall
        self._logger = tools.logger
        self._process = os.getpid()
        self._file = SqliteFile(
            self._path, synchronous=options.synchronous, lock_timeout=options.lock_timeout, logger=tools.logger
        )
        self._book = SqliteLedgerBook(self._file, tools.wall, report_days=options.report_days)
        self._thread = OwnThread("penstock-ledger", rest=self._book.rest, pause=PAUSE)

    async def open(self) -> None:
        """Opens the file. Raises ConfigError and LedgerUnavailableError."""
        await self._ask(self._file.open)

    async def keep_watch(self) -> None:
        """Sees to it that nobody waits for a disk or for other processes for ever: a task, until this is closed."""
        await self._thread.keep_watch()

    async def close(self) -> None:
        """Closes it. What was committed is kept in any case."""
        if os.getpid() != self._process:
            self._thread.leave()
            return
        with trio.move_on_after(self._patience, shield=True) as scope:
            await self._thread.close(self._file.close)
        if scope.cancelled_caught:
            self._logger.warning("the ledger %s is still writing; it is closed when that ends", self._path)

    async def commit(self, steps: Sequence[Step]) -> Landed:  # noqa: D102
        landed = await self._ask(partial(self._book.commit, steps))
        # None is for who does not wait any more.
        assert landed is not None
        return landed

    async def set_clock_back(self, reason: str) -> ClockSetBack | None:  # noqa: D102
        return await self._ask(partial(self._book.set_clock_back, reason))

    async def windows(self, keys: Sequence[str] | None = None) -> Sequence[WindowRow]:  # noqa: D102
        return await self._read(partial(read_windows, keys=keys, now=time_of(self._wall)))

    async def holds(self) -> Sequence[HoldRow]:  # noqa: D102
        return await self._read(partial(read_holds, now=time_of(self._wall)))

    async def history(self, *, since: float, until: float) -> Sequence[HistoryRow]:  # noqa: D102
        return await self._read(partial(read_history, since=since, until=until))

    async def spending(self, *, since: float, until: float) -> Sequence[SpendRow]:  # noqa: D102
        return await self._read(partial(read_spending, since=since, until=until, now=time_of(self._wall)))

    async def _ask(self, act: Callable[[Begin], R]) -> R:
        self._check_process()
        try:
            return await self._thread.ask_within(self._patience, act)
        except StuckError as stuck:
            if stuck.begun or stuck.resting:
                says = f"the disk has not answered for {self._patience:g} s: see what the system's log says of it"
            else:
                says = (
                    f"others have been writing for {self._patience:g} s: end a process that is stopped while it writes,"
                    " or raise lock_timeout in [ledger]"
                )
            raise LedgerUnavailableError(f"the ledger {self._path} cannot be used: {says}") from None

    async def _read(self, act: Callable[[sqlite3.Connection], R]) -> R:
        self._check_process()
        read = partial(read_file, self._path, act, timeout=self._patience)
        return await trio.to_thread.run_sync(read, abandon_on_cancel=True)

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise LedgerUnavailableError(
                f"the ledger {self._path} was opened in process {self._process}, of which this is a fork: no SQLite"
                " connection may be used across a fork; open the kernel in the process that uses it"
            )
