"""Rows on their way into a ledger file, numbers that SQLite has no integer for among them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

__all__ = ["write_rows"]

MOST = 2**63 - 1


def write_rows(cursor: sqlite3.Cursor, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Carries the statement out for each row."""
    try:
        _write(cursor, statement, rows)
    except OverflowError:  # rare, so that asking each figure first would cost more; rows may be written twice
        _write(cursor, statement, [_widened(row) for row in rows])


def _write(cursor: sqlite3.Cursor, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if len(rows) == 1:
        cursor.execute(statement, rows[0])
    else:
        # Not by the cursor that is kept: with Python 3.11 it would keep the statement, and that the file open.
        cursor.connection.executemany(statement, rows)


def _widened(row: Sequence[object]) -> tuple[object, ...]:
    """The row with such numbers as text."""
    return tuple([str(value) if isinstance(value, int) and not -MOST <= value <= MOST else value for value in row])
