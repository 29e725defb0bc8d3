"""Frames of a kernel, made of its snapshot, its health and what a watcher has seen. Not here: the socket (`server`)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping

import attrs

from penstock._engine import Engine
from penstock._events import EventStream
from penstock._front import Kernel
from penstock._live.frame import AccountFrame, ActorFrame, CacheFrame, Frame, TargetFrame
from penstock._live.tally import LiveTally, TargetTally
from penstock._snapshot import KernelSnapshot
from penstock._target_state import target_state
from penstock.errors import NoRouteError
from penstock.policy.breaker import ScopeHealth
from penstock.policy.routing import CoolDown

__all__ = ["Watcher"]

MOST_ACCOUNTS = 200
"""Shown, those with limits that are nearest to them: an account may be a user."""


@attrs.define(eq=False)
class Watcher:
    """One who watches a kernel."""

    kernel: Kernel
    engine: Engine
    opened_at: float
    """When the kernel was opened, by its clock."""
    events: EventStream
    tally: LiveTally

    def frame(self) -> Frame:
        """The kernel now."""
        import penstock  # noqa: PLC0415  # the front door, which leads here

        engine = self.engine
        now = engine.clock.monotonic()
        for event in self.events.take():
            self.tally.heard(event, now)
        snapshot, health, tally = self.kernel.snapshot(), self.kernel.health(), self.tally
        names = dict.fromkeys((*health.targets, *tally.targets))
        return Frame(
            kernel=engine.name,
            version=penstock.__version__,
            pid=os.getpid(),
            up_s=now - self.opened_at,
            watched_s=now - tally.since,
            closing=health.closing,
            in_flight=snapshot.in_flight,
            waiting=snapshot.waiting,
            max_in_flight=engine.config.kernel.max_in_flight,
            calls=tally.calls,
            calls_per_s=tally.recent.rate(now, tally.since),
            outcomes=dict(tally.outcomes),
            duration_p50=tally.recent.percentile(0.5),
            duration_p95=tally.recent.percentile(0.95),
            tokens=tally.tokens,
            cost=tally.nano_usd / 10**9,
            targets=tuple(self._target(name, health.targets, snapshot, now) for name in names),
            accounts=tuple(_accounts(snapshot))[:MOST_ACCOUNTS],
            cache=_cache(snapshot),
            actors=tuple(
                ActorFrame(name=name, queued=each.queued, slots_in_use=each.slots_in_use, handled=each.handled)
                for name, each in snapshot.actors.items()
            ),
            problems=health.problems,
            missed=self.events.missed,
        )

    def _target(self, name: str, states: Mapping[str, str], snapshot: KernelSnapshot, now: float) -> TargetFrame:
        engine = self.engine
        seen = self.tally.targets.get(name, TargetTally())
        try:
            target = engine.targets.target(name)
        except NoRouteError:
            # It was asked before a reload took it out of the configuration.
            return TargetFrame(
                name=name, state="gone", attempts=seen.attempts, failures=seen.failures, last_failure=seen.last_failure
            )
        state = states.get(name) or target_state(engine, name)
        why, until = _trouble(target.scopes, snapshot.breakers, snapshot.cooling) if state != "closed" else ("", None)
        learned = engine.router.snapshot.learned.get(name)
        return TargetFrame(
            name=name,
            state=state,
            why=why,
            for_s=None if until is None or math.isinf(until) else max(0.0, until - now),
            attempts=seen.attempts,
            failures=seen.failures,
            per_s=seen.recent.rate(now, self.tally.since),
            last_failure=seen.last_failure,
            first_token_p95=None if learned is None else learned.first_token_p95,
            duration_p50=seen.recent.percentile(0.5),
        )


def _trouble(
    scopes: tuple[str, ...], breakers: Mapping[str, ScopeHealth], cooling: Mapping[str, CoolDown]
) -> tuple[str, float | None]:
    """What stands in the way for longest, and until when."""
    found: list[tuple[float, str]] = []
    for scope in scopes:
        if scope in breakers:
            found.append((breakers[scope].open_until, f"{breakers[scope].cause}, {scope}"))
        if scope in cooling:
            found.append((cooling[scope].until, f"{cooling[scope].reason}, {scope}"))
    until, why = max(found, default=(None, ""), key=lambda each: each[0] or 0.0)
    return why, until


def _accounts(snapshot: KernelSnapshot) -> Iterator[AccountFrame]:
    frames: list[AccountFrame] = []
    for path, account in snapshot.accounts.items():
        for window in account.windows:
            for unit, limit, spent, held in (
                ("USD", _usd(window.limit_nano_usd), window.spent.nano_usd / 1e9, window.held.nano_usd / 1e9),
                ("tokens", window.limit_tokens, window.spent.tokens, window.held.tokens),
            ):
                if limit:
                    per = f"{'rolling ' if window.rolling else ''}{window.per}"
                    frames.append(AccountFrame(account=path, per=per, unit=unit, limit=limit, spent=spent, held=held))
    yield from sorted(frames, key=lambda each: -(each.spent + each.held) / each.limit)


def _usd(nano: int | None) -> float | None:
    return None if nano is None else nano / 1e9


def _cache(snapshot: KernelSnapshot) -> CacheFrame | None:
    if snapshot.cache is None:
        return None
    entries, flights = snapshot.cache.entries, snapshot.cache.flights
    return CacheFrame(
        entries=entries.entries,
        bytes=entries.bytes,
        hits=entries.hits,
        misses=entries.misses,
        followers=flights.followers,
    )
