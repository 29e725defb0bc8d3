"""The life of one call, top to bottom. `_Run.visit` is the only list of its hops.

Not here: what decides (`policy`), who owns state (`actors`), which stages can be tried (`_reach`), the attempts
(`_trials`, `_hedging`), one exchange with a provider (`_exchange`), failures (`_failures`), the response (`_replies`),
what is told when it is over (`_ending`). Whatever is owed to an actor is told in `finally`, never asked: a call
cancelled at any point leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING

import trio

from penstock._answers import CallCache, GoElsewhere
from penstock._asked import Call
from penstock._at_once import AtOnce
from penstock._attempt import AttemptRun, Race
from penstock._books import Books
from penstock._cover import Cover
from penstock._display import Display, showing_of
from penstock._ending import GONE_AFTER, ConsumerLeft, Ended, cut_short, outcome_of, tell_end, tell_start
from penstock._engine import Engine, later
from penstock._failures import Failures
from penstock._fitting import CallFitting
from penstock._health import Permit
from penstock._hedging import Hedging
from penstock._hold import CallHold
from penstock._reach import Reach
from penstock._replies import Replies
from penstock._retry_leave import RetryLeave
from penstock._stored import Stored
from penstock._stored_answer import Cached
from penstock._trials import Trials
from penstock.actors.stream_pump import Consumer
from penstock.errors import (
    BudgetExceededError,
    CallError,
    DeadlineExceededError,
    LedgerUnavailableError,
    PenstockError,
)
from penstock.policy.commit import Begin
from penstock.policy.retry import Cascade, Stop, Try, Wait
from penstock.types import ChatRequest, ChatResponse

if TYPE_CHECKING:
    from penstock._extraction import Extraction

__all__ = ["run_call"]


def run_call(engine: Engine, call: Call, consumer: Consumer | None = None) -> Awaitable[ChatResponse]:
    """Runs a call to its end: a complete response, or one error. With a consumer the answer is streamed to it."""
    fitting = CallFitting(call.id, call.request, call.on_unsupported, engine.events, call.targets)
    cache = CallCache(engine, call, consumer is None, call.span.context)
    if consumer is None:
        at_once = AtOnce(engine, call, fitting, cache)
        cached = at_once.found()
        if cached is not None:
            return at_once.answer(cached)
    return _Run(engine, call, consumer, fitting, cache).to_the_end()


@cache
def extractions() -> type[Extraction]:
    """What reads JSON, imported by the first call that needs it."""
    from penstock._extraction import Extraction  # noqa: PLC0415

    return Extraction


class _Run:
    """One call under way."""

    def __init__(
        self, engine: Engine, call: Call, consumer: Consumer | None, fitting: CallFitting, cache: CallCache
    ) -> None:
        self.engine = engine
        self.call = call
        self.consumer = consumer
        self.scope = trio.CancelScope(deadline=call.deadline)
        self.books = Books(
            unknown_usage=call.unknown_usage,
            journal=engine.budget.keeps_journal,
        )
        self.cascade = Cascade(
            call.stages,
            deadline=min(call.deadline, call.horizon),
            next_on_content_filter=call.next_on_content_filter,
            all_open=call.all_open,
        )
        self.fitting, self.cache = fitting, cache
        self.hold = CallHold(
            engine.budget,
            call.id,
            call.account,
            call.rules.hold_wait,
            call.deadline,
            call.span,
            engine.clock.wall,
            self.books,
            degrades=call.limits.degrades,
        )
        self.reach = Reach(engine, call, self.cascade)
        self.extraction: Extraction | None = None
        if call.output is not None:
            self.extraction = extractions()(call, call.output, self.cascade.others_left)
            self.cache.takes = self.extraction.take_stored
        self.leave = RetryLeave(engine, call, self.hold, self.fitting, self.extraction)
        self.display = Display(call, consumer, self.scope, showing_of(call, consumer))
        self.trials = Trials(
            engine=engine,
            call=call,
            books=self.books,
            hold=self.hold,
            consumer=consumer,
            cascade=self.cascade,
            fitting=self.fitting,
            cache=self.cache,
            leave=self.leave,
            reach=self.reach,
            extraction=self.extraction,
            scope=self.scope,
            display=self.display,
        )
        self.started = engine.clock.monotonic()
        self.placed = False

    # Made where they are needed: they keep nothing of their own, and most calls need few of them.

    @property
    def failures(self) -> Failures:
        """What failures mean for it."""
        return Failures(
            self.engine,
            self.call,
            self.consumer,
            self.books,
            self.cache,
            self.cascade,
            self.reach,
            self.leave,
            self.trials,
        )

    @property
    def cover(self) -> Cover:
        """What its attempts may cost."""
        return Cover(self.engine, self.call, self.fitting, self.hold, self.trials, self.refuse)

    @property
    def replies(self) -> Replies:
        """The response in which it ends."""
        return Replies(self.call, self.consumer, self.books, self.cache, self.hold, self.trials)

    @property
    def stored(self) -> Stored:
        """Answers of others, for want of one of its own."""
        return Stored(self.engine, self.call, self.cache, self.fitting, self.trials)

    @trio.lowlevel.enable_ki_protection
    async def to_the_end(self) -> ChatResponse:
        """The whole call, with whatever it owes paid on every way out. Ctrl-C comes where a cancellation can."""
        scope = self.scope
        self.engine.running.add(scope)
        outcome, target = "cancelled", None
        try:
            # An actor that comes to a request of ours only after the deadline says so: our scope is about to, too.
            with scope:
                try:
                    # Between entering a stream and its first step the kernel may have closed.
                    self.engine.check_taking_calls()
                    await self.take_place()
                    response = await self.walk()
                except DeadlineExceededError:
                    pass
                else:
                    outcome, target = "ok", response.target
                    return response
            # Where the caller's own time was up as well, the caller's scope is the one to tell.
            await trio.lowlevel.checkpoint_if_cancelled()
            stale = self.stored.in_hand()
            if stale is not None:
                outcome, target = "ok", stale.answer.target
                return self.replies.replay(stale)
            raise cut_short(  # noqa: TRY301 - told of below like whatever else ends a call
                self.engine,
                self.call,
                self.books,
                placed=self.placed,
                partial=self.display.partial,
            )
        except ConsumerLeft:
            raise
        except PenstockError as error:
            outcome = outcome_of(error)
            raise
        except Exception as bug:
            outcome = type(bug).__name__
            raise
        finally:
            self.pay(outcome, target)

    async def take_place(self) -> None:
        """One of `max_in_flight` places, in the order of asking."""
        places = self.engine.places
        try:
            places.acquire_nowait()
        except trio.WouldBlock:
            await places.acquire()
        self.placed = True
        tell_start(self.engine, self.call, waited=self.engine.clock.monotonic() - self.started)
        if self.engine.keeps_step:
            await self.engine.starting.together()

    def pay(self, outcome: str, target: str | None) -> None:
        """Everything that is owed and told when a call is over. Never waits, never raises."""
        self.engine.ended(self.scope)
        self.cache.end(gone=GONE_AFTER.get(outcome, "target_failed"))
        self.hold.settle()
        self.leave.settle()
        self.reach.pass_on()
        if self.placed:
            self.engine.places.release()
        ended = Ended(outcome, target, self.cache.outcome, since=self.started)
        tell_end(self.engine, self.call, self.books, ended)
        if outcome != "ok" or self.books.errors:
            self.let_go()

    def let_go(self) -> None:
        """Forgets everything, so that it is freed at once and not by the garbage collector, which stops every call.

        An error holds the frames it passed, those hold this, and this would hold the error: where there is none, there
        is no such ring.
        """
        vars(self).clear()

    async def walk(self) -> ChatResponse:
        """Stage by stage, as the cascade says."""
        clock = self.engine.clock
        while True:
            if self.consumer is not None and self.consumer.left:
                raise ConsumerLeft  # it wanted what was under way to come to its end, and no more
            now = clock.monotonic()
            cooling, opened = self.reach.cooling(), self.reach.opened()
            blocked = later(cooling, opened)
            step = self.cascade.next(now, cooling, opened=opened)
            if blocked and (stored := await self.stored.of_blocked(blocked, step)) is not None:
                return self.replies.replay(stored)
            # The first attempt of all is free.
            suppressed = None
            if self.books.begun and not isinstance(step, Stop):
                suppressed = await self.leave.ask(step.stage, self.trials.asked_now)
            if suppressed is not None:
                self.failures.suppress(suppressed)
                continue
            match step:
                case Try(stage=stage, ignoring=ignoring):
                    response = await self.visit(stage, ignoring=ignoring)
                    if response is not None:
                        return response
                case Stop() as stop:
                    return await self.outage(self.failures.verdict(stop, now))
                case Wait(until=until, stage=stage):
                    self.call.span.event("wait", target=self.call.targets[stage].name, seconds=until - now)
                    await self.reach.wait(until)
                    self.books.waited += clock.monotonic() - now

    async def visit(self, stage: int, *, ignoring: bool) -> ChatResponse | None:  # noqa: C901 - the list of hops
        """One stage, hop by hop: a response, or None to go on with the cascade."""
        target, begin = self.call.targets[stage], self.trials.begin_at(stage)
        fitted = self.fitting.request_for(stage, target)
        if isinstance(fitted, CallError):
            self.failures.pass_over(stage, fitted)
            return None
        # A filter that looks at requests belongs here, before the cache.
        asked = self.trials.asked(stage, begin, fitted)
        mends = self.extraction is not None and self.extraction.repairing
        if not (self.display.committed or mends):
            found = await self.cache.look_up(stage, target, asked, self.engine.clock.wall())
            if isinstance(found, Cached):
                return self.replies.replay(found)
            if isinstance(found, CallError):
                self.failures.note(stage, found)
                return None
            if isinstance(found, GoElsewhere) and self.cascade.others_left(stage):
                self.cascade.give_up(stage)
                return None
        try:
            uncovered = await self.cover.one_more(stage, begin, asked) if self.call.chain else None
        except (BudgetExceededError, LedgerUnavailableError) as refusal:
            self.cache.end(gone="refused")
            self.fail_unmended(refusal)
            return await self.outage(self.failures.last_word(refusal))
        if uncovered is not None:
            self.cache.end(gone="refused")  # for a reason of this call's own: others may well go there
            if isinstance(uncovered, BudgetExceededError) and not self.cascade.others_left(stage):
                self.fail_unmended(uncovered)
            return None
        permit = await self.reach.admit(stage, ignoring=ignoring)
        if permit is None:
            self.cache.end(gone="refused")
            return None
        attempt = await self.attempt(stage, permit, begin, asked)
        if attempt is None or attempt.completion is None:
            return None
        if self.engine.keeps_step:
            await self.engine.ending.together()
        # A filter that looks at answers belongs here, after decode.
        return self.replies.answer(attempt, attempt.completion)

    def fail_unmended(self, refusal: CallError) -> None:
        """Raises OutputInvalidError where an answer came that was not valid: that another cannot be paid is no reason
        to tell less of it.
        """
        invalid = None if self.extraction is None else self.extraction.last_invalid
        if invalid is not None:
            raise self.failures.unmended(invalid, refusal)

    # The hops

    async def outage(self, error: CallError) -> ChatResponse:
        """The call has come to its end: an answer past its time, where that is better than the error it ends in."""
        stale = await self.stored.instead_of(error)
        if stale is None:
            raise error
        self.call.span.event("stale", kind=error.kind)
        return self.replies.replay(stale)

    async def attempt(self, stage: int, permit: Permit, begin: Begin, asked: ChatRequest) -> AttemptRun | None:
        """One exchange, or two where a probe is hedged. None where it failed and the cascade may go on."""
        trials, consumer, race = self.trials, self.consumer, Race()
        try:
            attempt = trials.make(stage, permit, begin, asked, race)
            if consumer is not None:
                consumer.attempting = race.was_sent
            if permit.probe:
                self.cache.end(gone="refused")  # nobody shall wait for the answer of a target that may be down
            if permit.silent and self.cascade.others_left(stage):
                hedging = Hedging(
                    self.engine, self.call, consumer, self.fitting, self.reach, self.cover, self.leave, trials
                )
                runners = await trials.hedged(attempt, partial(hedging.hedge, stage), hedging.delay(attempt))
            else:
                await trials.alone(attempt)
                runners = [attempt]
            if consumer is not None:
                consumer.attempting = None
            self.learn_from(runners)
            winner = race.winner
            return winner if winner is not None and winner.error is None else None
        finally:
            race.end()

    def learn_from(self, ended: Sequence[AttemptRun]) -> None:
        """Attempts are over: what that means for what may be tried next."""
        for attempt in ended:
            if attempt.error is not None:
                self.failures.of(attempt, attempt.error)
            elif attempt.overtaken:
                self.cascade.overtaken(attempt.stage)
                self.reach.silent |= {attempt.stage}
            elif attempt.lost:
                self.cascade.lost(attempt.stage)

    def refuse(self, stage: int, reason: CallError) -> None:
        """The stage is out of the question."""
        self.failures.refuse(stage, reason)
