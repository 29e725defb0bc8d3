"""The pages of a ledger in an SQLite file: read when they are asked for, written back by `write`.

What was read is kept, and is true while nobody else writes; its owner drops the pages when somebody did, or when
anything failed. Not here: transactions (`sqlite_ledger`), and what spending is added up to for reports
(`sqlite_journal`).
"""

from __future__ import annotations

import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import msgspec

from penstock.policy.holds import Amount
from penstock.policy.ledger_counting import EARLIEST
from penstock.policy.ledger_pages import Bucket, HoldPage, Part, WindowPage, kin_of
from penstock.policy.ledger_steps import HistoryRow, SpendRow, Spent
from penstock_plugins.ledgers.sqlite_journal import SqliteJournal
from penstock_plugins.ledgers.sqlite_rows import update_rows, write_rows
from penstock_plugins.ledgers.sqlite_schema import Figure

__all__ = ["SqlitePages"]

_Row: TypeAlias = tuple[Any, ...]
_KeptPart: TypeAlias = tuple[Figure, Figure, list[tuple[str, float]], bool]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_KeptPart]).decode

_READ_WINDOW = """
SELECT l.tokens, l.nano_usd, l.corrected_tokens_at, l.corrected_nano_usd_at, b."end", b.counted_in, b.counted_at,
       b.level, b.held_tokens, b.held_nano_usd, b.spent_tokens, b.spent_nano_usd, b.estimated_tokens,
       b.estimated_nano_usd
FROM (SELECT ? AS "key")
LEFT JOIN limits AS l ON l."window" = "key"
LEFT JOIN buckets AS b ON b."window" = "key" AND b."end" > ?
ORDER BY b."end"
"""
_READ_ALL_WINDOWS = """
SELECT "window", "end", counted_in, counted_at, level, held_tokens, held_nano_usd, spent_tokens, spent_nano_usd,
       estimated_tokens, estimated_nano_usd
FROM buckets WHERE "end" > ? ORDER BY "window", "end"
"""
_READ_HOLD = """
SELECT settled, ends_at, account, output_tokens, reserved_at, lease_ends, top_ups, lapsed, parts FROM holds WHERE id = ?
"""
_WRITE_BUCKET = """
INSERT INTO buckets (held_tokens, held_nano_usd, spent_tokens, spent_nano_usd, estimated_tokens, estimated_nano_usd,
  counted_in, counted_at, level, "window", "end")
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT ("window", "end") DO UPDATE SET
  held_tokens = excluded.held_tokens, held_nano_usd = excluded.held_nano_usd,
  spent_tokens = excluded.spent_tokens, spent_nano_usd = excluded.spent_nano_usd,
  estimated_tokens = excluded.estimated_tokens, estimated_nano_usd = excluded.estimated_nano_usd,
  counted_in = excluded.counted_in, counted_at = excluded.counted_at, level = excluded.level
"""
_UPDATE_BUCKET = """
UPDATE buckets SET held_tokens = ?, held_nano_usd = ?, spent_tokens = ?, spent_nano_usd = ?,
  estimated_tokens = ?, estimated_nano_usd = ?, counted_in = ?, counted_at = ?, level = ?
WHERE "window" = ? AND "end" = ?
"""
_WRITE_HOLD = """
INSERT INTO holds (id, settled, ends_at, account, output_tokens, reserved_at, lease_ends, top_ups, lapsed, parts)
VALUES (?, 0, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
  settled = 0, ends_at = excluded.ends_at, account = excluded.account, output_tokens = excluded.output_tokens,
  reserved_at = excluded.reserved_at, lease_ends = excluded.lease_ends, top_ups = excluded.top_ups,
  lapsed = excluded.lapsed, parts = excluded.parts
"""
_BURY = """
INSERT INTO holds (settled, ends_at, id) VALUES (1, ?, ?)
ON CONFLICT (id) DO UPDATE SET
  settled = 1, ends_at = excluded.ends_at, account = NULL, output_tokens = NULL, reserved_at = NULL, lease_ends = NULL,
  top_ups = NULL, lapsed = NULL, parts = NULL
"""
_BURY_HELD = """
UPDATE holds SET
  settled = 1, ends_at = ?, account = NULL, output_tokens = NULL, reserved_at = NULL, lease_ends = NULL,
  top_ups = NULL, lapsed = NULL, parts = NULL
WHERE id = ?
"""
RELEASED = 2
"""In place of 1 for a hold that has lapsed: who knows only that, reads it as lapsed."""
_NOTE = 'INSERT INTO history (at, action, account, "window", before, after, reason) VALUES (?, ?, ?, ?, ?, ?, ?)'
_WRITE_LIMITS = """
INSERT OR REPLACE INTO limits ("window", tokens, nano_usd, corrected_tokens_at, corrected_nano_usd_at)
VALUES (?, ?, ?, ?, ?)
"""
_PURGE_HOLDS = "DELETE FROM holds WHERE id IN (SELECT id FROM holds WHERE settled = 1 AND ends_at <= ? LIMIT ?)"
_PURGE_BUCKETS = """
DELETE FROM buckets WHERE ("window", "end") IN (SELECT "window", "end" FROM buckets WHERE "end" <= ? LIMIT ?)
"""


