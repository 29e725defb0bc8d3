"""The attempts of one call: run one by one, or two in a race; told to all whom they concern.

Not here: what is shown of them as they come (`_display`), which target is next, and what a failure means for the
cascade (`_call`).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import trio
from msgspec import Struct

from penstock._answers import CallCache
from penstock._asked import Call
from penstock._attempt import AttemptRun, Race
from penstock._books import Books, Running, action_key
from penstock._display import Display
from penstock._engine import Engine
from penstock._events import AttemptEnded, StreamEndLost, UsageDisbelieved
from penstock._exchange import Exchange
from penstock._fitting import CallFitting, with_maker
from penstock._health import Permit, tell_health
from penstock._hold import CallHold
from penstock._idempotency import IdempotencyKeys
from penstock._reach import Reach
from penstock._retry_leave import RetryLeave
from penstock._text_size import output_bytes
from penstock._ungrouped import ungrouped
from penstock.actors.stream_pump import Consumer
from penstock.errors import BudgetCutError, CallError, ContentFilteredError, RefusedError, StreamBrokenError
from penstock.policy.commit import Begin, Commit, Continue, Fresh, Restart, continued
from penstock.policy.meter import Meter
from penstock.policy.retry import Cascade
from penstock.policy.stream_watch import Phases
from penstock.policy.time_slice import timed
from penstock.types import ChatRequest, Completion, Usage

if TYPE_CHECKING:
    from penstock._extraction import Extraction

__all__ = ["Trials"]

logger = logging.getLogger("penstock")

FRESH = Fresh()
WHOLE = Commit("whole")


class Trials(Struct, eq=False):
    """What the attempts of a call have in common: its books, its hold, and what is shown of them."""

    engine: Engine
    call: Call
    books: Books
    hold: CallHold
    consumer: Consumer | None
    """None: nobody watches; the answer is returned whole."""
    cascade: Cascade
    fitting: CallFitting
    cache: CallCache
    leave: RetryLeave
    reach: Reach
    scope: trio.CancelScope
    """Of the whole call: its deadline."""
    display: Display
    extraction: Extraction | None = None
    """Where the answer is to become a value."""
    keys: IdempotencyKeys = msgspec.field(default_factory=IdempotencyKeys)
    prefill_refused: frozenset[int] = frozenset()
    """Stages whose target would not go on from a prefix."""
    hung_up: frozenset[int] = frozenset()
    """Stages whose last attempt was on a kept connection that had been closed."""

    # Before

    def begin_at(self, stage: int) -> Begin:
        """How an attempt at the stage begins: afresh, or in what way after something was shown that broke."""
        if not self.display.committed:
            return FRESH
        target, prefix = self.call.targets[stage], self.display.showing.prefix
        takes_prefill = (
            target.capabilities.prefill
            and stage not in self.prefill_refused
            # Both are refused beside a prefill: reasoning and schemas are to shape the answer from its first word.
            and not target.asked_to_think(self.call.request)
            and self.call.request.output is None
            and self.extraction is None
        )
        if prefix is not None and takes_prefill:
            return Continue(target.name, prefix)
        return Restart(target.name)

    def asked(self, stage: int, begin: Begin, request: ChatRequest) -> ChatRequest:
        """What is asked of the target where it is to begin so, and its answer may have to become a value."""
        asked = continued(request, begin.prefill) if isinstance(begin, Continue) else request
        return asked if self.extraction is None else self.extraction.shaped(stage, self.call.targets[stage], asked)

    def asked_now(self, stage: int) -> ChatRequest | CallError:
        """What an attempt at the stage would ask, were it made now; or why none is. Tells nobody."""
        target = self.call.targets[stage]
        fitted = self.fitting.foreseen(stage, target)
        return fitted if isinstance(fitted, CallError) else self.asked(stage, self.begin_at(stage), fitted)

    def make(self, stage: int, permit: Permit, begin: Begin, asked: ChatRequest, race: Race) -> AttemptRun:
        """An attempt that is about to run. `asked` is the request before the budget had its say."""
        engine, target = self.engine, self.call.targets[stage]
        waited, self.books.waited = self.books.waited, 0.0
        offer = self.hold.offer(stage)
        bound, likely, output_bound = self.hold.bounds(offer)
        running = Running(
            target=target,
            number=self.books.begin(bound, likely),
            bound=bound,
            likely=likely,
            output_bound=output_bound,
            price=target.price if offer is None else offer.price,
            request=asked,
            started_wall=engine.clock.wall(),
            started=engine.clock.monotonic(),
            waited=waited,
            probe=permit.probe,
            hedge=race.is_on,
            withdrawn=self.leave.begin(target.provider.name),
        )
        phases, streamed = self.phases(stage, race, asked)
        attempt = AttemptRun(
            stage=stage,
            target=target,
            permit=permit,
            request=asked,
            streamed=streamed,
            begin=begin,
            running=running,
            exchange=Exchange(target, phases, engine.clock.wall, engine.overdue, self.keys),
            span=self.call.span.attempt(target, running, begin),
            race=race,
            wants_value=self.extraction is not None,
            scope=trio.CancelScope() if race.is_on else None,
        )
        attempt.exchange.fresh = stage in self.hung_up
        if target.provider.propagate_trace:
            attempt.exchange.trace = attempt.span.headers()
        race.enter(attempt)
        return attempt

    def phases(self, stage: int, race: Race, asked: ChatRequest) -> tuple[Phases, bool]:
        """Its timeouts, and whether it is streamed: another target may have to answer in the call's time."""
        target, call = self.call.targets[stage], self.call
        return timed(
            target.phases_for(asked),
            target.capabilities,
            target.upstream_stream,
            watched=self.consumer is not None,
            takes_long=target.takes_long(asked),
            left=min(call.deadline, call.horizon) - self.engine.clock.monotonic(),
            could_follow=partial(self.reach.could_follow, stage, *race.stages),
        )

    # While they run

    async def alone(self, attempt: AttemptRun) -> None:
        """Runs one attempt to its end. Its errors stay in it."""
        try:
            exchange, target = attempt.exchange, attempt.target
            request = self.hold.request(attempt.stage, attempt.request)
            if self.extraction is None or request is not attempt.request:
                request = self.fitting.capped(attempt.stage, target, request)
            attempt.sent = request
            if attempt.streamed:
                completion = await exchange.streamed(request, partial(self.display.pass_on, attempt), _meter(attempt))
            else:
                wire = self.cache.take_encoded(target, request)
                completion = await exchange.whole(request, wire, ends_at=self.call.deadline)
            attempt.completion = completion = with_maker(completion, target.wire)
            if attempt.race.claim(attempt):
                attempt.error = self.filtered(attempt.stage, completion)
                attempt.filtered = attempt.error is not None
                if attempt.error is None and self.extraction is not None:
                    began = self.engine.clock.monotonic()
                    attempt.error = self.extraction.judged(attempt, completion)
                    attempt.validating = self.engine.clock.monotonic() - began
        except CallError as failure:
            failure.request_id = failure.request_id or attempt.exchange.request_id
            if isinstance(failure, StreamBrokenError) and self.display.shown is attempt:
                # However the connection ended, and with the beginning that it was to go on from.
                failure.partial = self.display.came
            attempt.error = failure
        finally:
            if attempt.race.winner is attempt and (attempt.completion is None or attempt.error is not None):
                self.scope.deadline = self.call.deadline  # no answer is there any more that could be lost to it
            attempt.decide()
            self.report(attempt)
            attempt.span.end(attempt, self.books.attempts[-1])

    @trio.lowlevel.enable_ki_protection
    async def one_of_two(self, attempt: AttemptRun, ended: list[AttemptRun]) -> None:
        """The same for one of two: the other may cancel it."""
        assert attempt.scope is not None
        with attempt.scope:
            await self.alone(attempt)
        ended.append(attempt)

    async def hedged(
        self, probe: AttemptRun, hedge: Callable[[Race], Awaitable[AttemptRun | None]], delay: float
    ) -> list[AttemptRun]:
        """Runs a probe, and beside it another attempt where it brings nothing for `delay` seconds.

        Returns those that ran, in the order in which they ended.
        """
        ended: list[AttemptRun] = []
        probe.scope, probe.undecided = trio.CancelScope(), trio.CancelScope()
        with ungrouped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.one_of_two, probe, ended)
                other = None
                # An answer that comes meanwhile is not kept waiting by whoever is asked for leave for a hedge.
                with probe.undecided:
                    await trio.sleep(delay)
                    other = await hedge(probe.race)
                if other is not None:
                    nursery.start_soon(self.one_of_two, other, ended)
        return ended

    def filtered(self, stage: int, completion: Completion) -> CallError | None:
        """Where the route says so, an answer that was filtered or refused counts as a failure before commit."""
        if not self.call.next_on_content_filter or self.display.seen or not self.cascade.others_left(stage):
            return None
        match completion.finish_reason:
            case "content_filter":
                return ContentFilteredError("the provider's content filter ended the answer", status=200)
            case "refusal":
                return RefusedError("the model refused to answer", status=200)
            case _:
                return None

    # After

    def report(self, attempt: AttemptRun) -> None:
        """Tells books, breakers, router and listeners. Runs in `finally`: nothing here waits or raises."""
        engine, target, exchange, running = self.engine, attempt.target, attempt.exchange, attempt.running
        completion, error, late = attempt.completion, attempt.error, attempt.streamed and _came_late(attempt)
        outcome = error.kind if error else "ok" if completion else "cancelled"
        usage = completion.usage if completion else exchange.usage
        again = attempt.stage in self.hung_up
        if again:
            self.hung_up -= {attempt.stage}
        if error is not None and action_key(error) == "reused_connection_closed":
            self.hung_up |= {attempt.stage}
        before = self.books.charged
        told = self.books.close(
            running,
            now=engine.clock.monotonic(),
            outcome=outcome,
            error=error,
            usage=usage,
            complete=completion is not None,
            streamed_bytes=exchange.streamed_bytes or _answer_bytes(completion),
            streamed_tokens=exchange.streamed_tokens,
            first_token=exchange.first_token_at,
            request_id=exchange.request_id,
            status=exchange.status,
            sent=exchange.was_sent,
            learned=engine.router.snapshot.learned.get(target.name),
        )
        tell_health(
            engine,
            target,
            attempt.permit,
            self.call.id,
            answered=completion is not None,
            error=None if error is None or attempt.was_hurried or exchange.waited_for_others else error,
            slow=late and self.reach.elsewhere(attempt.stage) is not None,
            overtaken=attempt.overtaken,
            again=again,
        )
        charged = self.books.charged - before
        self.leave.charged(target.provider.name, charged.nano_usd, running.withdrawn)
        if completion is not None and told.first_token is not None and not late:
            engine.router.first_token(target.name, told.first_token)
        cut = isinstance(error, BudgetCutError)
        if self.call.chain and (completion is not None or cut) and usage is not None and usage.input_tokens:
            self._teach(attempt, usage)
        if completion is not None and exchange.end_lost is not None:
            logger.debug("%s: the answer was whole, its end was not: %s", target.name, exchange.end_lost)
            engine.events.emit(StreamEndLost(self.call.id, target.name, exchange.end_lost))
        if exchange.disbelieved:
            logger.warning(
                "%s told counts of tokens that cannot be right, for call %s: they are not believed, and what is charged"
                " for it is an estimate",
                target.name,
                self.call.id,
            )
            engine.events.emit(UsageDisbelieved(self.call.id, target.name))
        if engine.events.heard:
            engine.events.emit(
                AttemptEnded(
                    call_id=self.call.id,
                    target=target.name,
                    number=running.number,
                    outcome=outcome,
                    duration=told.duration,
                    charged_tokens=charged.tokens,
                    charged_nano_usd=charged.nano_usd,
                    estimated=told.usage is not None and told.usage.estimated,
                )
            )

    def _teach(self, attempt: AttemptRun, usage: Usage) -> None:
        """What real usage says about bounds and estimates; only where an account needs them."""
        offer = self.hold.offer(attempt.stage)
        bound = None if offer is None else offer.proven_input
        self.engine.router.used(
            attempt.target.name,
            # Media, and what a server adds by itself, say nothing about how text turns into tokens.
            text_bytes=0 if offer is None or bound is None else offer.text_bytes,
            input_tokens=usage.input_tokens,
            excess=0 if bound is None else usage.input_tokens - bound,
        )


def _meter(attempt: AttemptRun) -> Meter | None:
    """What its stream may use; None where nothing is held."""
    running = attempt.running
    if running.bound is None or running.output_bound is None:
        return None
    count = attempt.target.wire.count_tokens
    return Meter(running.bound, running.output_bound, running.price, running.started_wall, count)


def _answer_bytes(completion: Completion | None) -> int:
    """UTF-8 bytes of an answer that came in one piece, where they are all that is known of what it cost."""
    if completion is None or (completion.usage is not None and not completion.usage.estimated):
        return 0
    return output_bytes(completion.message)


def _came_late(attempt: AttemptRun) -> bool:
    """Its first token took more than half of the time that it may take."""
    usual, came = attempt.target.phases_for(attempt.request).first_token, attempt.exchange.first_token_at
    return came is not None and came - attempt.running.started > usual / 2
