"""One task that watches over the patience of all who wait for a thread: a cancel scope for each costs 8 us of CPU.

Not here: what becomes of those whose patience ends (`own_thread`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Generic, TypeVar

import trio

__all__ = ["Watch"]

T = TypeVar("T")


class Watch(Generic[T]):
    """Calls `is_over` for whatever is watched longer than it should be; that says until when it is watched now.

    Times are those of trio's clock; infinity: no longer. The task begins with the first that is watched and ends when
    it wakes and finds none, or is stopped.
    """

    def __init__(self, is_over: Callable[[T], float]) -> None:
        self._is_over = is_over
        self._watched: dict[T, float] = {}
        self._sleep = trio.CancelScope()
        """Until the first of them is over; without a deadline there is no task."""
        self._ended: trio.Event | None = None

    def begin(self, one: T, until: float) -> None:
        """Watches one until then."""
        self._watched[one] = until
        if until < self._sleep.deadline:
            self._wake_at(until)

    def end(self, one: T) -> None:
        """No longer."""
        self._watched.pop(one, None)

    def stop(self) -> None:
        """Watches nobody any more: the task ends."""
        self._watched.clear()
        self._sleep.cancel()

    async def stopped(self) -> None:
        """Waits until the task has ended."""
        if self._ended is not None:
            await self._ended.wait()

    def _wake_at(self, at: float) -> None:
        if self._sleep.deadline < math.inf:
            self._sleep.deadline = at
            return
        self._sleep = trio.CancelScope(deadline=at)
        self._ended = trio.Event()
        # No nursery of whoever asks: it goes on for others when that one has left.
        trio.lowlevel.spawn_system_task(self._keep, self._ended)

    async def _keep(self, ended: trio.Event) -> None:
        try:
            while self._sleep.deadline < math.inf:
                with self._sleep:
                    await trio.sleep(math.inf)
                now = trio.current_time()
                for one in [one for one, until in self._watched.items() if until <= now]:
                    self._watched[one] = self._is_over(one)
                self._sleep = trio.CancelScope(deadline=min(self._watched.values(), default=math.inf))
        finally:
            ended.set()
