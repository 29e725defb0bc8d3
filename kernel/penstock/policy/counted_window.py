"""What one account has held and spent in one kind of window, as time goes on.

Not here: where windows begin and end (window), and who may be granted what (budget).

A charge lies in a bucket, and counts until the bucket's end. A calendar window is one bucket at a time, a rolling
window the last sixty. A hold keeps its buckets, so that it is settled where it was reserved, even after their end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import attrs

from penstock.policy.accounts import Shape, describe_limit
from penstock.policy.holds import NOTHING, Amount, SoftLimitReached
from penstock.policy.window import bucket_at, window_at

__all__ = ["Bucket", "CountedWindow", "WindowSnapshot"]


@attrs.frozen(kw_only=True)
class WindowSnapshot:
    """One window of one account at one moment. Units without a limit have None for `limit_` and `free_`."""

    per: str
    timezone: str
    rolling: bool
    limit_tokens: int | None
    limit_nano_usd: int | None
    held: Amount
    spent: Amount
    estimated: Amount
    """Of `spent`, what was charged without knowing the usage."""
    free_tokens: int | None
    free_nano_usd: int | None
    ends_at: float | None
    """When the calendar window ends, or the next charge leaves the rolling one; None where there is none yet."""


@attrs.define(eq=False)
class Bucket:
    """What was reserved within one span of time. Its figures are in its window's totals while it is `live`."""

    window: CountedWindow
    end: float
    held: Amount = NOTHING
    spent: Amount = NOTHING
    estimated: Amount = NOTHING
    live: bool = True

    def hold(self, amount: Amount) -> None:
        """Count a hold."""
        # Plain numbers here and below: every call is counted in every window on its path, twice.
        tokens, nano_usd = amount.tokens, amount.nano_usd
        for counted in (self, self.window) if self.live else (self,):
            held = counted.held
            counted.held = Amount(held.tokens + tokens, held.nano_usd + nano_usd)

    def settle(self, held: Amount, charged: Amount, *, estimated: bool) -> None:
        """Count a charge in the place of a hold."""
        for counted in (self, self.window) if self.live else (self,):
            before, spent = counted.held, counted.spent
            counted.held = Amount(before.tokens - held.tokens, before.nano_usd - held.nano_usd)
            counted.spent = Amount(spent.tokens + charged.tokens, spent.nano_usd + charged.nano_usd)
            if estimated:
                counted.estimated += charged


