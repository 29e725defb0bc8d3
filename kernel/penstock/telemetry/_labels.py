"""Values of metric attributes, kept from growing without bound: names of models and routes can come from callers."""

from __future__ import annotations

__all__ = ["MOST_VALUES", "OTHER", "Bounded"]

OTHER = "_OTHER"
"""The word of the conventions for a value that has no name of its own."""
MOST_VALUES = 200
"""Of one attribute, `_OTHER` among them. More targets than that are in no cascade; each costs a series of every metric
that it is part of."""


class Bounded:
    """The first so many different values under their own names, all later ones as `_OTHER`."""

    def __init__(self, most: int = MOST_VALUES) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        """The value itself, or `_OTHER`."""
        if value in self._known:
            return value
        if len(self._known) >= self._most - 1:
            return OTHER
        self._known.add(value)
        return value
