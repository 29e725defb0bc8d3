"""Soft limits where several processes spend from one ledger: each tells its own listeners, of what all have spent."""

from __future__ import annotations

import itertools

import attrs

from penstock.policy.accounts import AccountSpec, Degrade, Limit
from penstock.policy.hold_ask import HoldAsk
from penstock.policy.hold_queue import HoldQueue
from penstock.policy.holds import Amount, Line, SoftLimitReached
from penstock.policy.ledger_book import LedgerBook
from penstock.policy.ledger_steps import Change
from penstock.policy.memory_pages import MemoryPages
from penstock.policy.window import Per

NOON = 1_777_896_000.0  # 2026-05-04 12:00 UTC
ACCOUNTS = (AccountSpec(path="", limits=(Limit(per=Per.DAY, tokens=1_000, soft=(0.5, 0.8)),)),)


CALLS = itertools.count()
"""Of all processes: no two holds have one id."""


@attrs.define
class Process:
    book: LedgerBook
    queue: HoldQueue = attrs.Factory(lambda: HoldQueue(ACCOUNTS, lease=60.0))

    def spend(self, tokens: int) -> list[tuple[float, int]]:
        """One call; the shares that are told, with what is spent by then."""
        hold_id = f"call-{next(CALLS)}"
        self.queue.ask(HoldAsk.checked(hold_id, "", [Line(tokens, 0, 0, 0)], (0, 0), None))
        self.carry_out()
        self.queue.settle(hold_id, Amount(tokens))
        self.carry_out()
        told = [event for event in self.queue.take_events() if isinstance(event, SoftLimitReached)]
        return [(event.share, event.spent.tokens) for event in told]

    def carry_out(self) -> None:
        steps = self.queue.batch(NOON)
        self.queue.landed(steps, self.book.run(steps, NOON), NOON)


def test_a_share_counts_what_all_processes_have_spent_and_each_tells_it_once() -> None:
    book = LedgerBook(MemoryPages())
    one, other = Process(book), Process(book)
    assert one.spend(300) == []
    assert other.spend(250) == [(0.5, 550)]
    # Its own listeners have not heard of it: the next charge tells them, and only the next.
    assert one.spend(10) == [(0.5, 560)]
    assert [one.spend(10), other.spend(10)] == [[], []]
    assert one.spend(300) == [(0.8, 880)]
    assert other.spend(10) == [(0.8, 890)]
    assert [one.spend(10), other.spend(10)] == [[], []]


def test_a_process_that_comes_late_tells_every_share_that_is_spent_already() -> None:
    book = LedgerBook(MemoryPages())
    assert Process(book).spend(900) == [(0.5, 900), (0.8, 900)]
    assert Process(book).spend(10) == [(0.5, 910), (0.8, 910)]


def test_shares_are_those_of_a_limit_that_was_set_by_hand() -> None:
    book = LedgerBook(MemoryPages())
    process = Process(book)
    assert process.spend(100) == []
    (window,) = process.queue.windows.own("")
    book.run([Change(account="", window=window.use(NOON), limit_tokens=10_000)], NOON)
    assert process.spend(800) == []
    book.run([Change(account="", window=window.use(NOON), limit_tokens=1_200)], NOON)
    assert process.spend(10) == [(0.5, 910)]


def test_an_account_degrades_by_a_limit_that_was_set_by_hand() -> None:
    degrade = Degrade(at=0.5, route="cheap")
    account = AccountSpec(path="", limits=(Limit(per=Per.DAY, tokens=1_000),), degrade=degrade)
    book = LedgerBook(MemoryPages())
    process = Process(book, HoldQueue((account,), lease=60.0))
    (window,) = process.queue.windows.own("")
    book.run([Change(account="", window=window.use(NOON), limit_tokens=100_000)], NOON)
    process.spend(900)
    assert process.queue.windows.route_instead("", NOON) is None
    book.run([Change(account="", window=window.use(NOON), limit_tokens=1_200)], NOON)
    process.spend(10)
    assert process.queue.windows.route_instead("", NOON) == "cheap"
