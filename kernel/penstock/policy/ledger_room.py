"""What room a window has: its page beside the limits that count in it.

Not here: what is done with it (`ledger_book`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from penstock.policy.holds import NOTHING, Amount
from penstock.policy.ledger_pages import WindowPage
from penstock.policy.ledger_steps import Lack, WindowUse

__all__ = ["Room", "fits", "free_nano_usd", "free_tokens", "lacks"]


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
        return self._missing(need, self.page.spent, NOTHING if but_holds else self.page.held)

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
        spent = self.page.spent
        for bucket in self.page.buckets:
            spent -= bucket.spent
            if self._missing(need, spent, NOTHING) is None:
                return bucket.end
        return None

    def _missing(self, need: Amount, spent: Amount, held: Amount) -> Amount | None:
        # Plain numbers: this is asked for every window of every waiting hold in every batch.
        tokens = nano_usd = 0
        if self.tokens is not None:
            tokens = need.tokens + held.tokens + spent.tokens - self.tokens
        if self.nano_usd is not None:
            nano_usd = need.nano_usd + held.nano_usd + spent.nano_usd - self.nano_usd
        return None if tokens <= 0 and nano_usd <= 0 else Amount(max(tokens, 0), max(nano_usd, 0))


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
            free = use.tokens - use.page.held.tokens - use.page.spent.tokens
            least = free if least is None or free < least else least
    return least


def free_nano_usd(uses: Iterable[Room]) -> int | None:
    """The same of money."""
    least: int | None = None
    for use in uses:
        if use.nano_usd is not None:
            free = use.nano_usd - use.page.held.nano_usd - use.page.spent.nano_usd
            least = free if least is None or free < least else least
    return least
