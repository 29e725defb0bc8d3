"""Which pieces of a stream belong to one tool call.

Not here: what the pieces say (`_read`).
"""

from __future__ import annotations

from collections.abc import Hashable

from penstock_providers.openai_chat._wire import Call

__all__ = ["CallKeys"]


class CallKeys:
    """Pieces of one `index` belong together, until another id comes with a name of its own.

    Some servers number every parallel call 0; some give no index, and then the place in the list stands for it.
    """

    def __init__(self) -> None:
        self._current: dict[int, tuple[int, int]] = {}
        self._ids: dict[int, str] = {}
        self._seen: set[Hashable] = set()

    @property
    def any(self) -> bool:
        """True once there was a call."""
        return bool(self._seen)

    @property
    def count(self) -> int:
        """How many calls there were."""
        return len(self._seen)

    def note(self, key: Hashable) -> None:
        """There is a call of that key."""
        self._seen.add(key)

    def key_of(self, call: Call, at: int) -> Hashable:
        """The block the piece belongs to."""
        index = at if call.index is None else int(call.index)
        index, generation = self._current.get(index, (index, 0))
        named = (call.function is not None and call.function.name) or (call.custom is not None and call.custom.name)
        if call.id and named and self._ids.get(index, call.id) != call.id:
            generation += 1
        if call.id:
            self._ids[index] = call.id
        self._current[index] = (index, generation)
        return ("call", index, generation)
