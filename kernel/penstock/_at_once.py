"""A call whose answer is in memory: it waits for nothing, so it needs no scope, no cascade and no hold.

Most of what a call costs is for what may go wrong; here nothing is left that could. Whatever stands in the way of that
leads to the usual walk (`_call`), which finds all of it anew and tells of it.
"""

from __future__ import annotations

import trio
from msgspec import Struct

from penstock._answers import CallCache
from penstock._asked import Call
from penstock._books import Books
from penstock._ending import Ended, tell_end, tell_start
from penstock._engine import Engine
from penstock._fitting import CallFitting
from penstock._replies import replayed_response
from penstock._stored_answer import Cached
from penstock.errors import CallError
from penstock.types import ChatResponse

__all__ = ["AtOnce"]


class AtOnce(Struct, eq=False, gc=False):
    """The short way of one call. It is taken in the task of the caller, in the step in which the call was made."""

    engine: Engine
    call: Call
    fitting: CallFitting
    cache: CallCache

    def found(self) -> Cached | None:
        """The answer; None where there is none, or it might not be this one that the call comes to. Tells nobody."""
        engine, call = self.engine, self.call
        if engine.cache is None or not call.cache.read or call.output is not None or call.request.extra:
            return None
        target, wall = call.targets[0], engine.clock.wall()
        fitted = self.fitting.foreseen(0, target)
        key = None if isinstance(fitted, CallError) else self.cache.fresh_key(target, fitted, wall)
        if key is None or engine.unavailable(call.targets) or not engine.places.value:
            return None
        return self.cache.take_fresh(key, wall)

    @trio.lowlevel.enable_ki_protection
    async def answer(self, cached: Cached) -> ChatResponse:
        """From its place to its end. Who asks over and over lets others have their turn, and can be cancelled."""
        engine, call, books = self.engine, self.call, Books()
        started, scope, outcome, target = engine.clock.monotonic(), trio.CancelScope(), "cancelled", None
        engine.running.add(scope)  # for a shutdown to wait for: to be cancelled it has too little before it
        engine.places.acquire_nowait()
        try:
            tell_start(engine, call, waited=0.0)
            self.fitting.request_for(0, call.targets[0])
            await trio.lowlevel.checkpoint()
            outcome, target = "ok", cached.answer.target
            call.span.replayed(cached.answer)
            return replayed_response(call, books, self.cache.outcome, cached)
        finally:
            engine.ended(scope)
            engine.places.release()
            tell_end(engine, call, books, Ended(outcome, target, self.cache.outcome, since=started))
