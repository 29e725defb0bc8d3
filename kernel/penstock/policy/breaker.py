"""All circuit breakers of a kernel: joint admission, permits, results, and what there is to see of them.

Not here: the rules of one breaker (`circuit`), and what to do where all are open (the call). Scopes are strings:
`provider:openai`, `target:sonnet`, `key:openai/0`; they never hold a credential.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Literal, TypeAlias

import attrs

from penstock.policy.circuit import BreakerSettings, BreakerState, Cause, Circuit, Reason, ScopeHealth
from penstock.policy.tally import Counts, Tally, Verdict

__all__ = [
    "Admission",
    "Admitted",
    "BreakerChanged",
    "BreakerSettings",
    "BreakerState",
    "Breakers",
    "Cause",
    "Counts",
    "Denied",
    "Reason",
    "ScopeHealth",
    "ScopeState",
    "Tally",
    "Verdict",
    "eased",
]


@attrs.frozen
class Admitted:
    """Go. `probe`: at least one scope is half-open and leased a permit; it is owed a `settle`.

    `silent`: at least one of these is known to keep callers waiting (see `ScopeHealth`): hedge the probe.
    `overtaken`: how many probes since it was closed were overtaken by their hedges; the more, the longer they are to
    be waited for (see `patience`).
    """

    probe: bool
    silent: bool = False
    overtaken: int = 0


@attrs.frozen
class Denied:
    """Do not go. Of the scopes that say no, `scope` is the one that lasts longest.

    `retry_at`: where `open`, the first probe; where `probing`, the end of the first lease, though a permit may come
    back any moment before; where `isolated`, infinite.
    """

    scope: str
    reason: Literal["open", "probing", "isolated"]
    retry_at: float


Admission: TypeAlias = Admitted | Denied


@attrs.frozen
class BreakerChanged:
    """A breaker moved. `at` is of the kernel's monotonic clock."""

    scope: str
    before: BreakerState
    after: BreakerState
    reason: Reason
    at: float


@attrs.frozen
class ScopeState:
    """One breaker at one moment, for those who look on: the closed ones too."""

    state: BreakerState
    cause: Cause | None
    """Why it is not closed; None where it is."""
    wait: float
    """Seconds until it may be probed: 0 unless it is open, infinite while isolated."""
    permits_left: int
    """Probes that may start now; 0 unless it is half-open."""
    silent: bool
    counts: Counts
    """Results within its window, those that came while it was not closed among them."""


MAX_SCOPES = 4_096
"""Beyond this many, the closed breaker that has been known longest is forgotten, where none is closed the first that
nobody isolated by hand: model names come from requests."""
MAX_EVENTS = 1_024
"""Events that wait to be taken; the oldest are dropped."""

_DENIALS: Mapping[BreakerState, Literal["open", "probing", "isolated"]] = {
    BreakerState.OPEN: "open",
    BreakerState.HALF_OPEN: "probing",
    BreakerState.ISOLATED: "isolated",
}


