"""Stored answers for a call that cannot have a new one: its targets are unhealthy, have failed, or cost too much.

Not here: what is stored (`_answers`), and the look before each attempt (`_call`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from penstock._answers import NO_OUTAGE, CallCache
from penstock._asked import Call
from penstock._engine import Engine
from penstock._fitting import CallFitting
from penstock._stored_answer import Cached
from penstock._trials import Trials
from penstock.errors import CallError, CascadeExhaustedError
from penstock.policy.retry import Step, Try

__all__ = ["Stored"]


class Stored(Struct, eq=False):
    """Those of one call. Once something of another answer was shown there are none."""

    engine: Engine
    call: Call
    cache: CallCache
    fitting: CallFitting
    trials: Trials

    async def of_blocked(self, blocked: Mapping[int, float], step: Step) -> Cached | None:
        """That of a target that would be passed over because it is unhealthy: that does not matter then."""
        if self.trials.display.committed:
            return None
        last = step.stage if isinstance(step, Try) else len(self.call.targets)
        return await self._first_of(stage for stage in sorted(blocked) if stage < last)

    async def instead_of(self, error: CallError) -> Cached | None:
        """An answer past its time, in the cascade's order; None: there is none, or the error is the request's own."""
        last = error.errors[-1] if isinstance(error, CascadeExhaustedError) else error
        if self.trials.display.committed or not self.cache.offers_stale or last.kind in NO_OUTAGE:
            return None
        return await self._first_of(range(len(self.call.targets))) or self.cache.stale()

    def in_hand(self) -> Cached | None:
        """The same where the call's own time is up: what has been found by then."""
        engine = self.engine
        if engine.clock.monotonic() < self.call.deadline or engine.closing or engine.failure is not None:
            return None
        return None if self.trials.display.committed or not self.cache.offers_stale else self.cache.stale()

    async def _first_of(self, stages: Iterable[int]) -> Cached | None:
        """The first that may be served, without asking anybody upstream."""
        for stage in stages:
            target = self.call.targets[stage]
            request = self.fitting.foreseen(stage, target)
            if isinstance(request, CallError):
                continue
            if self.trials.extraction is not None:
                request = self.trials.extraction.first_asked(stage, target, request)
            stored = await self.cache.peek(stage, target, request, self.engine.clock.wall())
            if stored is not None:
                return stored
        return None
