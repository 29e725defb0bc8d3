"""One attempt and the health of its target: leave to try it, and what is told of it afterwards."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from penstock._books import action_key
from penstock._engine import Engine
from penstock._live_target import LiveTarget
from penstock.errors import AttemptTimeoutError, CallError
from penstock.policy import cooling
from penstock.policy.breaker import Admitted, Denied, Verdict
from penstock.policy.retry import ACTIONS, Blame, Cools
from penstock.policy.tally import OK

__all__ = ["NO_PERMIT", "Permit", "admit", "free_pass", "tell_health"]

FINISHING = 60.0
"""Seconds a permit's lease outlasts the attempt's total timeout."""


class Permit(Struct, frozen=True, gc=False):
    """Leave to try a target. `guarded` are the scopes that were not known to be healthy."""

    id: str | None
    guarded: frozenset[str]
    probe: bool
    silent: bool = False
    """The probe is of a scope known to keep callers waiting: it should be hedged."""
    overtaken: int = 0
    """How many of such probes others have overtaken, in a row."""
    thawing: bool = False
    """It holds a permit of a cool-down that is over, too."""
    began: float = math.inf
    """When it was given (monotonic): a breaker that closed since hears nothing of the attempt."""


NOBODY = frozenset[str]()
NO_PERMIT = Permit(None, NOBODY, probe=False)
"""Nobody had to be asked."""


def free_pass(engine: Engine, *, ignoring: bool = False) -> Permit | None:
    """Leave where nobody has to be asked: nothing cools, and nothing is in doubt (or that is ignored). Else None."""
    if engine.router.snapshot.cooling or (engine.breakers.snapshot and not ignoring):
        return None
    return Permit(None, NOBODY, probe=False, began=engine.clock.monotonic())


async def admit(
    engine: Engine, target: LiveTarget, permit_id: str, *, deadline: float, context: object, ignoring: bool = False
) -> Permit | Denied | cooling.Denied:
    """Leave of everyone whom it concerns: the router, where the target comes out of a cool-down, then the breakers."""
    if engine.router.snapshot.cooling.keys().isdisjoint(target.scopes):
        return await _pass_breakers(engine, target, permit_id, deadline=deadline, context=context, ignoring=ignoring)
    permit: Permit | Denied | None = None
    try:
        thawed = await engine.router.admit(
            permit_id, target.scopes, lease=_lease(target), deadline=deadline, context=context
        )
        if isinstance(thawed, cooling.Denied):
            return thawed
        permit = await _pass_breakers(engine, target, permit_id, deadline=deadline, context=context, ignoring=ignoring)
        return msgspec.structs.replace(permit, id=permit_id, thawing=True) if isinstance(permit, Permit) else permit
    finally:
        if not isinstance(permit, Permit):
            engine.router.give_back(permit_id, "nothing")


async def _pass_breakers(
    engine: Engine, target: LiveTarget, permit_id: str, *, deadline: float, context: object, ignoring: bool
) -> Permit | Denied:
    """One joint admission over key, target and provider, where any of them is not closed.

    `ignoring`: the route tries open targets where all are open (`all_open = "ignore"`), and needs no leave for it.
    """
    now = engine.clock.monotonic()
    unhealthy = engine.breakers.snapshot
    guarded = frozenset([scope for scope in target.scopes if scope in unhealthy]) if unhealthy else NOBODY
    if ignoring or not guarded:
        return Permit(None, NOBODY, probe=False, began=now)
    admitted = False
    try:
        answer = await engine.breakers.admit(
            permit_id, target.scopes, lease=_lease(target), deadline=deadline, context=context
        )
        admitted = isinstance(answer, Admitted)
    finally:
        if not admitted:
            engine.breakers.give_back(permit_id, {})
    if isinstance(answer, Denied):
        return answer
    return Permit(permit_id, guarded, answer.probe, answer.silent, answer.overtaken, began=now)


def _lease(target: LiveTarget) -> float:
    return target.phases.total + FINISHING


def tell_health(
    engine: Engine,
    target: LiveTarget,
    permit: Permit,
    call_id: str,
    *,
    answered: bool,
    error: CallError | None,
    slow: bool = False,
    overtaken: bool = False,
    again: bool = False,
) -> None:
    """Tells breakers and router how an attempt went: `answered`, failed with `error`, or neither (the caller left).

    `slow`: its first token came so late that this counts against the target, although it answered. `overtaken`: it was
    a probe, and brought nothing before another attempt did that began later. `again`: just before, the call found a
    kept connection closed. That alone says nothing; where the fresh one fails as well, both were the same outage.
    Never raises, never waits: the permit comes back on every way out.
    """
    if answered and error is None and not (slow or overtaken or permit.guarded or permit.thawing):
        # As nearly all end: the same as below in fewer words.
        _, own, provider = target.scopes
        engine.breakers.record(own, OK, call_id=call_id, began=permit.began)
        engine.breakers.record(provider, OK, call_id=call_id, began=permit.began)
        return
    if overtaken:
        # Of the silence nobody knows whose it was, the target's or its provider's: each that is in doubt hears of it.
        verdicts: Mapping[str, Verdict] = dict.fromkeys(permit.guarded, Verdict.OVERTAKEN)
    else:
        verdicts = _verdicts(target, answered=answered, error=error, slow=slow, doubted=bool(permit.guarded))
    hint = error.retry_after if error else None
    if permit.id is not None and permit.guarded:
        engine.breakers.give_back(permit.id, verdicts, retry_after=hint)
    for scope, verdict in verdicts.items():
        if scope not in permit.guarded:
            for _ in range(2 if again and verdict.is_failure else 1):
                engine.breakers.record(scope, verdict, call_id=call_id, retry_after=hint, began=permit.began)
    limited = False
    if error is not None:
        _tell_failure(engine, target, error)
        limited = ACTIONS[action_key(error)].cools is not Cools.NOTHING
    if permit.thawing and permit.id is not None:
        engine.router.give_back(permit.id, "answered" if answered else "limited" if limited else "nothing")
    if error is not None or slow or permit.id is not None:
        # What this attempt changes is the doing of its call, and told as such: a moment later the call may be over.
        engine.router.catch_up()
        engine.breakers.catch_up()


def _tell_failure(engine: Engine, target: LiveTarget, error: CallError) -> None:
    key, own, _ = target.scopes
    action = ACTIONS[action_key(error)]
    if action.blame is Blame.KEY:
        engine.breakers.key_rejected(key)
        if target.provider.secret is not None:
            target.provider.secret.refresh()
    match action.cools:
        case Cools.TARGET:
            engine.router.limited(own, "rate_limited", error.retry_after)
        case Cools.KEY:
            engine.router.limited(key, "quota_exhausted", error.retry_after)
        case Cools.NOTHING:
            pass


def _verdicts(
    target: LiveTarget, *, answered: bool, error: CallError | None, slow: bool, doubted: bool
) -> Mapping[str, Verdict]:
    """What the attempt says of each scope; of those left out it says nothing."""
    key, own, provider = target.scopes
    if error is None and not answered:
        return {}
    if error is None:
        # That its key is fine is worth saying only where it was in doubt: keys open by being refused, not by ratios.
        fine = dict.fromkeys(target.scopes if doubted else (own, provider), Verdict.OK)
        return {**fine, own: Verdict.SLOW} if slow else fine
    failed = Verdict.TIMED_OUT if isinstance(error, AttemptTimeoutError) else Verdict.FAILED
    match ACTIONS[action_key(error)].blame:
        case Blame.TARGET:
            return {own: failed}
        case Blame.PROVIDER:
            # Of the target as well: an outage that mixes resets with 5xx is one row of failures, not two short ones.
            return {own: failed, provider: failed}
        case Blame.KEY:
            return {key: Verdict.FAILED, provider: Verdict.OK}
        case Blame.NOBODY:
            return {}
