"""What a ledger remembers: windows with their buckets, holds, settled ids. What `LedgerBook` works on.

Pages in memory are all there is (`memory_pages`); those of a store on disk read rows when they are asked for, and note
what was changed.

A charge lies in a bucket, and counts until the bucket's end. A calendar window is one bucket at a time, a rolling
window the last sixty. A hold keeps its buckets, so that it is settled where it was reserved, even after their end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Protocol

import attrs

from penstock.policy.holds import NOTHING, Amount
from penstock.policy.ledger_steps import HistoryRow, HoldRow, Spent, WindowRow

__all__ = ["Bucket", "HoldPage", "Pages", "Part", "WindowPage"]


@attrs.define(eq=False)
class Bucket:
    """What was reserved within one span of time. Its figures are in its window's totals while it is `live`."""

    window: WindowPage
    end: float
    held: Amount = NOTHING
    spent: Amount = NOTHING
    estimated: Amount = NOTHING
    live: bool = True

    def hold(self, amount: Amount) -> None:
        """Counts a hold."""
        # Plain numbers here and below: every call is counted in every window on its path, twice.
        tokens, nano_usd = amount.tokens, amount.nano_usd
        for counted in (self, self.window) if self.live else (self,):
            held = counted.held
            counted.held = Amount(held.tokens + tokens, held.nano_usd + nano_usd)

    def settle(self, held: Amount, charged: Amount, *, estimated: bool) -> None:
        """Counts a charge in the place of a hold."""
        for counted in (self, self.window) if self.live else (self,):
            before, spent = counted.held, counted.spent
            counted.held = Amount(before.tokens - held.tokens, before.nano_usd - held.nano_usd)
            counted.spent = Amount(spent.tokens + charged.tokens, spent.nano_usd + charged.nano_usd)
            if estimated:
                counted.estimated += charged

    def unsettle(self, held: Amount) -> None:
        """Counts a hold again in the place of the charge by which it had lapsed.

        What of that charge was taken away by hand is not taken away once more: less than nothing spent would be room
        that nobody gave.
        """
        back = held.at_most(self.estimated)
        for counted in (self, self.window) if self.live else (self,):
            counted.held += held
            counted.spent -= back
            counted.estimated -= back


@attrs.define(eq=False)
class WindowPage:
    """One window of one account: its live buckets and their totals."""

    key: str
    held: Amount = NOTHING
    spent: Amount = NOTHING
    estimated: Amount = NOTHING
    buckets: deque[Bucket] = attrs.field(factory=deque[Bucket], repr=False)
    """By their ends."""
    limit_tokens: int | None = None
    limit_nano_usd: int | None = None
    """Set by hand; None: the configured limit counts."""

    def advance(self, now: float) -> None:
        """Lets go of what has left the window."""
        while self.buckets and self.buckets[0].end <= now:
            bucket = self.buckets.popleft()
            bucket.live = False
            self.held -= bucket.held
            self.spent -= bucket.spent
            self.estimated -= bucket.estimated

    def bucket(self, end: float, *, rolling: bool) -> Bucket:
        """Where what is reserved now is counted. A window goes on until its end, whatever a later step thinks of it."""
        if self.buckets and (not rolling or end <= self.buckets[-1].end):
            return self.buckets[-1]
        self.buckets.append(Bucket(self, end))
        return self.buckets[-1]

    def find(self, end: float) -> Bucket | None:
        """The live bucket with that end."""
        return next((bucket for bucket in self.buckets if bucket.end == end), None)

    def row(self) -> WindowRow:
        """As it is now."""
        return WindowRow(
            key=self.key,
            held=self.held,
            spent=self.spent,
            estimated=self.estimated,
            ends_at=self.buckets[0].end if self.buckets else None,
            limit_tokens=self.limit_tokens,
            limit_nano_usd=self.limit_nano_usd,
        )


@attrs.define
class Part:
    """What was reserved at one time, and where it is counted: one bucket of every window that counts by its measure."""

    amount: Amount
    buckets: tuple[Bucket, ...]
    likely: bool = False
    """It is the estimate, held in windows by estimate. Beside it stands the part by the bound, if in no window."""


@attrs.define(eq=False)
class HoldPage:
    """One hold that is not settled."""

    id: str
    account: str
    output_tokens: int
    parts: list[Part]
    reserved_at: float
    lease_ends: float
    top_ups: int = 0
    lapsed: bool = False
    """Its lease is over: it is charged in full, as an estimate, until the truth comes."""

    @property
    def amount(self) -> Amount:
        """All that it holds, by the bound."""
        first, *others = self.parts
        return sum((part.amount for part in others if not part.likely), first.amount) if others else first.amount

    @property
    def likely(self) -> Amount | None:
        """All that it holds by estimate; None where no window counts it by that."""
        if len(self.parts) == 1:
            return None
        amounts = [part.amount for part in self.parts if part.likely]
        return sum(amounts, NOTHING) if amounts else None

    def counts_by_estimate(self) -> dict[str, bool]:
        """The windows that it counts in, and whether by the estimate."""
        return {bucket.window.key: part.likely for part in self.parts for bucket in part.buckets}

    def row(self) -> HoldRow:
        """As it is now."""
        return HoldRow(
            hold_id=self.id,
            account=self.account,
            amount=self.amount,
            reserved_at=self.reserved_at,
            lease_ends=self.lease_ends,
            lapsed=self.lapsed,
        )

    @property
    def counts_until(self) -> float:
        """When the last of its buckets leaves its window."""
        return max((bucket.end for part in self.parts for bucket in part.buckets), default=0.0)


class Pages(Protocol):
    """What the book asks of its memory. Whatever it changes on a page it tells by `touched`."""

    def window(self, key: str) -> WindowPage:
        """The page of a window; an empty one where nothing is counted in it."""
        ...

    def knows_window(self, key: str) -> bool:
        """True where something that was counted in the window has not left it yet."""
        ...

    def siblings(self, key: str) -> Iterable[str]:
        """The known windows of the same account and period."""
        ...

    def hold(self, hold_id: str) -> HoldPage | None:
        """A hold that is not settled."""
        ...

    def holds_below(self, account: str) -> Iterable[HoldPage]:
        """All holds of an account and of those below it."""
        ...

    def add_hold(self, page: HoldPage) -> None:
        """A hold begins."""
        ...

    def drop_hold(self, page: HoldPage) -> None:
        """A hold is over."""
        ...

    def touched_hold(self, page: HoldPage) -> None:
        """The hold has changed: parts, lease, or whether it has lapsed."""
        ...

    def touched(self, buckets: Iterable[Bucket]) -> None:
        """The figures of these buckets have changed."""
        ...

    def touched_window(self, page: WindowPage) -> None:
        """A window was changed by hand."""
        ...

    def due(self, now: float) -> list[HoldPage]:
        """Holds whose lease has ended and that are not lapsed yet, and lapsed ones of which nothing counts any more."""
        ...

    def is_settled(self, hold_id: str) -> bool:
        """True while the tombstone of the id stands."""
        ...

    def bury(self, hold_id: str, until: float) -> None:
        """Remembers an id as settled."""
        ...

    def forget_buried(self, now: float) -> None:
        """Tombstones whose time is over go."""
        ...

    def journal(self, since: float, account: str, spent: Iterable[Spent], *, calls: int = 1) -> None:
        """Adds a call's charge to the quarter of an hour that begins at `since`; takes it back with -1 `calls`."""
        ...

    def note(self, row: HistoryRow) -> None:
        """Something was done by hand."""
        ...
