"""How calls read what the router knows, tell it what they saw, and ask it for leave."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from penstock._clock import Clock
from penstock.actors._address import Address
from penstock.actors._ref import ActorRef
from penstock.actors._router_mail import (
    AdmitMail,
    LimitedNote,
    ReturnMail,
    RouteCell,
    RouteSnapshot,
    SpendMail,
    UsedNote,
    WithdrawMail,
)
from penstock.policy.retry_budget import RetryBudgetSettings, Suppressed, Traffic, Withdrawn
from penstock.policy.routing import Admitted, CoolReason, Denied, PermitVerdict

__all__ = ["RouterRef"]

TOGETHER = 16
"""So many observations of what can wait cost one waking."""
FIRST_TOKENS_KEPT = 100
"""First-token times of a target that wait for the router: no more of them count anyway."""


class RouterRef(ActorRef):
    """How calls read what the router knows, tell it what they saw, and ask for leave."""

    def __init__(
        self,
        address: Address,
        cell: RouteCell,
        clock: Clock,
        retry_budget_for: Callable[[str], RetryBudgetSettings],
    ) -> None:
        super().__init__(address)
        self._cell = cell
        self._clock = clock
        self._retry_budget_for = retry_budget_for
        self._told = 0

    @property
    def snapshot(self) -> RouteSnapshot:
        """What is known now. Never waits."""
        return self._cell.snapshot

    # Leave, where a cool-down is over

    async def admit(
        self,
        permit_id: str,
        scopes: Sequence[str],
        *,
        lease: float,
        deadline: float = math.inf,
        context: object = None,
    ) -> Admitted | Denied:
        """Leave to try scopes of `snapshot.cooling`: all of them, or none. `give_back` is owed."""
        message = AdmitMail(permit_id, tuple(scopes), lease)
        return await self._address.ask(message, owes=permit_id, deadline=deadline, context=context)

    def give_back(self, permit_id: str, verdict: PermitVerdict) -> None:
        """Returns a permit with how its attempt ended. Never raises, never waits; a second one is ignored.

        Where it ended at a limit, tell `limited` first: that begins the new cool-down.
        """
        if self._address.owes(permit_id):
            self._address.tell_owed(permit_id, ReturnMail(permit_id, verdict))

    # Leave for attempts beyond the first

    async def withdraw(
        self,
        provider: str,
        *,
        nano_usd: int | None = None,
        hold_nano_usd: int | None = None,
        deadline: float = math.inf,
        context: object = None,
    ) -> Withdrawn | Suppressed:
        """Leave for a retry or a hedge, before it waits in back-off. Owes nothing; `settled` takes the receipt.

        `nano_usd` is the most the attempt may come to (None: its price is unknown), `hold_nano_usd` the call's hold.
        """
        message = WithdrawMail(provider, nano_usd, hold_nano_usd, money_only=False)
        return await self._address.ask(message, deadline=deadline, context=context)

    async def spend(
        self,
        provider: str,
        *,
        nano_usd: int | None = None,
        hold_nano_usd: int | None = None,
        deadline: float = math.inf,
        context: object = None,
    ) -> Withdrawn | Suppressed:
        """Leave for a fallback's first attempt, which costs money alone. Where no money cap is set nobody is asked."""
        if not self.caps_money(provider):
            return Withdrawn(provider, self._clock.monotonic())
        message = WithdrawMail(provider, nano_usd, hold_nano_usd, money_only=True)
        return await self._address.ask(message, deadline=deadline, context=context)

    def first_attempt(self, provider: str) -> None:
        """A call tries this provider for the first time. Never raises; it matters only to the next who asks."""
        now = self._clock.monotonic()
        self._add_traffic(f"provider:{provider}", lambda traffic: traffic.first_attempt(now))

    def settled(self, provider: str, nano_usd: int, granted: Withdrawn | None = None) -> None:
        """What an attempt was charged, with the receipt of its withdrawal if it had one. Never raises."""
        if not self.caps_money(provider):
            return
        now = self._clock.monotonic()
        self._add_traffic(f"provider:{provider}", lambda traffic: traffic.settled(nano_usd, now, granted))

    async def spend_of_account(
        self,
        account: str,
        *,
        nano_usd: int | None = None,
        hold_nano_usd: int | None = None,
        deadline: float = math.inf,
        context: object = None,
    ) -> Withdrawn | Suppressed:
        """Leave for the money of an attempt beyond a call's first, of an account that caps it. As `withdraw`."""
        message = SpendMail(account, nano_usd, hold_nano_usd)
        return await self._address.ask(message, deadline=deadline, context=context)

    def settled_of_account(self, account: str, nano_usd: int, granted: Withdrawn | None = None) -> None:
        """What an attempt of a call of the account, or of one below it, was charged. As `settled`."""
        now = self._clock.monotonic()
        self._add_traffic(f"account:{account}", lambda traffic: traffic.settled(nano_usd, now, granted))

    def _add_traffic(self, key: str, add: Callable[[Traffic], None]) -> None:
        waiting = self._address.waiting(key)
        if waiting is not None:
            add(waiting)
            return

        def fold(before: Traffic | None) -> Traffic:
            traffic = before or Traffic()
            add(traffic)
            return traffic

        self._address.observe(key, fold, wake=False)

    def caps_money(self, provider: str) -> bool:
        """True where retries, fallbacks and hedges have a limit in money there."""
        return self._retry_budget_for(provider).money_ratio is not None

    # What was seen

    def limited(self, scope: str, reason: CoolReason, retry_after: float | None) -> None:
        """A target or key said that it is used up for now. Never raises."""

        def fold(before: LimitedNote | None) -> LimitedNote:
            seen = LimitedNote(reason, retry_after)
            # Of many at once the longest hint counts.
            return seen if before is None else max(before, seen, key=lambda limited: limited.retry_after or 0.0)

        self._address.observe(f"limited:{scope}", fold, wake=True)

    def used(self, target: str, *, text_bytes: int, input_tokens: int, excess: int) -> None:
        """Real usage of one exchange; `text_bytes` 0 where it says nothing about text. Never raises."""
        tokens = input_tokens if text_bytes else 0

        def fold(before: UsedNote | None) -> UsedNote:
            if before is None:
                return UsedNote(text_bytes, tokens, excess)
            most = excess if excess > before.excess else before.excess
            return UsedNote(before.text_bytes + text_bytes, before.input_tokens + tokens, most)

        # An exceeded bound matters at once, the ratio does not.
        self._observe_together(f"used:{target}", fold, wake=excess > 0)

    def first_token(self, target: str, seconds: float) -> None:
        """A healthy answer began so many seconds after its request. Never raises."""

        def fold(before: deque[float] | None) -> deque[float]:
            seen = deque[float](maxlen=FIRST_TOKENS_KEPT) if before is None else before
            seen.append(seconds)
            return seen

        self._observe_together(f"first_token:{target}", fold, wake=False)

    def _observe_together(self, key: str, fold: Callable[[Any], Any], *, wake: bool) -> None:
        """So many together cost one waking, where none of them is urgent."""
        self._told += 1
        self._address.observe(key, fold, wake=wake or self._told % TOGETHER == 0)

    def catch_up(self) -> None:
        """The snapshot shows everything told before. Never waits, never raises."""
        self._address.catch_up()
