"""BreakerRegistry: the one owner of all breakers. Calls read its snapshot, and ask only where one is not closed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

import attrs
from msgspec import Struct

from penstock._clock import Clock
from penstock.actors._address import Address
from penstock.actors._inbox import Inbox, open_mailbox
from penstock.actors._mail import Envelope, Request
from penstock.actors._ref import ActorRef
from penstock.actors._supervisor import Actor
from penstock.actors._waiting_room import WaitingRoom
from penstock.policy.breaker import (
    Admitted,
    BreakerChanged,
    Breakers,
    BreakerSettings,
    Denied,
    ScopeHealth,
    ScopeState,
    Tally,
    Verdict,
    eased,
)
from penstock.policy.tally import OK

__all__ = ["BreakerRef", "BreakerRegistry", "open_breaker_registry"]

PERMITS_OF_A_CALL = 2
"""Of a probe and its hedge: a hedge does not wait for room that only its own probe would make."""


class _Admit(Request["Admitted | Denied"], frozen=True):
    permit_id: str
    scopes: tuple[str, ...]
    lease: float


class _Return(Struct, frozen=True):
    permit_id: str
    verdicts: Mapping[str, Verdict]
    retry_after: float | None


class _ByHand(Request[None], frozen=True):
    scope: str
    isolate: bool


class _Look(Request[Mapping[str, ScopeState]], frozen=True):
    scopes: tuple[str, ...]


@attrs.define
class _Cell:
    """The published snapshot: scopes that are not closed. Replaced whole, read by everyone."""

    snapshot: Mapping[str, ScopeHealth]
    closed_at: Mapping[str, float]
    waiting: WaitingRoom

    def publish(self, snapshot: Mapping[str, ScopeHealth], closed_at: Mapping[str, float]) -> None:
        """Shows what is new, and wakes those it lets pass: of a half-open breaker as many as it has permits."""
        before, self.snapshot, self.closed_at = self.snapshot, snapshot, closed_at
        self.waiting.ease(eased(before, snapshot))


@attrs.define
class _Seen:
    """What calls reported of one scope since the last drain."""

    tally: Tally = attrs.Factory(Tally)
    key_rejected: bool = False


class BreakerRegistry(Actor):
    """Owns the Breakers core. A restart forgets: every circuit is closed until it fails again."""

    name = "breaker_registry"

    def __init__(
        self,
        settings_for: Callable[[str], BreakerSettings],
        cell: _Cell,
        clock: Clock,
        on_change: Callable[[BreakerChanged], None],
    ) -> None:
        self._settings_for = settings_for
        self._cell = cell
        self._clock = clock
        self._on_change = on_change
        self._core = Breakers(settings_for)
        self._published = self._core.version

    def handle(self, envelope: Envelope) -> None:
        """One message."""
        now = self._clock.monotonic()
        message = envelope.message
        match message:
            case _Admit(permit_id=permit_id, scopes=scopes, lease=lease):
                assert envelope.reply is not None
                envelope.reply.answer(self._core.admit(permit_id, scopes, now, lease=lease))
            case _Return(permit_id=permit_id, verdicts=verdicts, retry_after=retry_after):
                self._core.settle(permit_id, verdicts, now, jitter=_jitter(), hint=retry_after)
            case _ByHand(scope=scope, isolate=isolate):
                assert envelope.reply is not None
                self._core.isolate(scope, now) if isolate else self._core.close(scope, now)
                envelope.reply.answer(None)
            case _Look(scopes=scopes):
                assert envelope.reply is not None
                envelope.reply.answer(self._core.states(scopes, now))
            case _:
                raise TypeError(f"breaker_registry takes no {type(message).__name__}")

    def observe(self, observations: dict[str, object]) -> None:
        """Tallies by scope."""
        now = self._clock.monotonic()
        for scope, seen in observations.items():
            reported = cast("_Seen", seen)
            self._core.record_tally(scope, reported.tally, now, jitter=_jitter())
            if reported.key_rejected:
                self._core.open_key(scope, now, jitter=_jitter())

    def drained(self) -> None:
        """Takes back leases that ended, publishes what changed."""
        self._core.expire(self._clock.monotonic())
        if self._core.version != self._published:
            self._published = self._core.version
            self._cell.publish(self._core.snapshot(), self._core.closed_at())
        for change in self._core.take_events():
            self._on_change(change)

    def wake_at(self) -> float | None:
        """When the next lease ends."""
        return self._core.next_expiry

    def restart(self) -> None:
        """Begins with every circuit closed. Permits of before are unknown to the new core, and ignored."""
        self._core = Breakers(self._settings_for)
        self._published = self._core.version
        self._cell.publish({}, {})

    def stop(self, error: Exception) -> None:
        """Nobody waits: every request is answered at once."""


class BreakerRef(ActorRef):
    """How calls learn whether a target may be tried, and tell how it went."""

    def __init__(self, address: Address, cell: _Cell, clock: Clock) -> None:
        super().__init__(address)
        self._cell = cell
        self._clock = clock

    @property
    def snapshot(self) -> Mapping[str, ScopeHealth]:
        """Every scope that is not closed. Never waits."""
        return self._cell.snapshot

    async def admit(
        self, permit_id: str, scopes: Sequence[str], *, lease: float, deadline: float, context: object = None
    ) -> Admitted | Denied:
        """Leave to try scopes not known to be healthy: all of them, or none. `give_back` is owed."""
        message = _Admit(permit_id, tuple(scopes), lease)
        return await self._address.ask(message, owes=permit_id, deadline=deadline, context=context)

    def give_back(self, permit_id: str, verdicts: Mapping[str, Verdict], *, retry_after: float | None = None) -> None:
        """Returns a permit with what it showed of each scope. Never raises, never waits; a second one is ignored."""
        if self._address.owes(permit_id):
            self._address.tell_owed(permit_id, _Return(permit_id, verdicts, retry_after))

    def record(
        self,
        scope: str,
        verdict: Verdict,
        *,
        call_id: str,
        retry_after: float | None = None,
        began: float = math.inf,
    ) -> None:
        """How an exchange of `call_id` that needed no permit, and `began` then (monotonic), went. Never raises."""
        cell = self._cell
        if began < cell.closed_at.get(scope, -math.inf) and scope not in cell.snapshot:
            return  # the core's own rule: what is merged with others can no longer be told apart there
        now = self._clock.monotonic()
        if verdict is OK and (waiting := self._address.waiting(scope)) is not None:
            waiting.tally.add(verdict, now)
            return

        def fold(before: _Seen | None) -> _Seen:
            seen = before or _Seen()
            seen.tally.add(verdict, now, call=call_id, retry_after=retry_after)
            return seen

        # A success alone moves nothing while the circuit is closed: it can wait until something fails.
        self._address.observe(scope, fold, wake=verdict is not OK)

    def key_rejected(self, scope: str) -> None:
        """The provider does not accept this key. Never raises."""

        def fold(before: _Seen | None) -> _Seen:
            seen = before or _Seen()
            seen.key_rejected = True
            return seen

        self._address.observe(scope, fold, wake=True)

    async def states(self, scopes: Iterable[str] = ()) -> Mapping[str, ScopeState]:
        """Every breaker there is, and `scopes` beside them, with everything told before in it."""
        return await self._address.ask_aside(_Look(tuple(scopes)))

    async def isolate(self, scope: str) -> None:
        """Opens a circuit by hand, until it is closed by hand."""
        await self._address.ask_aside(_ByHand(scope, isolate=True))

    async def close_circuit(self, scope: str) -> None:
        """Closes a circuit by hand."""
        await self._address.ask_aside(_ByHand(scope, isolate=False))

    def catch_up(self) -> None:
        """The snapshot shows everything told before. Never waits, never raises."""
        self._address.catch_up()


def open_breaker_registry(
    settings_for: Callable[[str], BreakerSettings],
    clock: Clock,
    *,
    slots: int,
    on_change: Callable[[BreakerChanged], None],
    waiting: WaitingRoom,
) -> tuple[BreakerRegistry, Inbox, BreakerRef]:
    """A registry, the inbox for its supervisor, and the Ref for everyone else.

    Who sleeps in `waiting` hears of every breaker that lets more pass: it closed, by hand or by answers, or a permit
    came back.
    """
    address, inbox = open_mailbox(BreakerRegistry.name, slots=PERMITS_OF_A_CALL * slots)
    cell = _Cell({}, {}, waiting)
    return BreakerRegistry(settings_for, cell, clock, on_change), inbox, BreakerRef(address, cell, clock)


def _jitter() -> float:
    return random.random()  # noqa: S311 - spreads load, guards nothing
