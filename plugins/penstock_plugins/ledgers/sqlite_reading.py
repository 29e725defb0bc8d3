"""What is in a ledger's file, for who only looks: one state of it, beside whoever writes, and nothing is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from penstock.policy.ledger_pages import WindowPage
from penstock.policy.ledger_steps import HistoryRow, HoldRow, SpendRow, WindowRow
from penstock_plugins.ledgers.sqlite_ledger import open_book
from penstock_plugins.ledgers.sqlite_pages import SqlitePages
from penstock_plugins.ledgers.sqlite_troubles import unavailable
from penstock_plugins.sqlite.apart import open_to_read
from penstock_plugins.sqlite.forks import Guard

__all__ = ["read_file", "read_history", "read_holds", "read_spending", "read_windows"]

T = TypeVar("T")


def read_file(path: Path, act: Callable[[sqlite3.Connection], T], *, timeout: float) -> T:
    """Runs `act` on one state of the file, in any thread, beside whoever writes. Raises LedgerUnavailableError."""
    try:
        with Guard(), closing(open_to_read(path, timeout=timeout)) as connection:
            connection.execute("BEGIN")
            return act(connection)
    except (sqlite3.Error, OSError) as error:
        raise unavailable(path, error) from error


def read_windows(connection: sqlite3.Connection, keys: Sequence[str] | None, now: float) -> list[WindowRow]:
    """These windows or all, as of now, those left out in which nothing is."""
    pages = _as_of(connection, now)
    windows = pages.all_windows() if keys is None else [pages.window(key) for key in keys]
    return [window.row() for window in windows if _has_something(window)]


def read_holds(connection: sqlite3.Connection, now: float) -> list[HoldRow]:
    """Every hold as of now, oldest first."""
    return [hold.row() for hold in _as_of(connection, now).all_holds()]


def read_history(connection: sqlite3.Connection, since: float, until: float) -> list[HistoryRow]:
    """What was done by hand, oldest first."""
    rows = connection.execute(
        'SELECT at, action, account, "window", before, after, reason FROM history WHERE at >= ? AND at < ? ORDER BY id',
        (since, until),
    )
    return [
        HistoryRow(at=at, action=action, account=account, window=window, before=before, after=after, reason=reason)
        for at, action, account, window, before, after, reason in rows
    ]


def read_spending(connection: sqlite3.Connection, since: float, until: float, now: float) -> list[SpendRow]:
    """The journal of that time, as of now."""
    return _as_of(connection, now).spent(since, until)


def _as_of(connection: sqlite3.Connection, now: float) -> SqlitePages:
    """The pages with leases ended that have ended, in memory alone: the next batch will write that."""
    book, pages = open_book(connection)
    book.advance(now)
    return pages


def _has_something(window: WindowPage) -> bool:
    return bool(window.buckets) or window.limit_tokens is not None or window.limit_nano_usd is not None
