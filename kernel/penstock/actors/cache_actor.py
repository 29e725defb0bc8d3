"""CacheActor: the one owner of the answers in memory and of the flights that wait for them."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TypeAlias

import attrs
import trio
from msgspec import Struct

from penstock._clock import Clock
from penstock.actors._address import Address
from penstock.actors._inbox import Inbox, open_mailbox
from penstock.actors._mail import Envelope, Reply, Request
from penstock.actors._ref import ActorRef
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
from penstock.policy.entries import Entries, EntriesStatistics, Entry
from penstock.policy.freshness import SERVED, Age, Freshness

__all__ = [
    "CacheActor",
    "CacheRef",
    "CacheSettings",
    "CacheStatistics",
    "Found",
    "Hit",
    "Leads",
    "Miss",
    "Seen",
    "open_cache_actor",
]

MOST_PURGES = 64
"""Of which the prefixes are remembered: an answer that was asked for before more than these is not stored."""
MOST_REASONS = 1_024
"""Keys of which is remembered why their last answer was not stored; the oldest is forgotten first."""


class Hit(Struct, frozen=True, gc=False):
    """An answer, fresh or to be served while it is fetched anew. `follower`: another call got it, and shared it."""

    entry: Entry
    follower: bool


class Leads(Struct, frozen=True, gc=False):
    """Nothing cached: this call goes and asks, and others wait for it. `after` says why an earlier leader is gone."""

    after: GoneReason | None = None
    stale: Entry | None = None
    """What may be served where nobody answers."""


class Miss(Struct, frozen=True, gc=False):
    """Nothing cached, and this call goes alone. `after` says why a leader that it followed is gone."""

    after: GoneReason | None = None
    stale: Entry | None = None
    """As for who leads."""


Found: TypeAlias = Hit | Leads | Miss


class CacheStatistics(Struct, frozen=True, kw_only=True):
    """The cache at one moment."""

    entries: EntriesStatistics
    flights: FlightsStatistics


class Seen(Struct, frozen=True):
    """What is known of a key: its entry, and else why the last answer to it was not stored."""

    entry: Entry | None
    refused: str
    """Empty: nothing is known of that."""


class _Lookup(Request[Found], frozen=True, gc=False):
    lookup_id: str
    key: str
    may_lead: bool
    deadline: float
    read: bool
    max_age: float | None


class _Peek(Request["Entry | None"], frozen=True):
    key: str


class _See(Request[Seen], frozen=True):
    key: str


class _Newest(Request["Sequence[tuple[str, Entry]]"], frozen=True):
    prefix: str
    most: int


class _Purge(Request[int], frozen=True):
    prefix: str


class _End(Struct, frozen=True, gc=False):
    """The one message owed for a lookup: what came of it. `entry` is stored, where there is one."""

    lookup_id: str
    key: str
    entry: Entry | None = None
    error: CallError | None = None
    gone: GoneReason = "cancelled"
    refused: str = ""
    """Why there is an answer and no entry."""


@attrs.frozen
class CacheSettings:
    """The bound of what is in memory, and for how long it is of use."""

    memory_bytes: int
    freshness: Freshness = attrs.field(factory=Freshness)


class CacheActor(Actor):
    """Owns Entries and Flights. A restart forgets both; followers of a flight then go alone."""

    name = "cache_actor"
    at_once = True

    def __init__(self, settings: CacheSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._entries = Entries(settings.memory_bytes, kept=settings.freshness.kept)
        self._flights: Flights[Entry] = Flights()
        self._followers: dict[str, Reply[Found]] = {}
        self._stale: dict[str, Entry] = {}
        """By follower: what it may serve where nobody answers."""
        self._refused: OrderedDict[str, str] = OrderedDict()

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
                envelope.reply.answer(self._entries.get(key, self._clock.wall()))
            case _See(key=key):
                assert envelope.reply is not None
                entry = self._entries.get(key, self._clock.wall())
                envelope.reply.answer(Seen(entry, self._refused.get(key, "")))
            case _Newest(prefix=prefix, most=most):
                assert envelope.reply is not None
                envelope.reply.answer(list(islice(self._entries.newest(prefix), most)))
            case _Purge(prefix=prefix):
                assert envelope.reply is not None
                envelope.reply.answer(self._entries.purge(prefix))
            case _:
                raise TypeError(f"cache_actor takes no {type(message).__name__}")

    def _age(self, entry: Entry, wall: float, max_age: float | None) -> Age:
        return self._settings.freshness.age(entry.stored_at, entry.fresh_until, wall, max_age=max_age)

    def _lookup(self, message: _Lookup, reply: Reply[Found]) -> None:
        now, wall = self._clock.monotonic(), self._clock.wall()
        entry = self._entries.get(message.key, wall) if message.read else None
        if entry is not None:
            age = self._age(entry, wall, message.max_age)
            if age in SERVED:
                reply.answer(Hit(entry, follower=False))
                return
            if age is Age.GONE:
                entry = None
        place = self._flights.lookup(
            message.lookup_id, message.key, now=now, deadline=message.deadline, may_lead=message.may_lead
        )
        match place:
            case Lead():
                reply.answer(Leads(stale=entry))
            case Pass():
                reply.answer(Miss(stale=entry))
            case Follow():
                self._followers[message.lookup_id] = reply
                if entry is not None:
                    self._stale[message.lookup_id] = entry

    def _end(self, message: _End) -> None:
        now = self._clock.monotonic()
        self._note(message)
        if message.lookup_id in self._followers:
            self._forget(message.lookup_id)
            self._tell(self._flights.leave(message.lookup_id, now))
            return
        outcome: Outcome[Entry]
        if message.entry is not None:
            outcome = Landed(message.entry)
        elif message.error is not None:
            outcome = Failed(message.error)
        else:
            outcome = Gone(message.gone)
        self._tell(self._flights.finish(message.lookup_id, outcome, now))

    def _note(self, message: _End) -> None:
        """Stores what there is to store, or keeps in mind why there is nothing."""
        if message.entry is not None:
            stored = self._entries.put(message.key, message.entry, now=self._clock.wall())
            self._refused.pop(message.key, None)
            if stored:
                return
        refused = message.refused if message.entry is None else "it is larger than memory_bytes"
        if refused:
            self._refused[message.key] = refused
            if len(self._refused) > MOST_REASONS:
                self._refused.popitem(last=False)

    def _forget(self, lookup_id: str) -> tuple[Reply[Found] | None, Entry | None]:
        return self._followers.pop(lookup_id, None), self._stale.pop(lookup_id, None)

    def _tell(self, directives: tuple[Directive[Entry], ...]) -> None:
        for directive in directives:
            reply, stale = self._forget(directive.call_id)
            if reply is None:
                continue
            match directive.action:
                case Deliver(value=entry):
                    reply.answer(Hit(entry, follower=True))
                case Fail(error=error):
                    reply.fail(error)
                case Promote(reason=reason):
                    reply.answer(Leads(after=reason, stale=stale))
                case Release(reason=reason):
                    reply.answer(Miss(after=reason, stale=stale))

    def has_fresh(self, key: str, wall: float, max_age: float | None) -> bool:
        """Whether an answer is stored that is fresh now. Counts for no use."""
        entry = self._entries.look(key, wall)
        return entry is not None and self._age(entry, wall, max_age) is Age.FRESH

    def contents(self) -> CacheStatistics:
        """What is stored and who waits."""
        return CacheStatistics(entries=self._entries.statistics(), flights=self._flights.statistics())

    def restart(self) -> None:
        """Forgets. Followers go alone: their leader's flight is unknown to the new core."""
        self._entries = Entries(self._settings.memory_bytes, kept=self._settings.freshness.kept)
        self._flights = Flights()
        for lookup_id in tuple(self._followers):
            reply, stale = self._forget(lookup_id)
            assert reply is not None
            reply.answer(Miss(stale=stale))

    def stop(self, error: Exception) -> None:
        """Followers learn that nobody will answer."""
        for reply in self._followers.values():
            reply.fail(error)
        self._followers.clear()
        self._stale.clear()


