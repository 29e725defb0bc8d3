"""One call and its budget: the hold it opens, tops up, and settles whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from penstock._books import Books
from penstock._budgeting import Offer, hold_terms, refusal_error
from penstock.actors.budget_keeper import BudgetRef
from penstock.errors import CallError
from penstock.policy.budget import Amount, Granted, Refused
from penstock.types import ChatRequest

__all__ = ["CallHold"]


@attrs.define(eq=False)
class CallHold:
    """The hold of one call: as large as the dearest single attempt it may make."""

    ref: BudgetRef
    call_id: str
    account: str
    wait: float
    deadline: float
    context: object
    wall: Callable[[], float]
    books: Books
    offers: Sequence[Offer | CallError] = ()
    granted: Granted | None = None

    def offer_anew(self, stage: int, offer: Offer | CallError) -> None:
        """What an attempt at the stage costs where it is asked for more than the call was: a prefix to go on from."""
        self.offers = [offer if at == stage else known for at, known in enumerate(self.offers)]

    async def cover(self, stage: int) -> CallError | None:
        """Makes the hold cover one more attempt at `stage`; an error where that stage may not be tried at all.

        Raises BudgetExceededError where the ledger refuses: the call ends with what it has.
        """
        offer = self.offers[stage]
        if isinstance(offer, CallError):
            return offer
        if self.granted is None:
            self.granted = await self._open([offer for offer in self.offers if isinstance(offer, Offer)])
        needed = offer.bound(self.granted.output_tokens)
        if self.books.begun:
            needed += self.books.charged + self.books.under_way
        if not needed.fits(self.granted.amount):
            more = (needed - self.granted.amount).at_least(Amount(0, 0))
            result = await self.ref.top_up(self.call_id, more, deadline=self.deadline, context=self.context)
            self.granted = self._checked(result)
        return None

    def request(self, stage: int, request: ChatRequest) -> ChatRequest:
        """The request as the budget lets it go out."""
        offer = self.offer(stage)
        return request if offer is None or self.granted is None else offer.request(request, self.granted.output_tokens)

    def bounds(self, stage: int) -> tuple[Amount | None, int | None]:
        """The most that one attempt at the stage costs, and the most output that it may be given.

        None where no account on the path has a limit.
        """
        offer = self.offer(stage)
        if offer is None or self.granted is None:
            return None, None
        output = self.granted.output_tokens
        return offer.bound(output), min(output, offer.line.max_output)

    def capped(self, stage: int, finish_reason: str) -> bool:
        """True where the budget set `max_tokens` lower than it would have been, and that ended the answer."""
        offer = self.offer(stage)
        if offer is None or self.granted is None or finish_reason != "length":
            return False
        return offer.outputs.insert and self.granted.output_tokens < offer.uncapped_output

    def settle(self) -> None:
        """Replaces the hold by what was charged. Never raises, never waits."""
        spent = tuple(self.books.by_target.values()) if self.ref.keeps_journal else ()
        if self.granted is None and spent:
            self.ref.note(self.call_id, self.account, spent)
        self.ref.settle(self.call_id, self.books.charged, estimated=self.books.estimated, spent=spent)

    def offer(self, stage: int) -> Offer | None:
        """What an attempt at the stage may cost, where that matters and it may be tried."""
        offer = self.offers[stage] if self.offers else None
        return offer if isinstance(offer, Offer) else None

    async def _open(self, offers: Sequence[Offer]) -> Granted:
        terms = hold_terms(offers)
        result = await self.ref.reserve(
            self.call_id,
            self.account,
            terms.lines,
            min_output=terms.min_output,
            max_output=terms.max_output,
            wait=self.wait,
            deadline=self.deadline,
            context=self.context,
        )
        return self._checked(result)

    def _checked(self, result: Granted | Refused) -> Granted:
        if isinstance(result, Granted):
            return result
        refusal = refusal_error(result)
        if result.refills_at is not None:
            refusal.retry_after = max(0.0, result.refills_at - self.wall())
        refusal.__cause__ = self.books.errors[-1] if self.books.errors else None
        raise self.books.signed(refusal)
