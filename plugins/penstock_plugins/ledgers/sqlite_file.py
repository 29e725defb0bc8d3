"""One SQLite file as its writer uses it: opened, checked, written to in turn, closed when anything is wrong with it.

Everything but the constructor runs in the one thread that owns the connection. Not here: what is written
(`sqlite_ledger`), and the thread (`penstock_plugins.sqlite.own_thread`).
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from penstock.errors import ConfigError, LedgerUnavailableError
from penstock_plugins.ledgers.sqlite_queue import WriterQueue
from penstock_plugins.ledgers.sqlite_schema import APPLICATION_ID, bring_up_to_date
from penstock_plugins.ledgers.sqlite_troubles import is_spoiled, network_file_system, not_to_be_opened, unavailable

__all__ = ["SqliteFile", "read_file"]

T = TypeVar("T")
_Seen: TypeAlias = tuple[int, ...]

_DAMAGED = (
    "the ledger {path} was overwritten or cut short while it was in use: what was spent is not known any more; bring"
    " the file back, or stop what uses it and put a copy in its place"
)
_PARTED = (
    "the files beside the ledger {path} (-shm, -wal) were taken away while it was in use: those that opened it since"
    " and this one do not see what the other writes, so this process refuses calls of accounts with limits; end it, and"
    " start it anew (penstock budget set corrects what is spent)"
)
_BEGUN_ANEW = (
    "the ledger %s is begun anew: there was one before, and its file is gone or empty. What was spent is not known any"
    " more; where nobody meant that, bring the file back"
)
STATEMENTS = 128
"""Prepared statements that are kept: more than there are."""


class SqliteFile:
    """A file, a connection while all is well, and a place in the queue of those who write.

    Laws: a `write` that raises has changed nothing, or nobody knows (the disk failed at the very end); after any error
    of SQLite the connection is closed and the next write opens it anew, so that it recovers when the cause is gone.
    """

    def __init__(
        self, path: Path, *, synchronous: Literal["full", "normal"], lock_timeout: float, logger: logging.Logger
    ) -> None:
        self.path = path
        self._place = str(path)
        """For what looks at it in every batch: of a Path the text is made anew each time."""
        self._logger = logger
        self._synchronous = synchronous
        self._lock_timeout = lock_timeout
        self._queue = WriterQueue(path.with_name(f"{path.name}-lock"))
        self._connection: sqlite3.Connection | None = None
        self._cursor: sqlite3.Cursor | None = None
        """Kept, as a new one for each statement takes a microsecond."""
        self._seen: _Seen = ()
        """The file that was opened, as it was seen last: another may be put in its place. Empty: none was."""
        self._shared = str(path.with_name(f"{path.name}-shm"))
        self._index = 0
        """The inode of `_shared`, in which the processes that use the file tell one another where its WAL ends."""
        self._doubted = False
        """It looked as if it was overwritten or cut short, and SQLite has not found it sound since."""
        self._checked = 0
        """How many rows the connection had written when the WAL was last put into the file."""

    def open(self, begin: Callable[[], bool]) -> None:
        """Opens the file, makes it where there is none, and brings it up to date.

        Raises ConfigError where that takes somebody's hands, LedgerUnavailableError where it may pass.
        """
        found = network_file_system(self.path.absolute().parent.resolve())
        if found:
            raise ConfigError(
                f"[ledger] path: {self.path} is on a file system of a network ({found}), where SQLite cannot keep what"
                " several machines write apart: name a path on a disk of this machine, or use a Redis store"
            )
        try:
            self._queue.enter()
            try:
                if begin():
                    self._connect()
            finally:
                self._queue.leave()
        except (sqlite3.Error, OSError) as error:
            self.disconnect()
            raise not_to_be_opened(self.path, error) from error

    def write(self, act: Callable[[sqlite3.Connection], T], begin: Callable[[], bool]) -> T | None:
        """Runs `act` within a transaction when it is this writer's turn. None, and nothing done, where `begin` says no.

        Raises LedgerUnavailableError; whatever else `act` raises, nothing of it is kept either.
        """
        try:
            self._queue.enter()
            try:
                return self._transact(act) if begin() else None
            finally:
                self._queue.leave()
        except (sqlite3.Error, OSError) as error:
            self.disconnect()
            raise unavailable(self.path, error) from error

    @property
    def unchecked(self) -> int:
        """Rows that were written since the WAL was last put into the file."""
        return 0 if self._connection is None else self._connection.total_changes - self._checked

    def checkpoint(self) -> None:
        """Puts the WAL into the file, as far as nobody reads from it. Never raises: it will be tried again."""
        if self._connection is None:
            return
        self._checked = self._connection.total_changes
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error:
            # Nothing is lost: it all is in the WAL. The next write meets the trouble and tells of it.
            self.disconnect()

    def disconnect(self) -> None:
        """Lets go of the connection; an open transaction is rolled back."""
        connection, self._connection = self._connection, None
        self._cursor = None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """For good."""
        self.disconnect()
        self._queue.close()

    def _transact(self, act: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection
        if connection is not None and (seen := _seen(self._place)) != self._seen:
            if seen[:2] != self._seen[:2]:
                self.disconnect()
                connection = None
            else:
                self._look(seen)
        if connection is not None and _inode(self._shared) != self._index:
            # Not let go of: SQLite would put what it knows into the file, over what others have written since.
            raise LedgerUnavailableError(_PARTED.format(path=self.path))
        if connection is None:
            if self._doubted:
                self._judge()
            connection = self._connect()
        cursor = self._cursor
        assert cursor is not None  # as long as there is a connection
        cursor.execute("BEGIN IMMEDIATE")
        try:
            result = act(connection)
            cursor.execute("COMMIT")
        except BaseException:
            # SQLite has rolled back by itself after some errors, not after all.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    def _connect(self) -> sqlite3.Connection:
        self.disconnect()
        # One that vanished is not made anew while we run: what was spent must not be forgotten without a word.
        mode = "rw" if self._seen else "rwc"
        is_new = not self._seen and _is_empty(self.path)
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=self._lock_timeout,
            isolation_level=None,  # transactions begin and end where we say
            cached_statements=STATEMENTS,
        )
        try:
            # Counts for a new file alone. Half the usual size: every batch writes a handful of pages, each whole.
            connection.execute("PRAGMA page_size = 2048")
            bring_up_to_date(connection)
            _begin_wal(connection)
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("SELECT one FROM ledger").fetchall()  # for which SQLite opens the files beside it
        except ConfigError as error:
            connection.close()
            raise ConfigError(f"[ledger] path: {self.path}: {error}") from None
        except BaseException:
            connection.close()
            raise
        self._connection, self._cursor = connection, connection.cursor()
        self._checked = 0
        self._seen, self._index = _seen(self._place), _inode(self._shared)
        if is_new and self._queue.is_marked:
            self._logger.error(_BEGUN_ANEW, self.path)
        self._queue.mark()
        return connection

    def _look(self, seen: _Seen) -> None:
        """The file itself was written to since the last look: by a checkpoint, or by somebody who is no ledger.

        SQLite goes by its WAL and by what it remembers, and would notice late, or when it is opened the next time.
        Looks are cheap and can deceive: of a checkpoint that is under way, or whose process was killed, the file has
        a part, and the WAL all. So what looks odd is for SQLite to judge. Raises LedgerUnavailableError, until the file
        is sound again.
        """
        if seen[2] < self._seen[2] or not _looks_well(self.path):
            self._judge()
        self._seen = seen

    def _judge(self) -> None:
        self._doubted = True  # also where SQLite cannot tell now
        if not _is_sound(self.path, timeout=self._lock_timeout):
            self.disconnect()
            raise LedgerUnavailableError(_DAMAGED.format(path=self.path))
        self._doubted = False


def _begin_wal(connection: sqlite3.Connection) -> None:
    ((journal,),) = connection.execute("PRAGMA journal_mode = WAL")
    if journal != "wal":
        raise ConfigError("it is on a file system on which SQLite has no WAL: name another path")


def read_file(path: Path, act: Callable[[sqlite3.Connection], T], *, timeout: float) -> T:
    """Runs `act` on one state of the file, in any thread, beside whoever writes. Raises LedgerUnavailableError."""
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=timeout, isolation_level=None
        )
        try:
            connection.execute("BEGIN")
            return act(connection)
        finally:
            connection.close()
    except (sqlite3.Error, OSError) as error:
        raise unavailable(path, error) from error


def _seen(path: str | Path) -> _Seen:
    """Device and inode; size; when it was last written to."""
    found = os.stat(path)  # noqa: PTH116 - twice as fast as Path.stat, in every batch
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _inode(path: str) -> int:
    """0 where there is no such file."""
    try:
        return os.stat(path).st_ino  # noqa: PTH116 - as above
    except FileNotFoundError:
        return 0


def _is_empty(path: Path) -> bool:
    try:
        return not _seen(path)[2]
    except FileNotFoundError:
        return True


def _looks_well(path: Path) -> bool:
    """Whether the file itself begins as a ledger does, its WAL left aside.

    By SQLite: to open and close it ourselves would end the locks that SQLite has on it.
    """
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)
        try:
            return _is_ledger(connection)
        finally:
            connection.close()
    except sqlite3.Error:
        return False


def _is_sound(path: Path, *, timeout: float) -> bool:
    """Whether the file and its WAL together are a ledger: read whole, by SQLite, under its locks.

    Raises sqlite3.Error and OSError where that cannot be told now.
    """
    if not _seen(path)[2]:
        return False  # not even opened: SQLite would take it for a new database, and its WAL away
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=timeout, isolation_level=None)
    try:
        connection.execute("BEGIN")
        return _is_ledger(connection) and connection.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)]
    except sqlite3.DatabaseError as error:
        if is_spoiled(error):
            return False
        raise
    finally:
        connection.close()


def _is_ledger(connection: sqlite3.Connection) -> bool:
    ((application,),) = connection.execute("PRAGMA application_id")
    return bool(application == APPLICATION_ID)
