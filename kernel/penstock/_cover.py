"""What the attempts of a call may cost: worked out once, and held before each of them.

Not here: the prices (`_budgeting`), and the hold (`_hold`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from msgspec import Struct

from penstock._asked import Call
from penstock._budgeting import Offer, Pricing
from penstock._engine import Engine
from penstock._fitting import CallFitting
from penstock._hold import CallHold
from penstock._live_target import LiveTarget
from penstock._offers import Offers
from penstock._targets import RouteTargets
from penstock._trials import Trials
from penstock.errors import CallError, ParameterDemandedError
from penstock.policy.commit import Begin, Continue
from penstock.types import ChatRequest

__all__ = ["Cover", "offers_of"]

Shaping: TypeAlias = Callable[[int, LiveTarget, ChatRequest], ChatRequest]


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
            first_asked = None if self.trials.extraction is None else self.trials.extraction.first_asked
            offers = offers_of(call.along, self.fitting, self.pricing, guesses=guesses, first_asked=first_asked)
            self.hold.offers = offers
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

    def price(self, request: ChatRequest, target: LiveTarget) -> Offer | CallError:
        """What an attempt at one target may cost that is asked for something else."""
        return self.pricing.offer(request, target)

    @property
    def pricing(self) -> Pricing:
        """What this call is priced by, by what is known now."""
        call, learned = self.call, self.engine.router.snapshot.learned
        return Pricing(call.limits, learned, call.rules, call.request.max_tokens, call.request, self.fitting.shape)


def offers_of(
    along: RouteTargets,
    fitting: CallFitting,
    pricing: Pricing,
    *,
    guesses: bool,
    first_asked: Shaping | None = None,
) -> Offers:
    """What attempts at the stages of a route may cost. No more of them are priced than it takes to know the dearest.

    `guesses`: some window counts by estimates, so that the dearest by these is to be known as well. `first_asked`: what
    becomes of the request at a target where the answer is to become a value.
    """
    price, stages, shape = _Priced(fitting, pricing, first_asked), len(along.targets), fitting.shape
    if shape is None or first_asked is not None:
        # What is more than text of a plain kind may be alike to no two targets, and each asks for a value in its way.
        return Offers(price, stages, range(stages), range(stages))
    known = along.standing(pricing.learned)
    offers = Offers(price, stages, known.of_each_kind, known.of_each_kind)
    fewer = known.of_shape(pricing.output_key(shape), fitting.request.max_tokens)
    if (
        not guesses
        and fewer is not known.of_each_kind
        and all(pricing.speaks_for_others(offers.of(stage), along.targets[stage]) for stage in fewer)
    ):
        offers.standing = fewer
    return offers


class _Priced(Struct, eq=False, gc=False):
    """What an attempt at a stage costs. Holds nothing that holds the offers: the call is freed at once.

    No closure and no partial: calls that wait are looked through by the garbage collector, each object of them. What is
    in a ring with one of these, which it does not look through, would never be freed.
    """

    fitting: CallFitting
    pricing: Pricing
    first_asked: Shaping | None

    def __call__(self, stage: int) -> Offer | CallError:
        target = self.fitting.targets[stage]
        request = self.fitting.foreseen(stage, target)
        if self.first_asked is not None and not isinstance(request, CallError):
            request = self.first_asked(stage, target, request)
        return self.pricing.offer(request, target)
