"""What a window takes over from others of its account and period: by the calendar, day after day, in whichever process.

The laws of all stores are in `penstock.testing`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from penstock.policy.accounts import AccountSpec, Limit
from penstock.policy.hold_ask import HoldAsk
from penstock.policy.hold_queue import HoldQueue
from penstock.policy.holds import Amount, Granted, Line
from penstock.policy.ledger_book import LedgerBook
from penstock.policy.ledger_steps import Adopt, Change, WindowUse
from penstock.policy.memory_pages import MemoryPages
from penstock.policy.window import Per

NOON = 1_777_896_000.0  # 2026-05-04 12:00 UTC
HOUR, DAY = 3_600.0, 86_400.0
MIDNIGHT = NOON + 12 * HOUR
LEASE = 60.0
NUMBERS = itertools.count()
"""So that no two holds have one name."""


def team(*limits: Limit) -> AccountSpec:
    return AccountSpec(path="team", limits=limits)


def per(period: Per, tokens: int, zone: str | None) -> Limit:
    if zone is None:
        return Limit(per=period, tokens=tokens, rolling=True)
    return Limit(per=period, tokens=tokens, timezone=zone)


class Process:
    """One that asks a ledger, with the accounts of now."""

    def __init__(self, book: LedgerBook, *accounts: AccountSpec) -> None:
        self.book = book
        self.queue = HoldQueue(accounts, lease=LEASE, adopts=True)

    def hold(self, now: float, tokens: int) -> str | None:
        """The id of a hold; None where it was refused."""
        hold_id = f"hold-{next(NUMBERS)}"
        line = Line(tokens, 0, 0, 0)
        self.queue.ask(HoldAsk.checked(hold_id, "team", (line,), (0, 0), None))
        return hold_id if any(isinstance(decision, Granted) for decision in self._run(now)) else None

    def serve(self, now: float, tokens: int = 10, calls: int = 100) -> int:
        """How many of so many calls are served."""
        served = 0
        for _ in range(calls):
            hold_id = self.hold(now, tokens)
            if hold_id is not None:
                self.queue.settle(hold_id, Amount(tokens))
                served += 1
        self._run(now)
        return served

    def settle(self, now: float, hold_id: str, tokens: int) -> None:
        self.queue.settle(hold_id, Amount(tokens))
        self._run(now)

    def reload(self, *accounts: AccountSpec) -> None:
        self.queue.reconfigure(accounts)

    def _run(self, now: float) -> Sequence[object]:
        steps = self.queue.batch(now)
        return self.queue.landed(steps, self.book.run(steps, now), now)


@pytest.fixture
def book() -> LedgerBook:
    return LedgerBook(MemoryPages())


def spent(book: LedgerBook, key: str) -> int:
    return book.pages.window(key).spent.tokens


def test_a_process_that_starts_after_midnight_has_all_of_the_day_beside_a_rolling_one(book: LedgerBook) -> None:
    accounts = team(per(Per.DAY, 50, "UTC"), per(Per.DAY, 100, None))
    assert Process(book, accounts).serve(MIDNIGHT + 600) == 5
    assert Process(book, accounts).serve(MIDNIGHT + DAY + 300) == 5
    assert spent(book, "day:rolling:team") == 100


def test_a_reload_between_midnight_and_the_first_call_takes_nothing_of_yesterday(book: LedgerBook) -> None:
    accounts = team(per(Per.DAY, 50, "UTC"), per(Per.DAY, 100, None))
    process = Process(book, accounts)
    assert process.serve(MIDNIGHT + 600) == 5
    process.reload(accounts)
    assert process.serve(MIDNIGHT + DAY + 300) == 5


def test_a_month_of_another_zone_begins_with_nothing_of_the_month_before(book: LedgerBook) -> None:
    """The one begins hours before the other ends."""
    assert Process(book, team(per(Per.MONTH, 50, "UTC"))).serve(NOON) == 5
    assert Process(book, team(per(Per.MONTH, 50, "Asia/Tokyo"))).serve(NOON + 60) == 0
    last_day = NOON + 27 * DAY + 4 * HOUR  # 2026-05-31 16:00 UTC: June in Tokyo
    assert Process(book, team(per(Per.MONTH, 50, "Asia/Tokyo"))).serve(last_day) == 5


@pytest.mark.parametrize("ends", [False, True])
def test_a_lapsed_hold_is_charged_once_in_a_window_that_is_new(book: LedgerBook, *, ends: bool) -> None:
    suspended = Process(book, team(per(Per.DAY, 1_000, "UTC")))
    hold_id = suspended.hold(NOON, 400)
    assert hold_id is not None
    other = Process(book, team(per(Per.DAY, 1_000, "Europe/Berlin")))
    assert other.hold(NOON + 2 * LEASE, 500) is not None
    assert spent(book, "day:Europe/Berlin:team") == 400
    if ends:
        suspended.settle(NOON + 2 * LEASE + 1, hold_id, 30)
        assert spent(book, "day:Europe/Berlin:team") == 30


def test_what_a_process_held_that_was_killed_long_ago_is_not_charged_today(book: LedgerBook) -> None:
    month = AccountSpec(path="", limits=(per(Per.MONTH, 10_000, "UTC"),))
    assert Process(book, month, team(per(Per.DAY, 1_000, "UTC"))).hold(NOON, 900) is not None
    later = NOON + 17 * DAY
    assert Process(book, month, team(per(Per.DAY, 1_000, "Asia/Tokyo"))).serve(later, tokens=100) == 10
    assert spent(book, "month:UTC:") == 1_900


@pytest.mark.parametrize("between", [0, 1])
@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("hours", [0, 5])
def test_processes_that_reload_one_after_the_other_keep_the_limit(
    book: LedgerBook, between: int, last: int, hours: int
) -> None:
    """Whoever calls between; before midnight in Tokyo (15:00 UTC), and behind it."""
    utc, tokyo = team(per(Per.DAY, 50, "UTC")), team(per(Per.DAY, 50, "Asia/Tokyo"))
    now = NOON + hours * HOUR
    first, second = Process(book, utc), Process(book, utc)
    served = first.serve(now, calls=1) + second.serve(now, calls=1)
    first.reload(tokyo)
    served += first.serve(now, calls=between)
    served += second.serve(now, calls=1)
    served += first.serve(now, calls=last)
    second.reload(tokyo)
    served += second.serve(now)
    assert served == 5


def test_processes_that_take_on_a_rolling_limit_one_after_the_other_keep_it(book: LedgerBook) -> None:
    before, after = team(per(Per.DAY, 500, "UTC")), team(per(Per.DAY, 500, "UTC"), per(Per.DAY, 50, None))
    first, second = Process(book, before), Process(book, before)
    first.reload(after)
    served = first.serve(NOON, calls=1) + second.serve(NOON, calls=2) + first.serve(NOON, calls=1)
    second.reload(after)
    assert served + second.serve(NOON) == 5


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("between", [0, 1])
def test_a_day_that_begins_between_two_reloads_has_what_is_spent_in_it_without_its_window(
    book: LedgerBook, before: int, between: int
) -> None:
    """As a day in Tokyo begins, at 15:00 UTC, one process knows of it and the other does not."""
    utc, tokyo = team(per(Per.DAY, 50, "UTC")), team(per(Per.DAY, 50, "Asia/Tokyo"))
    first, second = Process(book, utc), Process(book, utc)
    begin = NOON + 3 * HOUR
    first.reload(tokyo)
    spent_before = first.serve(begin - 60, calls=before)
    served = second.serve(begin + 60, calls=2)
    served += first.serve(begin + 120, calls=between)
    second.reload(tokyo)
    assert served + second.serve(begin + 180) == 5 - spent_before  # nobody knows when in the day of UTC that was


def test_a_rolling_window_that_is_empty_again_has_what_was_spent_in_its_time_without_it(book: LedgerBook) -> None:
    before, after = team(per(Per.DAY, 500, "UTC")), team(per(Per.DAY, 500, "UTC"), per(Per.DAY, 50, None))
    first, second = Process(book, before), Process(book, before)
    first.reload(after)
    assert first.serve(NOON, calls=1) == 1
    later = NOON + 2 * DAY
    served = second.serve(later, calls=2) + first.serve(later + 60, calls=1)
    second.reload(after)
    assert served + second.serve(later + 120) == 5


def test_windows_of_one_period_are_adopted_once_in_each_of_their_spans(book: LedgerBook) -> None:
    process = Process(book, team(per(Per.DAY, 500, "UTC"), per(Per.DAY, 500, "Asia/Tokyo"), per(Per.MONTH, 500, "UTC")))
    adopted: list[tuple[float, str]] = []
    for hour in range(0, 72, 2):
        for late in (60, 120):
            process.queue.ask(HoldAsk.checked(f"hold-{next(NUMBERS)}", "team", (Line(0, 0, 0, 0),), (0, 0), None))
            steps = process.queue.batch(NOON + hour * HOUR + late)
            adopted += [(hour + late / HOUR, step.window.key) for step in steps if isinstance(step, Adopt)]
            process.queue.landed(steps, book.run(steps, NOON + hour * HOUR + late), NOON + hour * HOUR + late)
    hours = {key: [int(at) for at, adopted_key in adopted if adopted_key == key] for _, key in adopted}
    assert hours == {
        "day:UTC:team": [0, 12, 36, 60],
        "day:Asia/Tokyo:team": [0, 4, 28, 52],
        "month:UTC:team": [0],
    }


def test_a_configuration_that_comes_back_with_a_restart_finds_what_was_spent_meanwhile(book: LedgerBook) -> None:
    utc, tokyo = team(per(Per.DAY, 50, "UTC")), team(per(Per.DAY, 5_000, "Asia/Tokyo"))
    assert Process(book, utc).serve(NOON, calls=2) == 2
    assert Process(book, tokyo).serve(NOON + 60, calls=20) == 20
    assert Process(book, utc).serve(NOON + 120) == 0


def test_a_configuration_that_comes_back_takes_nothing_of_the_day_before(book: LedgerBook) -> None:
    """The other zone's day, which is not over yet, takes over what was spent in this one; nothing is called in it."""
    utc, tokyo = team(per(Per.DAY, 100, "UTC")), team(per(Per.DAY, 1_000, "Asia/Tokyo"))
    assert Process(book, tokyo).serve(MIDNIGHT - 4 * HOUR, calls=90) == 90
    assert Process(book, utc).serve(MIDNIGHT + 600, calls=2) == 2
    assert Process(book, tokyo).serve(MIDNIGHT + 660, calls=0) == 0
    assert Process(book, utc).serve(MIDNIGHT + 720) == 8


