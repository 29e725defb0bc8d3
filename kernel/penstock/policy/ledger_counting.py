"""How holds and charges are counted on the pages of a ledger: what several steps of its book have in common.

Not here: the steps (`ledger_book`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from penstock.policy.holds import Amount
from penstock.policy.ledger_pages import NEVER_COUNTED, Bucket, HoldPage, Pages, WindowPage, hold_in, settle_in
from penstock.policy.ledger_room import Room
from penstock.policy.ledger_steps import Spent, WindowUse

__all__ = ["CHARGED_KNOWN", "EARLIEST", "JOURNAL_STEP", "LATEST", "NEVER", "LedgerCounting", "quarter"]

# The years that a calendar has: an absurd `now` must not be remembered as the latest.
EARLIEST = -6.2e10
LATEST = 2.5e11
NEVER = math.inf
CHARGED_KNOWN = 86_400.0
"""Seconds for which a charge without a hold is known as settled: where its answer was lost it is sent again when the
store is back, and there is no hold by which to see that it was carried out."""
JOURNAL_STEP = 900.0
"""Seconds: days of every time zone begin at a quarter of an hour."""


class LedgerCounting:
    """Counts on its pages. Nothing here waits."""

    def __init__(self, pages: Pages, *, now: float = EARLIEST, tombstone: float = 60.0) -> None:
        self.pages = pages
        self.now = now
        """The latest time ever given."""
        self.tombstone = tombstone
        """Seconds for which settled ids are remembered: the longest lease of all reserves, where that is longer. Pages
        that outlive the book keep it with them."""
        self.batch: int = 0
        """The number of the batch; each has a higher one than those before. Pages that outlive the book keep it."""

    def _uses(self, windows: Sequence[WindowUse]) -> list[Room]:
        uses: list[Room] = []
        for use in windows:
            page = self.pages.window(use.key)
            if page.buckets and page.buckets[0].end <= self.now:
                page.advance(self.now)
            # Set by hand it goes before one of the step: in a unit that the step does not limit there is none.
            tokens, nano_usd = use.limit_tokens, use.limit_nano_usd
            if tokens is not None and page.limit_tokens is not None:
                tokens = page.limit_tokens
            if nano_usd is not None and page.limit_nano_usd is not None:
                nano_usd = page.limit_nano_usd
            uses.append(Room(page, use, tokens, nano_usd, use.by_estimate))
        return uses

    def _uses_of(self, hold: HoldPage, windows: Sequence[WindowUse]) -> list[Room]:
        """How more of a hold counts: in each window as the hold did before."""
        ways = {} if hold.likely is None else hold.counts_by_estimate()
        uses: list[Room] = []
        for use in self._uses(windows):
            by_estimate = bool(ways) and ways.get(use.use.key, use.by_estimate)
            uses.append(Room(use.page, use.use, use.tokens, use.nano_usd, by_estimate))
        return uses

    def _count(self, uses: Sequence[Room], amount: Amount, *, by_estimate: bool) -> tuple[Bucket, ...]:
        return self._count_all([use for use in uses if use.by_estimate is by_estimate], amount)

    def _count_all(self, uses: Sequence[Room], amount: Amount) -> tuple[Bucket, ...]:
        return self._hold_in(tuple([use.page.bucket(use.use.end, rolling=use.use.rolling) for use in uses]), amount)

    def _hold_in(self, buckets: tuple[Bucket, ...], amount: Amount) -> tuple[Bucket, ...]:
        hold_in(buckets, amount)
        self.pages.touched(buckets)
        return buckets

    def _note_count(self, buckets: Iterable[Bucket]) -> None:
        """Something new is counted in the windows of these, by one step."""
        turn = (self.batch, self.now)
        for bucket in buckets:
            window = bucket.window
            if window.kin is not None:
                _note_count_of_kin([bucket.window for bucket in buckets], turn)
                return
            if window.level is not None:
                window.count_alone()
            window.counted = turn

    def _lapse(self, hold: HoldPage) -> None:
        """Charges a hold in full: nobody knows what became of its call."""
        hold.lapsed = True
        for part in hold.parts:
            for bucket in part.buckets:
                bucket.settle(part.amount, part.amount, estimated=True)
            self.pages.touched(part.buckets)
        self.pages.touched_hold(hold)
        self._write_down(hold, calls=1)

    def _revive(self, hold: HoldPage) -> None:
        self._write_down(hold, calls=-1)
        hold.lapsed = False
        for part in hold.parts:
            for bucket in part.buckets:
                bucket.unsettle(part.amount, hold.lease_ends)
            self.pages.touched(part.buckets)

    def _write_down(self, hold: HoldPage, *, calls: int) -> None:
        """For reports: the charge of a lapsed hold, at no target that anybody knows; -1: taken back, for the truth."""
        amount = hold.amount
        output = min(hold.output_tokens, amount.tokens)
        spent = Spent(
            target="",
            attempts=0,
            input_tokens=calls * (amount.tokens - output),
            output_tokens=calls * output,
            nano_usd=calls * amount.nano_usd,
            estimated=True,
        )
        self.pages.journal(quarter(hold.reserved_at), hold.account, (spent,), calls=calls)

    def _charge(self, hold: HoldPage, charged: Amount, *, estimated: bool) -> None:
        """In each window each part takes what it held there; the last one all the rest."""
        if len(hold.parts) == 1:  # as of nearly every hold
            (part,) = hold.parts
            if estimated:
                for bucket in part.buckets:
                    bucket.settle(part.amount, charged, estimated=True)
            else:
                settle_in(part.buckets, part.amount, charged)
            self.pages.touched(part.buckets)
            return
        # A part is one of the bound or of the estimate: a window has the one or the other, and takes the whole charge.
        last = {bucket.window.key: part for part in hold.parts for bucket in part.buckets}
        left: dict[str, Amount] = {}
        for part in hold.parts:
            for bucket in part.buckets:
                key = bucket.window.key
                rest = left.get(key, charged)
                share = rest if last[key] is part else rest.at_most(part.amount)
                left[key] = rest - share
                bucket.settle(part.amount, share, estimated=estimated)
            self.pages.touched(part.buckets)

    def _live(self, hold: HoldPage) -> dict[WindowPage, Amount]:
        """The windows of a hold that are not over, with what is spent in them."""
        live: dict[WindowPage, Amount] = {}
        for part in hold.parts:
            for bucket in part.buckets:
                window = bucket.window
                if window not in live:
                    window.advance(self.now)
                    if window.buckets:
                        live[window] = window.spent
        return live

    def _over(self, windows: Iterable[WindowUse]) -> bool:
        """True where a window that the step names is over by the book's clock."""
        for use in windows:  # noqa: SIM110 - a generator would cost three times as much, for every call
            if use.end <= self.now:
                return True
        return False

    def _remember(self, lease: float) -> None:
        if self.tombstone < lease < NEVER:
            self.tombstone = lease


def _note_count_of_kin(windows: Sequence[WindowPage], turn: tuple[int, float]) -> None:
    """The same, where some count the same period of one account.

    One that was left out where another was counted goes on as one that has missed that, until it is adopted. One that
    begins has missed nothing.
    """
    for window in windows:
        latest = max([other.counted[0] for other in windows if _are_kin(other, window)], default=None)
        if latest is None:
            window.count_alone()
        else:
            begins = window.level is None and window.counted == NEVER_COUNTED
            known = window.knows_until
            window.level = None if begins or known >= latest else known
    for window in windows:
        window.counted = turn


def _are_kin(one: WindowPage, other: WindowPage) -> bool:
    return one is not other and one.kin is not None and one.kin == other.kin


def quarter(time: float) -> float:
    """When the quarter of an hour of that time began: by it the journal is kept."""
    return time // JOURNAL_STEP * JOURNAL_STEP
