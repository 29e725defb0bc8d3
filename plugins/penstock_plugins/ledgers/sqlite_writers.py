"""Who wrote the last batch of a ledger file, and which was the last one of each other process.

By it a process finds out whether a file still has its own last batch: an older copy that was put in its place has not,
nor has one that was begun anew, however far others have gone on since. Only where another process takes over something
is written: the last batch of the one before it. Not here: what that means (`sqlite_ledger`).
"""

from __future__ import annotations

import sqlite3

from msgspec import Struct

__all__ = ["KEPT", "Taken", "purge_writers", "take_over"]

KEPT = 90 * 86_400.0
"""Seconds for which the last batch of a process is kept that has not written since."""

_FIND = """
SELECT ledger.writer, ledger.writes, ledger.latest, writers.last
FROM ledger LEFT JOIN writers ON writers.name = ?
"""
_KEEP = "INSERT OR REPLACE INTO writers (name, last, at) VALUES (?, ?, ?)"
_BEGIN = "UPDATE ledger SET latest = ?, writes = ?, writer = ?"
_PURGE = "DELETE FROM writers WHERE at < ?"


class Taken(Struct, frozen=True):
    """How the file was found."""

    latest: float
    """The time of the batch that begins now: never before that of the last one."""
    writes: int
    """Its number."""
    own: int | None
    """The number of our own last batch that is in the file; None: there is none."""


def take_over(connection: sqlite3.Connection, writer: str, now: float) -> Taken:
    """Begins a batch of this writer, in a transaction, whoever wrote the last one."""
    ((last_writer, writes, latest, own),) = connection.execute(_FIND, (writer,))
    if last_writer == writer:
        own = writes
    elif last_writer:
        connection.execute(_KEEP, (last_writer, writes, latest))
    taken = Taken(max(latest, now), writes + 1, own)
    connection.execute(_BEGIN, (taken.latest, taken.writes, writer))
    return taken


def purge_writers(connection: sqlite3.Connection, now: float) -> None:
    """Forgets those that have not written for long."""
    connection.execute(_PURGE, (now - KEPT,))
