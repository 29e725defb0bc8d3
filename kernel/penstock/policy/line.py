"""The line of those who wait for what is broken or used up: who looks again when, so that not all do at once.

Not here: who may pass (`breaker`, `cooling`): whoever looks may find that others were faster, and waits anew. A scope
is a name such as `target:sonnet`.

A thousand calls may wait for one moment, or for one circuit to close. Woken together they would all run before anything
else does, and what is due meanwhile (deadlines above all) would be late by the work of a thousand.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable

import attrs

__all__ = ["ABREAST", "PACE", "Line", "Place"]

ABREAST = 4
"""As many look at once as the last stage of `permits` lets out."""
PACE = 0.012
"""Seconds until the next of them do. A call that begins an attempt costs 1 to 2 ms of a processor: in this time four
do, and half of it is left for everything else."""


@attrs.define(eq=False)
class Place:
    """Where one waits. `at`: when it looks again, if nothing happens before."""

    scopes: frozenset[str]
    until: float
    at: float
    turn: str | None = None
    """The scope that lets more pass, whose turn this one was given."""


class Line:
    """Those who wait, in the order of coming.

    Laws: a moment that was told moves forward only; of those who wait for the same moment, or for the same news, no
    more than `ABREAST` look within one `PACE`, the first of them at once; whoever is given a turn is the first that has
    none; a turn is taken by looking, and one that was not taken goes to the next.
    """

    def __init__(self) -> None:
        self._places: dict[Place, None] = {}
        self._came: Counter[float] = Counter()
        """How many came for a moment, since nobody waited for it."""
        self._there: Counter[float] = Counter()
        """How many still wait for it."""
        self._turns_at = -math.inf
        self._turns = 0
        """Given for that moment."""

    def __len__(self) -> int:
        return len(self._places)

    def join(self, scopes: Iterable[str], until: float) -> Place:
        """Waits for news of `scopes`, and no longer than until then: with many who do, a little longer."""
        place = Place(frozenset(scopes), until, until + self._came[until] // ABREAST * PACE)
        self._came[until] += 1
        self._there[until] += 1
        self._places[place] = None
        return place

    def ease(self, scope: str, many: float, now: float) -> list[Place]:
        """So many more may pass `scope`. Returns those whose moment has changed."""
        able = (place for place in self._places if place.turn is None and scope in place.scopes)
        first = list(able if many == math.inf else itertools.islice(able, int(many)))
        for place in first:
            place.turn = scope
            place.at = min(place.at, self._next_turn(now))
        return first

    def leave(self, place: Place, now: float, *, looks: bool) -> list[Place]:
        """It looks now, or waits no longer for another reason. Returns whose moment has changed by that."""
        del self._places[place]
        self._there[place.until] -= 1
        if not self._there[place.until]:
            del self._there[place.until], self._came[place.until]
        return [] if looks or place.turn is None else self.ease(place.turn, 1, now)

    def _next_turn(self, now: float) -> float:
        if now >= self._turns_at + PACE:
            self._turns_at, self._turns = now, 0
        elif self._turns == ABREAST:
            self._turns_at, self._turns = self._turns_at + PACE, 0
        self._turns += 1
        return self._turns_at