class SqlitePages:
    """`penstock.policy.ledger_pages.Pages` over rows. Lives within one connection; its owner has the transaction open.

    Law: two windows, buckets or holds of the same name are the same object while the pages live; so nothing is let go
    of one by one, only all of it at once.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        """For what each batch does: a new one for each statement takes a microsecond."""
        self._now = EARLIEST
        self._windows: dict[str, WindowPage] = {}
        self._alike: defaultdict[tuple[str, str], list[WindowPage]] = defaultdict(list)
        """The same by period and account."""
        self._holds: dict[str, HoldPage] = {}
        self._journal = SqliteJournal(connection)
        self._looked_up: tuple[str, _Row | None] | None = None
        """The hold that was asked for last: an id is asked for twice, whether it is held and whether it was settled."""
        self._next_due = -math.inf
        """Before that time nothing is due. Never too late: every hold that is written makes it earlier."""
        self._touched: set[Bucket] = set()
        self._touched_windows: set[WindowPage] = set()
        self._touched_holds: dict[str, HoldPage] = {}
        """Those that begin, change or end, in this batch."""
        self._buried: dict[str, float] = {}

    @property
    def size(self) -> int:
        """How many windows, holds and rows of the journal are kept in memory."""
        return len(self._windows) + len(self._holds) + self._journal.size

    def window(self, key: str) -> WindowPage:  # noqa: D102
        page = self._windows.get(key)
        return self._read_window(key) if page is None else page

    def siblings(self, key: str) -> Iterator[str]:
        """The known windows of the same account and period. There are few zones: one seek finds the next of them."""
        self.write()
        period, _, account = key.split(":", 2)
        sought = f"{period}:"
        while True:
            query = 'SELECT min("window") FROM buckets WHERE "window" >= ? AND "window" < ?'
            ((found,),) = self._connection.execute(query, (sought, f"{period};"))
            if found is None:
                return
            zone = found.split(":", 2)[1]
            other = f"{period}:{zone}:{account}"
            if other != key and any(bucket.end > self._now for bucket in self.window(other).buckets):
                yield other
            sought = f"{period}:{zone};"

    def hold(self, hold_id: str) -> HoldPage | None:  # noqa: D102
        page = self._holds.get(hold_id)
        if page is not None or hold_id in self._touched_holds or hold_id in self._buried:
            return page
        row = self._look_up(hold_id)
        return None if row is None or row[0] else self._read_hold(hold_id, row)

    def holds_below(self, account: str) -> list[HoldPage]:  # noqa: D102
        self.write()
        query = (
            "SELECT id FROM holds WHERE settled = 0 AND (? = '' OR account = ? OR account >= ? AND account < ?)"
            " ORDER BY ends_at, id"
        )
        arguments = account, account, f"{account}/", f"{account}0"
        return self._found(self._connection.execute(query, arguments).fetchall())

    def add_hold(self, page: HoldPage) -> None:  # noqa: D102
        self._holds[page.id] = self._touched_holds[page.id] = page

    def drop_hold(self, page: HoldPage) -> None:  # noqa: D102
        del self._holds[page.id]
        self._touched_holds[page.id] = page

    def touched_hold(self, page: HoldPage) -> None:  # noqa: D102
        self._touched_holds[page.id] = page

    def touched(self, buckets: Iterable[Bucket]) -> None:  # noqa: D102
        self._touched.update(buckets)

    def touched_window(self, page: WindowPage) -> None:  # noqa: D102
        self._touched_windows.add(page)

    def due(self, now: float) -> list[HoldPage]:  # noqa: D102
        if now < self._next_due:
            return []
        query = "SELECT id FROM holds WHERE settled = 0 AND ends_at <= ? ORDER BY ends_at, id"
        due = self._found(self._connection.execute(query, (now,)).fetchall())
        query = "SELECT min(ends_at) FROM holds WHERE settled = 0 AND ends_at > ?"
        ((following,),) = self._connection.execute(query, (now,))
        self._next_due = math.inf if following is None else following
        return due

    def is_settled(self, hold_id: str) -> bool:  # noqa: D102
        if hold_id in self._holds:
            return False
        if hold_id in self._buried:
            return True
        row = self._look_up(hold_id)
        return row is not None and row[0] and row[1] > self._now

    def bury(self, hold_id: str, until: float) -> None:  # noqa: D102
        self._buried[hold_id] = until

    def forget_buried(self, now: float) -> None:
        """A new batch. Tombstones say themselves until when they stand; `purge` takes their rows away."""
        self._now = now
        self._looked_up = None

    def journal(self, since: float, account: str, spent: Iterable[Spent], *, calls: int = 1) -> None:  # noqa: D102
        self._journal.add(since, account, spent, calls)

    def spent(self, since: float, until: float) -> list[SpendRow]:
        """The journal of that time."""
        return self._journal.rows(since, until)

    def note(self, row: HistoryRow) -> None:  # noqa: D102
        self._connection.execute(
            _NOTE, (row.at, row.action, row.account, row.window, row.before, row.after, row.reason)
        )

    def all_windows(self) -> list[WindowPage]:
        """Every window in which something is counted or that was changed by hand."""
        for (key,) in self._connection.execute('SELECT "window" FROM limits').fetchall():
            self.window(key)
        page: WindowPage | None = None
        fresh = False
        for key, *bucket in self._connection.execute(_READ_ALL_WINDOWS, (self._now,)):
            if page is None or page.key != key:
                fresh = key not in self._windows
                page = self._begin(key) if fresh else self._windows[key]
            if fresh:
                _append(page, bucket)
        return list(self._windows.values())

    def all_holds(self) -> list[HoldPage]:
        """Every hold, oldest first."""
        query = "SELECT id FROM holds WHERE settled = 0 ORDER BY reserved_at, id"
        return self._found(self._connection.execute(query).fetchall())

    def write(self) -> None:
        """Writes what was changed: every row once."""
        if self._touched:
            rows = [_bucket_row(bucket) for bucket in self._touched if bucket.live]
            update_rows(self._cursor, _UPDATE_BUCKET, _WRITE_BUCKET, rows)
            self._touched.clear()
        if self._touched_holds or self._buried:
            self._write_holds()
        if self._touched_windows:
            limits = [
                (
                    page.key,
                    page.limit_tokens,
                    page.limit_nano_usd,
                    page.corrected_tokens_at,
                    page.corrected_nano_usd_at,
                )
                for page in self._touched_windows
            ]
            write_rows(self._cursor, _WRITE_LIMITS, limits)
            self._touched_windows.clear()
        self._journal.write()

    def purge(self, most: int) -> bool:
        """Deletes rows of which nothing counts any more, so many of each table. True where more may be left."""
        more = False
        for statement in (_PURGE_HOLDS, _PURGE_BUCKETS):
            more |= self._connection.execute(statement, (self._now, most)).rowcount >= most
        return more

    def _read_window(self, key: str) -> WindowPage:
        page = self._begin(key)
        for tokens, nano_usd, tokens_at, nano_usd_at, *bucket in self._connection.execute(
            _READ_WINDOW, (key, self._now)
        ):
            page.limit_tokens = None if tokens is None else int(tokens)
            page.limit_nano_usd = None if nano_usd is None else int(nano_usd)
            if tokens_at is not None:
                page.corrected_tokens_at, page.corrected_nano_usd_at = tokens_at, nano_usd_at
            if bucket[0] is not None:
                _append(page, bucket)
        return page

    def _begin(self, key: str) -> WindowPage:
        page = self._windows[key] = WindowPage(key)
        kin = kin_of(key)
        alike = self._alike[kin]
        alike.append(page)
        if len(alike) > 1:
            for one in alike:
                one.kin = kin
        return page

    def _look_up(self, hold_id: str) -> _Row | None:
        if self._looked_up is None or self._looked_up[0] != hold_id:
            # All of them, of which there is one at most: else the statement would stay open, and keep its locks.
            found = self._cursor.execute(_READ_HOLD, (hold_id,)).fetchall()
            self._looked_up = hold_id, found[0] if found else None
        return self._looked_up[1]

    def _read_hold(self, hold_id: str, row: _Row) -> HoldPage:
        _, _, account, output_tokens, reserved_at, lease_ends, top_ups, lapsed, kept = row
        parts = [self._part(part) for part in _decode(kept)]
        page = HoldPage(hold_id, account, int(output_tokens), parts, reserved_at, lease_ends, top_ups=top_ups)
        page.lapsed, page.released = bool(lapsed), lapsed == RELEASED
        self._holds[hold_id] = page
        return page

    def _part(self, kept: _KeptPart) -> Part:
        tokens, nano_usd, places, likely = kept
        buckets = tuple([self._bucket(key, end) for key, end in places])
        return Part(Amount(int(tokens), int(nano_usd)), buckets, likely)

    def _bucket(self, key: str, end: float) -> Bucket:
        page = self.window(key)
        # One that has left its window is counted nowhere: only its end still says something.
        return page.find(end) or Bucket(page, end, live=False)

    def _found(self, ids: Iterable[tuple[str]]) -> list[HoldPage]:
        pages = [self.hold(hold_id) for (hold_id,) in ids]
        return [page for page in pages if page is not None]

    def _write_holds(self) -> None:
        held: list[_Row] = []
        ended: list[_Row] = []
        for hold_id, page in self._touched_holds.items():
            if hold_id in self._holds:
                row = _hold_row(page)
                held.append(row)
                self._next_due = min(self._next_due, row[1])
            elif hold_id not in self._buried:
                ended.append((hold_id,))
        if held:
            write_rows(self._cursor, _WRITE_HOLD, held)
        if self._buried:
            buried = [(until, hold_id) for hold_id, until in self._buried.items()]
            update_rows(self._cursor, _BURY_HELD, _BURY, buried)
        if ended:
            write_rows(self._cursor, "DELETE FROM holds WHERE id = ?", ended)
        self._touched_holds.clear()
        self._buried.clear()
        self._looked_up = None


def _append(page: WindowPage, row: Sequence[Any]) -> None:
    """By their ends: what the last one says of the window is what is true."""
    end, counted_in, counted_at, level, *figures = row
    page.counted, page.level = (counted_in, counted_at), level
    held_tokens, held_nano_usd, spent_tokens, spent_nano_usd, estimated_tokens, estimated_nano_usd = map(int, figures)
    bucket = Bucket(page, end)
    page.buckets.append(bucket)
    bucket.count(
        Amount(held_tokens, held_nano_usd),
        Amount(spent_tokens, spent_nano_usd),
        Amount(estimated_tokens, estimated_nano_usd),
    )


def _bucket_row(bucket: Bucket) -> _Row:
    window = bucket.window
    return (
        bucket.held_tokens,
        bucket.held_nano_usd,
        bucket.spent_tokens,
        bucket.spent_nano_usd,
        bucket.estimated_tokens,
        bucket.estimated_nano_usd,
        *window.counted,
        window.level,
        window.key,
        bucket.end,
    )


def _hold_row(page: HoldPage) -> _Row:
    return (
        page.id,
        page.counts_until if page.lapsed else page.lease_ends,
        page.account,
        page.output_tokens,
        page.reserved_at,
        page.lease_ends,
        page.top_ups,
        RELEASED if page.released else page.lapsed,
        _kept_parts(page.parts),
    )


def _kept_parts(parts: Iterable[Part]) -> bytes:
    rows: list[_KeptPart] = []
    for part in parts:
        places = [(bucket.window.key, bucket.end) for bucket in part.buckets]
        rows.append((part.amount.tokens, part.amount.nano_usd, places, part.likely))
    try:
        return _encode(rows)
    except OverflowError:
        return _encode([(str(tokens), str(nano_usd), places, likely) for tokens, nano_usd, places, likely in rows])
