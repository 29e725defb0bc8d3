"""What a ledger file holds by itself, its WAL left aside; whether both together are sound.

By it an older copy is known that was put over a file while its `-wal` stays. SQLite then takes from the WAL what is
there, and all else from the copy: the newest number of batches, beside accounts in which nothing has been spent. By
the name of its books another ledger is known in the same way.
Not here: when it is looked at (`sqlite_file`).
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Literal

from msgspec import Struct

from penstock_plugins.ledgers.sqlite_schema import APPLICATION_ID, NAMED
from penstock_plugins.ledgers.sqlite_troubles import is_spoiled
from penstock_plugins.sqlite.apart import open_to_read

__all__ = ["Books", "books_in", "is_sound"]


class Books(Struct, frozen=True):
    """Which books a file has, and how far."""

    batches: int
    """What one checkpoint put there, no later one takes away."""
    name: str
    """Empty where they were written before books had one."""


def books_in(path: Path) -> Books | None:
    """What the file itself holds.

    None where that cannot be told: it does not begin as a ledger does, or a checkpoint is under way, or the process of
    one was killed. Read twice, as the first time may have met half a page.
    """
    found = _read(path)
    return found if found == _read(path) else None


def _read(path: Path) -> Books | None:
    # By SQLite: to open and close it ourselves would end the locks that SQLite has on it.
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)
        try:
            if _is_ledger(connection):
                ((version,),) = connection.execute("PRAGMA user_version")
                name = "name" if version >= NAMED else "''"
                ((writes, name),) = connection.execute(f"SELECT writes, {name} FROM ledger WHERE one = 1")  # noqa: S608 - our own names
                return Books(writes, name) if isinstance(writes, int) else None
        finally:
            connection.close()
    except (sqlite3.Error, ValueError):  # ValueError: no such row
        pass
    return None


def is_sound(path: Path, *, timeout: float, check: Literal["quick", "integrity"] = "quick") -> bool:
    """Whether the file and its WAL together are a ledger: read whole, by SQLite, under its locks. Only
    `integrity` looks whether tables and their indexes say the same.

    Raises sqlite3.Error and OSError where that cannot be told now.
    """
    if not path.stat().st_size:
        return False  # not even opened: SQLite would take it for a new database, and its WAL away
    connection = open_to_read(path, timeout=timeout)
    try:
        connection.execute("BEGIN")
        return _is_ledger(connection) and connection.execute(f"PRAGMA {check}_check(1)").fetchall() == [("ok",)]
    except sqlite3.DatabaseError as error:
        if is_spoiled(error):
            return False
        raise
    finally:
        connection.close()


def _is_ledger(connection: sqlite3.Connection) -> bool:
    ((application,),) = connection.execute("PRAGMA application_id")
    return bool(application == APPLICATION_ID)
