"""Router: keeps what calls learn about targets, and publishes it as a snapshot that calls read without asking."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Literal, cast

import attrs
from msgspec import Struct

from penstock._clock import Clock
from penstock.actors._mailbox import Address, Envelope, Inbox, MailStatistics, open_mailbox
from penstock.actors._supervisor import Actor
from penstock.policy.routing import CoolDown, Learned, Routing

__all__ = ["RouteSnapshot", "Router", "RouterRef", "open_router"]


class RouteSnapshot(Struct, frozen=True):
    """What is known of the targets. Absent from `cooling`: may be tried. Absent from `learned`: nothing learned yet."""

    cooling: Mapping[str, CoolDown]
    learned: Mapping[str, Learned]


@attrs.define
class _Cell:
    """The published snapshot: replaced whole, read by everyone."""

    snapshot: RouteSnapshot


@attrs.frozen
class _Limited:
    reason: Literal["rate_limited", "quota_exhausted"]
    retry_after: float | None


@attrs.frozen
class _Used:
    text_bytes: int
    bound: int | None
    input_tokens: int


@attrs.frozen
class _Answered:
    """After a cool-down: the next one starts small again."""


_Observation = _Limited | _Used | _Answered


def _with(seen: _Observation) -> Callable[[dict[type, _Observation] | None], dict[type, _Observation]]:
    """Adds to what waits: at most one of each sort, the longest hint and the usage that exceeds its bound most."""

    def fold(before: dict[type, _Observation] | None) -> dict[type, _Observation]:
        kept = before or {}
        old = kept.get(type(seen))
        if old is None or _weight(seen) >= _weight(old):
            kept[type(seen)] = seen
        return kept

    return fold


def _weight(seen: _Observation) -> float:
    match seen:
        case _Limited(retry_after=retry_after):
            return retry_after or 0.0
        case _Used(bound=bound, input_tokens=tokens):
            return 0.0 if bound is None else max(0.0, tokens - bound)
        case _Answered():
            return 0.0


class Router(Actor):
    """Owns the Routing core. It is only told things: nobody asks it anything."""

    name = "router"

    def __init__(self, cell: _Cell, clock: Clock, on_cool_down: Callable[[CoolDown], None]) -> None:
        self._cell = cell
        self._clock = clock
        self._on_cool_down = on_cool_down
        self._core = Routing()
        self._published = self._core.version

    def handle(self, envelope: Envelope) -> None:
        """There is no mail but observations."""
        raise TypeError(f"router takes no {type(envelope.message).__name__}")

    def observe(self, observations: dict[str, object]) -> None:
        """Observations by scope (cool-downs) or target (usage)."""
        now = self._clock.monotonic()
        for scope, seen_of_it in observations.items():
            for seen in cast("dict[type, _Observation]", seen_of_it).values():
                match seen:
                    case _Limited(reason=reason, retry_after=hint):
                        jitter = random.random()  # noqa: S311 - spreads load, guards nothing
                        cooled = self._core.cool(scope, reason, now=now, jitter=jitter, retry_after=hint)
                        if cooled:
                            self._on_cool_down(cooled)
                    case _Answered():
                        self._core.answered(scope, now)
                    case _Used(text_bytes=text_bytes, bound=bound, input_tokens=tokens):
                        target = scope.removeprefix("used:")
                        self._core.used(target, text_bytes=text_bytes, bound=bound, input_tokens=tokens)

    def drained(self) -> None:
        """Publishes if anything changed."""
        if self._core.version != self._published:
            self._published = self._core.version
            self._cell.snapshot = RouteSnapshot(self._core.cooling(), self._core.learned())

    def restart(self) -> None:
        """Forgets: cool-downs are learned again from the next answers."""
        self._core = Routing()
        self._published = self._core.version
        self._cell.snapshot = RouteSnapshot({}, {})

    def stop(self, error: Exception) -> None:
        """Nobody waits for a router."""


class RouterRef:
    """How calls tell the router what they saw, and read what it knows."""

    def __init__(self, address: Address, cell: _Cell) -> None:
        self._address = address
        self._cell = cell

    @property
    def snapshot(self) -> RouteSnapshot:
        """What is known now. Never waits."""
        return self._cell.snapshot

    def limited(
        self, scope: str, reason: Literal["rate_limited", "quota_exhausted"], retry_after: float | None
    ) -> None:
        """A target or key said that it is used up for now. Never raises."""
        self._address.observe(scope, _with(_Limited(reason, retry_after)), wake=True)

    def answered(self, scope: str) -> None:
        """A scope that had been cooling answers again. Never raises."""
        self._address.observe(scope, _with(_Answered()), wake=True)

    def used(self, target: str, *, text_bytes: int, bound: int | None, input_tokens: int) -> None:
        """Real usage of one exchange. Never raises."""
        breaks_bound = bound is not None and input_tokens > bound
        self._address.observe(f"used:{target}", _with(_Used(text_bytes, bound, input_tokens)), wake=breaks_bound)

    async def flush(self) -> None:
        """Waits until everything told before is handled."""
        await self._address.flush()

    def close(self) -> None:
        """No more mail."""
        self._address.close()

    def statistics(self) -> MailStatistics:
        """Its mailbox at this moment."""
        return self._address.statistics()


def open_router(
    clock: Clock, *, slots: int, on_cool_down: Callable[[CoolDown], None]
) -> tuple[Router, Inbox, RouterRef]:
    """A router, the inbox for its supervisor, and the Ref for everyone else."""
    address, inbox = open_mailbox(Router.name, slots=slots)
    cell = _Cell(RouteSnapshot({}, {}))
    return Router(cell, clock, on_cool_down), inbox, RouterRef(address, cell)
