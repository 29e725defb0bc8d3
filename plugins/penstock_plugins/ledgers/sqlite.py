"""The ledger in an SQLite file: what it spends survives restarts, `kill -9` and power cuts, and processes share it.

    [ledger]
    store = "sqlite"
    path = "penstock.db"

The plugin's options and its hook. Not here: the store (`sqlite_store`), which is imported, with sqlite3, when it is
opened.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import attrs
import trio

from penstock.abc import LedgerStore
from penstock.errors import LedgerUnavailableError
from penstock.hookspecs import LedgerSpec, PluginTools, hookimpl
from penstock_plugins.sqlite.options import names_a_file

__all__ = ["SqliteLedgerOptions", "open_sqlite_ledger", "penstock_ledgers"]


@attrs.frozen(kw_only=True)
class SqliteLedgerOptions:
    """What `[ledger]` may say beside `store = "sqlite"`."""

    path: Path = attrs.field(default=Path("penstock.db"), validator=names_a_file)
    """The file; made where there is none, never on a network file system. Beside it lie `-wal`, `-shm` and `-lock`."""
    synchronous: Literal["full", "normal"] = "full"
    """`full`: what is held is on the disk before a call goes out. `normal`: a power cut may forget the last moments; a
    crash of the process never does."""
    lock_timeout: float = attrs.field(default=4.0, validator=attrs.validators.gt(0))
    """Seconds that a batch waits for other processes, and as many again for the disk: then calls are refused. Less than
    the `timeout` that the kernel gives its store, so that the refusal says what was waited for."""
    report_days: int = attrs.field(default=400, validator=attrs.validators.ge(1))
    """Days for which `penstock budget report` can be asked: a year, and a month to compare."""


@asynccontextmanager
async def open_sqlite_ledger(options: SqliteLedgerOptions, tools: PluginTools) -> AsyncGenerator[LedgerStore]:
    """Opens the ledger in a file.

    Raises ConfigError where it takes hands to make the file usable: it is another program's, of a newer penstock,
    damaged, on a network file system, in a folder that may not be written to. What may pass (another process writes,
    the disk is full) is logged; until it has passed, `commit` raises LedgerUnavailableError.
    """
    from penstock_plugins.ledgers.sqlite_store import SqliteLedger  # noqa: PLC0415 - sqlite3 only where it is used

    store = SqliteLedger(options, tools)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.keep_watch)
            try:
                try:
                    await store.open()
                except LedgerUnavailableError as trouble:
                    tools.logger.warning("%s; it is tried again with each batch", trouble)
                yield store
            finally:
                await store.close()
    except BaseExceptionGroup as group:
        # The watch raises nothing, so that it is one error of whoever has the store: no group of ours reaches a user.
        (error,) = group.exceptions
        raise error from error.__cause__


@hookimpl
def penstock_ledgers() -> Sequence[LedgerSpec]:
    """The ledger in a file."""
    return (LedgerSpec(name="sqlite", open=open_sqlite_ledger, options=SqliteLedgerOptions),)
