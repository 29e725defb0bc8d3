"""The response in which a call ends: of the attempt that answered, or a stored one."""

from __future__ import annotations

from msgspec import Struct

from penstock._answers import CallCache
from penstock._asked import Call
from penstock._attempt import AttemptRun
from penstock._books import Books
from penstock._hold import CallHold
from penstock._stored_answer import Cached
from penstock._trials import Trials
from penstock.actors.stream_pump import Consumer
from penstock.policy.replay import replayed
from penstock.types import CacheOutcome, ChatResponse, Completion, Finished

__all__ = ["Replies", "replayed_response"]


class Replies(Struct, eq=False):
    """Makes the response of one call."""

    call: Call
    consumer: Consumer | None
    books: Books
    cache: CallCache
    hold: CallHold
    trials: Trials

    def answer(self, attempt: AttemptRun, completion: Completion) -> ChatResponse:
        """The response; a stream's last chunk goes out just before it."""
        capped = self.hold.capped(attempt.stage, completion.finish_reason)
        self.cache.keep(completion, attempt.target, capped=capped)
        usage = self.books.usage
        message = self.trials.display.finish(attempt, completion, usage)
        return ChatResponse(
            message=message,
            finish_reason=completion.finish_reason,
            usage=usage,
            cost=self.books.cost,
            model=completion.model or attempt.target.wire.model,
            target=attempt.target.name,
            route=self.call.route,
            attempts=self.books.in_order,
            cache=self.cache.outcome,
            capped_by="budget" if capped else None,
            id=completion.id,
            raw=completion.raw,
            value=None if self.trials.extraction is None else self.trials.extraction.value,
            metadata=self.call.metadata,
        )

    def replay(self, cached: Cached) -> ChatResponse:
        """A stored answer: it costs nothing, whatever it once cost."""
        stored = cached.answer
        self.call.span.replayed(stored)
        if self.consumer is not None:
            self.consumer.hand_over([*replayed(stored.message), Finished(stored.finish_reason, self.books.usage)])
        value = None if self.trials.extraction is None else self.trials.extraction.value
        return replayed_response(self.call, self.books, self.cache.outcome, cached, value)


def replayed_response(
    call: Call, books: Books, outcome: CacheOutcome, cached: Cached, value: object = None
) -> ChatResponse:
    """The response that a stored answer becomes."""
    stored = cached.answer
    return ChatResponse(
        message=stored.message,
        finish_reason=stored.finish_reason,
        usage=books.usage,
        cost=books.cost,
        model=stored.model,
        target=stored.target,
        route=call.route,
        attempts=books.in_order,
        cache=outcome,
        saved=cached.saved,
        id=stored.id,
        value=value,
        metadata=call.metadata,
    )
