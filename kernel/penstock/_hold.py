"""One call and its budget: the hold it opens, tops up, and settles whatever happens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import attrs
import trio
from msgspec import Struct

from penstock._books import Books
from penstock._budgeting import Offer, dearest_stages, hold_terms, refusal_error
from penstock._offers import Offers
from penstock.actors.budget_ref import BudgetRef
from penstock.errors import CallError
from penstock.policy.budget import Amount, Granted, Refused
from penstock.policy.holds import NOTHING, dearest
from penstock.telemetry import CallSpan
from penstock.types import ChatRequest

__all__ = ["CallHold"]


class CallHold(Struct, eq=False):
    """The hold of one call: as large as the dearest single attempt it may make."""

    ref: BudgetRef
    call_id: str
    account: str
    wait: float
    deadline: float
    span: CallSpan
    wall: Callable[[], float]
    books: Books
    degrades: bool = False
    """Where a target is too dear for what is left, cheaper ones of the cascade are held for without it."""
    guesses: bool = False
    """Some window of its accounts counts by estimates, as they are when it is asked for."""
    offers: Offers | None = None
    """None: nothing was asked about them yet."""
    granted: Granted | None = None
    hold_id: str = ""
    """Another one for each time that it is asked again for less."""

    def __post_init__(self) -> None:
        self.hold_id = self.call_id

    def offer_anew(self, stage: int, offer: Offer | CallError) -> None:
        """What an attempt at the stage costs where it is asked for more than the call was: a prefix to go on from.

        One that may not be tried, for it was too dear when the hold was opened, stays so: it would cost even more.
        """
        assert self.offers is not None
        if isinstance(self.offers.of(stage), Offer):
            self.offers.change(stage, offer)

    async def cover(self, stage: int) -> CallError | None:
        """Makes the hold cover one more attempt at `stage`; an error where that stage may not be tried at all.

        Raises BudgetExceededError where the ledger refuses: the call ends with what it has.
        """
        assert self.offers is not None
        offer = self.offers.of(stage)
        if isinstance(offer, CallError):
            return offer
        if self.granted is None:
            self.granted = await self._open(self.offers)
            offer = self.offers.of(stage)
            # It covers any one of them, but for those that were too dear, as it turned out.
            return offer if isinstance(offer, CallError) else None
        await self._top_up(self.granted, offer)
        return None

    async def _top_up(self, granted: Granted, offer: Offer) -> None:
        """What is lacking for one more attempt. Where no window counts by estimate, only the bound is asked for."""
        output = offer.output(granted.output_tokens)
        needed, guess = offer.bound(output), None
        if self.books.begun:
            needed += self.books.charged + self.books.under_way
        if granted.likely is not None:
            likely = offer.estimate(output) + self.books.charged + self.books.likely_under_way
            guess = (likely - granted.likely).at_least(NOTHING)
        if not needed.fits(granted.amount) or (guess is not None and guess != NOTHING):
            more = (needed - granted.amount).at_least(NOTHING)
            result = await self.ref.top_up(
                self.hold_id, more, deadline=self.deadline, context=self.span.context, likely=guess
            )
            self.granted = self._checked(attrs.evolve(result, own=True) if isinstance(result, Refused) else result)

    def request(self, stage: int, request: ChatRequest) -> ChatRequest:
        """The request as the budget lets it go out."""
        offer = self.offer(stage)
        return request if offer is None or self.granted is None else offer.request(request, self.granted.output_tokens)

    def bounds(self, offer: Offer | None) -> tuple[Amount | None, Amount | None, int | None]:
        """What one attempt costs at most, and most likely, and the most output that it may be given.

        None where no account on the path has a limit.
        """
        if offer is None or self.granted is None:
            return None, None, None
        output, most = offer.output(self.granted.output_tokens), offer.line.max_output
        likely = None if self.granted.likely is None else offer.estimate(output)
        return offer.bound(output), likely, output if output < most else most

    def capped(self, stage: int, finish_reason: str) -> bool:
        """True where the budget set `max_tokens` lower than it would have been, and that ended the answer."""
        if finish_reason != "length" or self.granted is None or (offer := self.offer(stage)) is None:
            return False
        return offer.outputs.insert and self.granted.output_tokens < offer.uncapped_output

    def settle(self) -> None:
        """Replaces the hold by what was charged. Never raises, never waits."""
        if self.offers is None and not self.books.begun:
            return  # nothing was asked for, and nothing charged: it was answered out of the cache, or not at all
        spent = tuple(self.books.by_target.values())
        charged, estimated = self.books.charged, self.books.estimated
        if self.granted is None:
            # It began where nothing was limited. Since then something may be.
            self.ref.note(self.call_id, self.account, charged, estimated=estimated, spent=spent)
        self.ref.settle(self.hold_id, charged, estimated=estimated, spent=spent)

    def offer(self, stage: int) -> Offer | None:
        """What an attempt at the stage may cost, where that matters and it may be tried."""
        offer = None if self.offers is None else self.offers.of(stage)
        return offer if isinstance(offer, Offer) else None

    async def _open(self, offers: Offers) -> Granted:
        while True:
            result = await self._ask(offers.held())
            if isinstance(result, Granted):
                return self._checked(result)
            refused = self._told_by_estimate(offers, result)
            if not (self.degrades and self._without_the_dearest(offers, refused)):
                await trio.lowlevel.checkpoint()  # whoever calls again and again does not keep the loop to itself
                return self._checked(refused)

    def _told_by_estimate(self, offers: Offers, refused: Refused) -> Refused:
        """Where nothing counts by estimates, none was worked out so far."""
        if self.guesses or refused.basis != "bound":
            return refused
        terms = hold_terms(offers.guessed(), guesses=True)
        return refused.beside(dearest(terms.lines, terms.min_output), dearest(terms.likely, terms.min_output))

    def _without_the_dearest(self, offers: Offers, refused: Refused) -> bool:
        """Leaves out the targets that cost most; False where none would be left."""
        dearest = dearest_stages({at: offer for at, offer in enumerate(offers.every()) if isinstance(offer, Offer)})
        if not dearest:
            return False
        error = refusal_error(refused)
        offers.let_all_stand()
        for stage in dearest:
            offers.change(stage, error)
        self.ref.settle(self.hold_id, NOTHING, estimated=False)
        self.hold_id += "~"
        return True

    def _ask(self, offers: Sequence[Offer]) -> Awaitable[Granted | Refused]:
        terms = hold_terms(offers, guesses=self.guesses)
        return self.ref.reserve(
            self.hold_id,
            self.account,
            terms.lines,
            min_output=terms.min_output,
            max_output=terms.max_output,
            wait=self.wait,
            deadline=self.deadline,
            context=self.span.context,
            likely=terms.likely,
        )

    def _checked(self, result: Granted | Refused) -> Granted:
        if isinstance(result, Granted):
            held = result.amount
            self.span.event("hold", outcome="granted", tokens=held.tokens, usd=held.nano_usd / 10**9)
            return result
        refusal = refusal_error(result)
        self.span.event("hold", outcome="refused", account=refusal.account or "", reason=refusal.kind)
        if result.refills_at is not None:
            refusal.retry_after = max(0.0, result.refills_at - self.wall())
        refusal.__cause__ = self.books.errors[-1] if self.books.errors else None
        raise self.books.signed(refusal)
