"""What would become of a call, found out without making it: nothing is sent, no actor is asked, nothing is changed.

It reads what a call reads (configuration, snapshots, codecs) through the code that a call uses, so that the two cannot
tell different stories. What calls told breakers and router before is in it, though these had no turn yet. Not here: the
values (`_explanation`), one attempt (`_foreseen`), the arithmetic of the worst case (`policy.worst_case`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import assert_never

import attrs

from penstock._answers import CallCache
from penstock._asked import Call
from penstock._books import action_key
from penstock._engine import Engine
from penstock._explanation import (
    AccountExplanation,
    AttemptTimeouts,
    DeadlineSource,
    Explanation,
    RetriesUsedUp,
    StageExplanation,
    When,
)
from penstock._foreseen import Spending, goes_on, refusal, spendings, unsendable, when, when_ignored
from penstock._foreseen_fit import foreseen_fit
from penstock._incoming import AFTER_THE_END
from penstock._live_target import LiveTarget
from penstock._plan import CallOptions, given_timeout, make_call
from penstock._reach import PROBING_POLL
from penstock.errors import ParameterDemandedError
from penstock.policy.account_paths import path_and_parents
from penstock.policy.accounts import limits_in_words
from penstock.policy.holds import NOTHING
from penstock.policy.retry import ACTIONS, Cascade, RetrySettings, Same, Stage, Step, Stop, Try, Wait
from penstock.policy.stream_watch import Phases
from penstock.policy.time_slice import timed
from penstock.policy.upstream_stream import may_be_streamed
from penstock.policy.worst_case import StageCase, worst_case
from penstock.telemetry import NO_TELEMETRY
from penstock.types import ChatRequest

__all__ = ["explain"]

NONE = (None, None)
"""Nothing is tried."""
TOO_DEAR = When(reason="budget", ready_in=None, says="not now: too dear for what is left in the accounts")


@attrs.frozen
class _Timing:
    """What an attempt at a target is given."""

    phases: Phases
    now: Phases
    """The same if the call began with it: what others are left for may shorten them."""
    streamed: bool


@attrs.frozen(kw_only=True)
class _Foreseen:
    """One stage as it stands."""

    stage: Stage
    target: LiveTarget
    spending: Spending
    when: When
    case: StageCase
    timing: _Timing
    looked_up: bool
    retries: RetriesUsedUp | None


def explain(engine: Engine, request: ChatRequest, options: CallOptions, *, stream: bool) -> Explanation:
    """What `complete`, or with `stream` a stream, would do now. Raises what making the call would raise."""
    # What the call that has just ended told, the permit of its probe among it, may still wait in their mailboxes.
    engine.breakers.catch_up()
    engine.router.catch_up()
    now = engine.clock.monotonic()
    # The very plan of a call, but without its span, and counted by nobody.
    call = make_call(attrs.evolve(engine, telemetry=NO_TELEMETRY), request, options, streamed=stream)
    deadline, source = _deadline(engine, call, options, now, stream=stream)
    stages, (first, starts_in) = _as_it_is(engine, call, _stages(engine, call, now, deadline, stream=stream), now)
    worst = worst_case([seen.case for seen in stages], repairs=_repairs(call), deadline=deadline)
    priced = all(seen.spending.priced for seen in stages if seen.case.attempts)
    return Explanation(
        route=call.route,
        account=call.account,
        accounts=tuple(_accounts(engine, call.account)),
        stages=tuple(_explained(seen, _repairs(call)) for seen in stages),
        first=first,
        starts_in=starts_in,
        cache="off" if engine.cache is None else call.cache_when,
        deadline=_finite(deadline),
        deadline_from=source,
        max_wait=RetrySettings().max_wait,
        attempts=worst.attempts,
        seconds=_finite(worst.seconds),
        trying=worst.trying,
        tokens=None if worst.total is None else worst.total.tokens,
        nano_usd=worst.total.nano_usd if worst.total and priced else None,
        dearest_nano_usd=worst.dearest.nano_usd if worst.dearest and priced else None,
    )


def _repairs(call: Call) -> int:
    """How often it may ask again for an answer that is not valid."""
    return 0 if call.output is None else call.output.max_repairs


def _deadline(
    engine: Engine, call: Call, options: CallOptions, now: float, *, stream: bool
) -> tuple[float, DeadlineSource]:
    """Seconds until the call is over, and who says so: the earliest of those who name any."""
    route = engine.config.routes.get(call.route)
    named: dict[DeadlineSource, float] = {}
    given = given_timeout(options)
    if given is not None:
        named["argument"] = given
    if route is not None and route.timeout is not None:
        named["route"] = route.timeout
    if not stream and call.horizon < math.inf:
        # A stream may outlive the scope it is opened in.
        named["scope"] = call.horizon - now
    if not named:
        return engine.config.kernel.timeout, "kernel"
    source = min(named, key=lambda source: named[source])
    return max(0.0, named[source]), source


def _stages(engine: Engine, call: Call, now: float, deadline: float, *, stream: bool) -> list[_Foreseen]:
    cache = CallCache(engine, call, may_lead=False, context=None)
    known = spendings(engine, call, repairs=True)
    found = [when(engine, target, now) for target in call.targets]
    ready = {
        target.name
        for target, spending, seen in zip(call.targets, known, found, strict=True)
        if spending.refused is None and _could_follow(seen, deadline)
    }
    foreseen: list[_Foreseen] = []
    for stage, target, spending, seen in zip(call.stages, call.targets, known, found, strict=True):
        phases = target.phases_for(spending.asked)
        # As if the call began with it: as a call decides it (`Trials.phases`).
        sliced, streamed = timed(
            phases,
            target.capabilities,
            target.upstream_stream,
            watched=stream,
            takes_long=target.takes_long(spending.asked),
            left=deadline,
            could_follow=partial(bool, ready - {target.name}),
        )
        timing = _Timing(phases, sliced, streamed)
        foreseen.append(_foreseen(engine, call, cache, stage, target, spending, seen, timing, now))
    return foreseen


def _foreseen(  # noqa: PLR0917 - one place where everything that is known of a stage meets
    engine: Engine,
    call: Call,
    cache: CallCache,
    stage: Stage,
    target: LiveTarget,
    spending: Spending,
    found: When,
    timing: _Timing,
    now: float,
) -> _Foreseen:
    wall, streamed = engine.clock.wall(), timing.streamed
    others = any(other.name != target.name for other in call.targets)
    # More room, too, may make an answer one that takes long.
    later = may_be_streamed(target.capabilities, target.upstream_stream, others=others or _repairs(call) > 0)
    mending = spending.mending
    allowed, dearest = stage.attempts, spending.amount if mending is None else mending.amounts[0]
    if spending.refused is not None:
        # Passed over before anything is tried. Whatever else rules a target out for this request belongs here.
        found, allowed = refusal(target, spending.refused), 0
    elif (error := unsendable(target, spending.sent, streamed=streamed, wall=wall)) is not None:
        found = refusal(target, error)
        action = ACTIONS[action_key(error)]
        if mending is None:  # what is asked in another way, or to mend an answer, may be another matter
            # It is an attempt all the same, which ends before anything is sent.
            allowed = 1 if action.same is Same.NEVER else allowed
            dearest = dearest if action.billed else NOTHING
    return _Foreseen(
        stage=stage,
        target=target,
        spending=spending,
        when=found,
        case=StageCase(
            allowed=allowed,
            longest=_longest(timing.phases, streamed=streamed or later),
            dearest=dearest,
            share=min(stage.target_share, stage.provider_share),
            provider=stage.provider,
            refused_prefills=int(goes_on(call, target)),
            refused_ways=0 if mending is None else mending.refusals,
            mended=() if mending is None else mending.amounts[1:],
        ),
        timing=timing,
        looked_up=cache.would_look_up(target, spending.asked, wall),
        retries=_retries(engine, target.provider.name, now),
    )


def _retries(engine: Engine, provider: str, now: float) -> RetriesUsedUp | None:
    """What is known without asking the router: whoever asked it last has left word."""
    told = engine.router.snapshot.no_retries.get(provider)
    if told is None or told.retry_at <= now:
        return None
    room_in = _finite(told.retry_at - now)
    again = "time alone makes no room" if room_in is None else f"there is room again in {math.ceil(room_in)} s"
    says = f"the retry budget of provider {provider} is used up ({told.used} of {told.limit} retries); {again}"
    return RetriesUsedUp(used=told.used, limit=told.limit, room_in=room_in, says=says)


def _longest(phases: Phases, *, streamed: bool) -> float:
    """Seconds of one attempt: its total timeout, and what a stream's connection gets to end after its answer has."""
    return phases.total + (AFTER_THE_END if streamed else 0.0)


