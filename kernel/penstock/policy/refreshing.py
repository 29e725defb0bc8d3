"""Which stale answers are fetched anew right now: one call a key, few at once, none at the heels of one that failed.

Not here: making the call (`_refresh`).
"""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["Refreshing"]

MOST_PAUSES = 1_024
"""Keys that are remembered as having failed; the oldest is forgotten first: it is tried once more, and no more."""


class Refreshing:
    """Laws: a key is refreshed by one call at a time; never more than `most` at once; a key whose refresh failed is
    left alone for `pause` seconds; each `may_begin` that says True is followed by one `ended`.
    """

    def __init__(self, *, most: int, pause: float) -> None:
        self._most = most
        self._pause = pause
        self._running: set[str] = set()
        self._paused: OrderedDict[str, float] = OrderedDict()

    @property
    def running(self) -> int:
        """Keys under way."""
        return len(self._running)

    def may_begin(self, key: str, now: float) -> bool:
        """True where the key is to be refreshed, and then it is under way."""
        if key in self._running or len(self._running) >= self._most or now < self._paused.get(key, now):
            return False
        self._paused.pop(key, None)
        self._running.add(key)
        return True

    def ended(self, key: str, now: float, *, failed: bool) -> None:
        """The refresh is over."""
        self._running.discard(key)
        if failed:
            self._paused[key] = now + self._pause
            if len(self._paused) > MOST_PAUSES:
                self._paused.popitem(last=False)
