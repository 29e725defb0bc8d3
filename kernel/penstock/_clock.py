"""The one clock of a kernel: monotonic time for timeouts and breakers, wall time for windows and dates."""

from __future__ import annotations

import time

import trio

__all__ = ["MOCK_WALL_ANCHOR", "Clock"]

MOCK_WALL_ANCHOR: trio.lowlevel.RunVar[float] = trio.lowlevel.RunVar("penstock.mock_wall_anchor")
"""Unix time at which a mock clock stands at 0, where a test says so: two runs then see the same days and dates."""


class Clock:
    """Made inside a running trio loop. Under a mock clock wall time is an anchor plus the loop's own time."""

    def __init__(self) -> None:
        # Only a mock clock can be jumped. A real one must follow the machine's wall clock, steps and all.
        self._mocked = hasattr(trio.lowlevel.current_clock(), "jump")
        # Asked of the clock itself: the way through trio's globals costs twice as much, a dozen times a call.
        self.monotonic = trio.lowlevel.current_clock().current_time
        """Seconds that never jump back; only differences mean anything."""
        today = time.time() - self.monotonic()
        self._anchor = MOCK_WALL_ANCHOR.get(today) if self._mocked else today
        self.wall = self._after_anchor if self._mocked else time.time
        """Unix time in seconds."""

    def _after_anchor(self) -> float:
        return self._anchor + self.monotonic()
