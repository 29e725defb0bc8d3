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
        return _write(cursor, statement, rows)
    except OverflowError:  # rare, so that asking each figure first would cost more; rows may be written twice
        return _write(cursor, statement, [_widened(row) for row in rows])


def update_rows(
    cursor: sqlite3.Cursor, update: str, insert: str, rows: Sequence[tuple[Any, ...]], *, keys: int
) -> None:
    """Writes rows that nearly always are there, and begin with so many `keys`, which `update` takes last.

    `insert` takes them as they are, and any row, but half as long again.
    """
    if write_rows(cursor, update, [(*row[keys:], *row[:keys]) for row in rows]) < len(rows):
        write_rows(cursor, insert, rows)


def _write(cursor: sqlite3.Cursor, statement: str, rows: Sequence[tuple[Any, ...]]) -> int:
    if len(rows) == 1:
        return cursor.execute(statement, rows[0]).rowcount
    # Not by the cursor that is kept: with Python 3.11 it would keep the statement, and that the file open.
    return cursor.connection.executemany(statement, rows).rowcount


def _widened(row: Sequence[object]) -> tuple[object, ...]:
    """The row with such numbers as text."""
    return tuple([str(value) if isinstance(value, int) and not -MOST <= value <= MOST else value for value in row])
