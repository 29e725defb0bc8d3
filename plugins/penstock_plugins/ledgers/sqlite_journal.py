"""What was spent, by account and target and quarter of an hour, in rows of an SQLite file: for reports.

Not here: what is free (`sqlite_pages`). Rows of the current quarter are kept in memory while nobody else writes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from penstock.policy.ledger_steps import SpendRow, Spent
from penstock_plugins.ledgers.sqlite_rows import update_rows

__all__ = ["SqliteJournal"]

_Key: TypeAlias = tuple[float, str, str, bool]
"""Since, account, target, and whether the charge was an estimate."""

_COLUMNS = """calls, attempts, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
  nano_usd"""
_READ = f"SELECT {_COLUMNS} FROM journal WHERE since = ? AND account = ? AND target = ? AND estimated = ?"  # noqa: S608 - our own names
_WRITE = f"""
INSERT INTO journal ({_COLUMNS}, since, account, target, estimated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (since, account, target, estimated) DO UPDATE SET
  calls = excluded.calls, attempts = excluded.attempts, input_tokens = excluded.input_tokens,
  cached_input_tokens = excluded.cached_input_tokens, cache_write_tokens = excluded.cache_write_tokens,
  output_tokens = excluded.output_tokens, reasoning_tokens = excluded.reasoning_tokens, nano_usd = excluded.nano_usd
"""  # noqa: S608 - our own names
_UPDATE = """
UPDATE journal SET calls = ?, attempts = ?, input_tokens = ?, cached_input_tokens = ?, cache_write_tokens = ?,
  output_tokens = ?, reasoning_tokens = ?, nano_usd = ?
WHERE since = ? AND account = ? AND target = ? AND estimated = ?
"""
_READ_SPAN = f"""
SELECT since, account, target, estimated, {_COLUMNS} FROM journal WHERE since >= ? AND since < ?
"""  # noqa: S608 - our own names


class SqliteJournal:
    """Adds charges up and writes each row once a batch. Within the transaction of who owns it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._since: float | None = None
        self._mixed = False
        """Rows of other quarters are kept as well, until the next `write`."""
        self._rows: dict[_Key, list[int]] = {}
        self._touched: set[_Key] = set()

    def add(self, since: float, account: str, spent: Iterable[Spent], calls: int) -> None:
        """Adds a call's charge to the quarter of an hour that begins at `since`, or takes it back."""
        if since != self._since:
            self._since, self._mixed = since, bool(self._rows)
        for one in spent:
            key = (since, account, one.target, one.estimated)
            row = self._rows.get(key)
            if row is None:
                row = self._rows[key] = self._read(key)
            # One by one: a loop over them costs twice as much, in every call.
            row[0] += calls
            row[1] += one.attempts
            row[2] += one.input_tokens
            row[3] += one.cached_input_tokens
            row[4] += one.cache_write_tokens
            row[5] += one.output_tokens
            row[6] += one.reasoning_tokens
            row[7] += one.nano_usd
            self._touched.add(key)

    def write(self) -> None:
        """Writes what was added."""
        if not self._touched:
            return
        update_rows(self._cursor, _UPDATE, _WRITE, [(*self._rows[key], *key) for key in self._touched])
        self._touched.clear()
        if self._mixed:
            self._rows = {key: row for key, row in self._rows.items() if key[0] == self._since}
            self._mixed = False

    def rows(self, since: float, until: float) -> list[SpendRow]:
        """The rows of that time, oldest first, with what was added and not written."""
        rows = dict(_read_span(self._connection, since, until))
        rows |= {key: self._rows[key] for key in self._touched if since <= key[0] < until}
        # One without a call was taken back.
        return [_spend_row(key, figures) for key, figures in sorted(rows.items()) if figures[0]]

    @property
    def size(self) -> int:
        """How many rows are kept in memory."""
        return len(self._rows)

    def _read(self, key: _Key) -> list[int]:
        rows = self._cursor.execute(_READ, key).fetchall()  # all: the statement must not stay open
        return [int(figure) for figure in rows[0]] if rows else [0] * 8


def _read_span(connection: sqlite3.Connection, since: float, until: float) -> Iterator[tuple[_Key, list[int]]]:
    for quarter, account, target, estimated, *figures in connection.execute(_READ_SPAN, (since, until)):
        yield (quarter, account, target, bool(estimated)), [int(figure) for figure in figures]


def _spend_row(key: _Key, figures: list[int]) -> SpendRow:
    since, account, target, estimated = key
    calls, attempts, input_tokens, cached, cache_write, output_tokens, reasoning, nano_usd = figures
    spent = Spent(
        target=target,
        attempts=attempts,
        input_tokens=input_tokens,
        cached_input_tokens=cached,
        cache_write_tokens=cache_write,
        output_tokens=output_tokens,
        reasoning_tokens=reasoning,
        nano_usd=nano_usd,
        estimated=estimated,
    )
    return SpendRow(since=since, account=account, calls=calls, spent=spent)