class Breakers:
    """The breakers by scope.

    Laws: an admission takes permits of all its scopes or of none; a denial changes nothing; a permit comes back on
    every exit, by `settle` or by its lease, and settling is idempotent; `version` moves exactly when `snapshot` does;
    a result of an attempt that began before the breaker last closed moves nothing; settings are asked for whenever they
    matter, so that other ones hold at once, and nothing that is known is lost with the old.
    """

    def __init__(self, settings_for: Callable[[str], BreakerSettings]) -> None:
        self._settings_for = settings_for
        self._circuits: dict[str, Circuit] = {}
        self._shown: Mapping[str, ScopeHealth] = MappingProxyType({})
        self._closed_at: Mapping[str, float] = MappingProxyType({})
        self._events: deque[BreakerChanged] = deque(maxlen=MAX_EVENTS)
        self.version = 0

    def admit(self, permit_id: str, scopes: Sequence[str], now: float, *, lease: float | None = None) -> Admission:
        """May an attempt pass all of `scopes`?

        `lease`, in seconds, should outlast the attempt; None takes the longest `probe_lease` of the scopes. A permit
        that is out already is confirmed, not taken twice.
        """
        self.expire(now)
        guarded = {scope: self._circuits[scope] for scope in scopes if self._is_guarded(scope)}
        denials = [
            Denied(scope, _DENIALS[circuit.state], until)
            for scope, circuit in guarded.items()
            if (until := circuit.blocked_until(permit_id, now)) is not None
        ]
        if denials:
            return max(denials, key=lambda denied: denied.retry_at)
        if not guarded:
            return Admitted(probe=False)
        lease = max(circuit.settings.probe_lease for circuit in guarded.values()) if lease is None else lease
        for scope, circuit in guarded.items():
            before = circuit.state
            self._moved(scope, before, circuit.take(permit_id, now + lease), now)
        return Admitted(
            probe=True,
            silent=any(circuit.silent for circuit in guarded.values()),
            overtaken=max(circuit.overtaken for circuit in guarded.values()),
        )

    def settle(
        self,
        permit_id: str,
        verdict: Verdict | Mapping[str, Verdict],
        now: float,
        *,
        jitter: float,
        hint: float | None = None,
    ) -> None:
        """The attempt with this permit ended; `hint` is the server's own wait, in seconds.

        A mapping says it scope by scope, with NEUTRAL for those left out: a target that failed says nothing against
        its key. Only scopes that leased a permit are moved; a result for the others is to be recorded.
        """
        for scope in self._shown:
            circuit = self._circuits[scope]
            before = circuit.state
            said = verdict if isinstance(verdict, Verdict) else verdict.get(scope, Verdict.NEUTRAL)
            self._moved(scope, before, circuit.give_back(permit_id, said, now, jitter=jitter, hint=hint), now)

    def record(
        self,
        scope: str,
        verdict: Verdict,
        now: float,
        *,
        jitter: float,
        retry_after: float | None = None,
        call: str | None = None,
        began: float = math.inf,
    ) -> None:
        """One result. It opens a closed breaker; an open or half-open one is not moved by it.

        Attempts of the same `call` count as one caller's; without it each result is of a call of its own. One that
        `began` before the breaker closed is of the time before: it says nothing of what has come back since.
        """
        if began < self._closed_at.get(scope, -math.inf) and not self._is_guarded(scope):
            return
        tally = Tally()
        tally.add(verdict, now, call=call, retry_after=retry_after)
        self.record_tally(scope, tally, now, jitter=jitter)

    def record_tally(self, scope: str, tally: Tally, now: float, *, jitter: float) -> None:
        """Many results at once, judged together by how they end."""
        if not (tally.answered or tally.failed):
            return
        circuit = self._circuit(scope, now)
        before = circuit.state
        self._moved(scope, before, circuit.count(tally, now, jitter=jitter), now)

    def open_key(self, scope: str, now: float, *, jitter: float, hint: float | None = None) -> None:
        """The provider refused this key: a longer pause than for failures, and at once."""
        circuit = self._circuit(scope, now)
        before = circuit.state
        self._moved(scope, before, circuit.refuse_key(now, jitter=jitter, hint=hint), now)

    def isolate(self, scope: str, now: float) -> None:
        """By hand: nobody passes until `close`."""
        circuit = self._circuit(scope, now)
        before = circuit.state
        self._moved(scope, before, circuit.isolate(), now)

    def close(self, scope: str, now: float) -> None:
        """By hand: everybody passes."""
        circuit = self._circuit(scope, now)
        before = circuit.state
        self._moved(scope, before, circuit.close(now), now)

    def expire(self, now: float) -> None:
        """Takes back the permits whose lease has ended."""
        for scope in self._shown:
            circuit = self._circuits[scope]
            circuit.expire(now)
            self._show(scope, circuit)

    @property
    def next_expiry(self) -> float | None:
        """When the next lease ends."""
        return min((end for scope in self._shown for end in self._circuits[scope].lease_ends()), default=None)

    def snapshot(self) -> Mapping[str, ScopeHealth]:
        """The scopes that are not closed. It never changes; a later one may differ."""
        return self._shown

    def closed_at(self) -> Mapping[str, float]:
        """When each breaker closed last, of those that ever were anything else. Never changes, like `snapshot`."""
        return self._closed_at

    def states(self, scopes: Iterable[str], now: float) -> Mapping[str, ScopeState]:
        """Every breaker there is, and `scopes` beside them: those that nothing is known of are closed."""
        self.expire(now)
        return {scope: self._state_of(scope, now) for scope in dict.fromkeys([*scopes, *self._circuits])}

    def counts(self, scope: str, now: float) -> Counts:
        """Results of the scope within its window."""
        circuit = self._circuits.get(scope)
        return circuit.counts(now) if circuit else Counts()

    def take_events(self) -> list[BreakerChanged]:
        """What moved since they were last taken."""
        events = list(self._events)
        self._events.clear()
        return events

    def _state_of(self, scope: str, now: float) -> ScopeState:
        counts, health = self.counts(scope, now), self._shown.get(scope)
        if health is None:
            return ScopeState(BreakerState.CLOSED, None, 0.0, 0, silent=False, counts=counts)
        wait = 0.0 if health.state is BreakerState.HALF_OPEN else max(0.0, health.open_until - now)
        return ScopeState(health.state, health.cause, wait, health.permits_left, health.silent, counts)

    def _is_guarded(self, scope: str) -> bool:
        circuit = self._circuits.get(scope)
        return circuit is not None and circuit.state is not BreakerState.CLOSED

    def _circuit(self, scope: str, now: float) -> Circuit:
        circuit = self._circuits.get(scope)
        if circuit is None:
            if len(self._circuits) >= MAX_SCOPES:
                self._forget_one(now)
            circuit = self._circuits[scope] = Circuit(partial(self._settings_for, scope))
        return circuit

    def _forget_one(self, now: float) -> None:
        states = {scope: circuit.state for scope, circuit in self._circuits.items()}
        closed = (scope for scope, state in states.items() if state is BreakerState.CLOSED)
        # What was isolated by hand stays: a person did it, and only a person undoes it.
        others = (scope for scope, state in states.items() if state is not BreakerState.ISOLATED)
        oldest = next(closed, None) or next(others, None)
        if oldest is None:
            return
        if states[oldest] is not BreakerState.CLOSED:
            self._circuits[oldest].close(now)
            self._moved(oldest, states[oldest], "forgotten", now)
        del self._circuits[oldest]
        if oldest in self._closed_at:
            self._closed_at = MappingProxyType({scope: at for scope, at in self._closed_at.items() if scope != oldest})

    def _moved(self, scope: str, before: BreakerState, reason: Reason | None, now: float) -> None:
        circuit = self._circuits[scope]
        if reason is not None:
            self._events.append(BreakerChanged(scope, before, circuit.state, reason, now))
        self._show(scope, circuit)

    def _show(self, scope: str, circuit: Circuit) -> None:
        health = circuit.health
        if health == self._shown.get(scope):
            return
        shown = {other: known for other, known in self._shown.items() if other != scope}
        if health is not None:
            shown[scope] = health
        else:
            self._closed_at = MappingProxyType({**self._closed_at, scope: circuit.closed_at})
        self._shown = MappingProxyType(shown)
        self.version += 1


def eased(before: Mapping[str, ScopeHealth], after: Mapping[str, ScopeHealth]) -> Mapping[str, float]:
    """The scopes that let more calls pass in the second snapshot than in the first, and how many: all, or permits."""
    more: dict[str, float] = {}
    for scope, was in before.items():
        health = after.get(scope)
        if health is None:
            more[scope] = math.inf
        elif health.permits_left > was.permits_left:
            more[scope] = health.permits_left
    return more
