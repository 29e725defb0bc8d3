"""What attempts at the stages of one call may cost: of those stages that it comes to, and of those its hold stands on.

A hold is as large as the dearest attempt that the call may make, at whichever stage. Of a long route most targets are
alike to their codec and in their price: of these the dearest one stands for all, so that a hold costs as much to find
for a thousand of them as for one. Not here: the prices (`_budgeting`), and the hold (`_hold`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from penstock._budgeting import Offer
from penstock.errors import CallError

__all__ = ["Offers"]


class Offers(Struct, eq=False):
    """Those of one call, each worked out once and when it is asked for."""

    price: Callable[[int], Offer | CallError]
    """Of a stage."""
    stages: int
    of_each_kind: Sequence[int]
    """The stages that stand for all: no other one costs more than each of them, or is refused where none of them is."""
    standing: Sequence[int]
    """Of these, those that stand for all so far as it goes by bounds."""
    _known: dict[int, Offer | CallError] = {}

    def of(self, stage: int) -> Offer | CallError:
        """What an attempt at the stage costs, or why it may not be tried."""
        known = self._known.get(stage)
        if known is None:
            known = self._known[stage] = self.price(stage)
        return known

    def every(self) -> list[Offer | CallError]:
        """Those of all stages, in their order."""
        return [self.of(stage) for stage in range(self.stages)]

    def refused(self) -> list[tuple[int, CallError]]:
        """The stages that may not be tried, with the reasons."""
        for stage in self.standing:
            if not isinstance(self.of(stage), Offer):
                break
        else:
            return []
        self.let_all_stand()
        return [(stage, offer) for stage, offer in enumerate(self.every()) if isinstance(offer, CallError)]

    def held(self) -> list[Offer]:
        """What the hold has to cover: any one of these."""
        return self._allowed(self.standing)

    def stood_for(self) -> list[tuple[int, Offer]]:
        """The same with their stages."""
        return [(stage, offer) for stage in self.standing if isinstance(offer := self.of(stage), Offer)]

    def guessed(self) -> list[Offer]:
        """The same by estimates as well."""
        return self._allowed(self.of_each_kind)

    def let_all_stand(self) -> None:
        """No stage stands for others any more."""
        self.of_each_kind = self.standing = range(self.stages)

    def change(self, stage: int, offer: Offer | CallError) -> None:
        """The stage is asked for something else than the call was, or may not be tried after all."""
        self._known[stage] = offer
        if stage not in self.standing:
            self.standing = (*self.standing, stage)
        if stage not in self.of_each_kind:
            self.of_each_kind = (*self.of_each_kind, stage)

    def _allowed(self, stages: Sequence[int]) -> list[Offer]:
        return [offer for stage in stages if isinstance(offer := self.of(stage), Offer)]
