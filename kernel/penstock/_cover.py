"""What the attempts of a call may cost: worked out once for all its stages, and held before each of them.

Not here: the prices (`_budgeting`), and the hold (`_hold`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from penstock._asked import Call
from penstock._budgeting import Offer, price_offers
from penstock._engine import Engine
from penstock._fitting import CallFitting
from penstock._hold import CallHold
from penstock._targets import LiveTarget
from penstock._trials import Trials
from penstock.errors import CallError, ParameterDemandedError
from penstock.policy.commit import Begin, Continue
from penstock.types import ChatRequest

__all__ = ["Cover"]


@attrs.define(eq=False)
class Cover:
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
        if not self.hold.offers:
            requests = [self.fitting.foreseen(at, target) for at, target in enumerate(call.targets)]
            self.hold.offers = offers = self.price(requests, call.targets)
            for refused, offer in enumerate(offers):
                # What is demanded of a target ends the call when that target comes up, not before.
                if isinstance(offer, CallError) and not isinstance(offer, ParameterDemandedError):
                    self.refuse(refused, offer)
        if isinstance(begin, Continue) or stage in self.trials.prefill_refused:
            self.hold.offer_anew(stage, self.price([asked], call.targets[stage : stage + 1])[0])
        uncovered = await self.hold.cover(stage)
        if uncovered is not None and not isinstance(uncovered, ParameterDemandedError):
            self.refuse(stage, uncovered)
        return uncovered

    def price(
        self, requests: Sequence[ChatRequest | CallError], targets: Sequence[LiveTarget]
    ) -> list[Offer | CallError]:
        """What an attempt at each target may cost, by what is known now."""
        engine = self.engine
        learned, named = engine.router.snapshot.learned, self.call.request.max_tokens
        return price_offers(requests, targets, self.call.chain, learned, self.call.rules, named=named)
