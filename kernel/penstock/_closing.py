"""How an open kernel ends: the calls first, then what they needed, from the inside out.

Not here: what is open (`_kernel`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import trio

from penstock._connections import Connections
from penstock._engine import Engine
from penstock._events import Shutdown
from penstock._open_plugins import OpenPlugins
from penstock._second_level import SecondLevel

if TYPE_CHECKING:
    from penstock._live.server import LiveServer
    from penstock.telemetry._otel.opened import OpenTelemetry

__all__ = ["Closing", "close_telemetry"]

logger = logging.getLogger("penstock")

UNWINDING = 5.0
"""Seconds that cancelled calls get to pay what they owe: they wait for nothing, so it is a bound against bugs."""


@attrs.frozen(kw_only=True, eq=False)
class Closing:
    """The end of one kernel, with all that is open of it."""

    engine: Engine
    seconds: float
    """For calls to come to their end by themselves."""
    actors: Sequence[trio.Event]
    """Set when they are over."""
    plugins: OpenPlugins
    connections: Connections
    second_level: SecondLevel | None
    live: LiveServer | None
    telemetry: OpenTelemetry | None
    _grace: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    """Around the wait for calls."""

    @trio.lowlevel.enable_ki_protection
    async def within(self, nursery: trio.Nursery) -> KeyboardInterrupt | None:
        """Closes everything, whoever is cancelled. Every wait in it is bounded; Ctrl-C ends that for calls, and is
        returned: all else is closed in order all the same.
        """
        self.engine.closing = True  # from this step on: what begins in the next would be waited for
        over, pressed = trio.Event(), None
        # In a task of its own: Ctrl-C breaks off what the main task waits for.
        nursery.start_soon(self._close, over)
        with trio.CancelScope(shield=True):
            while not over.is_set():
                try:
                    await over.wait()
                except KeyboardInterrupt as interrupt:
                    pressed = interrupt
                    self._grace.cancel()
        return pressed

    @trio.lowlevel.enable_ki_protection
    async def _close(self, over: trio.Event) -> None:
        try:
            with trio.CancelScope(shield=True):
                await self._in_order()
                await close_telemetry(self.telemetry)
        except BaseException:
            self._give_up()
            raise
        finally:
            over.set()

    def _give_up(self) -> None:
        """Something raised that nobody meets. The nursery cancels what is in it; what is shielded is told to end."""
        self.engine.overdue.close()
        self._close_actors()
        self.plugins.stop()
        if self.second_level is not None:
            self.second_level.give_up()

    def _close_actors(self) -> None:
        # From the inside out: the budget last, for it is owed by everyone.
        engine = self.engine
        for ref in (engine.cache, engine.breakers, engine.router, engine.budget):
            if ref is not None:
                ref.close()

    async def _in_order(self) -> None:
        engine = self.engine
        engine.events.emit(Shutdown(len(engine.running), self.seconds))
        grace_ends = trio.current_time() + self.seconds
        self._grace.deadline = grace_ends
        with self._grace:
            await engine.idle()
        for scope in tuple(engine.running):
            scope.cancel()
        with trio.move_on_after(UNWINDING) as unwinding:
            await engine.idle()
        if unwinding.cancelled_caught:
            logger.error("%d calls did not end when they were cancelled", len(engine.running))
        engine.overdue.close()
        if self.live is not None:
            await self.live.close()
        if self.second_level is not None:
            left = 0.0 if self._grace.cancel_called else grace_ends - trio.current_time()
            await self.second_level.close(max(left, engine.config.cache.store_timeout if engine.config.cache else 0.0))
        self._close_actors()
        for done in self.actors:
            await done.wait()
        await self.plugins.close()
        await self.connections.aclose()
        engine.events.close()


async def close_telemetry(opened: OpenTelemetry | None) -> None:
    """Sends what is left to tell. Shielded, and bounded: nobody waits for a collector that is down."""
    if opened is not None:
        with trio.CancelScope(shield=True):
            await opened.aclose()
