"""The ledger in its file, as its own thread sees it: a book on pages, one transaction for every batch.

Not here: the thread, and who waits for it (`sqlite_store`); who only reads (`sqlite_reading`).
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial

import attrs

from penstock.errors import LedgerUnavailableError
from penstock.policy.ledger_book import LedgerBook
from penstock.policy.ledger_counting import EARLIEST, LATEST
from penstock.policy.ledger_steps import ClockSetBack, Landed, Step
from penstock_plugins.ledgers.sqlite_clock import set_back
from penstock_plugins.ledgers.sqlite_file import SqliteFile
from penstock_plugins.ledgers.sqlite_pages import SqlitePages
from penstock_plugins.ledgers.sqlite_writers import KEPT, Taken, purge_writers, take_over

__all__ = ["SqliteLedgerBook", "open_book", "time_of"]

MOST_PAGES = 20_000
"""Windows, holds and rows of the journal in memory, some twenty megabytes: beyond that all are read anew."""
PURGE_EVERY = 0.1
"""Seconds between two looks at what may be deleted."""
PURGE_AT_ONCE = 1_000
"""Rows that are deleted at once, in about 2 ms: enough for 10,000 settled calls a second."""
PURGE_JOURNAL_EVERY = 60.0
"""Seconds between two looks at what is too old for reports."""
LARGE_WAL = 4_000
"""Rows written after which the WAL is put into the file without waiting for a pause: some megabytes of WAL."""
DAY = 86_400.0


SET_BACK = (
    "the clock of the ledger was set back by hand, and this process reckons by the time before that: start it anew"
)
OTHER_BOOKS = (
    "the ledger {path} has older books than this process knew: the last batch of its own is not in them. An older copy"
    " was put in its place, or it was begun anew. What was spent since is not in it, so this process refuses calls of"
    " accounts with limits; bring the file back, or start the process anew to go on with the books that are there"
    " (penstock budget set corrects what is spent)"
)
_GO_ON = "UPDATE ledger SET latest = ?, writes = ? WHERE latest <= ? AND writes = ? AND writer = ?"
"""What `take_over` does, where nobody else wrote and the clock goes on, which is nearly always: in half the time."""
_PURGE_JOURNAL = """
DELETE FROM journal WHERE (since, account, target, estimated) IN
  (SELECT since, account, target, estimated FROM journal WHERE since < ? LIMIT ?)
