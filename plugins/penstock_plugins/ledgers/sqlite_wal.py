"""How a ledger's file is opened with its WAL, and what is there comes into the file. Not here: when (`sqlite_file`)."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Literal

from penstock.errors import ConfigError

__all__ = ["MOST_WAL", "begin_wal", "open_to_write", "put_into_file"]

STATEMENTS = 128
"""Prepared statements that are kept: more than there are."""
MOST_WAL = 2**25
"""Bytes of the WAL beyond which it is put into the file while nobody else may write: a tenth of a second."""


def open_to_write(path: Path, mode: Literal["rw", "rwc"], timeout: float) -> sqlite3.Connection:
    """A connection for one thread at a time; `rwc` makes a file where there is none. Raises sqlite3.Error."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=timeout,
        isolation_level=None,  # transactions begin and end where we say
        cached_statements=STATEMENTS,
        check_same_thread=False,  # before a fork another thread closes it
    )


def begin_wal(connection: sqlite3.Connection, synchronous: Literal["full", "normal"]) -> None:
    """For a connection that was just made. Raises ConfigError where the file system has no WAL."""
    ((journal,),) = connection.execute("PRAGMA journal_mode = WAL")
    if journal != "wal":
        raise ConfigError("it is on a file system on which SQLite has no WAL: name another path")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA wal_autocheckpoint = 0")  # not while somebody waits
    connection.execute(f"PRAGMA journal_size_limit = {MOST_WAL}")  # it is cut to that when it begins anew


def put_into_file(connection: sqlite3.Connection) -> int:
    """Puts the WAL into the file, as far as nobody reads from it: how many batches the disk has there then for good.

    0 where that is not certain. What a look at the file finds is not: beside one who commits meanwhile SQLite leaves
    the file unsynced, and its answer says nothing of it. Until it is synced the WAL has it all. Raises sqlite3.Error.
    """
    before = _commits_of_others(connection)
    ((batches,),) = connection.execute("SELECT writes FROM ledger")
    ((busy, pages, put),) = connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    is_synced = not busy and put == pages and _commits_of_others(connection) == before
    return int(batches) if is_synced else 0


def _commits_of_others(connection: sqlite3.Connection) -> int:
    """A number that changes with each of them."""
    ((version,),) = connection.execute("PRAGMA data_version")
    return int(version)
