"""One call and the retry budgets of its providers: leave for every attempt that goes back to one that failed it.

Not here: the budgets themselves (`policy.retry_budget`), which the router keeps.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import attrs
from msgspec import Struct

from penstock._asked import Call
from penstock._budgeting import Offer, price_offers
from penstock._engine import Engine
from penstock._events import RetrySuppressed
from penstock._fitting import CallFitting
from penstock._hold import CallHold
from penstock.policy.holds import Amount
from penstock.policy.retry import ACTIONS, Blame, Cools
from penstock.policy.retry_budget import Suppressed, Withdrawn

__all__ = ["Receipts", "RetryLeave"]

Receipts: TypeAlias = dict[str | None, Withdrawn]
"""Of one attempt: by account that caps the money, and of its provider under None."""
_Ask: TypeAlias = Callable[..., Awaitable[Withdrawn | Suppressed]]


class RetryLeave(Struct, eq=False):
    """What this call withdrew, and where it has failed."""

    engine: Engine
    call: Call
    hold: CallHold
    fitting: CallFitting
    _asked: tuple[str, ...] = ()
    """Providers that this call has made an attempt at."""
    _failed: frozenset[str] = frozenset()
    """Those that failed it: going back there is a retry, with whatever target."""
    _withdrawn: dict[str, Receipts] = {}
    """Leave that was given and is not used yet: it was asked for before the wait. By provider."""
    _capped: tuple[str, ...] | None = None
    """The accounts on the path that cap the money of retries, as they are when that first matters."""

    async def ask(self, stage: int) -> Suppressed | None:
        """Leave for the next attempt, asked for before any wait for it; the reason where there is none."""
        provider = self.call.targets[stage].provider.name
        if not self._asked or provider in self._withdrawn:
            return None  # a call's first attempt is free, and so is waiting once more for what leave was given for
        router = self.engine.router
        return await self._ask(stage, provider, router.withdraw if provider in self._failed else router.spend)

    async def ask_for_hedge(self, stage: int) -> Suppressed | None:
        """The same for an attempt beside one that is under way: always a withdrawal."""
        return await self._ask(stage, self.call.targets[stage].provider.name, self.engine.router.withdraw)

    async def _ask(self, stage: int, provider: str, ask_provider: _Ask) -> Suppressed | None:
        """All of them or none: where one refuses, or the call leaves meanwhile, the others are given back."""
        cost, hold = self._money(stage, provider)
        receipts: dict[str | None, Withdrawn] = {}
        granted = False
        try:
            asks = [(account, self.engine.router.spend_of_account, account) for account in self.capped]
            for key, ask, name in (*asks, (None, ask_provider, provider)):
                answer = await ask(
                    name,
                    nano_usd=cost,
                    hold_nano_usd=hold,
                    deadline=self.call.deadline,
                    context=self.call.span.context,
                )
                if isinstance(answer, Suppressed):
                    return self._told(provider, answer)
                receipts[key] = answer
            granted = True
            self._withdrawn[provider] = receipts
            return None
        finally:
            if not granted:
                self._give_back(provider, receipts)

    def _give_back(self, provider: str, receipts: Receipts) -> None:
        for account, receipt in receipts.items():
            if account is None:
                self.engine.router.settled(provider, 0, receipt)
            else:
                self.engine.router.settled_of_account(account, 0, receipt)

    @property
    def capped(self) -> tuple[str, ...]:
        """The accounts on the path that cap the money of retries, fallbacks and hedges."""
        if self._capped is None:
            self._capped = self.engine.accounts.money_capped(self.call.account)
        return self._capped

    def charged(self, provider: str, nano_usd: int, receipts: Mapping[str | None, Withdrawn]) -> None:
        """An attempt was charged so much. Never raises, never waits."""
        self.engine.router.settled(provider, nano_usd, receipts.get(None))
        for account in self.capped:
            self.engine.router.settled_of_account(account, nano_usd, receipts.get(account))

    def begin(self, provider: str) -> Receipts:
        """An attempt begins; returns the receipts of the leave that it needed. Never waits."""
        if provider not in self._asked:
            self._asked += (provider,)
            self.engine.router.first_attempt(provider)
        return self._withdrawn.pop(provider, {})

    def settle(self) -> None:
        """The call is over: leave that was never used cost nothing. Never raises, never waits."""
        for provider, receipts in self._withdrawn.items():
            self._give_back(provider, receipts)
        self._withdrawn.clear()

    def failed(self, provider: str, kind: str) -> None:
        """An attempt there ended in an error of that kind. What says nothing about the provider makes no retry.

        Not to be told where the cascade counts it as no attempt: a connection that was dead is replaced once for free.
        """
        # A second one is as good as a connection that was lost.
        action = ACTIONS["connection_lost" if kind == "reused_connection_closed" else kind]
        if action.blame in (Blame.TARGET, Blame.PROVIDER) or action.cools is Cools.TARGET:
            self._failed |= {provider}

    def _told(self, provider: str, answer: Suppressed) -> Suppressed:
        # Whoever refused, an account too: it is this provider that is not asked.
        answer = attrs.evolve(answer, provider=provider)
        if self.engine.events.heard:
            self.engine.events.emit(RetrySuppressed(self.call.id, provider, answer.reason, answer.says))
        self.call.span.event("retry_suppressed", provider=provider, reason=answer.reason)
        return answer

    def _money(self, stage: int, provider: str) -> tuple[int | None, int | None]:
        """The most that an attempt at the stage can cost, and that of the dearest one, in nano-USD; None: unknown.

        Worked out only where a cap asks for it.
        """
        if not (self.capped or self.engine.router.caps_money(provider)):
            return None, None
        if self.hold.offers is not None:
            offers = self.hold.offers.every()
        else:
            requests = [self.fitting.foreseen(at, target) for at, target in enumerate(self.call.targets)]
            learned = self.engine.router.snapshot.learned
            call = self.call
            offers = price_offers(
                requests, call.targets, call.chain, learned, call.rules, named=call.request.max_tokens
            )
        costs = [self._most(at, offer) for at, offer in enumerate(offers) if isinstance(offer, Offer)]
        offer = offers[stage]
        known = [cost.nano_usd for cost in costs if cost is not None]
        own = self._most(stage, offer) if isinstance(offer, Offer) else None
        return None if own is None else own.nano_usd, max(known, default=None)

    def _most(self, stage: int, offer: Offer) -> Amount | None:
        if self.call.targets[stage].price is None:
            return None
        granted = self.hold.granted
        return offer.bound(offer.outputs.maximum if granted is None else granted.output_tokens)
