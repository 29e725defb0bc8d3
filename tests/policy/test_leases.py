"""Leases as one process sees them: when holds are renewed, and what becomes of a renewal that nobody answered."""

from __future__ import annotations

from penstock.policy.accounts import AccountSpec, Limit
from penstock.policy.hold_ask import HoldAsk
from penstock.policy.hold_queue import HoldQueue
from penstock.policy.holds import Amount, Line
from penstock.policy.ledger_book import LedgerBook
from penstock.policy.ledger_steps import Renew, Step
from penstock.policy.memory_pages import MemoryPages
from penstock.policy.window import Per

NOON = 1_777_896_000.0  # 2026-05-04 12:00 UTC
LEASE = 60.0


class Process:
    """A process that holds 300 of 1,000 tokens a day since noon."""

    def __init__(self) -> None:
        self.pages = MemoryPages()
        self.book = LedgerBook(self.pages)
        self.queue = HoldQueue([AccountSpec(path="", limits=(Limit(per=Per.DAY, tokens=1_000),))], lease=LEASE)
        self.queue.ask(HoldAsk.checked("h", "", [Line(300, 0, 0, 0)], (0, 0), None))
        self.commit(0)

    def commit(self, at: float, *, answered: bool = True) -> list[Step]:
        """A batch so many seconds after noon."""
        steps = self.queue.batch(NOON + at)
        if answered:
            self.queue.landed(steps, self.book.run(steps, NOON + at), NOON + at)
        else:
            self.queue.failed(steps)
        return steps

    def counted(self, at: float) -> tuple[int, int]:
        """Held and spent."""
        self.book.advance(NOON + at)
        (row,) = self.pages.windows(None, self.book.now)
        return row.held.tokens, row.spent.tokens


def test_a_hold_is_renewed_at_a_third_of_its_lease_and_not_before() -> None:
    process = Process()
    assert process.queue.next_renewal == NOON + 20
    assert process.commit(19) == []
    assert process.commit(20) == [Renew(("h",), LEASE)]
    assert process.counted(79) == (300, 0)


def test_a_renewal_without_an_answer_comes_again_with_the_next_batch() -> None:
    process = Process()
    assert process.commit(20, answered=False) == [Renew(("h",), LEASE)]
    assert process.queue.next_renewal == NOON + 20
    assert process.commit(21) == [Renew(("h",), LEASE)]
    assert process.counted(80) == (300, 0)


def test_a_call_that_was_let_through_is_renewed_for_the_store_may_hold_it_all_the_same() -> None:
    process = Process()
    process.queue.settle("h", Amount(0))
    process.queue.ask(HoldAsk.checked("i", "", [Line(400, 0, 0, 0)], (0, 0), None))
    steps = process.queue.batch(NOON + 1)
    process.book.run(steps, NOON + 1)
    for reserve in process.queue.failed(steps):  # carried out, and nobody was told
        process.queue.let_through(reserve)
    assert process.counted(1) == (400, 0)
    for at in (22, 43, 64, 85):
        process.commit(at)
    assert process.counted(86) == (400, 0)
    process.queue.settle("i", Amount(120))
    process.commit(87)
    assert process.counted(87) == (0, 120)


def test_a_hold_that_lapsed_is_charged_in_full_until_its_call_says_that_it_lives_or_what_it_cost() -> None:
    process = Process()
    assert process.counted(60) == (0, 300)
    process.commit(61)
    assert process.counted(61) == (300, 0), "renewed: it is held again"
    assert process.counted(200) == (0, 300)
    process.queue.settle("h", Amount(120))
    process.commit(201)
    assert process.counted(201) == (0, 120), "the truth takes the place of the whole bound"