"""
_FILED = "UPDATE ledger SET filed = ? WHERE filed < ? AND writes > ?"


def open_book(connection: sqlite3.Connection) -> tuple[LedgerBook, SqlitePages]:
    """The book as the file has it, and its pages."""
    ((latest, longest),) = connection.execute("SELECT latest, longest_lease FROM ledger")
    pages = SqlitePages(connection)
    return LedgerBook(pages, now=latest, tombstone=longest), pages


def time_of(wall: Callable[[], float]) -> float:
    """The time by a clock. Raises LedgerUnavailableError where it tells none: that must not become the latest."""
    now = wall()
    if not EARLIEST < now < LATEST:
        raise LedgerUnavailableError(f"the clock of this machine says {now!r}, which is no Unix time: set it")
    return now


@attrs.define
class _Read:
    """What was read from the file, true while `writes` is the number of its last batch."""

    connection: sqlite3.Connection
    cursor: sqlite3.Cursor
    book: LedgerBook
    pages: SqlitePages
    writer: str
    writes: int
    filed: int = 0
    """What was last written of `SqliteFile.synced`."""

    def goes_on(self, now: float) -> bool:
        """Counts one more batch, where this is still true and the time is not before that of the last one."""
        found = self.cursor.execute(_GO_ON, (now, self.writes + 1, now, self.writes, self.writer)).rowcount == 1
        self.writes += found
        return found

    def note_filed(self, filed: int) -> None:
        """Writes it with this batch, for who opens the file later; what no batch before this has cannot be meant."""
        if filed != self.filed:
            self.cursor.execute(_FILED, (filed, filed, filed))
            self.filed = filed


class SqliteLedgerBook:
    """Carries batches out in a file. What was read stays in memory while nobody else writes."""

    def __init__(self, file: SqliteFile, wall: Callable[[], float], *, report_days: int) -> None:
        self.file = file
        self._wall = wall
        self._report_days = report_days
        self._writer = secrets.token_hex(8)
        self._read: _Read | None = None
        self._latest = EARLIEST
        """The time of the last batch that went into the file, whose own is not before that unless set back by hand."""
        self._carried = self._writes = 0
        """The number of that batch, 0 before the first: books in which it is not are others, or older."""
        self._purge_at = 0.0
        self._purge_journal_at = 0.0

    def commit(self, steps: Sequence[Step], begin: Callable[[], bool]) -> Landed | None:
        """One batch as one transaction. None, and nothing done, where `begin` says no.

        Raises LedgerUnavailableError, and ValueError for a step that makes no sense.
        """
        try:
            landed = self.file.write(partial(self._carry_out, steps), begin)
        except BaseException:
            # What is in memory may be ahead of the file.
            self._read = None
            raise
        if landed is not None:
            self._latest, self._writes = landed.now, self._carried
        return landed

    def set_clock_back(self, reason: str, begin: Callable[[], bool]) -> ClockSetBack | None:
        """As `LedgerStore.set_clock_back`. None, and nothing done, where `begin` says no."""
        self._read = None
        return self.file.write(partial(self._set_back, reason), begin)

    def rest(self, idle: bool) -> None:  # noqa: FBT001 - the thread's signature
        """What need not be done while somebody waits: it waits for the disk alone. Never raises."""
        self.file.checkpoint(1 if idle else LARGE_WAL)

    def _carry_out(self, steps: Sequence[Step], connection: sqlite3.Connection) -> Landed:
        now = time_of(self._wall)
        read = self._read
        if read is None or read.connection is not connection or not read.goes_on(now):
            now, read = self._read_anew(connection, now)
        read.note_filed(self.file.synced)
        longest_lease = read.book.tombstone
        read.book.batch = read.writes - 1
        landed = read.book.run(steps, now)
        read.pages.write()
        if read.book.tombstone != longest_lease:
            connection.execute("UPDATE ledger SET longest_lease = ?", (read.book.tombstone,))
        self._carried = read.writes
        if now >= self._purge_at:
            self._purge(read)
        return landed

    def _read_anew(self, connection: sqlite3.Connection, now: float) -> tuple[float, _Read]:
        taken = take_over(connection, self._writer, now)
        if taken.latest < self._latest:
            raise LedgerUnavailableError(SET_BACK)
        if self._lacks_our_last(taken):
            raise LedgerUnavailableError(OTHER_BOOKS.format(path=self.file.path))
        read = self._read
        if read is None or read.connection is not connection or read.writes != taken.writes - 1:
            book, pages = open_book(connection)
            read = self._read = _Read(connection, connection.cursor(), book, pages, self._writer, taken.writes)
        read.writes = taken.writes
        return taken.latest, read

    def _lacks_our_last(self, taken: Taken) -> bool:
        """True where the file has not our own last batch, or an earlier one. It may have a later one: a batch may have
        come into the file though nobody could say so.
        """
        if taken.own is None and taken.latest > self._latest + KEPT:
            return taken.writes <= self._writes  # it may be forgotten: so much is known still
        return (taken.own or 0) < self._writes

    def _set_back(self, reason: str, connection: sqlite3.Connection) -> ClockSetBack:
        now = time_of(self._wall)
        before = take_over(connection, self._writer, EARLIEST).latest
        if before <= now:
            return ClockSetBack(before, before)
        book, pages = open_book(connection)
        book.advance(before)
        book.charge_all(pages.all_holds())
        set_back(connection, pages, before=before, now=now, reason=reason)
        self._latest = now
        return ClockSetBack(before, now)

    def _purge(self, read: _Read) -> None:
        now = read.book.now
        if read.pages.size > MOST_PAGES:
            self._read = None
        more = read.pages.purge(PURGE_AT_ONCE)
        if now >= self._purge_journal_at:
            more |= self._purge_journal(read.connection, now)
        if not more:
            self._purge_at = now + PURGE_EVERY

    def _purge_journal(self, connection: sqlite3.Connection, now: float) -> bool:
        """Deletes some of what is too old for reports. True where more may be left, for the next batch."""
        deleted = connection.execute(_PURGE_JOURNAL, (now - self._report_days * DAY, PURGE_AT_ONCE)).rowcount
        if deleted >= PURGE_AT_ONCE:
            return True
        self._purge_journal_at = now + PURGE_JOURNAL_EVERY
        purge_writers(connection, now)
        return False
