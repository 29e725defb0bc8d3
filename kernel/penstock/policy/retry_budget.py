"""Retry budgets: how many attempts, and how much money, calls together may spend on a provider beyond their first try.

Not here: which attempts have to ask (the call: one at a provider that already failed in it, and every hedge), and how
often one call may try (`retry`). A budget keeps many calls from making an outage worse; each of them is modest enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import attrs
from attrs import validators

from penstock.policy.slices import Slices

__all__ = [
    "RetryBudget",
    "RetryBudgetSettings",
    "Suppressed",
    "Traffic",
    "Withdrawn",
]

SECOND = 1.0
MINUTE = 60.0
HOUR = 3600.0
"""Over which money is judged: calls are dear and rare, and bills come late."""
LONGEST_WINDOW = 600.0
"""Seconds: so many slices at most are kept of a provider."""
HOLDS = 10
"""So many times a call's hold may always be spent: as many retries as the floor allows, where little is settled."""
MOST_PROVIDERS = 1_024
"""They come from the configuration; beyond this many, the one that was used longest ago is forgotten."""


@attrs.frozen
class RetryBudgetSettings:
    """Shape and numbers as Finagle's RetryBudget has them, with a reserve of one a second: calls to LLMs are rare."""

    floor: int = attrs.field(default=10, validator=[validators.ge(0), validators.le(1_000_000)])
    """Withdrawals in a window that need no first attempts: what a new budget holds."""
    ratio: float = attrs.field(default=0.2, validator=[validators.ge(0), validators.le(10)])
    """Withdrawals that each first attempt of the window adds."""
    window: float = attrs.field(default=10.0, validator=[validators.ge(SECOND), validators.le(LONGEST_WINDOW)])
    """Seconds. First attempts and withdrawals both count for so long."""
    money_ratio: float | None = attrs.field(
        default=None, validator=validators.optional([validators.ge(0), validators.le(10)])
    )
    """The share of the last hour's settled spend that retries, fallbacks and hedges may spend. None: no cap."""


@attrs.frozen
class Withdrawn:
    """Go. It is also the receipt with which the attempt is settled."""

    provider: str
    at: float
    """Of the kernel's monotonic clock."""
    counted_nano_usd: int | None = None
    """What was counted against the money cap: the most that the attempt can come to. None: there is no cap."""


@attrs.frozen
class Suppressed:
    """Do not go, and do not wait in line for it: fail, or go elsewhere. Nothing was withdrawn.

    `used` of `limit` are withdrawals where `reason` is `calls`, nano-USD where it is `money`. `retry_at` (monotonic) is
    when there is room again if nobody else withdraws; infinite where time alone makes none.
    """

    provider: str
    reason: Literal["calls", "money"]
    used: int
    limit: int
    retry_at: float
    says: str


def _by_seconds() -> Slices:
    return Slices(SECOND, math.ceil(LONGEST_WINDOW / SECOND) + 2)


def _by_minutes() -> Slices:
    return Slices(MINUTE, math.ceil(HOUR / MINUTE) + 2)


class Traffic:
    """What calls did at one provider. It can be gathered elsewhere, and handed in by `RetryBudget.merge`."""

    __slots__ = ("_firsts", "_settled", "_spent")

    def __init__(self) -> None:
        self._firsts = _by_seconds()
        self._settled = _by_minutes()
        self._spent = _by_minutes()

    def first_attempt(self, now: float, count: int = 1) -> None:
        """Calls tried the provider for the first time."""
        self._firsts.add(count, now)

    def settled(self, nano_usd: int, now: float, granted: Withdrawn | None = None) -> None:
        """An attempt was charged. With the receipt of a withdrawal the charge replaces what was counted for it."""
        self._settled.add(nano_usd, now)
        if granted is not None and granted.counted_nano_usd is not None:
            # In the slice of the withdrawal: the two leave the hour together.
            self._spent.add(nano_usd - granted.counted_nano_usd, granted.at)

    def spend(self, nano_usd: int, now: float) -> None:
        """The most that an attempt beyond the first may come to."""
        self._spent.add(nano_usd, now)

    def merge(self, other: Traffic) -> None:
        """Adds what the other holds."""
        self._firsts.merge(other._firsts)
        self._settled.merge(other._settled)
        self._spent.merge(other._spent)

    # A slice that lies in the window in part counts against, and does not count for: in no window, wherever it begins,
    # is there more than the rule says.

    def firsts_since(self, moment: float) -> int:
        """First attempts."""
        return self._firsts.sum(moment, parts=False)

    def settled_since(self, moment: float) -> int:
        """What all attempts were charged, in nano-USD."""
        return self._settled.sum(moment, parts=False)

    def spent_since(self, moment: float) -> int:
        """What attempts beyond the first cost, in nano-USD; the most they can come to where that is not known yet."""
        return max(0, self._spent.sum(moment, parts=True))


class _Account:
    """One provider's budget."""

    def __init__(self, settings: RetryBudgetSettings) -> None:
        self.settings = settings
        self.traffic = Traffic()
        self._withdrawals = _by_seconds()

    def withdraw(self, now: float) -> None:
        self._withdrawals.add(1, now)

    def calls(self, since: float) -> tuple[int, int]:
        """Withdrawals since then, and how many there may be."""
        settings = self.settings
        # A hair up: 0.2 x 5 is 1, whatever floats make of it.
        limit = math.floor(settings.floor + settings.ratio * self.traffic.firsts_since(since) + 1e-9)
        return self._withdrawals.sum(since, parts=True), limit

    def room_for_a_call(self, now: float) -> float:
        """When there is room, if nothing else happens; infinite where there never is."""
        window = self.settings.window
        for since in self._withdrawals.starts_after(now - window):
            used, limit = self.calls(since)
            if used < limit:
                return since + window
        return math.inf

    def money(self, since: float, hold_nano_usd: int) -> tuple[int, int]:
        """What retries, fallbacks and hedges spent since then, and how much it may be; both in nano-USD."""
        share = math.floor((self.settings.money_ratio or 0.0) * self.traffic.settled_since(since))
        return self.traffic.spent_since(since), max(share, HOLDS * hold_nano_usd)

    def room_for_money(self, now: float, cost: int, hold_nano_usd: int) -> float:
        """The same for an attempt of that cost."""
        for since in _by_minutes().starts_after(now - HOUR):
            spent, limit = self.money(since, hold_nano_usd)
            if spent + cost <= limit:
                return since + HOUR
        return math.inf


