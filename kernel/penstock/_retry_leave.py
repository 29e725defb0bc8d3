"""One call and the retry budgets of its providers: leave for every attempt that goes back to one that failed it.

Not here: the budgets themselves (`policy.retry_budget`), which the router keeps.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import attrs
from msgspec import Struct

from penstock._asked import Call
from penstock._budgeting import Offer, Pricing
from penstock._engine import Engine
from penstock._events import RetrySuppressed
from penstock._fitting import CallFitting
from penstock._hold import CallHold
from penstock._offers import Offers
from penstock._route_offers import AskedForValue, offers_of, pricing_of
from penstock.errors import CallError
from penstock.policy.holds import Amount
from penstock.policy.retry import ACTIONS, Blame, Cools
from penstock.policy.retry_budget import Suppressed, Withdrawn
from penstock.types import ChatRequest

__all__ = ["Receipts", "RetryLeave"]

Receipts: TypeAlias = dict[str | None, Withdrawn]
"""Of one attempt: by account that caps the money, and of its provider under None."""
Asked: TypeAlias = Callable[[int], ChatRequest | CallError]
"""What an attempt at a stage would ask, were it made now: a broken answer goes on, a cut one is given more room."""
_Ask: TypeAlias = Callable[..., Awaitable[Withdrawn | Suppressed]]


class RetryLeave(Struct, eq=False):
    """What this call withdrew, and where it has failed."""

    engine: Engine
    call: Call
    hold: CallHold
    fitting: CallFitting
    value: AskedForValue | None
    """Where the answer is to become a value."""
    _asked: tuple[str, ...] = ()
    """Providers that this call has made an attempt at."""
    _failed: frozenset[str] = frozenset()
    """Those that failed it: going back there is a retry, with whatever target."""
    _withdrawn: dict[str, Receipts] = {}
    """Leave that was given and is not used yet: it was asked for before the wait. By provider."""
    _capped: tuple[str, ...] | None = None
    """The accounts on the path that cap the money of retries, as they are when that first matters."""
    _hold: int | None = None
    """What the dearest attempt can cost of those that the call may make, in nano-USD: as it was asked at first, before
    anything was mended. None: unknown."""
    _hold_is_known: bool = False

    async def ask(self, stage: int, asked: Asked) -> Suppressed | None:
        """Leave for the next attempt, asked for before any wait for it; the reason where there is none."""
        provider = self.call.targets[stage].provider.name
        if not self._asked or provider in self._withdrawn:
            return None  # a call's first attempt is free, and so is waiting once more for what leave was given for
        router = self.engine.router
        return await self._ask(stage, provider, asked, router.withdraw if provider in self._failed else router.spend)

    async def ask_for_hedge(self, stage: int, asked: Asked) -> Suppressed | None:
        """The same for an attempt beside one that is under way: always a withdrawal."""
        return await self._ask(stage, self.call.targets[stage].provider.name, asked, self.engine.router.withdraw)

    async def _ask(self, stage: int, provider: str, asked: Asked, ask_provider: _Ask) -> Suppressed | None:
        """All of them or none: where one refuses, or the call leaves meanwhile, the others are given back."""
        cost, hold = self._money(stage, provider, asked)
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

    def _money(self, stage: int, provider: str, asked: Asked) -> tuple[int | None, int | None]:
        """The most that an attempt at the stage can cost, and the call's hold, in nano-USD; None: unknown.

        Worked out only where a cap asks for it.
        """
        if not (self.capped or self.engine.router.caps_money(provider)):
            return None, None
        request, pricing = asked(stage), self._pricing
        own = self._most(stage, pricing.offer(request, self.call.targets[stage]))
        if not self._hold_is_known:
            costs = [self._most(at, offer) for at, offer in self._offers().stood_for()]
            self._hold = max([cost.nano_usd for cost in costs if cost is not None], default=None)
            self._hold_is_known = True
        return None if own is None else own.nano_usd, self._hold

    def _offers(self) -> Offers:
        """What the call may cost as it was asked at first, whether or not a limit makes it hold that."""
        if self.hold.offers is not None:
            return self.hold.offers
        return offers_of(self.call.along, self.fitting, self._pricing, guesses=False, value=self.value)

    @property
    def _pricing(self) -> Pricing:
        return pricing_of(self.call, self.fitting, self.engine.router.snapshot.learned)

    def _most(self, stage: int, offer: Offer | CallError) -> Amount | None:
        if isinstance(offer, CallError) or self.call.targets[stage].price is None:
            return None
        granted = self.hold.granted
        return offer.bound(offer.outputs.maximum if granted is None else offer.output(granted.output_tokens))
