"""Rows on their way into a ledger file, numbers that SQLite has no integer for among them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

__all__ = ["update_rows", "write_rows"]

MOST = 2**63 - 1


def write_rows(cursor: sqlite3.Cursor, statement: str, rows: Sequence[tuple[Any, ...]]) -> int:
    """Carries the statement out for each row; returns how many rows of the table it came to."""
    try:
        if len(rows) == 1:
            return cursor.execute(statement, rows[0]).rowcount
        # Not by the cursor that is kept: with Python 3.11 it would keep the statement, and that the file open.
        return cursor.connection.executemany(statement, rows).rowcount
    except OverflowError:  # rare, so that asking each figure first would cost more; rows may be written twice
        return cursor.connection.executemany(statement, [_widened(row) for row in rows]).rowcount


def update_rows(cursor: sqlite3.Cursor, update: str, insert: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Writes rows that nearly always are there. `insert` takes the same, whether they are there or not, and longer."""
    if write_rows(cursor, update, rows) < len(rows):
        write_rows(cursor, insert, rows)


def _widened(row: Sequence[object]) -> tuple[object, ...]:
    """The row with such numbers as text."""
    return tuple([str(value) if isinstance(value, int) and not -MOST <= value <= MOST else value for value in row])
