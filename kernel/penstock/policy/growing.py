"""Text that comes in many small pieces, kept in little more room than its characters.

Not here: what the pieces are parts of (`assembly`, `commit`).
"""

from __future__ import annotations

from msgspec import Struct

__all__ = ["GrowingText"]

FRAGMENTS = 256
"""Fragments that are kept apart before they are joined."""


class GrowingText(Struct, eq=False):
    """Grows in O(1).

    A list of all fragments would hold an object of some sixty bytes for each, ten times the text of an answer that
    comes in small pieces; so would a StringIO, until 3.12.
    """

    _joined: list[str] = []
    _fragments: list[str] = []

    def write(self, text: str) -> None:
        """More of it."""
        self._fragments.append(text)
        if len(self._fragments) >= FRAGMENTS:
            self._joined.append("".join(self._fragments))
            self._fragments.clear()

    def getvalue(self) -> str:
        """All of it."""
        return "".join([*self._joined, *self._fragments])
