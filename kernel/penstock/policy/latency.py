"""First tokens: how soon a target usually begins to answer, from the last times that it did so in health.

Not here: how soon it must begin (`stream_watch`), and who may start a second attempt when it does not (the call).
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque

__all__ = ["FirstTokens"]

KEPT = 100
"""Times of a target that count: enough for a 95th percentile, few enough to follow a change within minutes."""
ENOUGH = 5
"""Fewer times say nothing."""
QUANTILE = 0.95
MOST_TARGETS = 1_024
"""Names of targets can come from callers: beyond so many, the one that was seen longest ago is forgotten."""


class _Times:
    """The last times of one target, by age and by size."""

    __slots__ = ("_by_age", "_by_size")

    def __init__(self) -> None:
        self._by_age = deque[float]()
        self._by_size = list[float]()

    def add(self, seconds: float) -> None:
        if len(self._by_age) == KEPT:
            del self._by_size[bisect_left(self._by_size, self._by_age.popleft())]
        self._by_age.append(seconds)
        insort(self._by_size, seconds)

    def quantile(self) -> float | None:
        count = len(self._by_size)
        # The nearest rank: a time that was really seen.
        return self._by_size[math.ceil(QUANTILE * count) - 1] if count >= ENOUGH else None


class FirstTokens:
    """First-token times by target, in seconds.

    Law: a percentile is one of the target's own last times, never older than its last hundred.
    """

    def __init__(self) -> None:
        self._times: dict[str, _Times] = {}

    def add(self, target: str, seconds: float) -> None:
        """A healthy answer began so many seconds after its request. What is no time at all is left out."""
        if not (math.isfinite(seconds) and seconds >= 0):
            return
        times = self._times.pop(target, None) or _Times()
        self._times[target] = times
        times.add(seconds)
        if len(self._times) > MOST_TARGETS:
            del self._times[next(iter(self._times))]

    def p95(self, target: str) -> float | None:
        """The time within which 95 of 100 answers began; None until five are known."""
        times = self._times.get(target)
        return None if times is None else times.quantile()
