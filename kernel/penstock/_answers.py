"""One call and the cache: whether it may be cached, its one flight, and what an answer is stored as.

First the memory and the flights are asked (`actors.cache_actor`), then, by who leads and in its own task, the second
level (`_second_level`). Not here: who owns them.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any, TypeAlias

import attrs
import msgspec
import trio
from msgspec import Struct

from penstock._asked import Call
from penstock._engine import Engine
from penstock._foreign import interruptible, let_through
from penstock._kept_store import Away
from penstock._live_target import LiveTarget
from penstock._second_level import SecondLevel
from penstock._stored_answer import Cached, StoredAnswer, stored_answer
from penstock.actors.cache_actor import Hit, Leads
from penstock.errors import CallError, replica
from penstock.policy.cache_key import Question
from penstock.policy.coalesce import GoneReason
from penstock.policy.entries import Entry
from penstock.policy.freshness import SERVED, Age, lasting, without_skew
from penstock.policy.money import cost
from penstock.types import CacheOutcome, ChatRequest, Completion, Message, WireRequest

__all__ = ["CallCache", "GoElsewhere", "temperature_of"]

logger = logging.getLogger("penstock")

WHOLE = frozenset({"stop", "tool_calls"})
"""Only these are stored: a truncated, refused or filtered answer is not what was asked for."""
SHARED = frozenset({"invalid_request", "context_length", "content_filtered"})
"""Errors that would meet every follower of a flight as well."""
NO_OUTAGE = SHARED | {"refused", "unsupported", "parameter_demanded", "unsendable"}
"""Errors after which nothing stale is offered: they are of the request, and nobody is down. A budget that refuses is
none of them: often it is the retries of an outage that it refuses, and what is stored costs nothing."""
MOST_TURNS = 3
"""Flights that a call joins in vain at one target, each ending in an answer too old for it; then it goes alone."""
FIRST_POLL, LONGEST_POLL = 0.02, 0.5
"""Seconds, give or take a half, until a call looks again for the answer that another process is asking for."""


_BODY_READER = msgspec.json.Decoder(dict[str, Any])


@attrs.frozen
class GoElsewhere:
    """The flight that was joined ended because its target failed: others go on with the next one."""


LookedUp: TypeAlias = Cached | CallError | GoElsewhere | None
Keyed: TypeAlias = tuple[str, WireRequest, Question]
"""A key, and what it was made from."""


class _Flight(Struct, eq=False, gc=False):
    """A lookup whose end is owed."""

    stage: int
    target: LiveTarget
    lookup_id: str
    key: str
    purges: int
    """How often the cache had been purged when it began."""
    parts: bytes = b""
    """As `Entry.parts`: made while the question is at hand, which is the request once more."""


class CallCache(Struct, eq=False, gc=False):
    """The cache as one call sees it. Holds at most one flight; `end` is told on every way out."""

    engine: Engine
    call: Call
    may_lead: bool
    context: object
    takes: Callable[[Message], bool] | None = None
    """Whether a stored answer will do: who asks for a value takes none that does not become one. None: any will."""
    outcome: CacheOutcome = "off"
    _flight: _Flight | None = None
    _seen: tuple[int, ...] = ()
    """Stages that were looked up or peeked at."""
    _stale: dict[int, Entry] = {}
    """By stage: what may be served where nobody answers."""
    _encoded: tuple[LiveTarget, ChatRequest, WireRequest] | None = None
    """What the last key was made from."""
    _at_hand: tuple[LiveTarget, ChatRequest, Keyed] | None = None
    """The key that was looked for at once: the lookup that follows asks for the same."""
    _passed: set[str] = set()
    """Keys whose stored answer will not do: what comes next takes its place."""

    def fresh_key(self, target: LiveTarget, request: ChatRequest, wall: float) -> str | None:
        """The key, where a fresh answer for the first stage is in memory."""
        keyed, ref = self._key(target, request, wall), self.engine.cache
        if keyed is None or ref is None:
            return None
        self._at_hand = target, request, keyed
        return keyed[0] if ref.has_fresh(keyed[0], wall, self.call.cache.max_age) else None

    def take_fresh(self, key: str, wall: float) -> Cached | None:
        """The answer under such a key, where the memory can give it at once. Joins and leads no flight."""
        ref = self.engine.cache
        entry = None if ref is None else ref.peek_at_once(key)
        return None if entry is None else self._serve(0, key, entry, since=wall, follower=False)

    async def look_up(  # noqa: C901 - one after the other, each with its own way out
        self, stage: int, target: LiveTarget, request: ChatRequest, wall: float
    ) -> LookedUp:
        """An answer, what became of the flight that was joined, or None: go and ask the target."""
        if self._flight is not None:
            if self._flight.stage == stage:
                return None  # another attempt at the same target: the flight is led already
            self.end(gone="target_failed")
        keyed = self._key(target, request, wall)
        if keyed is None:
            return None
        ref = self.engine.cache
        assert ref is not None
        (key, _, question), policy = keyed, self.call.cache
        self._seen += (stage,)
        self.outcome = "miss"
        for turn in range(MOST_TURNS):
            self._flight = flight = _Flight(stage, target, f"{self.call.id}/{stage}/{turn}", key, ref.purges)
            try:
                found = await ref.lookup(
                    flight.lookup_id,
                    key,
                    may_lead=self.may_lead and policy.store,
                    deadline=self.call.deadline,
                    read=policy.read and key not in self._passed,
                    max_age=policy.max_age,
                    context=self.context,
                )
            except CallError as shared:
                if shared.kind not in SHARED:
                    raise  # of the mailbox: our time is up
                self.end(gone="target_failed")
                return replica(shared)  # each follower raises, and signs, its own
            if not isinstance(found, Hit):
                if found.stale is not None:
                    self._keep_in_mind(stage, found.stale)
                if found.after == "target_failed":
                    return GoElsewhere()
                if policy.store:
                    flight.parts = msgspec.msgpack.encode(question.parts())
                second = self.engine.second_level
                if second is None:
                    return None
                return await self._look_further(second, flight, wall, leads=isinstance(found, Leads))
            self._flight = None
            served = self._serve(stage, key, found.entry, since=wall, follower=found.follower)
            if served is not None:
                return served
            # What another call was given is too old for this one, or will not do: once more, by its own measure.
        return None

    async def _look_further(self, second: SecondLevel, flight: _Flight, since: float, *, leads: bool) -> Cached | None:
        """The second level, and the processes that share it; None: go and ask upstream."""
        served = await self._from_store(second, flight, since) if self.call.cache.read else None
        if served is None and leads and second.shares_flights:
            served = await self._from_others(second, flight, since)
        return None if isinstance(served, Away) else served

    async def _from_others(self, second: SecondLevel, flight: _Flight, since: float) -> Cached | Away | None:
        """The answer that another process is asking for; None: it is up to this one now."""
        before = await second.get(flight.key) if not self.call.cache.read else None
        if isinstance(before, Away):
            return before
        # By clocks alone an older answer could not be told from a new one: those of two machines differ.
        known = None if before is None else before.stored_at
        pause = FIRST_POLL
        while (leads := await second.claim(flight.key, self.call.id)) is False:
            await trio.sleep(pause * (0.5 + random.random()))  # noqa: S311 - spreads load, guards nothing
            pause = min(LONGEST_POLL, pause * 1.5)
            served = await self._from_store(second, flight, since, follower=True, known=known)
            if isinstance(served, Cached):
                return served
        if isinstance(leads, Away):
            return leads
        # Whoever asked before may have answered between the two.
        return await self._from_store(second, flight, since, follower=True, known=known)

    async def _from_store(
        self, second: SecondLevel, flight: _Flight, since: float, *, follower: bool = False, known: float | None = None
    ) -> Cached | Away | None:
        entry = await second.get(flight.key)
        if not isinstance(entry, Entry):
            return entry
        if entry.stored_at == known:
            return None
        entry = without_skew(entry, self.engine.clock.wall())
        newest = self._stale.get(flight.stage)
        if newest is not None and entry.stored_at < newest.stored_at:
            return None  # the memory had a newer answer, if one that is too old now: this one is superseded
        served = self._serve(flight.stage, flight.key, entry, since=since, follower=follower)
        if served is not None:
            self.end(entry=None if self._was_purged(flight) else entry, gone="not_shareable")
        return served

    async def peek(self, stage: int, target: LiveTarget, request: ChatRequest, wall: float) -> Cached | None:
        """An answer of a target that cannot be asked now, once for each stage. Joins and leads no flight."""
        if stage in self._seen:
            return None
        keyed = self._key(target, request, wall)
        if keyed is None or not self.call.cache.read:
            return None
        self._seen += (stage,)
        ref, second, key = self.engine.cache, self.engine.second_level, keyed[0]
        assert ref is not None
        rides_on = None if self._flight is None else self._flight.lookup_id
        entry = await ref.peek(key, deadline=self.call.deadline, context=self.context, rides_on=rides_on)
        if entry is None and second is not None:
            further = await second.get(key)
            entry = without_skew(further, self.engine.clock.wall()) if isinstance(further, Entry) else None
        return None if entry is None else self._serve(stage, key, entry, since=wall, follower=False)

    def _serve(self, stage: int, key: str, entry: Entry, *, since: float, follower: bool) -> Cached | None:
        """The entry as an answer, where this call may have it; what is too old for now is kept in mind."""
        now, policy = self.engine.clock.wall(), self.call.cache
        if not policy.read and entry.stored_at < since:
            return None
        age = self.engine.freshness.age(entry.stored_at, entry.fresh_until, now, max_age=policy.max_age)
        if age not in SERVED:
            if age is Age.IF_ERROR:
                self._keep_in_mind(stage, entry)
            return None
        answer = self._taken(entry)
        if answer is None:
            self._passed.add(key)
            return None
        if age is Age.FRESH:
            self.outcome = "follower" if follower else "hit"
        else:
            self.outcome = "stale"
            self.engine.refresh(self.call, stage, key)
        return Cached(answer, now - entry.stored_at)

    def _keep_in_mind(self, stage: int, entry: Entry) -> None:
        """For an outage. The newer one stays."""
        known = self._stale.get(stage)
        if known is None or known.stored_at <= entry.stored_at:
            self._stale[stage] = entry

    def stale(self) -> Cached | None:
        """What was found past its time, of the first target in the cascade that has any. Asks nobody."""
        now, policy = self.engine.clock.wall(), self.call.cache
        for stage in sorted(self._stale):
            entry = self._stale[stage]
            age = self.engine.freshness.age(entry.stored_at, entry.fresh_until, now, max_age=policy.max_age)
            # One that may be served while it is fetched anew, and was not: a follower of whoever fetched it.
            answer = None if age is Age.GONE else self._taken(entry)
            if answer is not None:
                self.outcome = "stale"
                return Cached(answer, now - entry.stored_at)
        return None

    def _taken(self, entry: Entry) -> StoredAnswer | None:
        """What is stored; None for what is no answer, or will not do."""
        answer = stored_answer(entry)
        return None if answer is None or not (self.takes is None or self.takes(answer.message)) else answer

    def will_do(self, entry: Entry) -> bool:
        """True where what is stored is an answer to what this call asks for, however old it is."""
        return self._taken(entry) is not None

    @property
    def offers_stale(self) -> bool:
        """True where an outage may be answered from the cache."""
        return self.engine.cache is not None and self.engine.freshness.stale_if_error > 0

    def would_look_up(self, target: LiveTarget, request: ChatRequest, wall: float) -> bool:
        """True where a call that comes to the target asks the cache first. Asks nobody."""
        return self._key(target, request, wall) is not None

    @interruptible
    def key_of(self, target: LiveTarget, request: ChatRequest, wall: float) -> Keyed | None:
        """The key of a request, whether or not it would be cached; None where the codec cannot say it."""
        codec = target.provider.codec
        try:
            wire = codec.encode(request, target.wire, stream=False, now=wall)
            question = Question.of(wire, family=codec.family, significant_headers=codec.significant_headers)
            key = question.key(self.call.tenant)
        except BaseException as error:  # noqa: BLE001 - foreign code; the attempt will meet the same, and say what it is
            let_through(error)
            return None
        return key, wire, question

    def _key(self, target: LiveTarget, request: ChatRequest, wall: float) -> Keyed | None:
        if self.engine.cache is None:
            return None
        known, self._at_hand = self._at_hand, None
        if known is not None and known[0] is target and known[1] is request:
            return known[2]
        # Where `extra` may say another temperature, only what is sent tells.
        keyed = self.key_of(target, request, wall) if request.extra and self._may_be_wanted else None
        if not self.wanted(request, target, keyed and keyed[1]):
            return None
        keyed = keyed or self.key_of(target, request, wall)
        if keyed is not None:
            self._encoded = (target, request, keyed[1])
        return keyed

    @property
    def _may_be_wanted(self) -> bool:
        return self.call.cache_when != "never" and (self.call.cache.read or self.call.cache.store)

    def wanted(self, request: ChatRequest, target: LiveTarget, wire: WireRequest | None) -> bool:
        """True where the policy lets this request be cached at this target. `wire`: as in `temperature_of`."""
        if not self._may_be_wanted:
            return False
        return self.call.cache_when == "always" or bool(temperature_of(request, target, wire) == 0)

    def take_encoded(self, target: LiveTarget, request: ChatRequest) -> WireRequest | None:
        """The unstreamed wire request that the key was made from, where exactly this request goes out. Once."""
        encoded, self._encoded = self._encoded, None
        if encoded is None or encoded[0] is not target or encoded[1] is not request:
            return None
        return encoded[2]

    def keep(self, completion: Completion, target: LiveTarget, *, capped: bool) -> None:
        """Ends the flight with a whole answer: stored and shared where it is one that was asked for."""
        flight = self._flight
        if flight is None:
            return
        refused = ""
        gone: GoneReason = "not_shareable"
        if capped:
            refused = "a budget cut the last answer short"
        elif completion.finish_reason not in WHOLE:
            refused, gone = f"the last answer ended with finish_reason {completion.finish_reason!r}", "uncacheable"
        elif not self.call.cache.store:
            refused = "the last call was read-only"
        elif self._was_purged(flight):
            refused = "the cache was purged while the last answer was asked for"
        if refused:
            self.end(gone=gone, refused=refused)
            return
        try:
            entry = self._entry(flight, completion, target)
        except Exception as error:  # noqa: BLE001 - whatever an answer holds that cannot be stored, it is an answer
            logger.warning("an answer of %s cannot be stored: %s", target.name, type(error).__name__)
            self.end(gone="uncacheable", refused=f"the last answer cannot be stored ({type(error).__name__})")
            return
        if self.engine.second_level is not None:
            self.engine.second_level.put(flight.key, entry)
        self.end(entry=entry)

    def _was_purged(self, flight: _Flight) -> bool:
        """What was asked for before a purge is not stored after it."""
        ref = self.engine.cache
        return ref is not None and ref.was_purged(flight.key, flight.purges)

    def _entry(self, flight: _Flight, completion: Completion, target: LiveTarget) -> Entry:
        usage, now = completion.usage, self.engine.clock.wall()
        nano = None if usage is None or usage.estimated or target.price is None else cost(usage, target.price)
        answer = StoredAnswer(
            completion.message, completion.finish_reason, usage, completion.model, target.name, completion.id, nano
        )
        assert self.engine.config.cache is not None
        fresh = lasting(self.engine.config.cache.ttl, random.random())  # noqa: S311 - spreads expiry, guards nothing
        return Entry(msgspec.msgpack.encode(answer), now, now + fresh, flight.parts)

    def failed(self, error: CallError) -> None:
        """Ends the flight where its followers would meet the same error."""
        if error.kind in SHARED:
            self.end(error=replica(error))

    def end(
        self,
        *,
        entry: Entry | None = None,
        error: CallError | None = None,
        gone: GoneReason = "cancelled",
        refused: str = "",
    ) -> None:
        """Tells how the flight ended, once. Never raises, never waits."""
        flight, ref = self._flight, self.engine.cache
        if flight is None or ref is None:
            return
        self._flight = None
        ref.end(flight.lookup_id, flight.key, entry=entry, error=error, gone=gone, refused=refused)
        if self.engine.second_level is not None:
            self.engine.second_level.release(flight.key, self.call.id)


def temperature_of(request: ChatRequest, target: LiveTarget, wire: WireRequest | None) -> Any:
    """The temperature that the target is asked for; None: its own.

    `wire` is the request as it is sent: it decides where the request has an `extra`, which goes before all fields.
    """
    temperature: Any = request.temperature
    if temperature is None:
        temperature = target.wire.params.get("temperature")
    if not request.extra or wire is None:
        return temperature
    try:
        return _BODY_READER.decode(wire.body).get("temperature", temperature)
    except msgspec.DecodeError:
        return temperature  # of a wire that is no JSON table nobody knows better
