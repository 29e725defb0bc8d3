"""Cool-downs: who is left alone until when, and how calls come back afterwards, a few at a time.

Not here: which errors cool what (`retry`), and failures that open a circuit (`breaker`). A scope is a name such as
`target:sonnet` or `key:openai/0`.

A cool-down whose time is over is not gone: its scope *thaws*. An attempt then needs a permit, of which there is one at
first, then two, then four, so that the calls that waited do not all meet the limit again at once. Only answers of
attempts with a permit count. One that began before the limit was met tells what the server did then, and a hundred of
those would open the gate to everyone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, TypeAlias

import attrs

from penstock.policy.hints import LONGEST_HINT
from penstock.policy.permits import Permits

__all__ = ["Admitted", "CoolDown", "CoolDowns", "CoolReason", "CoolSettings", "Denied", "PermitVerdict", "eased"]

CoolReason: TypeAlias = Literal["rate_limited", "quota_exhausted"]
PermitVerdict: TypeAlias = Literal["answered", "limited", "nothing"]
"""How an attempt with a permit ended: with an answer, at a limit again, or in a way that says nothing of limits."""

MOST_COOL_DOWNS = 4_096
"""Names of targets can come from callers: beyond so many, the oldest cool-down is forgotten."""


@attrs.frozen
class CoolSettings:
    """Seconds. Without a hint a rate limit cools 1 s, doubling to 30 s; an empty account 5 min, doubling to 1 h."""

    rate_base: float = 1.0
    rate_cap: float = 30.0
    quota_base: float = 300.0
    quota_cap: float = 3600.0


@attrs.frozen
class CoolDown:
    """Nobody tries `scope` before `until` (the kernel's monotonic clock). From then on it thaws: with a permit only."""

    scope: str
    until: float
    reason: CoolReason
    permits_left: int = 1
    """Attempts that may go there once its time is over; 0: until one of those that did comes back."""

    def is_over(self, now: float) -> bool:
        """True where it may be tried, by those who ask for leave."""
        return self.until <= now


@attrs.frozen
class Admitted:
    """Go. `thawing`: at least one scope leased a permit, which is owed a `give_back`."""

    thawing: bool


@attrs.frozen
class Denied:
    """Do not go. Of the scopes that say no, `scope` is the one that lasts longest.

    `retry_at`: where `cooling`, its end; where `thawing`, the end of the first lease, though a permit may come back any
    moment before.
    """

    scope: str
    reason: Literal["cooling", "thawing"]
    retry_at: float


@attrs.define
class _Cooling:
    until: float
    reason: CoolReason
    in_a_row: int
    permits: Permits = attrs.Factory(Permits)
    """Untouched while the cool-down lasts: a new one leases anew, and what an earlier one leased is unknown to it."""


class CoolDowns:
    """The cool-downs by scope.

    Laws: a cool-down is extended, never shortened; nothing but answers to permits ends it; an admission takes permits
    of all its scopes or of none, and a denial changes nothing; a permit comes back on every exit, by `give_back` or by
    its lease, so that a lost one holds up nobody for good; `version` moves exactly when `shown` does.
    """

    def __init__(self, settings: CoolSettings | None = None) -> None:
        self._settings = settings or CoolSettings()
        self._cooling: dict[str, _Cooling] = {}
        self._shown: Mapping[str, CoolDown] = MappingProxyType({})
        self.version = 0

    def cool(
        self, scope: str, reason: CoolReason, *, now: float, jitter: float, retry_after: float | None = None
    ) -> CoolDown | None:
        """Cools `scope`: as long as the server asks, else doubling. Returns the cool-down if it is new or longer."""
        before = self._cooling.get(scope)
        lasts = before is not None and now < before.until
        in_a_row = 1
        if before is not None:
            # Calls that were under way together and hit the same limit count as one.
            in_a_row = before.in_a_row if lasts else before.in_a_row + 1
        until = now + self._seconds(reason, in_a_row, jitter, retry_after)
        if before is not None and lasts and until <= before.until:
            return None
        self._cooling.pop(scope, None)
        self._cooling[scope] = _Cooling(until, reason, in_a_row)
        forgotten: list[str] = []
        if len(self._cooling) > MOST_COOL_DOWNS:
            forgotten.append(next(iter(self._cooling)))
            del self._cooling[forgotten[0]]
        self._show([scope, *forgotten])
        return CoolDown(scope, until, reason)

    def admit(self, permit_id: str, scopes: Sequence[str], now: float, *, lease: float) -> Admitted | Denied:
        """May an attempt go to all of `scopes`? `lease`, in seconds, should outlast it.

        A permit that is out already is confirmed, not taken twice.
        """
        cold = {scope: self._cooling[scope] for scope in scopes if scope in self._cooling}
        for cooling in cold.values():
            cooling.permits.expire(now)
        denials = [
            denied for scope, cooling in cold.items() if (denied := _denial(scope, cooling, permit_id, now)) is not None
        ]
        if denials:
            self._show(cold)  # leases may have ended
            return max(denials, key=lambda denied: denied.retry_at)
        for cooling in cold.values():
            cooling.permits.take(permit_id, now + lease)
        self._show(cold)
        return Admitted(thawing=bool(cold))

    def give_back(self, permit_id: str, verdict: PermitVerdict, now: float) -> None:
        """An attempt with this permit ended. An unknown permit, or one of an earlier cool-down, is ignored.

        `limited`: the new cool-down is begun by `cool`, for the scope that is limited; one that thaws beside it begins
        again with a single permit, for it was not answered.
        """
        changed = self._expired(now)
        for scope, cooling in list(self._cooling.items()):
            if not cooling.permits.returned(permit_id):
                continue
            changed.append(scope)
            match verdict:
                case "answered":
                    if cooling.permits.answer():
                        # Everyone may pass, and the next cool-down starts small again.
                        del self._cooling[scope]
                case "limited":
                    cooling.permits.begin_again()
                case "nothing":
                    pass
        self._show(changed)

    def expire(self, now: float) -> None:
        """Takes back the permits whose lease has ended."""
        self._show(self._expired(now))

    @property
    def next_expiry(self) -> float | None:
        """When the next lease ends."""
        return min((end for cooling in self._cooling.values() for end in cooling.permits.leases.values()), default=None)

    def shown(self) -> Mapping[str, CoolDown]:
        """Every cool-down that is not forgotten, by scope: those that last, and those that thaw. It never changes."""
        return self._shown

    def _expired(self, now: float) -> list[str]:
        leasing = [scope for scope, cooling in self._cooling.items() if cooling.permits.leases]
        for scope in leasing:
            self._cooling[scope].permits.expire(now)
        return leasing

    def _show(self, scopes: Iterable[str]) -> None:
        changed: dict[str, CoolDown | None] = {}
        for scope in scopes:
            state = self._cooling.get(scope)
            cool = None if state is None else CoolDown(scope, state.until, state.reason, state.permits.left)
            if cool != self._shown.get(scope):
                changed[scope] = cool
        if changed:
            told = {**self._shown, **changed}
            self._shown = MappingProxyType({scope: cool for scope, cool in told.items() if cool is not None})
            self.version += 1

    def _seconds(self, reason: CoolReason, in_a_row: int, jitter: float, retry_after: float | None) -> float:
        settings = self._settings
        if retry_after is not None:
            retry_after = min(retry_after, LONGEST_HINT)
        if reason == "quota_exhausted":
            own = _doubling(settings.quota_base, settings.quota_cap, in_a_row)
            # Nothing a server says about seconds fills an account; a little jitter upward spreads those who come back.
            return max(own * (1 + jitter / 10), retry_after or 0.0)
        own = _doubling(settings.rate_base, settings.rate_cap, in_a_row)
        return own * (0.5 + jitter / 2) if retry_after is None else retry_after


def eased(before: Mapping[str, CoolDown], after: Mapping[str, CoolDown]) -> Mapping[str, float]:
    """The scopes that let more calls pass in the second snapshot than in the first, and how many: all, or permits."""
    more: dict[str, float] = {}
    for scope, was in before.items():
        cool = after.get(scope)
        if cool is None:
            more[scope] = math.inf
        elif cool.until == was.until and cool.permits_left > was.permits_left:
            more[scope] = cool.permits_left
    return more


def _doubling(base: float, cap: float, in_a_row: int) -> float:
    return min(cap, base * 2.0 ** min(in_a_row - 1, 30))


def _denial(scope: str, cooling: _Cooling, permit_id: str, now: float) -> Denied | None:
    if now < cooling.until:
        return Denied(scope, "cooling", cooling.until)
    until = cooling.permits.blocked_until(permit_id)
    return None if until is None else Denied(scope, "thawing", until)
