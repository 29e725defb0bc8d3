"""The ledger: who may spend what. Holds are reserved over all parents of an account at once, then settled.

This is the whole of it in memory: what a process asks (`hold_queue`) beside the book that answers (`ledger_book`). A
kernel has a store between the two. Not here: what a request costs at most (bound, money, the providers), and waiting
itself: the ledger says who waits and until when, its owner keeps the time.

    reserve -> Granted -> [top_up] -> settle
            -> Waiting -> (take_grants) Granted | Refused
            -> Refused

The law: `free = limit - held - spent` after every message, for every account, window and unit; only a charge above its
hold (an overrun) makes `free` negative, and then nothing new is granted there. An exception leaves all as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from penstock.policy.account_paths import check_path
from penstock.policy.account_window import AccountSnapshot, WindowSnapshot
from penstock.policy.accounts import (
    AccountSpec,
    AccountTree,
    Limit,
    check_request_limits,
    request_output_cap,
)
from penstock.policy.hold_ask import Decision, HoldAsk
from penstock.policy.hold_queue import HoldQueue
from penstock.policy.holds import (
    Amount,
    BudgetEvent,
    Degraded,
    Granted,
    Line,
    NotBooked,
    Overrun,
    Refused,
    SoftLimitReached,
    Waiting,
)
from penstock.policy.ledger_book import LedgerBook, check_time
from penstock.policy.memory_pages import MemoryPages
from penstock.policy.window import Per

__all__ = [
    "AccountSnapshot",
    "AccountSpec",
    "Amount",
    "BudgetEvent",
    "Degraded",
    "Granted",
    "Ledger",
    "LedgerStatistics",
    "Limit",
    "Line",
    "NotBooked",
    "Overrun",
    "Per",
    "Refused",
    "SoftLimitReached",
    "Waiting",
    "WindowSnapshot",
    "check_path",
    "check_request_limits",
    "request_output_cap",
]


@attrs.frozen
class LedgerStatistics:
    """Holds that are not settled, holds that wait, settled ids that are still known."""

    holds: int
    waiting: int
    tombstones: int


class Ledger:
    """The tree of accounts with everything held and spent. One owner calls it; nothing here waits.

    `now` is Unix time. One that goes back never reopens a window: windows follow the latest time ever given.
    A settled id is remembered for `tombstone` seconds, so that a reserve which comes after its settle is refused.
    Holds have no lease here: whoever holds is in the same process.
    """

    def __init__(self, accounts: Sequence[AccountSpec], *, tombstone: float = 60.0) -> None:
        self._queue = HoldQueue(accounts)
        self._pages = MemoryPages()
        self._book = LedgerBook(self._pages, tombstone=tombstone)
        self._decided: list[Decision] = []

    def reserve(
        self,
        hold_id: str,
        account: str,
        lines: Sequence[Line],
        *,
        min_output: int,
        max_output: int,
        now: float,
        wait_until: float | None,
        likely: Sequence[Line] = (),
    ) -> Granted | Waiting | Refused:
        """Hold the dearest of the lines, with the largest output in the range that fits every window on the path.

        In windows by estimate the dearest of `likely` is held, at the same output; without it, that of `lines`.

        Where the least of it fits only once others settle, it waits, behind those who came before; None does not wait.
        Where it could not fit with every hold released, it is refused at once. Idempotent by id.
        """
        check_time(now)
        waited = self._queue.is_waiting(hold_id)
        self._queue.ask(HoldAsk.checked(hold_id, account, lines, (min_output, max_output), wait_until, likely=likely))
        own: Decision | None = None
        for decision in self._run(now):
            if decision.hold_id == hold_id:
                own = decision
            if decision.hold_id != hold_id or waited:
                self._decided.append(decision)  # whoever waited for it is told as well
        return own or Waiting(hold_id)

    def top_up(self, hold_id: str, more: Amount, now: float, *, likely: Amount | None = None) -> Granted | Refused:
        """Hold more for a call that runs, all or nothing. It does not wait, and goes before those who do.

        What is added counts in the windows of now, the rest of the hold where it was reserved. `likely` is what counts
        in windows by estimate; None: as `more`.
        """
        check_time(now)
        if self._queue.top_up(hold_id, more, likely):
            (decision,) = self._run(now, serve=False)
            return decision
        self._book.advance(now)
        return Refused(hold_id, "", "", more, None, "settled")

    def settle(self, hold_id: str, charged: Amount, now: float, *, estimated: bool = False) -> None:
        """Replace the hold by what was charged, in the window of the reservation. Idempotent by id.

        Takes a waiting one out of the queue. An unknown id leaves a tombstone: a reserve that comes later is refused.
        """
        check_time(now)
        self._queue.settle(hold_id, charged, estimated=estimated)
        self._decided = [decision for decision in self._decided if decision.hold_id != hold_id]
        self._run(now, serve=False)

    def take_grants(self, now: float) -> list[Granted | Refused]:
        """The answers for waiting holds that can go now, that no longer can, or whose wait is over."""
        self._decided += self._run(now)
        decided, self._decided = self._decided, []
        return decided

    @property
    def next_wait_end(self) -> float | None:
        """When `take_grants` has something to decide although nothing was settled; None: nobody waits."""
        return self._queue.next_wait_end

    def snapshot(self, now: float | None = None) -> Mapping[str, AccountSnapshot]:
        """Every account with limited windows, by path: as of the last message, or of `now`."""
        if now is not None:
            check_time(now)
            self._book.advance(now)
        return self._queue.windows.snapshot(self._pages.windows(None, self._book.now))

    def statistics(self) -> LedgerStatistics:
        """How much the ledger remembers."""
        return LedgerStatistics(self._queue.holds, self._queue.waiting, self._pages.tombstones())

    def take_events(self) -> list[BudgetEvent]:
        """Soft limits reached and overruns since it was last asked, in order."""
        return self._queue.take_events()

    def reconfigure(self, accounts: Sequence[AccountSpec], now: float) -> None:
        """Other accounts and limits over what is held and spent; `AccountWindows.reconfigure` says what goes on.

        A new window counts the outstanding holds of its subtree.
        """
        AccountTree(accounts)  # raises before anything changes
        self._book.advance(now)
        self._queue.now = max(self._queue.now, self._book.now)
        self._queue.reconfigure(accounts)
        self._run(now, serve=False)

    def _run(self, now: float, *, serve: bool = True) -> list[Decision]:
        self._queue.now = max(self._queue.now, self._book.now)
        steps = self._queue.batch(now, serve=serve)
        return self._queue.landed(steps, self._book.run(steps, now), now)