class CacheRef(ActorRef):
    """How calls look answers up and leave theirs."""

    def __init__(
        self,
        address: Address,
        look: Callable[[], CacheStatistics],
        has_fresh: Callable[[str, float, float | None], bool],
    ) -> None:
        super().__init__(address)
        self._look, self._has_fresh = look, has_fresh
        self.purges = 0
        """How often something was removed so far."""
        self._purged: deque[str] = deque(maxlen=MOST_PURGES)
        """The prefixes of the last of them."""

    async def lookup(
        self,
        lookup_id: str,
        key: str,
        *,
        may_lead: bool,
        deadline: float,
        read: bool = True,
        max_age: float | None = None,
        context: object = None,
    ) -> Found:
        """The answer, a flight to lead, or nothing. Waits while another call fetches the same answer.

        With `read` False nothing that is stored is given, with `max_age` nothing older; who joins a flight is given
        what comes of it, and has to judge that itself. Raises the error of a flight that ended in one that would meet
        this call too. `end` is owed, but after a hit: the actor keeps nothing of that.
        """
        message = _Lookup(lookup_id, key, may_lead, deadline, read, max_age)
        found = await self._address.ask(message, owes=lookup_id, deadline=deadline, context=context)
        if isinstance(found, Hit):
            self._address.waive(lookup_id)
            # Who asks for what is stored over and over lets others have their turn, and can be cancelled.
            await trio.lowlevel.checkpoint()
        return found

    def has_fresh(self, key: str, wall: float, max_age: float | None) -> bool:
        """Whether an answer is stored that is fresh by then. Asks nobody, and counts for no use."""
        return self._has_fresh(key, wall, max_age)

    def peek_at_once(self, key: str) -> Entry | None:
        """As `peek`, where the actor can say it at once; else None."""
        return self._address.ask_at_once(_Peek(key))

    async def peek(
        self, key: str, *, deadline: float, context: object = None, rides_on: str | None = None
    ) -> Entry | None:
        """An answer that is stored already, fresh or not. Joins no flight and owes nothing.

        `rides_on`: the lookup of the same call whose `end` is still owed. In a full kernel there is no slot beside
        those of such lookups, and to wait for one would be to wait for calls that do the same.
        """
        return await self._address.ask(_Peek(key), rides_on=rides_on, deadline=deadline, context=context)

    def end(
        self,
        lookup_id: str,
        key: str,
        *,
        entry: Entry | None = None,
        error: CallError | None = None,
        gone: GoneReason = "cancelled",
        refused: str = "",
    ) -> None:
        """What came of a lookup: an entry to store and share, an error to share, or neither. Never raises."""
        if self._address.owes(lookup_id):
            self._address.tell_owed(lookup_id, _End(lookup_id, key, entry, error, gone, refused))

    async def see(self, key: str) -> Seen:
        """What is known of a key. For onlookers, as all that follows."""
        return await self._address.ask_aside(_See(key))

    async def newest(self, prefix: str, most: int) -> Sequence[tuple[str, Entry]]:
        """Entries whose key begins with `prefix`, those used last first."""
        return await self._address.ask_aside(_Newest(prefix, most))

    async def purge(self, prefix: str = "") -> int:
        """Removes the entries whose key begins with `prefix`; says how many."""
        self.purges += 1
        self._purged.append(prefix)
        return await self._address.ask_aside(_Purge(prefix))

    def was_purged(self, key: str, since: int) -> bool:
        """Whether that key was removed, or would have been, since there had been so many purges."""
        later = self.purges - since
        if not later:
            return False
        return later > len(self._purged) or any(
            key.startswith(prefix) for prefix in list(self._purged)[len(self._purged) - later :]
        )

    def contents(self) -> CacheStatistics:
        """What is stored and who waits."""
        return self._look()


def open_cache_actor(settings: CacheSettings, clock: Clock, *, slots: int) -> tuple[CacheActor, Inbox, CacheRef]:
    """A cache actor, the inbox for its supervisor, and the Ref for everyone else."""
    address, inbox = open_mailbox(CacheActor.name, slots=slots)
    actor = CacheActor(settings, clock)
    return actor, inbox, CacheRef(address, actor.contents, actor.has_fresh)
