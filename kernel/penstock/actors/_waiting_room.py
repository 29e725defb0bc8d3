"""The waiting room: where calls sleep until a target may be tried again. Actors that let more pass say so here.

No actor of its own: it owns a line (`policy.line`) that changes between two steps of the loop, as a semaphore does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import trio

from penstock._clock import Clock
from penstock.policy.line import Line, Place

__all__ = ["WaitingRoom"]


class WaitingRoom:
    """No more wait in it than calls are in flight: each waits for one thing at a time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._line = Line()
        self._sleeping: dict[Place, trio.CancelScope] = {}

    def __len__(self) -> int:
        return len(self._sleeping)

    async def sleep(self, scopes: Iterable[str], until: float) -> str | None:
        """Sleeps until `until` (monotonic), or until one of `scopes` lets more pass; those who are before go first.

        Returns the scope that did. Ask for leave then, others may have been faster; whoever goes elsewhere passes it on
        with `ease`.
        """
        place = self._line.join(scopes, until)
        looks = False
        try:
            with trio.CancelScope(deadline=place.at) as self._sleeping[place]:
                await trio.sleep_forever()
            looks = True
        finally:
            del self._sleeping[place]
            self._wake(self._line.leave(place, self._clock.monotonic(), looks=looks))
        return place.turn

    def ease(self, eased: Mapping[str, float]) -> None:
        """So many more may pass each scope."""
        if self._sleeping:
            now = self._clock.monotonic()
            for scope, many in eased.items():
                self._wake(self._line.ease(scope, many, now))

    def _wake(self, places: Sequence[Place]) -> None:
        for place in places:
            self._sleeping[place].deadline = place.at
