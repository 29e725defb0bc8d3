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
from msgspec import Struct

from penstock.policy.holds import NOTHING, Amount
from penstock.policy.ledger_steps import HistoryRow, HoldRow, Spent, WindowRow

__all__ = [
    "NEVER_COUNTED",
    "Bucket",
    "Counted",
    "HoldPage",
    "Pages",
    "Part",
    "WindowPage",
    "hold_in",
    "kin_of",
    "settle_in",
]

LONG_AGO = -6.2e10
"""Before every time that a ledger knows."""
NEVER_COUNTED = (0, LONG_AGO)


@attrs.define(eq=False)
class Counted:
    """What is counted in one place. Plain numbers: every call is counted in every window on its path, twice."""

    held_tokens: int = attrs.field(init=False, default=0)
    held_nano_usd: int = attrs.field(init=False, default=0)
    spent_tokens: int = attrs.field(init=False, default=0)
    spent_nano_usd: int = attrs.field(init=False, default=0)
    estimated_tokens: int = attrs.field(init=False, default=0)
    """Of what is spent, what was charged without knowing the usage."""
    estimated_nano_usd: int = attrs.field(init=False, default=0)

    @property
    def held(self) -> Amount:
        """Both units."""
        return Amount(self.held_tokens, self.held_nano_usd)

    @property
    def spent(self) -> Amount:
        """Both units."""
        return Amount(self.spent_tokens, self.spent_nano_usd)

    @property
    def estimated(self) -> Amount:
        """Both units."""
        return Amount(self.estimated_tokens, self.estimated_nano_usd)

    def add(self, held: Amount, spent: Amount, estimated: Amount) -> None:
        """Counts these as well; what is negative is taken away."""
        self.held_tokens += held.tokens
        self.held_nano_usd += held.nano_usd
        self.spent_tokens += spent.tokens
        self.spent_nano_usd += spent.nano_usd
        self.estimated_tokens += estimated.tokens
        self.estimated_nano_usd += estimated.nano_usd


@attrs.define(eq=False)
class Bucket(Counted):
    """What was reserved within one span of time. Its figures are in its window's totals while it is `live`."""

    window: WindowPage
    end: float
    live: bool = True

    def count(self, held: Amount, spent: Amount, estimated: Amount) -> None:
        """Counts these as well, in the window's totals, too."""
        self.add(held, spent, estimated)
        if self.live:
            self.window.add(held, spent, estimated)

    def hold(self, amount: Amount) -> None:
        """Counts a hold."""
        self.count(amount, NOTHING, NOTHING)

    def settle(self, held: Amount, charged: Amount, *, estimated: bool) -> None:
        """Counts a charge in the place of a hold."""
        self.count(NOTHING - held, charged, charged if estimated else NOTHING)

    def unsettle(self, held: Amount, ended: float) -> None:
        """Counts a hold again in the place of the charge by which it had lapsed, when its lease had ended.

        What is spent was put right by hand with that charge in it, where that was later: then nothing of it is taken
        away, for what is estimated there by now was charged to others.
        """
        back = NOTHING - self.window.still_charged(held, ended).at_most(self.estimated)
        self.count(held, back, back)


def kin_of(key: str) -> tuple[str, str]:
    """The period and account of a window, by its name."""
    period, _, account = key.split(":", 2)
    return period, account


def hold_in(buckets: Iterable[Bucket], amount: Amount) -> None:
    """Counts a hold in each of them, as `Bucket.hold` does: every call comes here."""
    tokens, nano_usd = amount.tokens, amount.nano_usd
    for bucket in buckets:
        bucket.held_tokens += tokens
        bucket.held_nano_usd += nano_usd
        if bucket.live:
            window = bucket.window
            window.held_tokens += tokens
            window.held_nano_usd += nano_usd


def settle_in(buckets: Iterable[Bucket], held: Amount, charged: Amount) -> None:
    """Counts a charge in the place of a hold in each of them, as `Bucket.settle` does: nearly every call comes here."""
    held_tokens, held_nano_usd = held.tokens, held.nano_usd
    tokens, nano_usd = charged.tokens, charged.nano_usd
    for bucket in buckets:
        bucket.held_tokens -= held_tokens
        bucket.held_nano_usd -= held_nano_usd
        bucket.spent_tokens += tokens
        bucket.spent_nano_usd += nano_usd
        if bucket.live:
            window = bucket.window
            window.held_tokens -= held_tokens
            window.held_nano_usd -= held_nano_usd
            window.spent_tokens += tokens
            window.spent_nano_usd += nano_usd


