"""The life of one call, top to bottom. `_Run.visit` is the only list of its hops.

Not here: what decides (`policy`), who owns state (`actors`), one exchange with a provider (`_exchange`).
Whatever is owed to an actor is told in `finally`, never asked: a call cancelled at any point leaves nothing behind.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import attrs
import trio

from penstock._answers import CallCache, GoElsewhere, StoredAnswer, replayed
from penstock._books import Books, Running, action_key
from penstock._budgeting import is_text, price_offers, text_bytes
from penstock._config import CacheWhen
from penstock._engine import Engine
from penstock._events import AttemptEnded, CallEnded, CallStarted
from penstock._exchange import Exchange
from penstock._health import Permit, admit, tell_health
from penstock._hold import CallHold
from penstock._targets import LiveTarget
from penstock.errors import (
    ActorFailedError,
    CallError,
    ContentFilteredError,
    DeadlineExceededError,
    KernelClosedError,
    OverloadedLocallyError,
    PenstockError,
    RefusedError,
    StreamBrokenError,
)
from penstock.policy.accounts import AccountSpec
from penstock.policy.breaker import Denied
from penstock.policy.coalesce import GoneReason
from penstock.policy.retry import ACTIONS, Cascade, Stage, Step, Stop, Try, Wait
from penstock.telemetry import CallSpan
from penstock.types import (
    ChatRequest,
    ChatResponse,
    Chunk,
    Completion,
    Finished,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    Usage,
)

__all__ = ["Call", "Deliver", "run_call"]

logger = logging.getLogger("penstock")

Deliver = Callable[[Sequence[Chunk]], Awaitable[None]]

GONE_AFTER: Mapping[str, GoneReason] = {
    "cancelled": "cancelled",
    "deadline_exceeded": "deadline",
    "budget_exceeded": "refused",
    "KernelClosedError": "cancelled",
}
"""How a call ended, as its followers need to know it."""
PROBING_POLL = 0.25
"""Seconds until a call asks again for a permit of a half-open breaker: one may come back at any moment."""


@attrs.frozen(eq=False)
class Call:
    """One call as it was asked for: everything that is decided before its first hop."""

    id: str
    request: ChatRequest
    route: str
    stages: tuple[Stage, ...]
    targets: tuple[LiveTarget, ...]
    account: str
    chain: tuple[AccountSpec, ...]
    """The accounts on its path that have limits, the root's first."""
    tenant: str
    cache_when: CacheWhen
    deadline: float
    horizon: float
    """The caller's own deadline: nothing is begun that could not end before it."""
    next_on_content_filter: bool
    span: CallSpan
    metadata: Mapping[str, Any] | None = None


async def run_call(engine: Engine, call: Call, deliver: Deliver | None = None) -> ChatResponse:
    """Runs a call to its end: a complete response, or one error. With `deliver` the answer is streamed to it."""
    return await _Run(engine, call, deliver).to_the_end()


