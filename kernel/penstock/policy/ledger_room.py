"""What room a window has: its page beside the limits that count in it.

Not here: what is done with it (`ledger_book`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from penstock.policy.holds import Amount
from penstock.policy.ledger_pages import Bucket, WindowPage
from penstock.policy.ledger_steps import Lack, WindowUse

__all__ = ["Free", "Room", "fits", "free_in", "free_nano_usd", "free_tokens", "lacks"]


class Room(Struct, frozen=True, eq=False):
    """A window with the limits that count in it."""

    page: WindowPage
    use: WindowUse
    tokens: int | None
    nano_usd: int | None
    by_estimate: bool = False
    """By which of its two amounts a hold counts here."""

    def missing(self, need: Amount, *, but_holds: bool = False) -> Amount | None:
        """How much of `need` is not free; None where it fits. Where more was charged than there is, nothing fits."""
        page = self.page
        tokens, nano_usd = page.spent_tokens, page.spent_nano_usd
        if not but_holds:
            tokens, nano_usd = tokens + page.held_tokens, nano_usd + page.held_nano_usd
        return self._missing(need, tokens, nano_usd)

    def lack(self, need: Amount, missing: Amount, other: Amount) -> Lack:
        """How it lacks `missing` of `need`; `other` is the same by the other measure."""
        of_spent = self.missing(need, but_holds=True)
        refills = None if of_spent is None else self._refills_at(need)
        frees = self.page.buckets[0].end if self.page.buckets else None
        otherwise = self.missing(other, but_holds=of_spent is not None)
        return Lack(
            self.use.key, self.tokens, self.nano_usd, missing, of_spent, refills, frees, otherwise, self.by_estimate
        )

    def _refills_at(self, need: Amount) -> float | None:
        tokens, nano_usd = self.page.spent_tokens, self.page.spent_nano_usd
        for bucket in self.page.buckets:
            tokens -= bucket.spent_tokens
            nano_usd -= bucket.spent_nano_usd
            if self._missing(need, tokens, nano_usd) is None:
                return bucket.end
        return None

    def _missing(self, need: Amount, used_tokens: int, used_nano_usd: int) -> Amount | None:
        # Plain numbers: this is asked for every window of every waiting hold in every batch.
        tokens = nano_usd = 0
        if self.tokens is not None:
            tokens = need.tokens + used_tokens - self.tokens
        if self.nano_usd is not None:
            nano_usd = need.nano_usd + used_nano_usd - self.nano_usd
        return None if tokens <= 0 and nano_usd <= 0 else Amount(max(tokens, 0), max(nano_usd, 0))


class Free(Struct, frozen=True, eq=False):
    """Some windows, and what is free in all of them; None: none of them limits it."""

    buckets: tuple[Bucket, ...] | None
    """Where a hold is counted in each of them; None: one of them has no bucket for it yet."""
    tokens: int | None
    nano_usd: int | None
    by_estimate: bool
    """One of them counts by the estimate: then this says nothing."""

    def takes(self, need: Amount) -> bool:
        """True where it fits."""
        return (self.tokens is None or need.tokens <= self.tokens) and (
            self.nano_usd is None or need.nano_usd <= self.nano_usd
        )


def free_in(uses: Iterable[WindowUse], find: Callable[[str], WindowPage], now: float) -> Free:
    """What is free in all of them at `now`: every reserve asks this, `Room` is for those that do not fit.

    `find` is asked for the page of each window.
    """
    counted: list[Bucket] = []
    all_there = True
    by_estimate = False
    tokens: int | None = None
    nano_usd: int | None = None
    for use in uses:
        if use.by_estimate:
            by_estimate = True
        page = find(use.key)
        buckets = page.buckets
        if buckets and buckets[0].end <= now:
            page.advance(now)
        if buckets and (not use.rolling or use.end <= buckets[-1].end):  # what `page.bucket` would find
            counted.append(buckets[-1])
        else:
            all_there = False
        limit = use.limit_tokens
        if limit is not None:
            free = (limit if page.limit_tokens is None else page.limit_tokens) - page.held_tokens - page.spent_tokens
            if tokens is None or free < tokens:
                tokens = free
        limit = use.limit_nano_usd
        if limit is not None:
            free = (
                (limit if page.limit_nano_usd is None else page.limit_nano_usd)
                - page.held_nano_usd
                - page.spent_nano_usd
            )
            if nano_usd is None or free < nano_usd:
                nano_usd = free
    return Free(tuple(counted) if all_there else None, tokens, nano_usd, by_estimate)


def lacks(uses: Iterable[Room], need: Amount, likely: Callable[[], Amount]) -> tuple[Lack, ...]:
    """The windows in which `need` is not free, or `likely` in those by estimate; that is asked for where it matters."""
    found: list[Lack] = []
    for use in uses:
        own = likely() if use.by_estimate else need
        missing = use.missing(own)
        if missing is not None:
            found.append(use.lack(own, missing, need if use.by_estimate else likely()))
    return tuple(found)


def fits(uses: Iterable[Room], need: Amount, likely: Callable[[], Amount], *, but_holds: bool) -> bool:
    """True where it is free everywhere, each window asked for its own measure."""
    return not any(use.missing(likely() if use.by_estimate else need, but_holds=but_holds) for use in uses)


def free_tokens(uses: Iterable[Room]) -> int | None:
    """Tokens that are free in all of them; None: none limits them."""
    least: int | None = None
    for use in uses:
        if use.tokens is not None:
            free = use.tokens - use.page.held_tokens - use.page.spent_tokens
            least = free if least is None or free < least else least
    return least


def free_nano_usd(uses: Iterable[Room]) -> int | None:
    """The same of money."""
    least: int | None = None
    for use in uses:
        if use.nano_usd is not None:
            free = use.nano_usd - use.page.held_nano_usd - use.page.spent_nano_usd
            least = free if least is None or free < least else least
    return least
