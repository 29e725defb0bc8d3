"""One SQLite file as its writer uses it: opened, checked, written to in turn, closed when anything is wrong with it.

Everything but the constructor runs in the one thread that owns the connection. Not here: what is written
(`sqlite_ledger`), and the thread (`penstock_plugins.sqlite.own_thread`).
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeVar

from penstock.errors import ConfigError, LedgerUnavailableError
from penstock_plugins.ledgers.sqlite_alone import books_in, is_sound
from penstock_plugins.ledgers.sqlite_places import Seen, beside, inode_of, is_empty, real, seen_at, size_of
from penstock_plugins.ledgers.sqlite_queue import WriterQueue
from penstock_plugins.ledgers.sqlite_schema import NAMED, bring_up_to_date
from penstock_plugins.ledgers.sqlite_troubles import (
    BEGUN_ANEW,
    DAMAGED,
    OLDER,
    OTHER,
    PARTED,
    network_file_system,
    not_to_be_opened,
    unavailable,
)
from penstock_plugins.ledgers.sqlite_wal import MOST_WAL, begin_wal, open_to_write, put_into_file
from penstock_plugins.sqlite.apart import close_apart
from penstock_plugins.sqlite.forks import Guard, trouble_of_fork

__all__ = ["SqliteFile"]

T = TypeVar("T")

LOOKS = 4
"""Times that what looks odd is looked at: another process may be writing what is read."""
BETWEEN_LOOKS = 0.002
"""Seconds: many times what a page takes to be written."""


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
        self._synchronous: Literal["full", "normal"] = synchronous
        self._lock_timeout = lock_timeout
        self._guard = Guard(self._let_go)
        """The connection is used within it, the queue waited for without."""
        self._queue = WriterQueue(beside(path, "-lock"), path, self._guard)
        self._connection: sqlite3.Connection | None = None
        self._cursor: sqlite3.Cursor | None = None
        """Kept, as a new one for each statement takes a microsecond."""
        self._left = False
        """It was closed for a fork, and its WAL left as it was."""
        self._seen: Seen = ()
        """The file that was opened, as it was seen last: another may be put in its place. Empty: none was."""
        self.filed = 0
        """How many batches the file itself, its WAL left aside, was seen to hold: never fewer again, until a power cut
        takes back what was not synced."""
        self.synced = 0
        """How many it holds for good: what a later process may go by."""
        self._shared = str(beside(path, "-shm"))
        self._index = 0
        """The inode of `_shared`, in which its processes tell one another where its WAL ends."""
        self._doubted = False
        """It looked as if it was overwritten or cut short, and SQLite has not found it sound since."""
        self._checked = 0
        """How many rows the connection had written when the WAL was last put into the file."""
        self._wal_grows = False
        """While others write it is never put into the file whole, so it is done while it is our turn."""

    def open(self, begin: Callable[[], bool]) -> None:
        """Opens the file, makes it where there is none, and brings it up to date.

        Raises ConfigError where that takes somebody's hands, LedgerUnavailableError where it may pass.
        """
        trouble = trouble_of_fork()
        if trouble is not None:
            raise ConfigError(f"[ledger] path: {self.path} cannot be used here: {trouble}")
        found = network_file_system(real(self.path).parent)
        if found:
            raise ConfigError(
                f"[ledger] path: {self.path} is on a file system of a network ({found}), where SQLite cannot keep what"
                " several machines write apart: name a path on a disk of this machine, or use a Redis store"
            )
        try:
            self._queue.enter()
            try:
                with self._guard:
                    if begin():
                        self._connect()
            finally:
                self._queue.leave()
        except (sqlite3.Error, OSError) as error:
            self._give_up()
            raise not_to_be_opened(self.path, error) from error

    def write(self, act: Callable[[sqlite3.Connection], T], begin: Callable[[], bool]) -> T | None:
        """Runs `act` within a transaction when it is this writer's turn. None, and nothing done, where `begin` says no.

        Raises LedgerUnavailableError; whatever else `act` raises, nothing of it is kept either.
        """
        try:
            self._queue.enter()
            try:
                with self._guard:
                    return self._transact(act) if begin() else None
            finally:
                self._queue.leave()
        except (sqlite3.Error, OSError) as error:
            self._give_up()
            raise unavailable(self.path, error) from error

    def checkpoint(self, least: int = 0) -> None:
        """Puts the WAL into the file, as far as nobody reads from it, where so many rows were written since it was last
        put there, unless the file is not the one that it belongs to. Never raises: it will be tried again.
        """
        with self._guard:
            connection = self._connection
            if connection is None or connection.total_changes - self._checked < least:
                return
            if not self._is_in_order(connection):
                return
            try:
                self._checkpoint(connection)
                self._wal_grows = size_of(beside(self.path, "-wal")) > MOST_WAL
            except (sqlite3.Error, OSError):
                # Nothing is lost: it all is in the WAL. The next write meets the trouble and tells of it.
                self.disconnect()

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        self._checked = connection.total_changes
        self.synced = max(self.synced, put_into_file(connection))
        self.filed = max(self.filed, self.synced)

    def disconnect(self) -> None:
        """Lets go of the connection; an open transaction is rolled back. Within the guard."""
        connection, self._connection = self._connection, None
        self._cursor = None
        if connection is None:
            return
        if self._is_in_order(connection):
            connection.close()
        else:
            close_apart(self.path, connection)

    def close(self) -> None:
        """For good."""
        with self._guard:
            if self._left:
                with suppress(LedgerUnavailableError, ConfigError, sqlite3.Error, OSError):
                    self._connect()  # who closes it last puts the WAL into the file
            self.disconnect()
        self._queue.close()
        self._guard.leave()

    def _give_up(self) -> None:
        with self._guard:
            self.disconnect()

    def _let_go(self) -> None:
        """Before a fork, in any thread: the next write opens it anew, and puts the WAL into the file some time."""
        connection, self._connection = self._connection, None
        self._cursor = None
        if connection is not None:
            self._left = True
            close_apart(self.path, connection)

    def _transact(self, act: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection
        if connection is not None:
            seen = seen_at(self._place)
            if seen != self._seen and seen[:2] != self._seen[:2]:
                self.disconnect()
                connection = None
            else:
                self._check(connection, seen)
        if connection is None:
            if self._doubted:
                self._judge()
            connection = self._connect()
        if self._wal_grows:
            # Nobody writes now: all of it comes into the file, unless somebody reads, and the next page begins it anew.
            self._wal_grows = False
            try:
                self._checkpoint(connection)
            except sqlite3.Error:
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
        mode: Literal["rw", "rwc"] = "rw" if self._seen else "rwc"
        is_new = not self._seen and is_empty(self.path)
        # Whoever took its WAL away had synced the file before.
        is_alone = is_empty(beside(self.path, "-wal"))
        connection = open_to_write(self.path, mode, self._lock_timeout)
        try:
            # Counts for a new file alone. Half the usual size: every batch writes a handful of pages, each whole.
            connection.execute("PRAGMA page_size = 2048")
            self._bring_up_to_date(connection)
            begin_wal(connection, self._synchronous)
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("SELECT one FROM ledger").fetchall()  # for which SQLite opens the files beside it
            seen = seen_at(self._place)
            self._compare(connection)
            if is_alone:
                self.synced = max(self.synced, self.filed)
        except ConfigError as error:
            connection.close()
            raise ConfigError(f"[ledger] path: {self.path}: {error}") from None
        except BaseException:
            close_apart(self.path, connection)
            raise
        self._connection, self._cursor = connection, connection.cursor()
        self._checked, self._left = 0, False
        self._seen, self._shared = seen, str(beside(self.path, "-shm"))
        self._index = inode_of(self._shared)
        if is_new and self._queue.is_marked:
            self._logger.error(BEGUN_ANEW, self.path)
        self._queue.mark()
        return connection

    def _bring_up_to_date(self, connection: sqlite3.Connection) -> None:
        ((version,),) = connection.execute("PRAGMA user_version")
        found = books_in(self.path) if 0 < version < NAMED else None
        bring_up_to_date(connection)
        if found is not None and found.name:
            # A backup from before books had a name was put into the -wal by SQLite itself: they are these books still.
            connection.execute("UPDATE ledger SET name = ?", (found.name,))

    def _is_in_order(self, connection: sqlite3.Connection) -> bool:
        """Whether what the WAL holds may be put into the file, as SQLite also does for the last that closes it."""
        try:
            seen = seen_at(self._place)
            if seen[:2] != self._seen[:2]:
                return False
            self._check(connection, seen)
        except (LedgerUnavailableError, sqlite3.Error, OSError):
            return False  # the next write meets the trouble and tells of it
        return True

    def _check(self, connection: sqlite3.Connection, seen: Seen) -> None:
        """Looks whether all is as we left it. Raises LedgerUnavailableError, until it is."""
        if inode_of(self._shared) != self._index:
            raise LedgerUnavailableError(PARTED.format(path=self.path))
        if seen != self._seen:
            # The file itself was written to: by a checkpoint, or by somebody who is no ledger. SQLite goes by its WAL
            # and by what it remembers, and would notice late, or when it is opened the next time.
            if seen[2] < self._seen[2]:
                self._judge()
            self._compare(connection)
            self._seen = seen

    def _compare(self, connection: sqlite3.Connection) -> None:
        """Looks at the file itself: it has the books that its WAL has, and no fewer batches than it did by its own row,
        or by what we saw.

        Looks are cheap and can deceive: of a checkpoint that is under way, or whose process was killed, the file has
        a part, and the WAL all. So what is odd is looked at again, and what cannot be read is for SQLite to judge.
        """
        known, trouble = self.filed, ""
        for look in range(LOOKS):
            if look:
                time.sleep(BETWEEN_LOOKS)
            found = books_in(self.path)
            if found is None:
                continue
            ((filed, writes, name),) = connection.execute("SELECT filed, writes, name FROM ledger")
            known = max(known, filed)
            if found.batches < known:
                trouble = OLDER.format(path=self.path, found=found.batches, known=known)
            elif found.name not in {"", name}:
                trouble = OTHER.format(path=self.path)
            else:
                if found.batches > writes:
                    self._check_restored()
                self.filed = found.batches if found.batches <= writes else known
                return
        if trouble:
            raise LedgerUnavailableError(trouble)
        self._judge()

    def _check_restored(self) -> None:
        """The file has more than there is: SQLite itself has put older books into the -wal, and the file has them
        later; or a copy was used elsewhere, and put over the file. Of that, books and indexes say different things.
        """
        if not is_sound(self.path, timeout=self._lock_timeout, check="integrity"):
            raise LedgerUnavailableError(OTHER.format(path=self.path))

    def _judge(self) -> None:
        self._doubted = True  # also where SQLite cannot tell now
        if not is_sound(self.path, timeout=self._lock_timeout):
            self.disconnect()
            raise LedgerUnavailableError(DAMAGED.format(path=self.path))
        self._doubted = False