class _Run:
    """One call under way."""

    def __init__(self, engine: Engine, call: Call, deliver: Deliver | None) -> None:
        self.engine = engine
        self.call = call
        self.deliver = deliver
        self.books = Books()
        self.cascade = Cascade(
            call.stages, deadline=min(call.deadline, call.horizon), next_on_content_filter=call.next_on_content_filter
        )
        context = call.span.context
        self.cache = CallCache(
            engine.cache, call.id, call.tenant, call.cache_when, call.deadline, deliver is None, context
        )
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
        self.started = engine.clock.monotonic()
        self.placed = False
        self.permits = 0
        self.denied: dict[int, float] = {}
        self.committed = False
        self.held_back: list[Chunk] = []
        self.exchange: Exchange | None = None

    async def to_the_end(self) -> ChatResponse:
        """The whole call, with whatever it owes paid on every way out."""
        scope = trio.CancelScope(deadline=self.call.deadline)
        self.engine.running.add(scope)
        outcome, target = "cancelled", None
        try:
            # An actor that comes to a request of ours only after the deadline says so: our scope is about to, too.
            with scope, suppress(DeadlineExceededError):
                # Between entering a stream and its first step the kernel may have closed.
                self.engine.check_taking_calls()
                await self.take_place()
                response = await self.walk()
                outcome, target = "ok", response.target
                return response
            # Where the caller's own time was up as well, the caller's scope is the one to tell.
            await trio.lowlevel.checkpoint_if_cancelled()
            raise self.cut_short()  # noqa: TRY301 - told of below like whatever else ends a call
        except PenstockError as error:
            outcome = error.kind if isinstance(error, CallError) else type(error).__name__
            raise
        except Exception as bug:
            outcome = type(bug).__name__
            raise
        finally:
            self.engine.ended(scope)
            self.pay(outcome, target)

    async def walk(self) -> ChatResponse:
        """Stage by stage, as the cascade says."""
        clock = self.engine.clock
        while True:
            now = clock.monotonic()
            blocked = self.unavailable()
            step = self.cascade.next(now, blocked)
            if blocked and (stored := await self.stored_for(blocked, step)) is not None:
                return await self.replay(stored)
            match step:
                case Stop() as stop:
                    raise self.books.verdict(stop, now)
                case Wait(until=until, stage=stage):
                    self.call.span.event("wait", target=self.call.targets[stage].name, seconds=until - now)
                    await trio.sleep_until(until)
                    self.books.waited += clock.monotonic() - now
                case Try(stage=stage):
                    response = await self.visit(stage)
                    if response is not None:
                        return response

    async def stored_for(self, blocked: Mapping[int, float], step: Step) -> StoredAnswer | None:
        """A stored answer of a target that would be passed over because it is unhealthy: that does not matter then."""
        last = step.stage if isinstance(step, Try) else len(self.call.targets)
        for stage in sorted(blocked):
            if stage < last:
                target = self.call.targets[stage]
                stored = await self.cache.peek(stage, target, self.call.request, self.engine.clock.wall())
                if stored is not None:
                    return stored
        return None

    async def visit(self, stage: int) -> ChatResponse | None:
        """One stage, hop by hop: a response, or None to go on with the cascade."""
        target = self.call.targets[stage]
        # A filter that looks at requests belongs here, before the cache.
        found = await self.cache.look_up(stage, target, self.call.request, self.engine.clock.wall())
        if isinstance(found, StoredAnswer):
            return await self.replay(found)
        if isinstance(found, CallError):
            self.note_failure(stage, found)
            return None
        if isinstance(found, GoElsewhere) and self.cascade.others_left(stage):
            self.cascade.give_up(stage)
            return None
        if self.call.chain and await self.cover(stage) is not None:
            self.cache.end(gone="refused")  # for a reason of this call's own: others may well go there
            return None
        permit = await self.admit(stage, target)
        if permit is None:
            self.cache.end(gone="refused")
            return None
        completion = await self.attempt(stage, target, permit)
        if completion is None:
            return None
        # A filter that looks at answers belongs here, after decode.
        return await self.respond(stage, target, completion)

    # In and out

    async def take_place(self) -> None:
        """One of `max_in_flight` places, in the order of asking."""
        places = self.engine.places
        try:
            places.acquire_nowait()
        except trio.WouldBlock:
            await places.acquire()
        self.placed = True
        logger.debug("call %s started on route %s", self.call.id, self.call.route)
        if self.engine.events.heard:
            self.engine.events.emit(CallStarted(self.call.id, self.call.route, self.call.account))

    def cut_short(self) -> PenstockError:
        """Our own scope was cancelled: by its deadline, by an actor that broke, or by a shutdown."""
        in_time = self.engine.clock.monotonic() < self.call.deadline
        if self.engine.failure is not None and in_time:
            broken = ActorFailedError(*self.engine.failure.args)
            broken.__cause__ = self.engine.failure.__cause__
            return broken
        if self.engine.closing and in_time:
            return KernelClosedError(f"call {self.call.id} was still running when the kernel was shut down")
        if not self.placed:
            full = OverloadedLocallyError(
                f"no place among the {self.engine.config.kernel.max_in_flight} calls in flight (max_in_flight)"
                " became free in time; nothing was sent"
            )
            return self.books.signed(full)
        seconds = self.call.deadline - self.started
        late = DeadlineExceededError(
            f"the call was not over within its {seconds:g} s, after {len(self.books.attempts)} attempts"
        )
        late.partial = self.exchange.partial if self.committed and self.exchange else ""
        late.__cause__ = self.books.errors[-1] if self.books.errors else None
        return self.books.signed(late)

    def pay(self, outcome: str, target: str | None) -> None:
        """Everything that is owed and told when a call is over. Never waits, never raises."""
        engine, call, books = self.engine, self.call, self.books
        self.cache.end(gone=GONE_AFTER.get(outcome, "target_failed"))
        self.hold.settle()
        if self.placed:
            engine.places.release()
        call.span.end(outcome, target=target or "", attempts=len(books.attempts))
        if not (engine.events.heard or logger.isEnabledFor(logging.INFO)):
            return
        duration = engine.clock.monotonic() - self.started
        usage, cost = books.usage, books.cost
        logger.info(
            "call %s %s: account=%s target=%s attempts=%d duration=%.3f tokens=%d cost=%s cache=%s",
            call.id,
            outcome,
            call.account or "-",
            target or "-",
            len(books.attempts),
            duration,
            usage.total_tokens,
            "unknown" if cost is None else cost,
            self.cache.outcome,
        )
        if engine.events.heard:
            engine.events.emit(
                CallEnded(
                    call_id=call.id,
                    route=call.route,
                    account=call.account,
                    outcome=outcome,
                    target=target,
                    attempts=len(books.attempts),
                    duration=duration,
                    tokens=usage.total_tokens,
                    cost=None if cost is None else int(cost * 10**9),
                    cache=self.cache.outcome,
                )
            )

    # The hops

    def unavailable(self) -> Mapping[int, float]:
        """Stages that may not be tried yet: by what everyone knows, and by what this call was told."""
        blocked = self.engine.unavailable(self.call.targets)
        if not self.denied:
            return blocked
        stages = {*blocked, *self.denied}
        return {stage: max(blocked.get(stage, 0.0), self.denied.get(stage, 0.0)) for stage in stages}

    async def cover(self, stage: int) -> CallError | None:
        """Money and tokens for one more attempt; the first time, what each stage may cost is worked out."""
        if not self.hold.offers:
            learned = self.engine.router.snapshot.learned
            offers = price_offers(self.call.request, self.call.targets, self.call.chain, learned, self.engine.rules)
            self.hold.offers = offers
            for refused, offer in enumerate(offers):
                if isinstance(offer, CallError):
                    self.cascade.give_up(refused)
                    self.books.refusals.append(offer)
        return await self.hold.cover(stage)

    async def admit(self, stage: int, target: LiveTarget) -> Permit | None:
        """Leave to try the target; None where a breaker says no, and from when on is noted."""
        self.permits += 1
        answer = await admit(
            self.engine,
            target,
            f"{self.call.id}.{self.permits}",
            deadline=self.call.deadline,
            context=self.call.span.context,
        )
        if isinstance(answer, Denied):
            soon = self.engine.clock.monotonic() + PROBING_POLL
            self.denied[stage] = min(answer.retry_at, soon) if answer.reason == "probing" else answer.retry_at
            return None
        self.denied.pop(stage, None)
        return answer

    async def attempt(self, stage: int, target: LiveTarget, permit: Permit) -> Completion | None:
        """One exchange, and everyone told how it went. None where it failed and the cascade may go on."""
        engine = self.engine
        waited, self.books.waited = self.books.waited, 0.0
        running = Running(
            target=target,
            number=len(self.books.attempts) + 1,
            bound=self.hold.bound(stage),
            request=self.call.request,
            started_wall=engine.clock.wall(),
            started=engine.clock.monotonic(),
            waited=waited,
            probe=permit.probe,
        )
        span = self.call.span.attempt(target.name, running.number)
        self.exchange = exchange = Exchange(target, engine.clock.wall)
        completion: Completion | None = None
        error: CallError | None = None
        filtered = False
        try:
            request = self.hold.request(stage, self.call.request)
            if self.deliver is None:
                completion = await exchange.whole(request, self.cache.take_encoded(target, request))
            else:
                completion = await exchange.streamed(request, self.pass_on)
            error = self.filtered(stage, completion)
            filtered = error is not None
        except CallError as failure:
            failure.request_id = failure.request_id or exchange.request_id
            error = failure
        finally:
            self.report(stage, permit, running, completion, error)
            span.end(self.books.attempts[-1])
        if error is None:
            return completion
        if self.committed:
            raise self.broken(error, exchange) from error
        self.held_back.clear()
        self.note_failure(stage, error, of_this_call=filtered)
        return None

    def filtered(self, stage: int, completion: Completion) -> CallError | None:
        """Where the route says so, an answer that was filtered or refused counts as a failure before commit."""
        if not self.call.next_on_content_filter or self.committed or not self.cascade.others_left(stage):
            return None
        match completion.finish_reason:
            case "content_filter":
                return ContentFilteredError("the provider's content filter ended the answer", status=200)
            case "refusal":
                return RefusedError("the model refused to answer", status=200)
            case _:
                return None

    def report(
        self,
        stage: int,
        permit: Permit,
        running: Running,
        completion: Completion | None,
        error: CallError | None,
    ) -> None:
        """Tells books, breakers, router and listeners. Runs in `finally`: nothing here waits or raises."""
        engine, target, exchange = self.engine, running.target, self.exchange
        assert exchange is not None
        outcome = error.kind if error else "ok" if completion else "cancelled"
        usage = completion.usage if completion else exchange.usage
        before = self.books.charged
        attempt = self.books.close(
            running,
            now=engine.clock.monotonic(),
            outcome=outcome,
            error=error,
            usage=usage,
            complete=completion is not None,
            streamed_bytes=exchange.streamed_bytes,
            first_token=exchange.first_token_at,
            request_id=exchange.request_id,
        )
        tell_health(engine, target, permit, self.call.id, answered=completion is not None, error=error)
        if self.call.chain and completion is not None and usage is not None:
            self.teach(stage, target, usage)
        if engine.events.heard:
            charged = self.books.charged - before
            engine.events.emit(
                AttemptEnded(
                    call_id=self.call.id,
                    target=target.name,
                    number=running.number,
                    outcome=outcome,
                    duration=attempt.duration,
                    charged_tokens=charged.tokens,
                    charged_nano_usd=charged.nano_usd,
                    estimated=attempt.usage is not None and attempt.usage.estimated,
                )
            )

    def teach(self, stage: int, target: LiveTarget, usage: Usage) -> None:
        """What real usage says about bounds and estimates; only where an account needs them."""
        bound = self.hold.input_bound(stage)
        self.engine.router.used(
            target.name,
            # Media, and what a server adds by itself, say nothing about how text turns into tokens.
            text_bytes=text_bytes(self.call.request) if bound is not None and is_text(self.call.request) else 0,
            input_tokens=usage.input_tokens,
            excess=0 if bound is None else usage.input_tokens - bound,
        )

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
        self.cascade.failed(
            stage,
            kind,
            now=self.engine.clock.monotonic(),
            jitter=random.random(),  # noqa: S311 - spreads load, guards nothing
            retry_after=error.retry_after,
            should_retry=getattr(error, "should_retry", None),
        )

    def broken(self, error: CallError, exchange: Exchange) -> CallError:
        """What a stream that had been shown ends in."""
        broken = StreamBrokenError(
            f"the stream broke after it had begun: {error}",
            partial=exchange.partial,
            retry_after=error.retry_after,
            request_id=exchange.request_id,
        )
        return self.books.signed(broken)

    # The answer

    async def pass_on(self, chunks: Sequence[Chunk]) -> None:
        """The commit policy `first_content`: nothing is shown before the first token, everything after it."""
        assert self.deliver is not None
        if not self.committed:
            self.held_back.extend(chunks)
            if not any(isinstance(chunk, TextDelta | ThinkingDelta | ToolCallDelta) for chunk in chunks):
                return
            self.committed = True
            chunks, self.held_back = self.held_back, []
            self.call.span.event("commit")
        await self.deliver(chunks)

    async def respond(self, stage: int, target: LiveTarget, completion: Completion) -> ChatResponse:
        """The response; a stream's last chunk goes out just before it."""
        capped = self.hold.capped(stage, completion.finish_reason)
        self.cache.keep(completion, target.name, capped=capped)
        if self.deliver is not None:
            await self.deliver([*self.held_back, Finished(completion.finish_reason, self.books.usage)])
        return ChatResponse(
            message=completion.message,
            finish_reason=completion.finish_reason,
            usage=self.books.usage,
            cost=self.books.cost,
            model=completion.model or target.wire.model,
            target=target.name,
            route=self.call.route,
            attempts=tuple(self.books.attempts),
            cache=self.cache.outcome,
            capped_by="budget" if capped else None,
            id=completion.id,
            raw=completion.raw,
            metadata=self.call.metadata,
        )

    async def replay(self, stored: StoredAnswer) -> ChatResponse:
        """A stored answer: it costs nothing, whatever it once cost."""
        usage = self.books.usage
        if self.deliver is not None:
            await self.deliver([*replayed(stored.message), Finished(stored.finish_reason, usage)])
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
            id=stored.id,
            metadata=self.call.metadata,
        )
