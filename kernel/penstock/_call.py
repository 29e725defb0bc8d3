"""The life of one call, top to bottom. `_Run.visit` is the only list of its hops.

Not here: what decides (`policy`), who owns state (`actors`), its attempts (`_trials`), one exchange with a provider
(`_exchange`), what is told when it is over (`_ending`). Whatever is owed to an actor is told in `finally`, never asked:
a call cancelled at any point leaves nothing behind.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import trio

from penstock._answers import NO_OUTAGE, Cached, CallCache, GoElsewhere
from penstock._asked import Call
from penstock._attempt import AttemptRun, Race
from penstock._books import Books, action_key
from penstock._budgeting import Offer, price_offers
from penstock._ending import GONE_AFTER, ConsumerLeft, Ended, cut_short, tell_end, tell_start
from penstock._engine import Engine, later
from penstock._fitting import CallFitting
from penstock._health import Permit, admit, tell_health
from penstock._hold import CallHold
from penstock._retry_leave import RetryLeave
from penstock._targets import LiveTarget
from penstock._trials import Trials
from penstock.actors.stream_pump import Consumer
from penstock.errors import (
    BudgetExceededError,
    CallError,
    CascadeExhaustedError,
    DeadlineExceededError,
    ParameterDemandedError,
    PenstockError,
    StreamBrokenError,
    UnsupportedParameterError,
)
from penstock.policy.breaker import Denied
from penstock.policy.commit import Begin, Continue
from penstock.policy.patience import patience
from penstock.policy.replay import replayed
from penstock.policy.retry import ACTIONS, Cascade, Cools, Same, Step, Stop, Try, Wait
from penstock.policy.retry_budget import Suppressed
from penstock.types import ChatRequest, ChatResponse, Completion, Finished

__all__ = ["run_call"]

logger = logging.getLogger("penstock")

PROBING_POLL = 0.25
"""Seconds, give or take a half, until a call asks again for a permit of a half-open breaker, or at the end of a
cool-down. Who waits for a breaker is woken when one comes back; this is for a permit whose turn went to a call that had
left."""


async def run_call(engine: Engine, call: Call, consumer: Consumer | None = None) -> ChatResponse:
    """Runs a call to its end: a complete response, or one error. With a consumer the answer is streamed to it."""
    return await _Run(engine, call, consumer).to_the_end()


class _Run:
    """One call under way."""

    def __init__(self, engine: Engine, call: Call, consumer: Consumer | None) -> None:
        self.engine = engine
        self.call = call
        self.consumer = consumer
        self.books = Books()
        self.cascade = Cascade(
            call.stages,
            deadline=min(call.deadline, call.horizon),
            next_on_content_filter=call.next_on_content_filter,
            all_open=call.all_open,
        )
        self.fitting = CallFitting(call.id, call.request, call.on_unsupported, engine.events)
        context = call.span.context
        self.cache = CallCache(engine, call, consumer is None, context)
        self.hold = CallHold(
            engine.budget,
            call.id,
            call.account,
            engine.rules.hold_wait,
            call.deadline,
            context,
            engine.clock.wall,
            self.books,
        )
        self.leave = RetryLeave(engine, call, self.hold, self.fitting)
        self.trials = Trials(
            engine=engine,
            call=call,
            books=self.books,
            hold=self.hold,
            consumer=consumer,
            others_left=self.cascade.others_left,
            fitting=self.fitting,
            take_encoded=self.cache.take_encoded,
            leave=self.leave,
            elsewhere=self.elsewhere,
        )
        self.started = engine.clock.monotonic()
        self.placed = False
        self.permits = 0
        self.denied: dict[int, float] = {}
        """Stages that a breaker closed to this call, until when."""
        self.thawing: dict[int, float] = {}
        """Stages that were cooling, and have no permit left for this call yet."""
        self.silent: set[int] = set()
        """Stages that kept this call waiting for nothing."""

    async def to_the_end(self) -> ChatResponse:
        """The whole call, with whatever it owes paid on every way out."""
        scope = trio.CancelScope(deadline=self.call.deadline)
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
            stale = await self.stale_in_hand()
            if stale is not None:
                outcome, target = "ok", stale.target
                return stale
            raise cut_short(  # noqa: TRY301 - told of below like whatever else ends a call
                self.engine,
                self.call,
                self.books,
                placed=self.placed,
                seconds=self.call.deadline - self.started,
                partial=self.trials.partial,
            )
        except ConsumerLeft:
            raise
        except PenstockError as error:
            outcome = error.kind if isinstance(error, CallError) else type(error).__name__
            raise
        except Exception as bug:
            outcome = type(bug).__name__
            raise
        finally:
            self.engine.ended(scope)
            self.pay(outcome, target)

    async def take_place(self) -> None:
        """One of `max_in_flight` places, in the order of asking."""
        places = self.engine.places
        try:
            places.acquire_nowait()
        except trio.WouldBlock:
            await places.acquire()
        self.placed = True
        tell_start(self.engine, self.call)

    def pay(self, outcome: str, target: str | None) -> None:
        """Everything that is owed and told when a call is over. Never waits, never raises."""
        self.cache.end(gone=GONE_AFTER.get(outcome, "target_failed"))
        self.hold.settle()
        self.leave.settle()
        if self.placed:
            self.engine.places.release()
        self.call.span.end(outcome, target=target or "", attempts=len(self.books.attempts))
        tell_end(self.engine, self.call, self.books, Ended(outcome, target, self.cache.outcome, since=self.started))

    async def walk(self) -> ChatResponse:
        """Stage by stage, as the cascade says."""
        engine, clock = self.engine, self.engine.clock
        while True:
            if self.consumer is not None and self.consumer.left:
                raise ConsumerLeft  # it wanted what was under way to come to its end, and no more
            now = clock.monotonic()
            cooling, opened = self.cooling(), self.opened()
            blocked = later(cooling, opened)
            step = self.cascade.next(now, cooling, opened=opened)
            if blocked and (stored := await self.stored_for(blocked, step)) is not None:
                return await self.replay(stored)
            if not isinstance(step, Stop) and (suppressed := await self.leave.ask(step.stage)) is not None:
                self.suppress(suppressed)
                continue
            match step:
                case Stop() as stop:
                    return await self.outage(self.last_word(self.books.verdict(stop, now)))
                case Wait(until=until, stage=stage):
                    self.call.span.event("wait", target=self.call.targets[stage].name, seconds=until - now)
                    scopes = {scope for target in self.call.targets for scope in target.scopes}
                    if await engine.breakers.eased(scopes, until):
                        self.denied.clear()  # what this call was told no longer holds
                    self.books.waited += clock.monotonic() - now
                case Try(stage=stage, ignoring=ignoring):
                    response = await self.visit(stage, ignoring=ignoring)
                    if response is not None:
                        return response

    async def visit(self, stage: int, *, ignoring: bool) -> ChatResponse | None:
        """One stage, hop by hop: a response, or None to go on with the cascade."""
        target, begin = self.call.targets[stage], self.trials.begin_at(stage)
        fitted = self.fitting.request_for(stage, target)
        if isinstance(fitted, CallError):
            self.pass_over(stage, fitted)
            return None
        # A filter that looks at requests belongs here, before the cache.
        asked = self.trials.asked(begin, fitted)
        if not self.trials.showing.committed:
            found = await self.cache.look_up(stage, target, asked, self.engine.clock.wall())
            if isinstance(found, Cached):
                return await self.replay(found)
            if isinstance(found, CallError):
                self.note_failure(stage, found)
                return None
            if isinstance(found, GoElsewhere) and self.cascade.others_left(stage):
                self.cascade.give_up(stage)
                return None
        try:
            uncovered = await self.cover(stage, begin, asked) if self.call.chain else None
        except BudgetExceededError as refusal:
            ended = self.last_word(refusal)
            raise ended from ended.__cause__
        if uncovered is not None:
            self.cache.end(gone="refused")  # for a reason of this call's own: others may well go there
            return None
        permit = await self.admit(stage, target, ignoring=ignoring)
        if permit is None:
            self.cache.end(gone="refused")
            return None
        attempt = await self.attempt(stage, permit, begin, asked)
        if attempt is None or attempt.completion is None:
            return None
        # A filter that looks at answers belongs here, after decode.
        return await self.respond(attempt, attempt.completion)

    # The hops

    def cooling(self) -> Mapping[int, float]:
        """Stages that cool down, or come out of it with others before this call."""
        return later(self.engine.cooling(self.call.targets), self.thawing)

    def opened(self) -> Mapping[int, float]:
        """Stages whose circuit lets nobody pass yet: by what everyone knows, and by what this call was told."""
        return later(self.engine.opened(self.call.targets), self.denied)

    async def stored_for(self, blocked: Mapping[int, float], step: Step) -> Cached | None:
        """A stored answer of a target that would be passed over because it is unhealthy: that does not matter then."""
        if self.trials.showing.committed:
            return None
        last = step.stage if isinstance(step, Try) else len(self.call.targets)
        return await self.stored_of(stage for stage in sorted(blocked) if stage < last)

    async def stored_of(self, stages: Iterable[int]) -> Cached | None:
        """The first of their stored answers that may be served, without asking anybody upstream."""
        for stage in stages:
            target = self.call.targets[stage]
            request = self.fitting.foreseen(stage, target)
            if isinstance(request, CallError):
                continue
            stored = await self.cache.peek(stage, target, request, self.engine.clock.wall())
            if stored is not None:
                return stored
        return None

    async def outage(self, error: CallError) -> ChatResponse:
        """The cascade has come to its end: an answer past its time, where that is better than the error it ends in."""
        stale = await self.stale_instead_of(error)
        if stale is None:
            raise error
        return await self.replay(stale)

    async def stale_instead_of(self, error: CallError) -> Cached | None:
        """In an outage an answer past its time, in the cascade's order; None: there is none, or it is no outage."""
        last = error.errors[-1] if isinstance(error, CascadeExhaustedError) else error
        if self.trials.showing.committed or not self.cache.offers_stale or last.kind in NO_OUTAGE:
            return None
        return await self.stored_of(range(len(self.call.targets))) or self.cache.stale()

    async def stale_in_hand(self) -> ChatResponse | None:
        """The same where the call's own time is up: what has been found by then."""
        engine = self.engine
        if engine.clock.monotonic() < self.call.deadline or engine.closing or engine.failure is not None:
            return None
        stale = None if self.trials.showing.committed or not self.cache.offers_stale else self.cache.stale()
        return None if stale is None else await self.replay(stale)

    async def cover(self, stage: int, begin: Begin, asked: ChatRequest) -> CallError | None:
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
        return await self.hold.cover(stage)

    def price(
        self, requests: Sequence[ChatRequest | CallError], targets: Sequence[LiveTarget]
    ) -> list[Offer | CallError]:
        """What an attempt at each target may cost, by what is known now."""
        engine = self.engine
        return price_offers(requests, targets, self.call.chain, engine.router.snapshot.learned, engine.rules)

    async def admit(self, stage: int, target: LiveTarget, *, ignoring: bool) -> Permit | None:
        """Leave to try the target; None where a breaker says no, and from when on is noted."""
        self.permits += 1
        answer = await admit(
            self.engine,
            target,
            f"{self.call.id}.{self.permits}",
            deadline=self.call.deadline,
            context=self.call.span.context,
            ignoring=ignoring,
        )
        if isinstance(answer, Permit):
            self.denied.pop(stage, None)
            self.thawing.pop(stage, None)
            return answer
        until = answer.retry_at
        if answer.reason in ("probing", "thawing"):
            # Not all at the same moment: those that wait for the same target were told so together.
            spread = 0.5 + random.random()  # noqa: S311 - spreads load, guards nothing
            until = min(until, self.engine.clock.monotonic() + PROBING_POLL * spread)
        (self.denied if isinstance(answer, Denied) else self.thawing)[stage] = until
        return None

    async def attempt(self, stage: int, permit: Permit, begin: Begin, asked: ChatRequest) -> AttemptRun | None:
        """One exchange, or two where a probe is hedged. None where it failed and the cascade may go on."""
        trials, consumer = self.trials, self.consumer
        attempt = trials.make(stage, permit, begin, asked, Race())
        if consumer is not None:
            consumer.attempting = True
        if permit.probe:
            self.cache.end(gone="refused")  # nobody shall wait for the answer of a target that may be down
        if permit.silent and self.cascade.others_left(stage):
            runners = await trials.hedged(attempt, partial(self.hedge, stage), self.hedge_delay(attempt))
        else:
            await trials.alone(attempt)
            runners = [attempt]
        if consumer is not None:
            consumer.attempting = False
        for ended in runners:
            if ended.error is not None:
                self.failed(ended, ended.error)
            elif ended.overtaken:
                self.cascade.overtaken(ended.stage)
                self.silent.add(ended.stage)
        winner = attempt.race.winner
        return winner if winner is not None and winner.error is None else None

    def elsewhere(self, *but: int, probing: bool = False) -> int | None:
        """Another stage that could be tried right now and is healthy; with `probing`, one that may be for all we know.

        A cool-down that is over makes no target unhealthy: one that is seldom asked would stay so for good.
        """
        opened = self.opened() if probing else self.engine.doubted(self.call.targets)
        barred = {**later(self.cooling(), opened), **dict.fromkeys({*but, *self.silent}, math.inf)}
        step = self.cascade.next(self.engine.clock.monotonic(), barred)
        return step.stage if isinstance(step, Try) else None

    def hedge_delay(self, probe: AttemptRun) -> float:
        """Seconds that a probe of a target known to be silent is waited for before another attempt begins."""
        learned = self.engine.router.snapshot.learned.get(probe.target.name)
        return patience(
            learned.first_token_p95 if learned and probe.streamed else None,
            probe.permit.overtaken,
            limit=probe.limit,
            left=self.call.deadline - self.engine.clock.monotonic(),
        )

    async def hedge(self, stage: int, race: Race) -> AttemptRun | None:
        """An attempt beside the probe of `stage`, at the next target that can be asked now; None: there is none."""
        passed = {stage}
        while self.consumer is None or not self.consumer.left:
            other = self.elsewhere(*passed)
            if other is None:
                other = self.elsewhere(*passed, probing=True)
            if other is None:
                return None
            passed.add(other)
            hedge = await self.hedge_at(other, race)
            if hedge is not None or race.is_over:
                return hedge
        return None  # who asked is gone: what is under way may end, and no more

    async def hedge_at(self, stage: int, race: Race) -> AttemptRun | None:
        """The same at one stage; None where it may not be tried, or by now need not."""
        target, begin = self.call.targets[stage], self.trials.begin_at(stage)
        fitted = self.fitting.request_for(stage, target)
        if isinstance(fitted, CallError):
            return None
        asked = self.trials.asked(begin, fitted)
        try:
            if self.call.chain and await self.cover(stage, begin, asked) is not None:
                return None
        except BudgetExceededError:
            return None  # the probe goes on alone
        if await self.leave.ask_for_hedge(stage) is not None:
            return None
        permit = await self.admit(stage, target, ignoring=False)
        if permit is None:
            return None
        if race.is_over:
            tell_health(self.engine, target, permit, self.call.id, answered=False, error=None)
            return None
        self.call.span.event("hedge", target=target.name)
        return self.trials.make(stage, permit, begin, asked, race)

    # After an attempt

    def failed(self, attempt: AttemptRun, error: CallError) -> None:
        """An attempt ended in an error: the call goes on, or what was shown is all there will be."""
        trials, stage = self.trials, attempt.stage
        if isinstance(attempt.begin, Continue) and action_key(error) in ("invalid_request", "context_length"):
            # Of the prefix, most likely: the same target is asked again without it, and for its own answer.
            trials.prefill_refused.add(stage)
            self.books.note(error)
            return
        if attempt.filtered:
            trials.forget()  # it was whole, and is not wanted: the next target begins anew
        elif trials.shown is attempt and trials.showing.committed:
            # Nor is what goes on from it the answer of any one target, to be stored and shared.
            self.cache.end(gone="target_failed")
            if not self.call.commit.goes_on:
                raise self.last_word(error)
        elif trials.shown is attempt:
            trials.showing.lost()
        self.note_failure(stage, error, of_this_call=attempt.filtered)

    def pass_over(self, stage: int, error: CallError) -> None:
        """The target cannot be asked this: another may be, where the rule for what it cannot take does not end it."""
        if isinstance(error, UnsupportedParameterError) and not isinstance(error, ParameterDemandedError):
            self.refuse(stage, error)
        else:
            self.note_failure(stage, error)

    def refuse(self, stage: int, error: CallError) -> None:
        """The stage is out of the question for this call."""
        self.cascade.give_up(stage)
        if error not in self.books.refusals:
            self.books.refusals.append(error)

    def note_failure(self, stage: int, error: CallError, *, of_this_call: bool = False) -> None:
        """Tells the cascade, and whoever must act. `of_this_call`: another call might not take it for a failure."""
        kind = action_key(error)
        target = self.call.targets[stage]
        if ACTIONS[kind].loud:
            logger.error("target %s: %s; someone has to act", target.name, error.kind)
        self.books.note(error)
        if of_this_call:
            self.cache.end(gone="not_shareable")
        else:
            self.cache.failed(error)
        self.call.span.event("attempt_failed", target=target.name, kind=kind)
        counts = self.cascade.failed(
            stage,
            kind,
            now=self.engine.clock.monotonic(),
            jitter=random.random(),  # noqa: S311 - spreads load, guards nothing
            retry_after=error.retry_after,
            should_retry=getattr(error, "should_retry", None),
        )
        if ACTIONS[kind].same is Same.LAST:
            self.silent.add(stage)
        if ACTIONS[kind].cools is Cools.KEY or kind == "authentication":
            self.key_is_useless(target.key)
        if counts:
            self.leave.failed(target.provider.name, kind)

    def key_is_useless(self, key: str) -> None:
        """It is refused, or its account is empty: no other target will find it better. What this call has told of it
        may not be known to everyone yet.
        """
        for stage, target in enumerate(self.call.targets):
            if target.key == key:
                self.cascade.give_up(stage)

    def suppress(self, suppressed: Suppressed) -> None:
        """No more attempts at that provider: others may still be tried, for the first time."""
        self.books.suppressed = suppressed
        for stage, target in enumerate(self.call.targets):
            if target.provider.name == suppressed.provider:
                self.cascade.give_up(stage)

    def last_word(self, error: CallError) -> CallError:
        """The error that the call ends in; where something was shown, it says that this is not the whole of it."""
        if not self.trials.showing.committed or self.consumer is None:
            return error
        broken = StreamBrokenError(
            f"the stream broke after it had begun: {error}",
            partial=self.trials.partial,
            retry_after=error.retry_after,
            request_id=error.request_id,
        )
        broken.__cause__ = error
        return self.books.signed(broken)

    # The answer

    async def respond(self, attempt: AttemptRun, completion: Completion) -> ChatResponse:
        """The response; a stream's last chunk goes out just before it."""
        capped = self.hold.capped(attempt.stage, completion.finish_reason)
        self.cache.keep(completion, attempt.target, capped=capped)
        message = await self.trials.finish(attempt, completion)
        return ChatResponse(
            message=message,
            finish_reason=completion.finish_reason,
            usage=self.books.usage,
            cost=self.books.cost,
            model=completion.model or attempt.target.wire.model,
            target=attempt.target.name,
            route=self.call.route,
            attempts=tuple(self.books.attempts),
            cache=self.cache.outcome,
            capped_by="budget" if capped else None,
            id=completion.id,
            raw=completion.raw,
            metadata=self.call.metadata,
        )

    async def replay(self, cached: Cached) -> ChatResponse:
        """A stored answer: it costs nothing, whatever it once cost."""
        usage, stored = self.books.usage, cached.answer
        if self.consumer is not None:
            await self.consumer.put([*replayed(stored.message), Finished(stored.finish_reason, usage)])
        return ChatResponse(
            message=stored.message,
            finish_reason=stored.finish_reason,
            usage=usage,
            cost=self.books.cost,
            model=stored.model,
            target=stored.target,
            route=self.call.route,
            attempts=tuple(self.books.attempts),
            cache=self.cache.outcome,
            saved=cached.saved,
            id=stored.id,
            metadata=self.call.metadata,
        )
