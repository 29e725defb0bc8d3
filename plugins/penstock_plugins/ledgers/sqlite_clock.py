"""The clock of a ledger file, set back by hand where it ran ahead: the one way in which it ever goes back.

Not here: who asks for it (`sqlite_ledger`).
"""

from __future__ import annotations

import sqlite3

from penstock.policy.account_window import window_end, window_of
from penstock.policy.holds import NOTHING
from penstock.policy.ledger_pages import Bucket, WindowPage
from penstock.policy.ledger_steps import HistoryRow
from penstock.policy.window import time_in_words
from penstock_plugins.ledgers.sqlite_pages import SqlitePages

__all__ = ["set_back"]

_CORRECTED = """
UPDATE limits SET corrected_tokens_at = min(corrected_tokens_at, ?),
  corrected_nano_usd_at = min(corrected_nano_usd_at, ?)
"""

# Known as settled for as long as any lease lasts: what comes late is not charged once more.
_BURY_ALL = """
UPDATE holds SET settled = 1, ends_at = ? + (SELECT longest_lease FROM ledger), account = NULL, output_tokens = NULL,
  reserved_at = NULL, lease_ends = NULL, top_ups = NULL, lapsed = NULL, parts = NULL
"""


def set_back(connection: sqlite3.Connection, pages: SqlitePages, *, before: float, now: float, reason: str) -> None:
    """Counts in the windows of `now` what counts in those of `before`. All that was held is charged already.

    In a transaction, by pages that are of no use afterwards.
    """
    pages.write()
    counted = [page for page in pages.all_windows() if page.buckets]
    connection.execute("DELETE FROM buckets")
    connection.execute(_BURY_ALL, (now,))
    connection.execute("UPDATE ledger SET latest = ?", (now,))
    connection.execute(_CORRECTED, (now, now))
    pages.touched([_moved(page, now) for page in counted])
    pages.note(
        HistoryRow(
            at=now,
            action="clock",
            account="",
            window="",
            before=time_in_words(before),
            after=time_in_words(now),
            reason=reason,
        )
    )
    pages.write()


def _moved(page: WindowPage, now: float) -> Bucket:
    _, shape = window_of(page.key)
    moved = WindowPage(page.key, counted=(page.counted[0], now), level=page.level)
    bucket = Bucket(moved, window_end(shape, now))
    bucket.count(NOTHING, page.spent, page.estimated)
    return bucket
