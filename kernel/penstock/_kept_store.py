"""The store of the second level, kept open: asked for so long at most, left alone where it fails, opened again where
its plugin breaks. Not here: what it is asked (`_second_level`), and when it is left alone (`policy.store_health`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Literal, TypeAlias, TypeVar

import attrs
import trio

from penstock._clock import Clock
from penstock._events import CacheStoreChanged, Event
from penstock._foreign import let_through, signal_in
from penstock._open_plugins import cannot_open
from penstock.abc import CacheStore
from penstock.errors import CacheStoreError, PluginError, PluginLoadError
from penstock.policy.store_health import StoreHealth

__all__ = ["AWAY", "Away", "KeptStore"]

logger = logging.getLogger("penstock")
T = TypeVar("T")
Part: TypeAlias = Literal["reading", "writing"]

OPENING = 30.0
"""Seconds for the store's plugin to open it."""
CLOSING = 5.0
"""Seconds for it to close it; one that hangs is left behind."""
LONGEST_PAUSE = 30.0
"""Seconds until a store whose plugin broke is opened again, at most; the first time after one."""


@attrs.frozen
class Away:
    """The store does not say: it is left alone, it failed, or it was not done in time."""


AWAY: Final = Away()


class KeptStore:
    """One store, by its name in the configuration. Reading and writing have a breaker each: a store that takes nothing
    more may still be read.
    """

    def __init__(self, name: str, clock: Clock, emit: Callable[[Event], None]) -> None:
        self.name = name
        self.now: CacheStore | None = None
        """None: it is not open just now."""
        self.health = {"reading": StoreHealth(), "writing": StoreHealth()}
        self.failures = 0
        self._clock = clock
        self._emit = emit
        self._stop = trio.Event()
        self._stopped = trio.Event()

    async def ask(self, part: Part, seconds: float, ask: Callable[[CacheStore], Awaitable[T]]) -> T | Away:
        """What the store says; AWAY where it is left alone, fails, or is not done in time."""
        store, health = self.now, self.health[part]
        if store is None:
            return AWAY
        admission = health.admit(self._clock.monotonic())
        if admission is None:
            return AWAY
        says: T | Away = AWAY
        why = f"no answer within {seconds:g} s"
        try:
            with trio.move_on_after(seconds):
                says = await ask(store)
        except BaseException as error:  # noqa: BLE001 - foreign code; whatever it is, it is a miss
            if signal_in(error) is not None:
                health.gave_up(admission)
            let_through(error)
            why = _why(error)
        if says is not AWAY:
            if health.succeeded(admission):
                self._tell(part, usable=True, why="")
            return says
        self.failures += 1
        was_closed = health.is_closed
        if health.failed(admission, self._clock.monotonic()) and was_closed:
            self._tell(part, usable=False, why=why)
        return AWAY

    def _tell(self, part: Part, *, usable: bool, why: str) -> None:
        if usable:
            logger.info("cache store %s: %s works again", self.name, part)
        else:
            logger.warning("cache store %s: %s fails (%s); calls go on without it", self.name, part, why)
        self._emit(CacheStoreChanged(self.name, part, usable, why))

    async def hold(
        self,
        opening: Callable[[], AbstractAsyncContextManager[CacheStore | None]],
        *,
        task_status: trio.TaskStatus[bool] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Keeps it open until `stop`, and opens it again where its plugin breaks. Told whether there is one.

        Raises PluginLoadError where it cannot be opened the first time. Shielded once it is open, like the actors.
        """
        pause, begun = 0.0, False
        try:
            while not self._stop.is_set():
                if pause:
                    with trio.move_on_after(pause, shield=True):
                        await self._stop.wait()
                        return
                pause = min(LONGEST_PAUSE, pause * 2 or 1.0)
                try:
                    with trio.CancelScope(deadline=trio.current_time() + OPENING) as scope:
                        async with opening() as store:
                            if not begun and trio.current_effective_deadline() == -math.inf:
                                # Then nobody takes it over: a task that stays is waited for where it was started.
                                self._stop.set()
                            scope.shield, scope.deadline = True, math.inf
                            if not begun:
                                task_status.started(store is not None)
                            begun, self.now = True, store
                            await self._stop.wait()
                            scope.deadline = trio.current_time() + CLOSING
                except BaseException as error:
                    let_through(error)
                    if not begun:
                        if isinstance(error, PluginError):
                            raise
                        raise cannot_open(f"cache store {self.name!r}", error) from error
                    if not self._stop.is_set():
                        logger.warning("cache store %s broke and is opened again: %s", self.name, _why(error))
                finally:
                    self.now = None
                if not begun:
                    raise PluginLoadError(f"cache store {self.name!r} did not open within {OPENING:g} s")
        finally:
            self._stopped.set()

    def stop(self) -> None:
        """It is to be closed."""
        self._stop.set()

    async def until_stop(self) -> None:
        """Waits until it is to be closed."""
        await self._stop.wait()

    async def closed(self) -> None:
        """Waits until it is closed, or was left behind."""
        await self._stopped.wait()


def _why(error: BaseException) -> str:
    """A store's own words, or the name of what went wrong: the words of strangers may hold what nobody shall read."""
    return str(error) if isinstance(error, CacheStoreError) else type(error).__name__
