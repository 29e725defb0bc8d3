"""One call and the retry budgets of its providers: leave for every attempt that goes back to one that failed it.

Not here: the budgets themselves (`policy.retry_budget`), which the router keeps.
"""

from __future__ import annotations

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

__all__ = ["RetryLeave"]


class RetryLeave(Struct, eq=False):
    """What this call withdrew, and where it has failed."""

    engine: Engine
    call: Call
    hold: CallHold
    fitting: CallFitting
    _asked: set[str] = set()
    """Providers that this call has made an attempt at."""
    _failed: set[str] = set()
    """Those that failed it: going back there is a retry, with whatever target."""
    _withdrawn: dict[str, Withdrawn] = {}
    """Leave that was given and is not used yet: it was asked for before the wait."""

    async def ask(self, stage: int) -> Suppressed | None:
        """Leave for the next attempt, asked for before any wait for it; the reason where there is none."""
        provider = self.call.targets[stage].provider.name
        if not self._asked or provider in self._withdrawn:
            return None  # a call's first attempt is free, and so is waiting once more for what leave was given for
        if provider in self._failed:
            return await self._withdraw(stage, provider)
        cost, hold = self._money(stage, provider)
        answer = await self.engine.router.spend(
            provider, nano_usd=cost, hold_nano_usd=hold, deadline=self.call.deadline, context=self.call.span.context
        )
        return self._taken(provider, answer)

    async def ask_for_hedge(self, stage: int) -> Suppressed | None:
        """The same for an attempt beside one that is under way: always a withdrawal."""
        return await self._withdraw(stage, self.call.targets[stage].provider.name)

    async def _withdraw(self, stage: int, provider: str) -> Suppressed | None:
        cost, hold = self._money(stage, provider)
        answer = await self.engine.router.withdraw(
            provider, nano_usd=cost, hold_nano_usd=hold, deadline=self.call.deadline, context=self.call.span.context
        )
        return self._taken(provider, answer)

    def begin(self, provider: str) -> Withdrawn | None:
        """An attempt begins; returns the receipt of its withdrawal, where it needed one. Never waits."""
        if provider not in self._asked:
            self._asked.add(provider)
            self.engine.router.first_attempt(provider)
        return self._withdrawn.pop(provider, None)

    def settle(self) -> None:
        """The call is over: leave that was never used cost nothing. Never raises, never waits."""
        for provider, receipt in self._withdrawn.items():
            self.engine.router.settled(provider, 0, receipt)
        self._withdrawn.clear()

    def failed(self, provider: str, kind: str) -> None:
        """An attempt there ended in an error of that kind. What says nothing about the provider makes no retry.

        Not to be told where the cascade counts it as no attempt: a connection that was dead is replaced once for free.
        """
        # A second one is as good as a connection that was lost.
        action = ACTIONS["connection_lost" if kind == "reused_connection_closed" else kind]
        if action.blame in (Blame.TARGET, Blame.PROVIDER) or action.cools is Cools.TARGET:
            self._failed.add(provider)

    def _taken(self, provider: str, answer: Withdrawn | Suppressed) -> Suppressed | None:
        if isinstance(answer, Withdrawn):
            self._withdrawn[provider] = answer
            return None
        if self.engine.events.heard:
            self.engine.events.emit(RetrySuppressed(self.call.id, provider, answer.reason, answer.says))
        self.call.span.event("retry_suppressed", provider=provider, reason=answer.reason)
        return answer

    def _money(self, stage: int, provider: str) -> tuple[int | None, int | None]:
        """The most that an attempt at the stage can cost, and that of the dearest one, in nano-USD; None: unknown.

        Worked out only where a cap asks for it.
        """
        if not self.engine.router.caps_money(provider):
            return None, None
        requests = [self.fitting.foreseen(at, target) for at, target in enumerate(self.call.targets)]
        offers = self.hold.offers or price_offers(
            requests,
            self.call.targets,
            self.call.chain,
            self.engine.router.snapshot.learned,
            self.call.rules,
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
