"""What the attempts of a call may cost: worked out once, and held before each of them.

Not here: the prices (`_budgeting`), and the hold (`_hold`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from penstock._asked import Call
from penstock._budgeting import Offer, Pricing
from penstock._engine import Engine
from penstock._fitting import CallFitting
from penstock._hold import CallHold
from penstock._offers import Offers
from penstock._targets import LiveTarget
from penstock._trials import Trials
from penstock.errors import CallError, ParameterDemandedError
from penstock.policy.commit import Begin, Continue
from penstock.policy.routing import Learned
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
            self.hold.offers = offers = self.offers()
            for refused, reason in offers.refused():
                # What is demanded of a target ends the call when that target comes up, not before.
                if not isinstance(reason, ParameterDemandedError):
                    self.refuse(refused, reason)
        if isinstance(begin, Continue) or stage in self.trials.prefill_refused or call.output is not None:
            self.hold.offer_anew(stage, self.price(asked, call.targets[stage]))
        uncovered = await self.hold.cover(stage)
        if uncovered is not None and not isinstance(uncovered, ParameterDemandedError):
            self.refuse(stage, uncovered)
        return uncovered

    def offers(self) -> Offers:
        """What an attempt at each stage may cost, by what is known now."""
        call, fitting, learned = self.call, self.fitting, self.engine.router.snapshot.learned
        price = _Priced(fitting, self.pricing(learned))
        # What is more than text of a plain kind may be alike to no two targets.
        stages = len(call.targets)
        standing = call.along.standing(learned) if fitting.shape is not None else range(stages)
        return Offers(price, stages, standing)

    def price(self, request: ChatRequest, target: LiveTarget) -> Offer | CallError:
        """The same of one target that is asked for something else."""
        return self.pricing(self.engine.router.snapshot.learned).offer(request, target)

    def pricing(self, learned: Mapping[str, Learned]) -> Pricing:
        """What this call is priced by."""
        call = self.call
        return Pricing(call.limits, learned, call.rules, call.request.max_tokens, call.request, self.fitting.shape)


class _Priced(Struct, eq=False, gc=False):
    """What an attempt at a stage costs. Holds nothing that holds the offers: the call is freed at once.

    No closure and no partial: calls that wait are looked through by the garbage collector, each object of them.
    """

    fitting: CallFitting
    pricing: Pricing

    def __call__(self, stage: int) -> Offer | CallError:
        target = self.fitting.targets[stage]
        return self.pricing.offer(self.fitting.foreseen(stage, target), target)
