"""What a ledger's memory knows of windows that nothing is counted in any more."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import FrameType

from penstock.policy.holds import Amount, Line
from penstock.policy.ledger_book import LedgerBook
from penstock.policy.ledger_steps import Adopt, Reserve, Settle, WindowUse
from penstock.policy.memory_pages import MemoryPages

NOON = 1_777_896_000.0
DAY = 86_400.0
UTC = "day:UTC:team"
BERLIN = "day:Europe/Berlin:team"


def day(key: str, end: float) -> WindowUse:
    return WindowUse(key, end, rolling=False, limit_tokens=1_000)


def spend(book: LedgerBook, hold_id: str, tokens: int, use: WindowUse, now: float) -> None:
    lines = (Line(tokens, 0, 0, 0),)
    book.run(
        [
            Reserve(
                hold_id=hold_id, account="team", windows=(use,), lines=lines, min_output=0, max_output=0, lease=60.0
            ),
            Settle(hold_id=hold_id, charged=Amount(tokens)),
        ],
        now,
    )


def test_a_window_of_which_nothing_counts_any_more_is_new_when_it_comes_back() -> None:
    pages = MemoryPages()
    book = LedgerBook(pages)
    spend(book, "monday", 10, day(UTC, NOON + DAY / 2), NOON)
    later = NOON + 3 * DAY
    spend(book, "thursday", 700, day(BERLIN, later + DAY / 2), later)
    book.run([Adopt("team", day(UTC, later + DAY / 2))], later)
    assert pages.window(UTC).spent == Amount(700)


def test_a_window_that_counts_adopts_nothing_of_one_that_has_not_gone_on_without_it() -> None:
    pages = MemoryPages()
    book = LedgerBook(pages)
    spend(book, "other", 700, day(BERLIN, NOON + DAY / 3), NOON)
    spend(book, "one", 10, day(UTC, NOON + DAY / 2), NOON)
    book.run([Adopt("team", day(UTC, NOON + DAY / 2))], NOON)
    assert pages.window(UTC).spent == Amount(10)


def test_windows_are_forgotten_between_batches_and_never_under_a_step() -> None:
    pages = MemoryPages()
    book = LedgerBook(pages)
    for number in range(1_400):
        keys = [f"{period}:u/{number}" for period in ("day:UTC", "month:UTC", "day:rolling")]
        uses = tuple([WindowUse(key, NOON + DAY, rolling=False) for key in keys])
        book.run([Settle(hold_id=f"{number}", charged=Amount(600), windows=uses)], NOON)
        assert [pages.window(key).spent for key in keys] == [Amount(600)] * 3, f"account {number}"


def test_adopting_costs_the_same_however_many_accounts_and_holds_there_are() -> None:
    calls: dict[int, float] = {}
    for accounts in (50, 400):
        book = LedgerBook(MemoryPages())
        for number in range(accounts):
            use = day(f"day:UTC:u/{number}", NOON + DAY)
            book.run([reserve(f"{number}", f"u/{number}", use)], NOON)
        steps = [Adopt(f"u/{number}", day(f"day:rolling:u/{number}", NOON + DAY)) for number in range(accounts)]
        calls[accounts] = calls_made(partial(book.run, steps, NOON)) / accounts
    assert calls[400] < 1.2 * calls[50]


def calls_made(work: Callable[[], object]) -> int:
    """How many functions it calls, ours and C's: that is the same on every machine, however busy."""
    made = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal made
        made += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return made


def reserve(hold_id: str, account: str, *uses: WindowUse) -> Reserve:
    lines = (Line(600, 0, 0, 0),)
    return Reserve(hold_id=hold_id, account=account, windows=uses, lines=lines, min_output=0, max_output=0, lease=60.0)
