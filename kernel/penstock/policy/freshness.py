"""What the age of a stored answer allows: to be served, to be served while it is fetched anew, or only in an outage.

The two windows are those of RFC 5861, both counted from the moment on which an answer is no longer fresh. Not here:
storing answers (`entries`).
"""

from __future__ import annotations

from enum import Enum

import attrs

from penstock.policy.entries import Entry

__all__ = ["SERVED", "SKEW", "TTL_JITTER", "Age", "Freshness", "lasting", "without_skew"]

TTL_JITTER = 0.1
"""Share by which a time to live varies: what was stored together does not expire together."""


def lasting(ttl: float, jitter: float) -> float:
    """The seconds for which an answer is fresh: `ttl`, more or less a tenth by `jitter` in [0, 1]."""
    return ttl * (1 - TTL_JITTER + 2 * TTL_JITTER * jitter)


SKEW = 60.0
"""Seconds by which the clocks of machines that share a store may differ. NTP keeps them within a fraction of one."""


def without_skew(entry: Entry, now: float) -> Entry:
    """An entry from another machine, whose clock may be ahead: one of the near future counts as stored just now.

    Otherwise an answer that another process has just given would be a miss. It lasts as long as it was meant to.
    """
    ahead = entry.stored_at - now
    if not 0 < ahead <= SKEW:
        return entry
    return Entry(entry.value, now, entry.fresh_until - ahead, entry.parts)


class Age(Enum):
    """What an answer may be used for."""

    FRESH = "fresh"
    REVALIDATE = "revalidate"
    """It may be served at once, and is fetched anew behind the caller's back."""
    IF_ERROR = "if_error"
    """It may be served once nobody else answers."""
    GONE = "gone"
    """For nothing any more."""


SERVED = (Age.FRESH, Age.REVALIDATE)
"""The ages at which an answer is served at once."""


@attrs.frozen
class Freshness:
    """The windows, in seconds.

    Laws: with time an answer goes through the ages in their order and never back, as long as the clock does not; one of
    the future is gone (the clock was set back: its age is unknown); with windows of 0 it is fresh or gone.
    """

    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0

    @property
    def kept(self) -> float:
        """Seconds for which an answer is of use after it was fresh."""
        return max(self.stale_while_revalidate, self.stale_if_error)

    def age(self, stored_at: float, fresh_until: float, now: float, *, max_age: float | None = None) -> Age:
        """What an answer is good for now. One older than `max_age` is good for nothing. All are Unix times."""
        if not stored_at <= now or (max_age is not None and now - stored_at > max_age):
            return Age.GONE
        if now < fresh_until:
            return Age.FRESH
        if now < fresh_until + self.stale_while_revalidate:
            return Age.REVALIDATE
        return Age.IF_ERROR if now < fresh_until + self.stale_if_error else Age.GONE
