"""Amounts over time, in slices of equal width: what happened lately, in bounded memory.

Not here: windows of money that must be exact to the nano-USD and survive a restart (`window`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

__all__ = ["Slices"]


class Slices:
    """Sums of the last `kept` slices, each `width` seconds wide.

    Two of the same width can be merged, so that amounts may be gathered in one place and judged in another.
    """

    __slots__ = ("_kept", "_sums", "_width")

    def __init__(self, width: float, kept: int) -> None:
        self._width = width
        self._kept = kept
        self._sums: dict[int, int] = {}

    def add(self, amount: int, at: float) -> None:
        """An amount of the moment `at` (monotonic); a negative one takes back what was added there."""
        self._add(math.floor(at / self._width), amount)

    def merge(self, other: Slices) -> None:
        """Adds what the other holds."""
        for place, amount in other._sums.items():
            self._add(place, amount)

    def sum(self, since: float, *, parts: bool) -> int:
        """The sum since that moment; what lies in the same slice is counted with `parts`, else none of it."""
        first = math.floor(since / self._width) + (0 if parts else 1)
        return sum(amount for place, amount in self._sums.items() if place >= first)

    def starts_after(self, moment: float) -> Iterator[float]:
        """When the next slices begin, as many as are kept: between them, no sum since a moment changes."""
        place = math.floor(moment / self._width)
        return (self._width * (place + ahead) for ahead in range(1, self._kept + 1))

    def _add(self, place: int, amount: int) -> None:
        self._sums[place] = self._sums.get(place, 0) + amount
        while len(self._sums) > self._kept:
            del self._sums[min(self._sums)]
