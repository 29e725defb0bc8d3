"""What a call can reach: which of its stages may be tried by now, and leave to try one.

Not here: which stage is next (`policy.retry`), and who gives leave (`_health`). Beside what everyone knows of a target
stands what this call alone was told: a permit that it did not get, and a silence that it waited through.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping

from msgspec import Struct

from penstock._asked import Call
from penstock._engine import Engine, later
from penstock._health import Permit, admit, free_pass
from penstock.policy.breaker import BreakerState, Denied
from penstock.policy.retry import Cascade, Try

__all__ = ["PROBING_POLL", "Reach"]

HALF_OPEN = BreakerState.HALF_OPEN
PROBING_POLL = 0.25
"""Seconds, give or take a half, after which a call that waits for a permit looks again by itself. It is woken when one
comes back; this is for what nobody was told of."""


class Reach(Struct, eq=False, gc=False):
    """The stages of one call, as they can be reached."""

    engine: Engine
    call: Call
    cascade: Cascade
    permits: int = 0
    """Asked for so far: each has an id of its own."""
    denied: dict[int, float] = {}
    """Stages that a breaker closed to this call, until when."""
    thawing: dict[int, float] = {}
    """Stages that were cooling, and have no permit left for this call yet."""
    silent: frozenset[int] = frozenset()
    """Stages that kept this call waiting for nothing."""
    has_waited: bool = False
    turn: str | None = None
    """The scope that this call was woken for, until it asks for leave there."""

    def cooling(self) -> Mapping[int, float]:
        """Stages that cool down, or come out of it with others before this call."""
        cooling = self.engine.router.snapshot.cooling
        if not cooling:
            return self.thawing
        now = self.engine.clock.monotonic()
        full = {scope for scope, cool in cooling.items() if cool.is_over(now) and not cool.permits_left}
        return later(later(self.engine.cooling(self.call.targets), self.thawing), self._full(full, now))

    def opened(self) -> Mapping[int, float]:
        """Stages whose circuit lets nobody pass yet: by what everyone knows, and by what this call was told."""
        unhealthy = self.engine.breakers.snapshot
        if not unhealthy:
            return self.denied
        full = {scope for scope, health in unhealthy.items() if health.state is HALF_OPEN and not health.permits_left}
        opened = later(self.engine.opened(self.call.targets), self.denied)
        return later(opened, self._full(full, self.engine.clock.monotonic()))

    def _full(self, scopes: set[str], now: float) -> Mapping[int, float]:
        """Stages whose permits are all out: to ask for one would be to be told so, at the price of a whole visit.

        Whoever has not waited yet asks all the same: a permit may be on its way back that nobody has been shown yet.
        """
        if not (scopes and self.has_waited):
            return {}
        at = self._look_again(now)
        return {stage: at for stage, target in enumerate(self.call.targets) if not scopes.isdisjoint(target.scopes)}

    def _look_again(self, now: float) -> float:
        # Not all at the same moment: those that wait for the same target were told so together.
        return now + PROBING_POLL * (0.5 + random.random())  # noqa: S311 - spreads load, guards nothing

    def elsewhere(self, *but: int, probing: bool = False) -> int | None:
        """Another stage that could be tried right now and is healthy; with `probing`, one that may be for all we know.

        A cool-down that is over makes no target unhealthy: one that is seldom asked would stay so for good.
        """
        opened = self.opened() if probing else self.engine.doubted(self.call.targets)
        barred = {**later(self.cooling(), opened), **dict.fromkeys({*but, *self.silent}, math.inf)}
        step = self.cascade.next(self.engine.clock.monotonic(), barred)
        return step.stage if isinstance(step, Try) else None

    def could_follow(self, *stages: int) -> bool:
        """Whether another target than those of these stages may yet be asked within the call's time."""
        return self.cascade.could_follow(*stages, blocked=later(self.cooling(), self.opened()))

    async def admit(self, stage: int, *, ignoring: bool) -> Permit | None:
        """Leave to try the target; None where a breaker says no, and from when on is noted."""
        target = self.call.targets[stage]
        self.permits += 1
        answer = free_pass(self.engine, ignoring=ignoring) or await admit(
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
            if self.turn in target.scopes:
                self.turn = None
            self.pass_on()
            return answer
        self.turn = None
        until = answer.retry_at
        self.call.span.event("denied", target=target.name, scope=answer.scope, reason=answer.reason)
        if answer.reason in ("probing", "thawing"):
            until = min(until, self._look_again(self.engine.clock.monotonic()))
        (self.denied if isinstance(answer, Denied) else self.thawing)[stage] = until
        return None

    def tell_barred(self) -> None:
        """The call ends because nobody may be asked: for each of its targets, what stands in the way of it."""
        unhealthy, cooling = self.engine.breakers.snapshot, self.engine.router.snapshot.cooling
        for target in self.call.targets:
            for scope in target.scopes:
                health, cool = unhealthy.get(scope), cooling.get(scope)
                if health is not None:
                    self.call.span.event("denied", target=target.name, scope=scope, reason=str(health.state.value))
                elif cool is not None:
                    self.call.span.event("denied", target=target.name, scope=scope, reason="cooling")

    async def wait(self, until: float) -> None:
        """Until then, or until more may pass and it is this call's turn to look."""
        scopes = {scope for stage in self.cascade.left() for scope in self.call.targets[stage].scopes}
        self.has_waited = True
        # A turn that brought nothing is over: passed on, it would go round among all who wait for as long as something
        # else is in their way. Whoever it would have helped looks again by itself, within `PROBING_POLL`.
        self.turn = await self.engine.waiting.sleep(scopes, until)
        if self.turn is not None:
            # What this call was told no longer holds.
            self.denied.clear()
            self.thawing.clear()
            for stage in self.cascade.left():
                if self.turn in self.call.targets[stage].scopes:
                    self.cascade.known_better(stage)

    def pass_on(self) -> None:
        """A turn that this call has no use for is the next one's. Never waits, never raises."""
        if self.turn is not None:
            turn, self.turn = self.turn, None
            self.engine.waiting.ease({turn: 1})
