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

    Times are those of trio's clock; infinity: no longer. Nobody is watched where `keep` does not run.
    """

    def __init__(self, is_over: Callable[[T], float]) -> None:
        self._is_over = is_over
        self._watched: dict[T, float] = {}
        self._sleep = trio.CancelScope()
        """Until the first of them is over."""
        self._stopped = False

    def begin(self, one: T, until: float) -> None:
        """Watches one until then."""
        self._watched[one] = until
        self._sleep.deadline = min(self._sleep.deadline, until)

    def end(self, one: T) -> None:
        """No longer."""
        self._watched.pop(one, None)

    def stop(self) -> None:
        """Watches nobody any more: `keep` ends."""
        self._stopped = True
        self._sleep.cancel()

    async def keep(self) -> None:
        """The task: until it is stopped, and not sooner, whatever is cancelled around it. What is watched goes on while
        its program ends.
        """
        with trio.CancelScope(shield=True):
            while not self._stopped:
                with self._sleep:
                    await trio.sleep_forever()
                now = trio.current_time()
                for one in [one for one, until in self._watched.items() if until <= now]:
                    self._watched[one] = self._is_over(one)
                self._sleep = trio.CancelScope(deadline=min(self._watched.values(), default=math.inf))
