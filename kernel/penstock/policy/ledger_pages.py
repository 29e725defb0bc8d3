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
    """What was reserved at one time, and where it is counted: one bucket of every window on the account's path."""

    amount: Amount
    buckets: tuple[Bucket, ...]


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
        """All that it holds."""
        first, *others = self.parts
        return sum((part.amount for part in others), first.amount) if others else first.amount

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

    def journal(self, since: float, account: str, spent: Iterable[Spent]) -> None:
        """Adds a call's charge to the quarter of an hour that begins at `since`."""
        ...

<<<<<<< HEAD

MOST_IDLE = 1_024
"""Windows are dropped where nothing is counted in them as their number doubles beyond this: accounts made from
patterns can be as many as there are users."""
MOST_SPENT = 10_000
"""Rows of the journal in memory, some megabytes: the oldest go."""


class MemoryPages:
    """Pages that live as long as the process."""

    def __init__(self) -> None:
        self._windows: dict[str, WindowPage] = {}
        self._sweep_at = MOST_IDLE
        self._holds: dict[str, HoldPage] = {}
        self._ends: list[tuple[float, str]] = []
        """A heap of leases; an entry that is no longer true is passed over."""
        self._tombstones: dict[str, float] = {}
        self._spent: dict[tuple[float, str, str, bool], SpendRow] = {}
        self._now = 0.0

    def window(self, key: str) -> WindowPage:  # noqa: D102
        page = self._windows.get(key)
        if page is None:
            if len(self._windows) >= self._sweep_at:
                self._drop_idle()
            page = self._windows[key] = WindowPage(key)
        return page

    def knows_window(self, key: str) -> bool:  # noqa: D102
        page = self._windows.get(key)
        return page is not None and any(bucket.end > self._now for bucket in page.buckets)

    def siblings(self, key: str) -> Iterator[str]:  # noqa: D102
        period, _, account = key.split(":", 2)
        for other in self._windows:
            if other.startswith(f"{period}:") and other.split(":", 2)[2] == account and other != key:
                yield other

    def hold(self, hold_id: str) -> HoldPage | None:  # noqa: D102
        return self._holds.get(hold_id)

    def holds_below(self, account: str) -> Iterator[HoldPage]:  # noqa: D102
        for page in self._holds.values():
            if not account or page.account == account or page.account.startswith(f"{account}/"):
                yield page

    def add_hold(self, page: HoldPage) -> None:  # noqa: D102
        self._holds[page.id] = page
        self._expect(page)

    def drop_hold(self, page: HoldPage) -> None:  # noqa: D102
        del self._holds[page.id]
        if len(self._ends) > 64 and len(self._ends) > 2 * len(self._holds):
            self._ends = [entry for entry in self._ends if entry[1] in self._holds]
            heapify(self._ends)

    def touched_hold(self, page: HoldPage) -> None:  # noqa: D102
        self._expect(page)

    def touched(self, buckets: Iterable[Bucket]) -> None:
        """Nothing to do: what was changed is what is kept."""

    def touched_window(self, page: WindowPage) -> None:
        """Nothing to do: what was changed is what is kept."""

    def due(self, now: float) -> list[HoldPage]:  # noqa: D102
        self._now = now
        due: dict[str, HoldPage] = {}
        while self._ends and self._ends[0][0] <= now:
            at, hold_id = heappop(self._ends)
            page = self._holds.get(hold_id)
            if page is not None and at == _ends(page):
                due[hold_id] = page
        return list(due.values())

    def is_settled(self, hold_id: str) -> bool:  # noqa: D102
        return hold_id in self._tombstones

    def bury(self, hold_id: str, until: float) -> None:  # noqa: D102
        self._tombstones[hold_id] = until

    def forget_buried(self, now: float) -> None:  # noqa: D102
        while self._tombstones:
            oldest = next(iter(self._tombstones))
            if self._tombstones[oldest] > now:
                break
            del self._tombstones[oldest]

    def journal(self, since: float, account: str, spent: Iterable[Spent]) -> None:  # noqa: D102
        for one in spent:
            key = (since, account, one.target, one.estimated)
            known = self._spent.pop(key, None)
            self._spent[key] = (
                SpendRow(since=since, account=account, calls=1, spent=one)
                if known is None
                else (SpendRow(since=since, account=account, calls=known.calls + 1, spent=_sum(known.spent, one)))
            )
            if len(self._spent) > MOST_SPENT:
                del self._spent[next(iter(self._spent))]

    def spent(self, since: float, until: float) -> list[SpendRow]:
        """The journal of that time."""
        return [row for row in self._spent.values() if since <= row.since < until]

    def windows(self, keys: Iterable[str] | None) -> list[WindowRow]:
        """Windows with something in them, as of the last step; None: all there are."""
        pages = self._windows.values() if keys is None else (self._windows[key] for key in keys if key in self._windows)
        return [page.row() for page in pages]

    def holds(self) -> list[HoldPage]:
        """All holds that are not settled."""
        return list(self._holds.values())

    def tombstones(self) -> int:
        """How many settled ids are still known."""
        return len(self._tombstones)

    def _expect(self, page: HoldPage) -> None:
        heappush(self._ends, (_ends(page), page.id))

    def _drop_idle(self) -> None:
        for key, page in list(self._windows.items()):
            page.advance(self._now)
            if not page.buckets and page.limit_tokens is None and page.limit_nano_usd is None:
                del self._windows[key]
        self._sweep_at = max(MOST_IDLE, 2 * len(self._windows))


def _sum(one: Spent, other: Spent) -> Spent:
    """Two charges of the same target."""
    return Spent(
        target=one.target,
        attempts=one.attempts + other.attempts,
        input_tokens=one.input_tokens + other.input_tokens,
        cached_input_tokens=one.cached_input_tokens + other.cached_input_tokens,
        cache_write_tokens=one.cache_write_tokens + other.cache_write_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        reasoning_tokens=one.reasoning_tokens + other.reasoning_tokens,
        nano_usd=one.nano_usd + other.nano_usd,
        estimated=one.estimated,
    )


def _ends(page: HoldPage) -> float:
    """When something is to be done about the hold."""
    return page.counts_until if page.lapsed else page.lease_ends
=======
    def note(self, row: HistoryRow) -> None:
        """Something was done by hand."""
        ...
>>>>>>> ledger