def _silent(phases: Phases, *, streamed: bool) -> float:
    """Seconds that an attempt takes where the request is taken and nothing is said."""
    return min(phases.first_token, phases.total) if streamed else phases.total


def _could_follow(when: When, deadline: float) -> bool:
    return when.reason == "probing" or (when.ready_in is not None and when.ready_in < deadline)


def _explained(seen: _Foreseen, repairs: int) -> StageExplanation:
    timing, phases, spending = seen.timing, seen.timing.phases, seen.spending
    amount, mending = seen.case.dearest_after(repairs), spending.mending
    return StageExplanation(
        target=seen.target.name,
        provider=seen.target.provider.name,
        model=seen.target.wire.model,
        when=seen.when,
        allowed=seen.stage.attempts,
        attempts=seen.case.attempts + (repairs if seen.case.attempts else 0),
        streamed=timing.streamed,
        retries=seen.retries,
        timeouts=AttemptTimeouts(
            connect=phases.connect,
            write=phases.write,
            first_token=phases.first_token if timing.streamed else None,
            idle=phases.idle if timing.streamed else None,
            total=phases.total,
        ),
        longest_attempt=seen.case.longest,
        silent=_silent(timing.now, streamed=timing.streamed),
        unreachable=min(phases.connect, seen.case.longest),
        looked_up=seen.looked_up,
        input_tokens=spending.input if mending is None else mending.reads,
        likely_input_tokens=spending.likely_input,
        output_tokens=spending.output if mending is None else mending.writes,
        nano_usd=amount.nano_usd if amount is not None and spending.priced else None,
    )