@attrs.define(eq=False)
class WindowPage(Counted):
    """One window of one account: its live buckets and their totals."""

    key: str
    buckets: deque[Bucket] = attrs.field(factory=deque[Bucket], repr=False)
    """By their ends."""
    limit_tokens: int | None = None
    limit_nano_usd: int | None = None
    """Set by hand; None: the configured limit counts."""
    counted: tuple[int, float] = NEVER_COUNTED
    """When something was last counted in it beyond what was held: the number of the batch, and its time."""
    level: int | None = None
    """The batch up to which it has missed nothing that others of its account and period have counted, where that is
    another than that of `counted`: an earlier one where it has missed something since, a later one where
    nothing was counted in it since it began with nothing of theirs, or since all of it was put right by hand."""
    kin: tuple[str, str] | None = None
    """Its period and account, where whoever keeps the pages knows of another window of these."""
    corrected_tokens_at: float = LONG_AGO
    corrected_nano_usd_at: float = LONG_AGO
    """When what is spent was last put right by hand."""

    @property
    def knows_until(self) -> int:
        """The batch up to which it has missed nothing."""
        return self.counted[0] if self.level is None else self.level

    def count_alone(self) -> None:
        """Something is about to be counted in it alone: one that has missed something goes on like that."""
        if self.level is not None and self.level >= self.counted[0]:
            self.level = None

    def still_charged(self, amount: Amount, ended: float) -> Amount:
        """What is still charged here of a hold whose lease ended then: nothing of a unit put right by hand since."""
        if ended > self.corrected_tokens_at and ended > self.corrected_nano_usd_at:  # as nearly always
            return amount
        return Amount(
            amount.tokens if ended > self.corrected_tokens_at else 0,
            amount.nano_usd if ended > self.corrected_nano_usd_at else 0,
        )

    def leave_out(self, amount: Amount, ended: float) -> None:
        """That amount of a hold whose lease ended then is not in it, as if it was put right by hand since."""
        if amount.tokens > 0:
            self.corrected_tokens_at = max(self.corrected_tokens_at, ended)
        if amount.nano_usd > 0:
            self.corrected_nano_usd_at = max(self.corrected_nano_usd_at, ended)

    def advance(self, now: float) -> None:
        """Lets go of what has left the window."""
        while self.buckets and self.buckets[0].end <= now:
            bucket = self.buckets.popleft()
            bucket.live = False
            self.add(NOTHING - bucket.held, NOTHING - bucket.spent, NOTHING - bucket.estimated)

    def bucket(self, end: float, *, rolling: bool) -> Bucket:
        """Where what is reserved now is counted. A window goes on until its end, whatever a later step thinks of it."""
        if self.buckets:
            last = self.buckets[-1]
            if not rolling or end <= last.end:
                return last
        else:
            self.counted, self.level = NEVER_COUNTED, None
        last = Bucket(self, end)
        self.buckets.append(last)
        return last

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


class Part(Struct, gc=False):
    """What was reserved at one time, and where it is counted: one bucket of every window that counts by its measure."""

    amount: Amount
    buckets: tuple[Bucket, ...]
    likely: bool = False
    """It is the estimate, held in windows by estimate. Beside it stands the part by the bound, if in no window."""


class HoldPage(Struct, eq=False, gc=False):
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
    released: bool = False
    """By hand: no renewal gives it its lease again."""

    @property
    def amount(self) -> Amount:
        """All that it holds, by the bound."""
        parts = self.parts
        if len(parts) == 1:  # as of nearly every hold
            return parts[0].amount
        return sum((part.amount for part in parts[1:] if not part.likely), parts[0].amount)

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

    def window(self, key: str, /) -> WindowPage:
        """The page of a window; an empty one where nothing is counted in it."""
        ...

    def siblings(self, key: str) -> Iterable[str]:
        """The known windows of the same account and period."""
        ...

    def hold(self, hold_id: str, /) -> HoldPage | None:
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

    def is_settled(self, hold_id: str, /) -> bool:
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
