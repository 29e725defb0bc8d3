"""What the attempts of a call may cost: worked out once, and held before each of them.

Not here: the prices (`_budgeting`), and the hold (`_hold`).
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from penstock._asked import Call
from penstock._budgeting import Offer, Pricing
from penstock._engine import Engine
from penstock._fitting import CallFitting
from penstock._hold import CallHold
from penstock._live_target import LiveTarget
from penstock._route_offers import offers_of, pricing_of
from penstock._trials import Trials
from penstock.errors import CallError, ParameterDemandedError
from penstock.policy.commit import Begin, Continue
from penstock.types import ChatRequest

__all__ = ["Cover"]


class Cover(Struct, eq=False):
    """The money and tokens of one call. Only where an account on its path has a limit is there anything to cover."""

    engine: Engine
    call: Call
    fitting: CallFitting
    hold: CallHold
    trials: Trials
    refuse: Callable[[int, CallError], None]
    """The stage is out of the question for this call."""

    async def one_more(self, stage: int, begin: Begin, asked: ChatRequest) -> CallError | None:
        """Money and tokens for one more attempt; the first time, what each stage may cost is worked out."""
        call = self.call
        if self.hold.offers is None:
            # As the accounts are now: a reload since the call was planned may have changed what windows count by.
            self.hold.guesses = guesses = self.engine.accounts.limits_of(call.account).guesses
            value = self.trials.extraction
            offers = offers_of(call.along, self.fitting, self.pricing, guesses=guesses, value=value)
            self.hold.offers = offers
            for refused, reason in offers.refused():
                # What is demanded of a target ends the call when that target comes up, not before.
                if not isinstance(reason, ParameterDemandedError):
                    self.refuse(refused, reason)
        # Nothing is mended before the first attempt: each stage is asked for a value as it was priced.
        otherwise = call.output is not None and self.hold.granted is not None
        if isinstance(begin, Continue) or stage in self.trials.prefill_refused or otherwise:
            self.hold.offer_anew(stage, self.price(asked, call.targets[stage]))
        uncovered = await self.hold.cover(stage)
        if uncovered is not None and not isinstance(uncovered, ParameterDemandedError):
            self.refuse(stage, uncovered)
        return uncovered

    def price(self, request: ChatRequest, target: LiveTarget) -> Offer | CallError:
        """What an attempt at one target may cost that is asked for something else."""
        return self.pricing.offer(request, target)

    @property
    def pricing(self) -> Pricing:
        """What this call is priced by, by what is known now."""
        return pricing_of(self.call, self.fitting, self.engine.router.snapshot.learned)
