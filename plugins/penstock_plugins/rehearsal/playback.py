"""What has been sent by a given moment when nobody sends: a plan played against a clock, without a task.

Not here: waiting, and httpx (`transport_front`). The sender works as a server with a socket does: it goes on by itself
until `window` bytes are on their way and not yet read, and then it waits for the reader.
"""

from __future__ import annotations

import math
from collections import deque

from penstock_plugins.rehearsal.plan import Connect, Data, Hang, Head, Step, Upload, Wait
from penstock_plugins.rehearsal.upstream import Exchange

__all__ = ["Playback"]


class Playback:
    """The side of an exchange that sends. Times are those of the loop."""

    def __init__(self, exchange: Exchange, *, now: float, window: int) -> None:
        self._exchange = exchange
        self._steps = deque(exchange.steps)
        self._at = now
        """How far the sender has come."""
        self._window = window
        self._sent: deque[Step] = deque()
        self._unread = 0
        self._full = False

    @property
    def next_at(self) -> float:
        """When there may be more to take; infinity: never."""
        return self._at

    def take(self, now: float) -> Step | None:
        """The next of what was sent by `now` (heads, data, endings); None: nothing yet."""
        self._send(now)
        if not self._sent:
            return None
        step = self._sent.popleft()
        self._unread -= _size(step)
        if self._full:
            # The sender stood still until this moment.
            self._full = False
            self._at = max(self._at, now)
        return step

    def leave(self, now: float) -> None:
        """The reader goes; what was sent before it went stays counted."""
        self._send(now)
        self._steps.clear()
        self._exchange.close()

    def _send(self, now: float) -> None:
        while self._steps and self._at <= now and not self._full:
            step = self._steps[0]
            match step:
                case Wait(seconds=seconds):
                    self._at += seconds
                case Hang():
                    self._at = math.inf
                case Connect() | Upload():
                    self._exchange.did(step)
                case _ if self._unread and self._unread + _size(step) > self._window:
                    self._full = True
                    return
                case _:
                    self._sent.append(step)
                    self._unread += _size(step)
                    self._exchange.did(step)
            self._steps.popleft()


def _size(step: Step) -> int:
    match step:
        case Data(data=data):
            return len(data)
        case Head(headers=headers):
            return sum(len(name) + len(value) + 4 for name, value in headers)
        case _:
            return 0