@attrs.define(eq=False)
class CountedWindow:
    """The windows of one shape of one account: `limit - held - spent` is free, for tokens and for money.

    `advance` comes before every question.
    """

    account: str
    shape: Shape
    limit_tokens: int | None = None
    limit_nano_usd: int | None = None
    soft: float | None = None
    held: Amount = NOTHING
    spent: Amount = NOTHING
    estimated: Amount = NOTHING
    buckets: deque[Bucket] = attrs.field(factory=deque[Bucket], repr=False)
    _told: frozenset[str] = frozenset()

    @property
    def limited(self) -> bool:
        """False where it only goes on counting, in case its limit comes back."""
        return self.limit_tokens is not None or self.limit_nano_usd is not None

    @property
    def free_tokens(self) -> int | None:
        """None: no limit."""
        return None if self.limit_tokens is None else self.limit_tokens - self.held.tokens - self.spent.tokens

    @property
    def free_nano_usd(self) -> int | None:
        """None: no limit."""
        return None if self.limit_nano_usd is None else self.limit_nano_usd - self.held.nano_usd - self.spent.nano_usd

    def advance(self, now: float) -> None:
        """Let go of what has left the window. `now` never goes back: that is the ledger's to see to."""
        while self.buckets and self.buckets[0].end <= now:
            bucket = self.buckets.popleft()
            bucket.live = False
            self.held -= bucket.held
            self.spent -= bucket.spent
            self.estimated -= bucket.estimated
            self._rearm()

    def bucket(self, now: float) -> Bucket:
        """Where what is reserved at `now` is counted."""
        per, zone, rolling = self.shape
        if self.buckets and not rolling:
            return self.buckets[-1]
        end = bucket_at(per, now).end if rolling else window_at(per, now, zone).end
        if not self.buckets or self.buckets[-1].end < end:
            self.buckets.append(Bucket(self, end))
        return self.buckets[-1]

    def missing(self, need: Amount, *, but_holds: bool = False) -> Amount | None:
        """How much of `need` is not free; None where it fits. `but_holds`: as if all holds were released for nothing.

        Where more was charged than there is, even nothing does not fit.
        """
        return self._missing(need, self.spent, NOTHING if but_holds else self.held)

    def refills_at(self, need: Amount) -> float | None:
        """When `need` would fit, were all holds released and nothing else spent; None: never."""
        spent = self.spent
        for bucket in self.buckets:
            spent -= bucket.spent
            if self._missing(need, spent, NOTHING) is None:
                return bucket.end
        return None

    def describe(self, missing: Amount = NOTHING) -> str:
        """Its limits in words; where something is missing, only the limit that it is missing of."""
        tokens = self.limit_tokens if missing.tokens or not missing.nano_usd else None
        nano_usd = self.limit_nano_usd if missing.nano_usd or not missing.tokens else None
        return describe_limit(self.shape, tokens=tokens, nano_usd=nano_usd)

    def take_soft_events(self) -> list[SoftLimitReached]:
        """What has to be told after a charge."""
        if self.soft is None or not self.buckets:
            return []
        exceeded, ends_at = self._softly_exceeded(), self.buckets[-1].end
        new = [words for unit, words in exceeded.items() if unit not in self._told]
        self._told = frozenset(exceeded)
        return [SoftLimitReached(self.account, words, self.spent, self.soft, ends_at) for words in new]

    def take_over(self, others: Iterable[CountedWindow], now: float) -> None:
        """Begin with what other windows of the same account and period have spent, where that is more."""
        bucket = self.bucket(now)
        for other in others:
            if other.shape[0] is self.shape[0] and other is not self:
                other.advance(now)
                bucket.spent = bucket.spent.at_least(other.spent)
        self.spent = bucket.spent

    def set_limits(self, tokens: int | None, nano_usd: int | None, soft: float | None) -> None:
        """Other limits over what is held and spent."""
        self.limit_tokens, self.limit_nano_usd, self.soft = tokens, nano_usd, soft
        self._rearm()

    def snapshot(self) -> WindowSnapshot:
        """As it is now."""
        per, zone, rolling = self.shape
        return WindowSnapshot(
            per=per.value,
            timezone=zone,
            rolling=rolling,
            limit_tokens=self.limit_tokens,
            limit_nano_usd=self.limit_nano_usd,
            held=self.held,
            spent=self.spent,
            estimated=self.estimated,
            free_tokens=self.free_tokens,
            free_nano_usd=self.free_nano_usd,
            ends_at=self.buckets[0].end if self.buckets else None,
        )

    def _missing(self, need: Amount, spent: Amount, held: Amount) -> Amount | None:
        # Plain numbers: this is asked for every window of every waiting hold at every message.
        tokens = nano_usd = 0
        if self.limit_tokens is not None:
            tokens = need.tokens + held.tokens + spent.tokens - self.limit_tokens
        if self.limit_nano_usd is not None:
            nano_usd = need.nano_usd + held.nano_usd + spent.nano_usd - self.limit_nano_usd
        return None if tokens <= 0 and nano_usd <= 0 else Amount(max(tokens, 0), max(nano_usd, 0))

    def _softly_exceeded(self) -> dict[str, str]:
        """The limits, in words, of which the share is spent, by unit."""
        exceeded: dict[str, str] = {}
        if self._over(self.limit_tokens, self.spent.tokens):
            exceeded["tokens"] = describe_limit(self.shape, tokens=self.limit_tokens)
        if self._over(self.limit_nano_usd, self.spent.nano_usd):
            exceeded["usd"] = describe_limit(self.shape, nano_usd=self.limit_nano_usd)
        return exceeded

    def _over(self, limit: int | None, spent: int) -> bool:
        return limit is not None and self.soft is not None and spent > 0 and spent >= limit * self.soft

    def _rearm(self) -> None:
        # What fell below the threshold, or whose limit was raised above it, is told again when it comes back.
        if self._told:
            self._told &= self._softly_exceeded().keys()
