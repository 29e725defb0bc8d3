"""What the attempts of one call may cost along its route: no more of them are priced than it takes to know the dearest.

Not here: the prices (`_budgeting`), which stages stand for others (`_standing`), and what is held (`_hold`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from penstock._asked import Call
from penstock._budgeting import Offer, Pricing
from penstock._fitting import CallFitting
from penstock._offers import Offers
from penstock._targets import RouteTargets
from penstock.errors import CallError
from penstock.policy.routing import Learned

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock._live_target import LiveTarget
    from penstock._outputs import Wanted
    from penstock.types import ChatRequest

__all__ = ["AskedForValue", "offers_of", "pricing_of"]


class AskedForValue(Protocol):
    """How the targets of one call are asked, where its answer is to become a value (`_extraction`)."""

    @property
    def wanted(self) -> Wanted:
        """What it is to become."""
        ...

    def first_asked(self, stage: int, target: LiveTarget, request: ChatRequest) -> ChatRequest:
        """The request as the target is asked it before anything has to be mended."""
        ...


def pricing_of(call: Call, fitting: CallFitting, learned: Mapping[str, Learned]) -> Pricing:
    """What a call is priced by."""
    return Pricing(call.limits, learned, call.rules, call.request.max_tokens, call.request, fitting.shape)


def offers_of(
    along: RouteTargets,
    fitting: CallFitting,
    pricing: Pricing,
    *,
    guesses: bool,
    value: AskedForValue | None = None,
) -> Offers:
    """What attempts at the stages of a route may cost, each as it is asked before anything has to be mended.

    `guesses`: some window counts by estimates, so that the dearest by these is to be known as well. `value`: where the
    answer is to become one.
    """
    price, stages, shape = _Priced(fitting, pricing, value), len(along.targets), fitting.shape
    if shape is None:
        # What is more than text of a plain kind may be alike to no two targets.
        return Offers(price, stages, range(stages), range(stages))
    known = along.standing(pricing.learned)
    if value is not None:
        # How text counts says nothing of schemas; and who has refused to be asked in one way is asked in another.
        ready = value.wanted.ready
        standing = known.of_each_way(ready.refusals, ready.digest) if ready.refusals else known.of_each_kind
        return Offers(price, stages, standing, standing)
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
    value: AskedForValue | None

    def __call__(self, stage: int) -> Offer | CallError:
        target = self.fitting.targets[stage]
        request = self.fitting.foreseen(stage, target)
        if self.value is not None and not isinstance(request, CallError):
            request = self.value.first_asked(stage, target, request)
        return self.pricing.offer(request, target)
