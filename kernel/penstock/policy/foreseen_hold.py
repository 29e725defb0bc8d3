"""What a reserve would come to now: tried out on a copy of what a ledger store shows of its windows.

The book itself judges it, so that nothing can be foreseen that would then be decided otherwise. Not here: the book
(`ledger_book`), and who asks.
"""

from __future__ import annotations

from collections.abc import Iterable

from penstock.policy.ledger_book import LedgerBook
from penstock.policy.ledger_steps import Answer, Reserve, WindowRow, WindowUse
from penstock.policy.memory_pages import MemoryPages

__all__ = ["foresee_hold"]


def foresee_hold(reserve: Reserve, rows: Iterable[WindowRow], now: float) -> Answer:
    """`Held` or `Lacking`, as the store would answer at `now`; windows without a row have nothing in them.

    Rows do not say how a rolling window is spread over its buckets: all of it is taken for new, so that `refills_at` is
    the latest moment at which what is spent there is gone. Of a calendar window it is exact.
    """
    pages = MemoryPages()
    by_key = {row.key: row for row in rows}
    for use in reserve.windows:
        if (row := by_key.get(use.key)) is not None:
            _fill(pages, use, row, now)
    return LedgerBook(pages).run([reserve], now).answers[0]


def _fill(pages: MemoryPages, use: WindowUse, row: WindowRow, now: float) -> None:
    page = pages.window(use.key)
    page.limit_tokens, page.limit_nano_usd = row.limit_tokens, row.limit_nano_usd
    if row.ends_at is None or (row.ends_at <= now and not use.rolling):
        return  # nothing was counted in it, or in the window before this one
    bucket = page.bucket(use.end, rolling=use.rolling)
    bucket.hold(row.held + row.spent)
    bucket.settle(row.spent, row.spent, estimated=False)
