"""CacheActor: the one owner of the answers in memory and of the flights that wait for them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeAlias

import attrs
from msgspec import Struct

from penstock._clock import Clock
from penstock.actors._address import Address
from penstock.actors._inbox import Inbox, open_mailbox
from penstock.actors._mail import Envelope, Reply, Request
from penstock.actors._mailbox import MailStatistics
from penstock.actors._supervisor import Actor
from penstock.errors import CallError
from penstock.policy.coalesce import (
    Deliver,
    Directive,
    Fail,
    Failed,
    Flights,
    FlightsStatistics,
    Follow,
    Gone,
    GoneReason,
    Landed,
    Lead,
    Outcome,
    Pass,
    Promote,
    Release,
)
from penstock.policy.entries import Entries, EntriesStatistics

__all__ = ["CacheActor", "CacheRef", "CacheStatistics", "Found", "Hit", "Leads", "Miss", "open_cache_actor"]


class Hit(Struct, frozen=True):
    """An answer. `follower`: another call got it just now, and shared it."""

    value: bytes
    follower: bool


class Leads(Struct, frozen=True):
    """Nothing cached: this call goes and asks, and others wait for it. `after` says why an earlier leader is gone."""

    after: GoneReason | None = None


class Miss(Struct, frozen=True):
    """Nothing cached, and this call goes alone."""


Found: TypeAlias = Hit | Leads | Miss


class CacheStatistics(Struct, frozen=True, kw_only=True):
    """The cache at one moment."""

    entries: EntriesStatistics
    flights: FlightsStatistics


class _Lookup(Request[Found], frozen=True):
    lookup_id: str
    key: str
    may_lead: bool
    deadline: float


class _Peek(Request["bytes | None"], frozen=True):
    key: str


class _End(Struct, frozen=True):
    """The one message owed for a lookup: what came of it. `value` is stored, where there is one."""

    lookup_id: str
    key: str
    value: bytes | None = None
    error: CallError | None = None
    gone: GoneReason = "cancelled"


@attrs.frozen
class CacheSettings:
    """`ttl` in seconds."""

    memory_bytes: int
    ttl: float


class CacheActor(Actor):
    """Owns Entries and Flights. A restart forgets both; followers of a flight then go alone."""

    name = "cache_actor"

    def __init__(self, settings: CacheSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._entries = Entries(settings.memory_bytes)
        self._flights: Flights[bytes] = Flights()
        self._followers: dict[str, Reply[Found]] = {}

    def handle(self, envelope: Envelope) -> None:
        """One message."""
        message = envelope.message
        match message:
            case _Lookup():
                assert envelope.reply is not None
                self._lookup(message, envelope.reply)
            case _End():
                self._end(message)
            case _Peek(key=key):
                assert envelope.reply is not None
                entry = self._entries.get(key, self._clock.wall())
                envelope.reply.answer(None if entry is None else entry.value)
            case _:
                raise TypeError(f"cache_actor takes no {type(message).__name__}")

    def _lookup(self, message: _Lookup, reply: Reply[Found]) -> None:
        now = self._clock.monotonic()
        entry = self._entries.get(message.key, self._clock.wall())
        if entry is not None:
            reply.answer(Hit(entry.value, follower=False))
            return
        place = self._flights.lookup(
            message.lookup_id, message.key, now=now, deadline=message.deadline, may_lead=message.may_lead
        )
        match place:
            case Lead():
                reply.answer(Leads())
            case Pass():
                reply.answer(Miss())
            case Follow():
                self._followers[message.lookup_id] = reply

    def _end(self, message: _End) -> None:
        now = self._clock.monotonic()
        if message.value is not None:
            jitter = random.random()  # noqa: S311 - spreads expiry, guards nothing
            self._entries.put(message.key, message.value, now=self._clock.wall(), ttl=self._settings.ttl, jitter=jitter)
        if message.lookup_id in self._followers:
            del self._followers[message.lookup_id]
            self._tell(self._flights.leave(message.lookup_id, now))
            return
        outcome: Outcome[bytes]
        if message.value is not None:
            outcome = Landed(message.value)
        elif message.error is not None:
            outcome = Failed(message.error)
        else:
            outcome = Gone(message.gone)
        self._tell(self._flights.finish(message.lookup_id, outcome, now))

    def _tell(self, directives: tuple[Directive[bytes], ...]) -> None:
        for directive in directives:
            reply = self._followers.pop(directive.call_id, None)
            if reply is None:
                continue
            match directive.action:
                case Deliver(value=value):
                    reply.answer(Hit(value, follower=True))
                case Fail(error=error):
                    reply.fail(error)
                case Promote(reason=reason):
                    reply.answer(Leads(after=reason))
                case Release():
                    reply.answer(Miss())

    def contents(self) -> CacheStatistics:
        """What is stored and who waits."""
        return CacheStatistics(entries=self._entries.statistics(), flights=self._flights.statistics())

    def restart(self) -> None:
        """Forgets. Followers go alone: their leader's flight is unknown to the new core."""
        self._entries = Entries(self._settings.memory_bytes)
        self._flights = Flights()
        for reply in self._followers.values():
            reply.answer(Miss())
        self._followers.clear()

    def stop(self, error: Exception) -> None:
        """Followers learn that nobody will answer."""
        for reply in self._followers.values():
            reply.fail(error)
        self._followers.clear()


class CacheRef:
    """How calls look answers up and leave theirs."""

    def __init__(self, address: Address, look: Callable[[], CacheStatistics]) -> None:
        self._address = address
        self._look = look

    async def lookup(
        self, lookup_id: str, key: str, *, may_lead: bool, deadline: float, context: object = None
    ) -> Found:
        """The answer, a flight to lead, or nothing. Waits while another call fetches the same answer.

        Raises the error of a flight that ended in one that would meet this call too. `end` is owed.
        """
        message = _Lookup(lookup_id, key, may_lead, deadline)
        return await self._address.ask(message, owes=lookup_id, deadline=deadline, context=context)

    async def peek(self, key: str, *, deadline: float, context: object = None) -> bytes | None:
        """An answer that is stored already. Joins no flight and owes nothing."""
        return await self._address.ask(_Peek(key), deadline=deadline, context=context)

    def end(
        self,
        lookup_id: str,
        key: str,
        *,
        value: bytes | None = None,
        error: CallError | None = None,
        gone: GoneReason = "cancelled",
    ) -> None:
        """What came of a lookup: a value to store and share, an error to share, or neither. Never raises."""
        if self._address.owes(lookup_id):
            self._address.tell_owed(lookup_id, _End(lookup_id, key, value, error, gone))

    def contents(self) -> CacheStatistics:
        """What is stored and who waits."""
        return self._look()

    async def flush(self) -> None:
        """Waits until everything told before is handled."""
        await self._address.flush()

    def close(self) -> None:
        """No more mail."""
        self._address.close()

    def statistics(self) -> MailStatistics:
        """Its mailbox at this moment."""
        return self._address.statistics()


def open_cache_actor(settings: CacheSettings, clock: Clock, *, slots: int) -> tuple[CacheActor, Inbox, CacheRef]:
    """A cache actor, the inbox for its supervisor, and the Ref for everyone else."""
    address, inbox = open_mailbox(CacheActor.name, slots=slots)
    actor = CacheActor(settings, clock)
    return actor, inbox, CacheRef(address, actor.contents)
