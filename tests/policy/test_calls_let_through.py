"""A call that was let through while the store was away, and asks for more once it is back: then it is held."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from penstock.policy.accounts import AccountSpec, Limit
from penstock.policy.hold_ask import Decision, HoldAsk
from penstock.policy.hold_queue import HoldQueue
from penstock.policy.holds import Amount, Granted, Line, Refused
from penstock.policy.ledger_book import LedgerBook
from penstock.policy.ledger_steps import Reserve, Step, TopUp
from penstock.policy.memory_pages import MemoryPages
from penstock.policy.window import Per

NOON = 1_777_896_000.0  # 2026-05-04 12:00 UTC
LEASE = 60.0
DAY = Limit(per=Per.DAY, tokens=1_000)


class Process:
    """One whose call has been let through with 300 of 1,000 tokens a day; the store knows nothing of it."""

    def __init__(self, limit: Limit = DAY, *, likely: Sequence[Line] = ()) -> None:
        self.pages = MemoryPages()
        self.book = LedgerBook(self.pages)
        self.queue = HoldQueue([AccountSpec(path="", limits=(limit,))], lease=LEASE)
        self.ask("call", 300, likely=likely)
        self.away()

    def ask(self, hold_id: str, tokens: int, *, likely: Sequence[Line] = ()) -> None:
        self.queue.ask(HoldAsk.checked(hold_id, "", [Line(tokens, 0, 0, 0)], (0, 0), None, likely=likely))

    def away(self, *, sent: bool = True, let_through: bool = True) -> list[Granted]:
        """A batch that the store did not answer."""
        asked = self.queue.failed(self.queue.batch(NOON), sent=sent)
        return [self.queue.let_through(step) for step in asked] if let_through else []

    def commit(self, at: float = 0.0) -> list[Decision]:
        """Batches so many seconds after noon, until nothing is left to do."""
        decisions: list[Decision] = []
        while self.queue.has_work:
            steps = self.queue.batch(NOON + at)
            decisions += self.queue.landed(steps, self.book.run(steps, NOON + at), NOON + at)
        return decisions

    def land(self) -> list[Step]:
        """One batch, whose answers decide nothing yet."""
        steps = self.queue.batch(NOON)
        assert self.queue.landed(steps, self.book.run(steps, NOON), NOON) == []
        return steps

    def counted(self, at: float = 0.0) -> tuple[int, int]:
        """Held and spent."""
        self.book.advance(NOON + at)
        rows = self.pages.windows(None, self.book.now)
        return (rows[0].held.tokens, rows[0].spent.tokens) if rows else (0, 0)


def test_it_is_held_with_all_that_it_may_spend_from_then_on() -> None:
    process = Process()
    assert process.queue.top_up("call", Amount(200))
    assert process.commit() == [Granted("call", 0, Amount(500))]
    assert process.counted() == (500, 0)
    assert process.queue.holds == 1
    assert process.queue.top_up("call", Amount(100))
    assert process.commit() == [Granted("call", 0, Amount(600))]
    process.queue.settle("call", Amount(450))
    process.commit()
    assert process.counted() == (0, 450)


def test_it_is_refused_by_the_limit_where_there_is_no_room_and_what_it_spent_is_booked() -> None:
    process = Process()
    assert process.queue.top_up("call", Amount(701))
    (decision,) = process.commit()
    assert isinstance(decision, Refused)
    assert (decision.reason, decision.missing) == ("exhausted", Amount(1))
    assert process.counted() == (0, 0)
    process.queue.settle("call", Amount(250))
    process.commit()
    assert process.counted() == (0, 250)


def test_what_is_likely_of_it_is_held_where_a_window_counts_by_that() -> None:
    process = Process(Limit(per=Per.DAY, tokens=1_000, bound="estimate"), likely=[Line(30, 0, 0, 0)])
    assert process.queue.top_up("call", Amount(2_000), Amount(20))
    assert process.commit() == [Granted("call", 0, Amount(2_300), Amount(50))]
    assert process.counted() == (50, 0)


def test_its_lease_is_renewed_and_ends_with_its_process() -> None:
    process = Process()
    process.queue.top_up("call", Amount(200))
    process.commit()
    assert process.queue.next_renewal == NOON + LEASE / 3
    assert process.counted(LEASE + 1) == (0, 500)


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("let_through", [True, False])
def test_what_it_spent_is_booked_where_the_store_goes_away_again(*, sent: bool, let_through: bool) -> None:
    process = Process()
    process.queue.top_up("call", Amount(200))
    assert [type(step) for step in process.land()] == [TopUp]
    granted = process.away(sent=sent, let_through=let_through)
    assert granted == ([Granted("call", 0, Amount(500))] if let_through else [])
    assert process.queue.knows("call")
    process.queue.settle("call", Amount(450))
    process.commit()
    assert process.counted() == (0, 450)


def test_what_it_spent_is_booked_where_the_store_cannot_keep_what_it_would_hold() -> None:
    process = Process()
    process.queue.top_up("call", Amount(200))
    process.land()
    (step,) = process.queue.batch(NOON)
    assert isinstance(step, Reserve)
    process.queue.dropped(step)
    assert process.queue.knows("call")
    process.queue.settle("call", Amount(250))
    process.commit()
    assert process.counted() == (0, 250)


def test_it_is_asked_for_no_more_where_it_has_ended_meanwhile() -> None:
    process = Process()
    process.queue.top_up("call", Amount(200))
    process.land()
    process.queue.settle("call", Amount(250))
    assert process.commit() == []
    assert process.counted() == (0, 250)


def test_no_top_up_is_taken_for_one_from_before_where_the_store_had_held_it_all_the_same() -> None:
    process = Process()
    process.ask("other", 100)
    steps = process.queue.batch(NOON)
    process.book.run(steps, NOON)  # carried out, and nobody was told
    for step in process.queue.failed(steps):
        process.queue.let_through(step)
    for _ in range(2):
        process.queue.top_up("other", Amount(50))
        steps = process.queue.batch(NOON)
        process.book.run(steps, NOON)
        for step in process.queue.failed(steps):
            process.queue.let_through(step)
    process.queue.top_up("other", Amount(50))
    assert process.commit() == [Granted("other", 0, Amount(250))]
    assert process.counted() == (250, 0)
    assert process.queue.holds == 1, "and it is known now that it is held"
