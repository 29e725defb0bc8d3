"""What a second level may not have of the answers that were put there: what it has in their place is older.

A store that fails, or cannot keep up, keeps the answer of before, and would give that back once the newer one has left
the memory. Not here: who writes (the kernel's second level).
"""

from __future__ import annotations

import math
from collections import OrderedDict

__all__ = ["MOST_UNWRITTEN", "Unwritten"]

MOST_UNWRITTEN = 10_000
"""Keys that are remembered, some megabytes."""


class Unwritten:
    """The newest answer of each key that was put and is not known to be written. Times are Unix times.

    Law: no answer is taken that is older than one of the same key that was put before, unless that one was written.
    Where there are more keys than are remembered, nothing is taken that is older than the newest one forgotten.
    """

    def __init__(self, most: int = MOST_UNWRITTEN) -> None:
        self._most = most
        self._newest: OrderedDict[str, float] = OrderedDict()
        """When the answer was stored, those put first first."""
        self._floor = -math.inf

    def put(self, key: str, stored_at: float) -> None:
        """An answer is to be written."""
        newest = max(stored_at, self._newest.pop(key, -math.inf))
        self._newest[key] = newest
        if len(self._newest) > self._most:
            _, forgotten = self._newest.popitem(last=False)
            self._floor = max(self._floor, forgotten)

    def written(self, key: str, stored_at: float) -> None:
        """The store has that answer."""
        if self._newest.get(key, math.inf) <= stored_at:
            del self._newest[key]

    def is_superseded(self, key: str, stored_at: float) -> bool:
        """Whether there was a newer answer than this one, which the store gave."""
        return stored_at < max(self._floor, self._newest.get(key, -math.inf))
