"""One circuit breaker: closed, open, half-open, isolated, and the rules that move it.

Not here: the table of all breakers and joint admission (`breaker`), and what a result says about health (`tally`).
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias

import attrs
from attrs import validators

from penstock.policy.hints import LONGEST_HINT
from penstock.policy.permits import Permits
from penstock.policy.tally import MAX_FAILURES, MAX_SECONDS, Counts, Tally, Verdict

__all__ = ["BreakerSettings", "BreakerState", "Cause", "Circuit", "Reason", "ScopeHealth"]

JITTER = 0.2
"""The most that jitter takes of the time for which a breaker opens: those of several processes are not to end
together."""
MADE_UP = 5
"""So many times in a row what jitter took is made up for: by default 5, 10, 15, 15 and 15 s, a minute in all. What each
took would add up to one probe more of a target that is down for so long. Later ones are free again: those of several
processes would come nearer and nearer to one another, for what is owed never shrinks where the time is at its cap."""


class BreakerState(enum.Enum):
    """Where a breaker stands."""

    CLOSED = "closed"
    """Everyone may pass."""
    OPEN = "open"
    """Nobody may, until its time is over."""
    HALF_OPEN = "half_open"
    """A few probes may."""
    ISOLATED = "isolated"
    """Nobody may, until someone closes it by hand."""


Cause: TypeAlias = Literal["failures_in_a_row", "failure_ratio", "slow_ratio", "key_refused", "by_hand"]
"""Why a breaker is not closed."""
Reason: TypeAlias = Cause | Literal["time_over", "probe_failed", "probes_answered", "forgotten"]
"""Why a breaker moved."""


@attrs.frozen
class BreakerSettings:
    """Times in seconds. Shape and numbers as Polly, Envoy and resilience4j have them, sized for calls to LLMs."""

    failures_in_a_row: int = attrs.field(default=5, validator=[validators.ge(1), validators.le(MAX_FAILURES)])
    min_calls_in_a_row: int = attrs.field(default=2, validator=validators.ge(1))
    """Failures of fewer calls open nothing: one poisoned request must not close the target to all others."""
    max_gap: float = attrs.field(default=300.0, validator=validators.gt(0))
    """Failures further apart are not in a row."""
    window: float = attrs.field(default=30.0, validator=[validators.gt(0), validators.lt(MAX_SECONDS)])
    window_calls: int = attrs.field(default=8, validator=validators.ge(1))
    """Fewer results than these say nothing about a ratio."""
    failure_ratio: float = attrs.field(default=0.5, validator=[validators.gt(0), validators.le(1)])
    slow_ratio: float = attrs.field(default=0.5, validator=[validators.gt(0), validators.le(1)])
    open_for: float = attrs.field(default=5.0, validator=validators.gt(0))
    """Doubles each time it opens again without having closed by answers. Jitter takes up to a fifth of it, which is
    added to the next time."""
    open_cap: float = attrs.field(default=15.0, validator=validators.gt(0))
    key_open_for: float = attrs.field(default=60.0, validator=validators.gt(0))
    """Where the provider refused the key: someone must act, and asking often may lock it."""
    key_open_cap: float = attrs.field(default=900.0, validator=validators.gt(0))
    probe_lease: float = attrs.field(default=660.0, validator=validators.gt(0))
    """A permit comes back by itself after this, if nothing else is said: longer than an attempt's default 600."""

    @property
    def calls_in_a_row(self) -> int:
        """Of how many calls the failures in a row must be: whoever sets one failure means one, not one of two calls."""
        return min(self.min_calls_in_a_row, self.failures_in_a_row)

    @property
    def share_of_a_call(self) -> float:
        """Failures after which one call goes to other targets first: what it adds alone opens nothing.

        So that `failures_in_a_row` of them are enough, whatever attempts a stage allows: the last of the calls that it
        takes needs one. Infinite where one call's failures open the breaker, which sends it away by itself.
        """
        others = self.calls_in_a_row - 1
        return max(1, (self.failures_in_a_row - 1) // others) if others else math.inf


@attrs.frozen
class ScopeHealth:
    """A breaker that is not closed. `open_until` is of the kernel's monotonic clock, infinite while isolated."""

    state: BreakerState
    open_until: float
    permits_left: int
    cause: Cause
    silent: bool = False
    """It is known to keep callers waiting, so that a probe of it should be hedged. True where slowness opened it, where
    at least half of the failures that did were timeouts, or where a probe of it timed out since; until it closes."""


class Circuit:
    """The breaker of one scope.

    Laws: only probes move it while it is half-open, only time while it is open; its time is extended, never shortened;
    every permit comes back, by `give_back` or by its lease; once closed it hears nothing of what began before; the
    first `MADE_UP` times for which it opens in a row end, added up, no earlier than without jitter, but for what jitter
    takes of the last of them.
    """

    def __init__(self, settings: Callable[[], BreakerSettings]) -> None:
        self._settings = settings
        self._state = BreakerState.CLOSED
        self._tally = Tally()
        self._cause: Cause = "by_hand"
        self._silent = False
        self._overtaken = 0
        self._open_until = -math.inf
        self._full_until = -math.inf
        """Until when it would be open if jitter took nothing from this time; before `_open_until` where a server asked
        for more."""
        self._closed_at = -math.inf
        self._opened = 0
        """Times it opened since it was last known healthy."""
        self._probing = Permits()

    @property
    def settings(self) -> BreakerSettings:
        """As they are now: a configuration may change while it lives."""
        return self._settings()

    @property
    def state(self) -> BreakerState:
        """Where it stands; an open one whose time is over stays open until someone asks to pass."""
        return self._state

    @property
    def health(self) -> ScopeHealth | None:
        """None while closed."""
        if self._state is BreakerState.CLOSED:
            return None
        left = self._probing.left if self._state is BreakerState.HALF_OPEN else 0
        return ScopeHealth(self._state, self._open_until, left, self._cause, self._silent)

    @property
    def silent(self) -> bool:
        """See `ScopeHealth.silent`; False while closed."""
        return self._silent

    @property
    def overtaken(self) -> int:
        """Probes that others overtook since it was last closed: how patient the next one should be."""
        return self._overtaken

    @property
    def closed_at(self) -> float:
        """When it closed last; minus infinity where it never was anything else."""
        return self._closed_at

    def counts(self, now: float) -> Counts:
        """Results within the window."""
        return self._tally.counts(now, self.settings.window)

    def blocked_until(self, permit_id: str, now: float) -> float | None:
        """None: it may pass, or has its permit already. Else the moment by which asking again makes sense."""
        match self._state:
            case BreakerState.CLOSED:
                return None
            case BreakerState.OPEN:
                return self._open_until if now < self._open_until else None
            case BreakerState.HALF_OPEN:
                return self._probing.blocked_until(permit_id)
            case BreakerState.ISOLATED:
                return math.inf

    def take(self, permit_id: str, until: float) -> Reason | None:
        """Leases a permit. To be called only where `blocked_until` is None and the breaker is not closed."""
        moved: Reason | None = None
        if self._state is BreakerState.OPEN:
            self._state = BreakerState.HALF_OPEN
            self._probing = Permits()
            moved = "time_over"
        self._probing.take(permit_id, until)
        return moved

    def give_back(
        self, permit_id: str, verdict: Verdict, now: float, *, jitter: float, hint: float | None
    ) -> Reason | None:
        """A probe ended. Unknown permits, and those of an earlier half-open period, are ignored."""
        if not self._probing.returned(permit_id):
            return None
        match verdict:
            case Verdict.NEUTRAL:
                return None
            case Verdict.OVERTAKEN if not self._silent:
                return None
            case Verdict.OVERTAKEN:
                # Perhaps it is well and only slower than the other. To stay half-open until it has won would mean two
                # attempts for every probe, without a pause; the next probe is given more time instead.
                self._overtaken += 1
                return self._open("probe_failed", now, jitter, hint)
            case Verdict.SLOW if self._silent:
                # Whoever kept callers waiting is not well again while it still does.
                return self._open("probe_failed", now, jitter, hint)
            case Verdict.FAILED | Verdict.TIMED_OUT:
                self._silent = self._silent or verdict is Verdict.TIMED_OUT
                return self._open("probe_failed", now, jitter, hint)
            case Verdict.OK | Verdict.SLOW:
                return self.close(now, "probes_answered") if self._probing.answer() else None

    def expire(self, now: float) -> None:
        """Takes back the permits whose lease has ended."""
        self._probing.expire(now)

    def lease_ends(self) -> Iterator[float]:
        """When the permits that are out come back by themselves."""
        return iter(self._probing.leases.values())

    def count(self, tally: Tally, now: float, *, jitter: float) -> Reason | None:
        """Takes in results of calls that needed no permit."""
        self._tally.merge(tally)
        match self._state:
            case BreakerState.CLOSED:
                if tally.answered:
                    self._opened = 0
                cause = self._judge(tally, now)
                if cause is None:
                    return None
                self._silent = self._was_silent(cause, now)
                return self._open(cause, now, jitter, self._tally.not_before - now)
            case BreakerState.OPEN:
                # Late: they began before it opened. The server's word on when to come again counts, nothing else.
                self._open_until = max(self._open_until, tally.not_before)
                return None
            case BreakerState.HALF_OPEN | BreakerState.ISOLATED:
                return None

    def refuse_key(self, now: float, *, jitter: float, hint: float | None) -> Reason | None:
        """The provider does not accept this key."""
        match self._state:
            case BreakerState.CLOSED | BreakerState.HALF_OPEN:
                self._silent = False
                return self._open("key_refused", now, jitter, hint)
            case BreakerState.OPEN:
                # Calls that were under way together were refused for the same reason: longer, but not doubled.
                self._cause, self._silent = "key_refused", False
                self._stay_open(now, jitter, hint)
                return None
            case BreakerState.ISOLATED:
                return None

    def isolate(self) -> Reason | None:
        """Nobody passes until `close`."""
        moved = self._state is not BreakerState.ISOLATED
        self._state, self._cause, self._open_until = BreakerState.ISOLATED, "by_hand", math.inf
        self._silent, self._probing = False, Permits()
        return "by_hand" if moved else None

    def close(self, now: float, reason: Literal["by_hand", "probes_answered"] = "by_hand") -> Reason | None:
        """Everyone passes. By hand it is no proof of health: if it opens again, it does so for longer."""
        if self._state is BreakerState.CLOSED:
            return None
        self._state, self._closed_at = BreakerState.CLOSED, now
        self._open_until = self._full_until = -math.inf
        self._silent, self._overtaken, self._tally, self._probing = False, 0, Tally(), Permits()
        if reason == "probes_answered":
            self._opened = 0
        return reason

    def _judge(self, news: Tally, now: float) -> Cause | None:
        # Only bad news opens: an answer never does, whatever share of the window had failed before it.
        settings, tally = self.settings, self._tally
        counts = tally.counts(now, settings.window)
        telling = counts.total >= settings.window_calls
        if news.failed:
            row = tally.row(settings.max_gap)
            if row.failures >= settings.failures_in_a_row and row.calls >= settings.calls_in_a_row:
                return "failures_in_a_row"
            calls = tally.failing_calls(now, settings.window)
            if (
                telling
                and counts.failed >= settings.failure_ratio * counts.total
                and calls >= settings.min_calls_in_a_row
            ):
                return "failure_ratio"
        if news.slow and telling and counts.slow >= settings.slow_ratio * counts.total:
            return "slow_ratio"
        return None

    def _was_silent(self, cause: Cause, now: float) -> bool:
        match cause:
            case "failures_in_a_row":
                row = self._tally.row(self.settings.max_gap)
                return 2 * row.timed_out >= row.failures
            case "failure_ratio":
                counts = self._tally.counts(now, self.settings.window)
                return 2 * counts.timed_out >= counts.failed
            case "slow_ratio":
                return True
            case "key_refused" | "by_hand":
                return False

    def _open(self, reason: Cause | Literal["probe_failed"], now: float, jitter: float, hint: float | None) -> Reason:
        if reason != "probe_failed":
            self._cause = reason
        self._opened += 1
        taken = self._full_until - self._open_until if self._full_until > self._open_until else 0.0
        self._stay_open(now, jitter, hint, owed=taken if self._opened <= MADE_UP else 0.0)
        self._state = BreakerState.OPEN
        self._probing = Permits()
        return reason

    def _stay_open(self, now: float, jitter: float, hint: float | None, *, owed: float = 0.0) -> None:
        """From now on for its time, longer by what jitter took from the one before (`owed`), but not beyond the cap."""
        full, cap = self._full_time()
        hinted = min(hint, LONGEST_HINT) if hint is not None and math.isfinite(hint) else 0.0
        own = min(cap, full * (1 - JITTER * (1 - jitter)) + owed)
        self._full_until = now + full + owed
        self._open_until = max(self._open_until, now + max(own, hinted))

    def _full_time(self) -> tuple[float, float]:
        """Seconds for which it opens where jitter takes nothing, and the most that these come to."""
        settings = self.settings
        first, cap = settings.open_for, settings.open_cap
        if self._cause == "key_refused":
            first, cap = settings.key_open_for, settings.key_open_cap
        # A first time that was set longer than the cap is meant so.
        cap = max(first, cap)
        return min(cap, first * 2.0 ** min(self._opened - 1, 30)), cap