class RetryBudget:
    """The budgets of all providers.

    Laws: in no window are there more withdrawals than `floor` + `ratio` x its first attempts; a refusal withdraws
    nothing; a withdrawal counts from the moment it is granted, whatever becomes of its attempt (one that waits in
    back-off is a retry already) and until it is a window old; one provider never pays for another.
    """

    def __init__(
        self, settings_for: Callable[[str], RetryBudgetSettings], *, whose: Callable[[str], str] = "provider {}".format
    ) -> None:
        """`whose`: a name in words."""
        self._settings_for = settings_for
        self._whose = whose
        self._accounts: dict[str, _Account] = {}

    def first_attempt(self, provider: str, now: float, count: int = 1) -> None:
        """Calls tried this provider for the first time: each makes room for a share of a retry."""
        self._account(provider).traffic.first_attempt(now, count)

    def settled(self, provider: str, nano_usd: int, now: float, granted: Withdrawn | None = None) -> None:
        """An attempt was charged, a first one or (`granted`) one that had withdrawn."""
        self._account(provider).traffic.settled(nano_usd, now, granted)

    def merge(self, provider: str, traffic: Traffic) -> None:
        """The same of many attempts, gathered elsewhere."""
        self._account(provider).traffic.merge(traffic)

    def withdraw(
        self, provider: str, now: float, *, nano_usd: int | None = None, hold_nano_usd: int | None = None
    ) -> Withdrawn | Suppressed:
        """May one more attempt be made that is no first one: a retry, or a hedge?

        `nano_usd` is the most it can come to (None: its price is unknown, and it counts as nothing), `hold_nano_usd`
        the call's hold (None: as much). They matter only where a `money_ratio` is set.
        """
        account = self._account(provider)
        used, limit = account.calls(now - account.settings.window)
        if used >= limit:
            return self._no_calls(provider, now)
        granted = self.spend(provider, now, nano_usd=nano_usd, hold_nano_usd=hold_nano_usd)
        if isinstance(granted, Withdrawn):
            account.withdraw(now)
        return granted

    def spend(
        self, provider: str, now: float, *, nano_usd: int | None = None, hold_nano_usd: int | None = None
    ) -> Withdrawn | Suppressed:
        """May a fallback's first attempt be made? It withdraws no call, but costs money that the cap counts."""
        account = self._account(provider)
        if account.settings.money_ratio is None:
            return Withdrawn(provider, now)
        cost = nano_usd or 0
        hold = cost if hold_nano_usd is None else hold_nano_usd
        spent, limit = account.money(now - HOUR, hold)
        # What costs nothing, as far as is known, is no matter of money.
        if cost and spent + cost > limit:
            return self._no_money(provider, now, cost, hold)
        account.traffic.spend(cost, now)
        return Withdrawn(provider, now, cost)

    def used_up(self, provider: str, now: float) -> Suppressed | None:
        """What `withdraw` would say for want of calls; None: there is room, or nobody was there. Changes nothing."""
        account = self._accounts.get(provider)
        if account is None:
            return None
        used, limit = account.calls(now - account.settings.window)
        return self._no_calls(provider, now) if used >= limit else None

    def _account(self, provider: str) -> _Account:
        account = self._accounts.pop(provider, None) or _Account(self._settings_for(provider))
        self._accounts[provider] = account
        if len(self._accounts) > MOST_PROVIDERS:
            del self._accounts[next(iter(self._accounts))]
        account.settings = self._settings_for(provider)  # others may hold by now; what was counted goes on
        return account

    def _no_calls(self, provider: str, now: float) -> Suppressed:
        account = self._accounts[provider]
        settings = account.settings
        used, limit = account.calls(now - settings.window)
        retry_at = account.room_for_a_call(now)
        says = (
            f"the retry budget of {self._whose(provider)} is used up: {used} of {limit} retries within"
            f" {settings.window:g} s (at most {settings.floor} and {settings.ratio * 100:g} % of the first attempts);"
            f" {_room(retry_at, now)}"
        )
        return Suppressed(provider, "calls", used, limit, retry_at, says)

    def _no_money(self, provider: str, now: float, cost: int, hold: int) -> Suppressed:
        account = self._accounts[provider]
        spent, limit = account.money(now - HOUR, hold)
        retry_at = account.room_for_money(now, cost, hold)
        says = (
            f"the retry budget of {self._whose(provider)} is used up: retries, fallbacks and hedges have spent"
            f" {_usd(spent)} of {_usd(limit)} USD within an hour (at most"
            f" {(account.settings.money_ratio or 0) * 100:g} % of what was settled, or {HOLDS} times the call's hold),"
            f" and this one may come to {_usd(cost)}; {_room(retry_at, now)}"
        )
        return Suppressed(provider, "money", spent, limit, retry_at, says)


def _room(retry_at: float, now: float) -> str:
    if math.isinf(retry_at):
        return "time alone makes no room"
    return f"there is room again in {math.ceil(retry_at - now)} s"


def _usd(nano_usd: int) -> str:
    return f"{nano_usd / 1e9:.6f}"
