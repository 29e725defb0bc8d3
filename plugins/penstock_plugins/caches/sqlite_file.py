"""The file of the SQLite store: its schema and the steps to it, how it is opened, and what is done with a damaged one.

Not here: reading and writing entries (`sqlite`).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from penstock.errors import CacheStoreError
from penstock_plugins.sqlite import versions

__all__ = ["APPLICATION_ID", "MIGRATIONS", "inode", "is_damaged", "open_reader", "open_writer", "set_aside"]

APPLICATION_ID = 0x70656E43
"""In the header of every file of ours ("penC"): a database of somebody else's is not touched."""
ROW_OVERHEAD = 220
"""Bytes that a row takes beside its key and value, in the table and both indexes, the key once more among them."""
MIGRATIONS: Sequence[str] = (
    # Totals stand in the file, not in a process: several write to it, and each has to know what all have stored. What
    # is of use for the least time gives way first, so one index serves expiry and eviction, and no read has to write.
    f"""
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, keep_until REAL NOT NULL, sealed BLOB NOT NULL
    );
    CREATE INDEX by_end ON entries (keep_until);
    CREATE TABLE totals (
        one INTEGER PRIMARY KEY CHECK (one = 1), entries INTEGER NOT NULL, bytes INTEGER NOT NULL,
        evictions INTEGER NOT NULL
    );
    INSERT INTO totals VALUES (1, 0, 0, 0);
    CREATE TRIGGER counts_new AFTER INSERT ON entries BEGIN
        UPDATE totals SET
            entries = entries + 1, bytes = bytes + length(NEW.sealed) + length(NEW.key) + {ROW_OVERHEAD};
    END;
    CREATE TRIGGER counts_gone AFTER DELETE ON entries BEGIN
        UPDATE totals SET
            entries = entries - 1, bytes = bytes - length(OLD.sealed) - length(OLD.key) - {ROW_OVERHEAD};
    END;
    CREATE TRIGGER counts_changed AFTER UPDATE ON entries BEGIN
        UPDATE totals SET bytes = bytes + length(NEW.sealed) - length(OLD.sealed);
    END;
    """,  # noqa: S608 - a number of ours
)
"""Each is the step to the version of its place, counted from 1. Never changed once released: another is added."""
WRITER_PATIENCE = 2.0
"""Seconds to wait for another process that writes; nobody waits for the writer."""
READER_PATIENCE = 0.05
"""Seconds for a reader, who waits for nobody but who repairs the file."""
PAGES_KIB = 4_096
"""Of SQLite's own page cache, for each of two connections. More is the operating system's business."""
_CORRUPT, _NOT_A_DATABASE = 11, 26


def open_writer(path: Path, steps: Sequence[str] = MIGRATIONS) -> sqlite3.Connection:
    """A connection to the file, which is made where there is none, at the newest version.

    Raises CacheStoreError for what is no file of ours, and for one of a newer version.
    """
    return _opened(path, WRITER_PATIENCE, steps)


def open_reader(path: Path) -> sqlite3.Connection:
    """The same, to read only."""
    connection = _opened(path, READER_PATIENCE, MIGRATIONS)
    connection.execute("PRAGMA query_only = 1")
    return connection


def _opened(path: Path, patience: float, steps: Sequence[str]) -> sqlite3.Connection:
    # Its thread alone uses it; a fork closes it.
    connection = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
    try:
        versions.bring_up_to_date(connection, application_id=APPLICATION_ID, steps=steps)
        # WAL: readers wait for no writer. NORMAL: the last entries may be lost with the machine, the file never is.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA cache_size = -{PAGES_KIB}")
    except versions.StrangeFileError:
        connection.close()
        says = f"{path.name} is a database of something else; give the cache a path of its own"
        raise CacheStoreError(says) from None
    except versions.NewerFileError as newer:
        connection.close()
        raise CacheStoreError(
            f"{path.name} was written by a newer penstock (version {newer.version} of its form; this one knows"
            f" {newer.known})"
        ) from None
    except BaseException:
        connection.close()
        raise
    return connection


def is_damaged(error: Exception) -> bool:
    """True where SQLite says that the file is not, or no longer, a database."""
    code = getattr(error, "sqlite_errorcode", None)
    return (
        isinstance(error, sqlite3.DatabaseError)
        and isinstance(code, int)
        and code & 0xFF
        in (
            _CORRUPT,
            _NOT_A_DATABASE,
        )
    )


def inode(path: Path) -> int | None:
    """Which file is at that path now; None: none is."""
    try:
        return os.stat(path).st_ino  # noqa: PTH116 - a microsecond, for each job
    except OSError:
        return None


def set_aside(path: Path, damaged: int | None) -> Path | None:
    """Renames the file, as long as it is still the damaged one: another process may have begun a new one already.

    Nothing is deleted but an earlier one that was set aside. None: it was another one.
    """
    with _alone(path):
        if damaged is None or inode(path) != damaged:
            return None
        aside = path.with_name(f"{path.name}.damaged")
        path.replace(aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return aside


@contextmanager
def _alone(path: Path) -> Generator[None]:
    """No two processes at once, where the system can say so."""
    try:
        import fcntl  # noqa: PLC0415 - Unix only
    except ImportError:
        yield
        return
    with path.with_name(f"{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