def test_a_reset_is_not_undone_by_a_restart(book: LedgerBook) -> None:
    utc, rolling = per(Per.DAY, 10_000, "UTC"), per(Per.DAY, 10_000, None)
    assert Process(book, team(utc)).serve(NOON, calls=3) == 3
    both = Process(book, team(utc, rolling))
    assert both.serve(NOON + 60, calls=5) == 5
    end = NOON + 12 * HOUR
    book.run([Change(account="team", window=WindowUse("day:UTC:team", end, rolling=False), reset=True)], NOON + 120)
    assert both.serve(NOON + 180, calls=2) == 2
    assert Process(book, team(utc, rolling)).serve(NOON + 240, calls=1) == 1
    assert spent(book, "day:UTC:team") == 30
    assert spent(book, "day:rolling:team") == 110


@pytest.mark.parametrize(("period", "before", "within"), [(Per.DAY, 600, 9 * HOUR), (Per.MONTH, 11 * HOUR, 14 * HOUR)])
def test_a_calendar_window_takes_nothing_of_the_end_of_the_one_before(
    book: LedgerBook, period: Per, before: float, within: float
) -> None:
    """From a rolling one, in which it still counts."""
    begin = MIDNIGHT if period is Per.DAY else MIDNIGHT + 27 * DAY  # 2026-06-01
    rolling = per(period, 100_000, None)
    process = Process(book, team(rolling))
    assert process.serve(begin - before, tokens=900, calls=1) == 1
    assert process.serve(begin + within, tokens=10, calls=1) == 1
    assert Process(book, team(rolling, per(period, 1_000, "UTC"))).serve(begin + within + HOUR, calls=0) == 0
    assert spent(book, f"{period.value}:UTC:team") == 10