Beginning = tuple[str | None, float | None]
"""The first target to be tried, and in how many seconds."""


def _as_it_is(
    engine: Engine, call: Call, stages: Sequence[_Foreseen], now: float
) -> tuple[Sequence[_Foreseen], Beginning]:
    """How the call would begin as things are, by what the cascade itself says; and the stages in the light of that."""
    cascade = Cascade(call.stages, deadline=min(call.deadline, call.horizon), all_open=call.all_open)
    cooling, opened = dict(engine.cooling(call.targets)), dict(engine.opened(call.targets))
    probing = False
    for stage, seen in enumerate(stages):
        if isinstance(seen.spending.refused, ParameterDemandedError):
            continue  # the call comes to it as to any other, and ends there
        if seen.spending.refused is not None:
            cascade.give_up(stage)
        elif seen.when.reason == "probing":
            opened[stage] = now + PROBING_POLL  # as a call does that is told so
            probing = True
    if cascade.ignores(now, opened):
        stages = [_ignored(engine, seen, now) for seen in stages]
    too_dear = _too_dear(engine, call, stages)
    stages = [attrs.evolve(seen, when=TOO_DEAR) if at in too_dear else seen for at, seen in enumerate(stages)]
    step, then = cascade.next(now, cooling, opened=opened), now
    while not isinstance(step, Stop) and step.stage in too_dear:
        # As a call does: it comes to the stage, finds out what it would cost, and goes on.
        then = step.until if isinstance(step, Wait) else then
        cascade.give_up(step.stage)
        step = cascade.next(then, cooling, opened=opened)
    demanded = not isinstance(step, Stop) and stages[step.stage].spending.refused is not None
    beginning = NONE if demanded else _beginning(call, step, then, now)
    if beginning == NONE and not probing and engine.places.value:
        # It would fail before anything could change. While it waits for a place, or asks for a permit, much can.
        stages = [attrs.evolve(seen, case=attrs.evolve(seen.case, allowed=0)) for seen in stages]
    return stages, beginning


def _too_dear(engine: Engine, call: Call, stages: Sequence[_Foreseen]) -> frozenset[int]:
    """The stages that a call would leave out, so that what is left in its accounts is enough for the others."""
    if not call.limits.degrades:
        return frozenset()
    fit = foreseen_fit(engine, call, [seen.spending for seen in stages])
    return frozenset() if fit is None else fit.too_dear


def _beginning(call: Call, step: Step, then: float, now: float) -> Beginning:
    """`then`: when the call comes to the step."""
    match step:
        case Try(stage=stage):
            return call.targets[stage].name, then - now
        case Wait(until=until, stage=stage):
            return call.targets[stage].name, until - now
        case Stop():
            return NONE
        case _:
            assert_never(step)


def _ignored(engine: Engine, seen: _Foreseen, now: float) -> _Foreseen:
    """The stage where the call minds no open circuit."""
    if seen.when.reason not in ("circuit_open", "probing", "cooling"):
        return seen
    return attrs.evolve(seen, when=when_ignored(engine, seen.target, now))


def _accounts(engine: Engine, account: str) -> Iterator[AccountExplanation]:
    for path in path_and_parents(account):
        spec = engine.accounts.spec_of(path)
        if spec is not None and spec.limits:
            words = tuple(words for limit in spec.limits for words in limits_in_words(limit))
            yield AccountExplanation(account=path, limits=words)


def _finite(seconds: float) -> float | None:
    return seconds if seconds < math.inf else None
