"""A start with thousands of accounts: their windows are adopted some at a time, and each before it is counted in."""

from __future__ import annotations

from penstock.policy.accounts import AccountSpec, Limit
from penstock.policy.adoptions import MOST_ADOPTIONS
from penstock.policy.hold_ask import HoldAsk
from penstock.policy.hold_queue import HoldQueue
from penstock.policy.holds import Amount, Line
from penstock.policy.ledger_book import LedgerBook
from penstock.policy.ledger_steps import Adopt, Reserve, Settle, Step, TopUp
from penstock.policy.memory_pages import MemoryPages
from penstock.policy.window import Per

NOON = 1_777_896_000.0
ACCOUNTS = 3 * MOST_ADOPTIONS
LAST = f"u/{ACCOUNTS - 1}"


def specs(zone: str = "UTC") -> list[AccountSpec]:
    limit = Limit(per=Per.DAY, tokens=1_000, timezone=zone)
    return [AccountSpec(path=f"u/{number}", limits=(limit,)) for number in range(ACCOUNTS)]


def adopted(steps: list[Step]) -> list[str]:
    return [step.account for step in steps if isinstance(step, Adopt)]


class Process:
    """One that starts with all of them, over a book of its own."""

    def __init__(self) -> None:
        self.pages = MemoryPages()
        self.book = LedgerBook(self.pages)
        self.queue = HoldQueue(specs(), lease=60.0, adopts=True)

    def ask(self, hold_id: str, account: str) -> None:
        self.queue.ask(HoldAsk.checked(hold_id, account, [Line(300, 0, 0, 0)], (0, 0), None))

    def commit(self, *, answered: bool = True) -> list[Step]:
        steps = self.queue.batch(NOON)
        if answered:
            self.queue.landed(steps, self.book.run(steps, NOON), NOON)
        else:
            self.queue.failed(steps)
        return steps


def test_a_batch_adopts_no_more_than_some_and_those_that_follow_the_rest() -> None:
    process = Process()
    batches: list[list[str]] = []
    while process.queue.has_work:
        assert not process.queue.only_settles, "they are sent at once"
        batches.append(adopted(process.commit()))
    assert [len(batch) for batch in batches] == [MOST_ADOPTIONS] * 3
    assert len({account for batch in batches for account in batch}) == ACCOUNTS
    assert process.commit() == []


def test_what_is_counted_in_a_batch_is_adopted_in_it_whatever_its_turn() -> None:
    process = Process()
    process.ask("call", LAST)
    steps = process.commit()
    assert adopted(steps)[0] == LAST
    assert len(adopted(steps)) == MOST_ADOPTIONS
    assert isinstance(steps[-1], Reserve)
    process.queue.reconfigure(specs("Asia/Tokyo"))
    process.queue.top_up("call", Amount(100))
    steps = process.commit()
    assert adopted(steps)[0] == LAST
    assert isinstance(steps[-1], TopUp)
    process.queue.settle("no-hold", Amount(7), account="u/1400")
    steps = process.commit()
    assert "u/1400" in adopted(steps)
    assert isinstance(steps[-1], Settle)
    assert {row.key: row.held.tokens + row.spent.tokens for row in process.pages.windows(None, NOON)}[
        f"day:Asia/Tokyo:{LAST}"
    ] == 400


def test_more_than_some_that_are_counted_in_one_batch_are_all_adopted_in_it() -> None:
    process = Process()
    accounts = [f"u/{number}" for number in range(MOST_ADOPTIONS - 10, ACCOUNTS)]
    for account in accounts:
        process.ask(account, account)
    assert adopted(process.commit()) == accounts


def test_what_a_batch_without_an_answer_was_to_adopt_is_adopted_by_others() -> None:
    process = Process()
    first = adopted(process.commit(answered=False))
    after: list[str] = []
    while process.queue.has_work:
        after += adopted(process.commit())
    assert set(first) < set(after)
    assert len(after) == ACCOUNTS
