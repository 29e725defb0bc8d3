"""The one clock of a kernel: monotonic time for timeouts and breakers, wall time for windows and dates."""

from __future__ import annotations

import time

import trio

__all__ = ["Clock"]


class Clock:
    """Made inside a running trio loop. Under a mock clock wall time is an anchor plus the loop's own time."""

    def __init__(self) -> None:
        # Only a mock clock can be jumped. A real one must follow the machine's wall clock, steps and all.
        self._mocked = hasattr(trio.lowlevel.current_clock(), "jump")
        # Asked of the clock itself: the way through trio's globals costs twice as much, a dozen times a call.
        self.monotonic = trio.lowlevel.current_clock().current_time
        """Seconds that never jump back; only differences mean anything."""
        self._anchor = time.time() - self.monotonic()

    def wall(self) -> float:
        """Unix time in seconds."""
        return self._anchor + self.monotonic() if self._mocked else time.time()
