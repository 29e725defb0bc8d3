"""Stale answers fetched anew behind their readers' backs: real calls, with their own place, hold and bill.

Not here: which may be (`policy.refreshing`), and what was stale (`_answers`).
"""

from __future__ import annotations

import contextvars
import logging
import math

import msgspec
import trio

from penstock._asked import Call
from penstock._call import run_call
from penstock._ending import outcome_of
from penstock._engine import Engine
from penstock._events import CacheRefreshed
from penstock._foreign import let_through
from penstock.errors import PenstockError
from penstock.policy.cache_policy import CachePolicy
from penstock.policy.refreshing import Refreshing

__all__ = ["Refreshes"]

logger = logging.getLogger("penstock")

MOST_AT_ONCE = 8
"""Refreshes: a small part of the places of a kernel, for nobody waits for them."""
PAUSE = 5.0
"""Seconds until a key whose refresh failed is tried again: as long as a breaker is first open."""
REFRESH = CachePolicy(read=False)


class Refreshes:
    """The refreshes of one kernel: tasks in its nursery, each at most as long as a call may take."""

    def __init__(self, engine: Engine, nursery: trio.Nursery) -> None:
        self._engine = engine
        self._nursery = nursery
        self._core = Refreshing(most=MOST_AT_ONCE, pause=PAUSE)

    def begin(self, call: Call, stage: int, key: str) -> None:
        """The answer of that stage, stored under `key`, was served past its time. Never waits, never raises."""
        engine = self._engine
        if engine.closing or engine.failure is not None:
            return
        if self._core.may_begin(key, engine.clock.monotonic()):
            # An empty context: what comes of it belongs to no caller, and to no trace of one.
            alone = contextvars.Context()
            alone.run(self._nursery.start_soon, self._refresh, alone.run(self._again, call, stage), key)

    def _again(self, call: Call, stage: int) -> Call:
        """The same question to the same target, alone."""
        engine = self._engine
        engine.calls += 1
        call_id = f"{engine.name}-{engine.calls}"
        along = call.along.alone(stage)
        span = engine.telemetry.call(call_id, call.route, call.account, along.targets, call.request, None)
        # In a trace of its own: who was served the stale answer had its trace end with it.
        span.event("refresh", of=call.id)
        return msgspec.structs.replace(
            call,
            id=call_id,
            along=along,
            cache=REFRESH,
            deadline=engine.clock.monotonic() + engine.config.kernel.timeout,
            horizon=math.inf,
            # Nobody waits for it: where the target is known to be down, it is left alone.
            all_open="fail",
            span=span,
            metadata=None,
        )

    @trio.lowlevel.enable_ki_protection
    async def _refresh(self, call: Call, key: str) -> None:
        outcome = "cancelled"
        try:
            await run_call(self._engine, call)
            outcome = "ok"
        except PenstockError as error:
            outcome = outcome_of(error)
        except BaseException as bug:
            let_through(bug)
            outcome = type(bug).__name__
            logger.exception("call %s, which refreshes the cache, ended in a bug", call.id)
        finally:
            self._core.ended(key, self._engine.clock.monotonic(), failed=outcome != "ok")
            self._engine.events.emit(CacheRefreshed(call.id, call.targets[0].name, outcome))
