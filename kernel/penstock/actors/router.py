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


TOGETHER = 16
"""Exchanges whose usage is learned from together."""


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
    """Of one exchange, or of several together."""

    text_bytes: int
    input_tokens: int
    excess: int
    exchanges: int = 1


@attrs.frozen
class _Answered:
    """After a cool-down: the next one starts small again."""


_Observation = _Limited | _Used | _Answered


def _with(seen: _Observation) -> Callable[[dict[type, _Observation] | None], dict[type, _Observation]]:
    """Adds to what waits: one of each sort, usage summed up, of hints the longest."""

    def fold(before: dict[type, _Observation] | None) -> dict[type, _Observation]:
        kept = before or {}
        kept[type(seen)] = _together(kept.get(type(seen)), seen)
        return kept

    return fold


def _together(old: _Observation | None, new: _Observation) -> _Observation:
    match old, new:
        case _Used(), _Used():
            return _Used(
                old.text_bytes + new.text_bytes,
                old.input_tokens + new.input_tokens,
                max(old.excess, new.excess),
                old.exchanges + new.exchanges,
            )
        case _Limited(), _Limited():
            return max(old, new, key=lambda limited: limited.retry_after or 0.0)
        case _:
            return new


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
                    case _Used():
                        target = scope.removeprefix("used:")
                        self._core.used(
                            target, text_bytes=seen.text_bytes, input_tokens=seen.input_tokens, excess=seen.excess
                        )

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
        self._told = 0

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

    def used(self, target: str, *, text_bytes: int, input_tokens: int, excess: int) -> None:
        """Real usage of one exchange; `text_bytes` 0 where it says nothing about text. Never raises."""
        self._told += 1
        seen = _Used(text_bytes, input_tokens if text_bytes else 0, excess)
        # An exceeded bound matters at once. The ratio does not: so many exchanges together cost one waking.
        self._address.observe(f"used:{target}", _with(seen), wake=excess > 0 or self._told % TOGETHER == 0)

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
