"""Flights: one upstream call that several callers await, so that equal requests under way together are paid once.

Not here: what makes two requests equal (the cache key), storing the answer (`entries`), and waiting (the cache actor).
"""

from __future__ import annotations

from typing import Generic, Literal, TypeAlias, TypeVar

import attrs
from msgspec import Struct

from penstock.errors import CallError

__all__ = [
    "Deliver",
    "Directive",
    "Fail",
    "Failed",
    "Flights",
    "FlightsStatistics",
    "Follow",
    "Gone",
    "GoneReason",
    "Landed",
    "Lead",
    "Outcome",
    "Pass",
    "Promote",
    "Release",
    "Role",
]

V = TypeVar("V")

GoneReason: TypeAlias = Literal["cancelled", "deadline", "target_failed", "refused", "not_shareable", "uncacheable"]
"""Why a leader left without anything to share. After `target_failed` the next one goes on with the next target; after
the others with the same. `not_shareable`: it has an answer, but one for itself alone (a budget cut it short).
`uncacheable`: it has one that nobody would store (refused, filtered, cut off by its own length). To wait for another
leader would most likely be in vain, and one after the other in vain is a queue: all of them go at once."""


class Lead(Struct, frozen=True):
    """Go upstream; others may wait for you. Owes a `finish`."""


@attrs.frozen
class Follow:
    """Wait for a directive: someone else is upstream with the same request."""


@attrs.frozen
class Pass:
    """Go upstream alone; nobody waits for you."""


Role: TypeAlias = Lead | Follow | Pass


class Landed(Struct, Generic[V], frozen=True):
    """The leader has an answer that all may have."""

    value: V


@attrs.frozen
class Failed:
    """The leader has an error that all would get: invalid request, context length, content filter."""

    error: CallError


@attrs.frozen
class Gone:
    """The leader left, and what ended it says nothing about the others."""

    reason: GoneReason


Outcome: TypeAlias = Landed[V] | Failed | Gone


class Deliver(Struct, Generic[V], frozen=True):
    """Here is the leader's answer."""

    value: V


@attrs.frozen
class Fail:
    """Here is the leader's error."""

    error: CallError


@attrs.frozen
class Promote:
    """You lead now: reserve for yourself and go on where `reason` says. The others wait for you."""

    reason: GoneReason


@attrs.frozen
class Release:
    """The leader is gone and nobody can lead, or has an answer of no use to others: go on alone where `reason` says."""

    reason: GoneReason


@attrs.frozen
class Directive(Generic[V]):
    """What a waiting call is told; each is told once, or promoted and then on its own."""

    call_id: str
    action: Deliver[V] | Fail | Promote | Release


@attrs.frozen
class FlightsStatistics:
    """Now, and since the start."""

    flights: int
    followers: int
    led: int
    followed: int
    promoted: int
    delivered: int
    failed: int
    released: int


@attrs.frozen
class _Follower:
    deadline: float
    may_lead: bool


class _Flight(Struct, eq=False):
    key: str
    leader: str
    followers: dict[str, _Follower] = {}


class Flights(Generic[V]):
    """The flights by key.

    Laws: a key has at most one leader; a call is in at most one flight; whoever follows is told exactly once how it
    goes on, unless it leaves first; a follower that leaves disturbs nobody; calls that are in no flight are ignored.
    """

    def __init__(self) -> None:
        self._by_key: dict[str, _Flight] = {}
        self._by_call: dict[str, _Flight] = {}
        self._led = 0
        self._followed = 0
        self._promoted = 0
        self._delivered = 0
        self._failed = 0
        self._released = 0

    def lookup(self, call_id: str, key: str, *, now: float, deadline: float, may_lead: bool) -> Role:
        """What a call does that missed the cache. Asking again for the same key gives the same role.

        A call that is in another flight, or whose time is up, passes. `may_lead` is False for calls whose answer is
        of no use to others before it is complete (streams).
        """
        held = self._by_call.get(call_id)
        if held is not None:
            if held.key != key:
                return Pass()
            return Lead() if held.leader == call_id else Follow()
        flight = self._by_key.get(key)
        if deadline <= now or (flight is None and not may_lead):
            return Pass()
        if flight is None:
            self._by_key[key] = self._by_call[call_id] = _Flight(key, call_id)
            self._led += 1
            return Lead()
        flight.followers[call_id] = _Follower(deadline, may_lead)
        self._by_call[call_id] = flight
        self._followed += 1
        return Follow()

    def finish(self, call_id: str, outcome: Outcome[V], now: float) -> tuple[Directive[V], ...]:
        """The call's part in its flight is over. Where it led, the directives say how each follower goes on."""
        flight = self._by_call.pop(call_id, None)
        if flight is None:
            return ()
        if flight.leader != call_id:
            del flight.followers[call_id]
            return ()
        if not flight.followers:
            del self._by_key[flight.key]
            return ()
        match outcome:
            case Landed(value):
                self._delivered += len(flight.followers)
                return self._end(flight, Deliver(value))
            case Failed(error):
                self._failed += len(flight.followers)
                return self._end(flight, Fail(error))
            case Gone(reason):
                return self._hand_on(flight, reason, now)

    def leave(self, call_id: str, now: float) -> tuple[Directive[V], ...]:
        """The call ends, whatever it was: a leader that says nothing is gone."""
        return self.finish(call_id, Gone("cancelled"), now)

    def statistics(self) -> FlightsStatistics:
        """Counts for the cache's state and metrics."""
        return FlightsStatistics(
            flights=len(self._by_key),
            followers=len(self._by_call) - len(self._by_key),
            led=self._led,
            followed=self._followed,
            promoted=self._promoted,
            delivered=self._delivered,
            failed=self._failed,
            released=self._released,
        )

    def _hand_on(self, flight: _Flight, reason: GoneReason, now: float) -> tuple[Directive[V], ...]:
        able = {id: one.deadline for id, one in flight.followers.items() if one.may_lead and one.deadline > now}
        if not able or reason == "uncacheable":
            # Nobody is left to wait for, or nothing. Those whose time is up end by themselves, but are told as well.
            self._released += len(flight.followers)
            return self._end(flight, Release(reason))
        # The one with most time left is the likeliest to bring an answer; among equals, who waited longest.
        heir = max(able, key=able.__getitem__)
        del flight.followers[heir]
        flight.leader = heir
        self._promoted += 1
        return (Directive(heir, Promote(reason)),)

    def _end(self, flight: _Flight, action: Deliver[V] | Fail | Release) -> tuple[Directive[V], ...]:
        del self._by_key[flight.key]
        for call_id in flight.followers:
            del self._by_call[call_id]
        return tuple(Directive(call_id, action) for call_id in flight.followers)
