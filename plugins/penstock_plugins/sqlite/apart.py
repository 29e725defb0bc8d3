"""To close a database and leave its file and its WAL as they are."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path

__all__ = ["close_apart", "open_to_read"]


def close_apart(path: Path, connection: sqlite3.Connection) -> None:
    """Closes it and leaves the file and its WAL as they are.

    The last to close a file puts the WAL into it, unless it may only read; so another closes it last, that may.
    """
    other: sqlite3.Connection | None = None
    with suppress(sqlite3.Error):
        other = open_to_read(path, timeout=0.0)
        other.execute("PRAGMA schema_version").fetchall()  # takes the lock that is kept until it is closed
    connection.close()
    if other is not None:
        other.close()


def open_to_read(path: Path, *, timeout: float) -> sqlite3.Connection:
    """A connection that writes nothing, to a file that there is. `timeout`: seconds to wait for a lock."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=timeout, isolation_level=None)
