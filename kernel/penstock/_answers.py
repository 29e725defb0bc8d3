"""One call and the cache: whether it may be cached, its one flight, and what an answer is stored as.

Not here: who owns entries and flights (`actors.cache_actor`).
"""

from __future__ import annotations

import logging
from typing import Any, TypeAlias

import attrs
import msgspec
from msgspec import Struct

from penstock._config import CacheWhen
from penstock._targets import LiveTarget
from penstock.actors.cache_actor import CacheRef, Hit, Leads
from penstock.errors import CallError, replica
from penstock.policy.cache_key import cache_key
from penstock.policy.coalesce import GoneReason
from penstock.types import (
    CacheOutcome,
    ChatRequest,
    Completion,
    Message,
    Usage,
    WireRequest,
)

__all__ = ["CallCache", "GoElsewhere", "StoredAnswer"]

logger = logging.getLogger("penstock")

WHOLE = frozenset({"stop", "tool_calls"})
"""Only these are stored: a truncated, refused or filtered answer is not what was asked for."""
SHARED = frozenset({"invalid_request", "context_length", "content_filtered"})
"""Errors that would meet every follower of a flight as well."""


class StoredAnswer(Struct, frozen=True, array_like=True):
    """What is kept of an answer. The body is not: a stream has none."""

    message: Message
    finish_reason: str
    usage: Usage | None
    model: str
    target: str
    id: str


@attrs.frozen
class GoElsewhere:
    """The flight that was joined ended because its target failed: others go on with the next one."""


LookedUp: TypeAlias = StoredAnswer | CallError | GoElsewhere | None


class CallCache(Struct, eq=False):
    """The cache as one call sees it. Holds at most one flight; `end` is told on every way out."""

    ref: CacheRef | None
    call_id: str
    tenant: str
    when: CacheWhen
    deadline: float
    may_lead: bool
    context: object
    outcome: CacheOutcome = "off"
    _flight: tuple[int, str, str] | None = None
    """Stage, lookup id and key of the lookup whose end is owed."""
    _peeked: set[int] = set()
    _encoded: tuple[LiveTarget, ChatRequest, WireRequest] | None = None
    """What the last key was made from."""

    async def look_up(self, stage: int, target: LiveTarget, request: ChatRequest, wall: float) -> LookedUp:
        """An answer, what became of the flight that was joined, or None: go and ask the target."""
        if self._flight is not None and self._flight[0] == stage:
            return None  # another attempt at the same target: the flight is led already
        self.end(gone="target_failed")
        key = self._key(target, request, wall)
        if self.ref is None or key is None:
            return None
        lookup_id = f"{self.call_id}/{stage}"
        self._flight = (stage, lookup_id, key)
        self.outcome = "miss"
        try:
            found = await self.ref.lookup(
                lookup_id, key, may_lead=self.may_lead, deadline=self.deadline, context=self.context
            )
        except CallError as shared:
            if shared.kind not in SHARED:
                raise  # of the mailbox: our time is up
            self.end(gone="target_failed")
            return replica(shared)  # each follower raises, and signs, its own
        if not isinstance(found, Hit):
            passed_on = isinstance(found, Leads) and found.after == "target_failed"
            return GoElsewhere() if passed_on else None
        self.outcome = "follower" if found.follower else "hit"
        self.end(gone="not_shareable")
        return msgspec.msgpack.decode(found.value, type=StoredAnswer)

    async def peek(self, stage: int, target: LiveTarget, request: ChatRequest, wall: float) -> StoredAnswer | None:
        """An answer of a target that cannot be asked now, once for each stage. Joins and leads no flight."""
        if stage in self._peeked:
            return None
        self._peeked.add(stage)
        key = self._key(target, request, wall)
        if self.ref is None or key is None:
            return None
        value = await self.ref.peek(key, deadline=self.deadline, context=self.context)
        if value is None:
            return None
        self.outcome = "hit"
        return msgspec.msgpack.decode(value, type=StoredAnswer)

    def would_look_up(self, target: LiveTarget, request: ChatRequest, wall: float) -> bool:
        """True where a call that comes to the target asks the cache first. Asks nobody."""
        return self._key(target, request, wall) is not None

    def _key(self, target: LiveTarget, request: ChatRequest, wall: float) -> str | None:
        """None: not to be cached, or the codec cannot say it; the attempt will meet the same, and say what it is."""
        if self.ref is None or not self._wanted(request, target):
            return None
        codec = target.provider.codec
        try:
            wire = codec.encode(request, target.wire, stream=False, now=wall)
            key = cache_key(
                wire, family=codec.family, significant_headers=codec.significant_headers, tenant=self.tenant
            )
        except (Exception, SystemExit):  # noqa: BLE001 - foreign code; see above
            return None
        self._encoded = (target, request, wire)
        return key

    def take_encoded(self, target: LiveTarget, request: ChatRequest) -> WireRequest | None:
        """The unstreamed wire request that the key was made from, where exactly this request goes out. Once."""
        encoded, self._encoded = self._encoded, None
        if encoded is None or encoded[0] is not target or encoded[1] is not request:
            return None
        return encoded[2]

    def keep(self, completion: Completion, target: str, *, capped: bool) -> None:
        """Ends the flight with a whole answer: stored and shared where it is one that was asked for."""
        if self._flight is None:
            return
        if capped or completion.finish_reason not in WHOLE:
            self.end(gone="not_shareable")
            return
        try:
            value = msgspec.msgpack.encode(_stored(completion, target))
        except Exception as error:  # noqa: BLE001 - whatever an answer holds that cannot be stored, it is an answer
            logger.warning("an answer of %s cannot be stored: %s", target, type(error).__name__)
            self.end(gone="not_shareable")
        else:
            self.end(value=value)

    def failed(self, error: CallError) -> None:
        """Ends the flight where its followers would meet the same error."""
        if error.kind in SHARED:
            self.end(error=replica(error))

    def end(
        self, *, value: bytes | None = None, error: CallError | None = None, gone: GoneReason = "cancelled"
    ) -> None:
        """Tells how the flight ended, once. Never raises, never waits."""
        if self._flight is None or self.ref is None:
            return
        _, lookup_id, key = self._flight
        self._flight = None
        self.ref.end(lookup_id, key, value=value, error=error, gone=gone)

    def _wanted(self, request: ChatRequest, target: LiveTarget) -> bool:
        if self.when != "deterministic":
            return self.when == "always"
        temperature: Any = request.temperature
        if temperature is None:
            temperature = target.wire.params.get("temperature")
        return bool(temperature == 0)


def _stored(completion: Completion, target: str) -> StoredAnswer:
    return StoredAnswer(
        completion.message, completion.finish_reason, completion.usage, completion.model, target, completion.id
    )
