"""The demo's own count: how every call ended, what became of every attempt, and what was charged for it.

Not here: showing it (`view`, `lines`), judging it (`verdict`). It counts what callers got, not what the kernel says
of itself; only charges and attempts are taken from the kernel's events.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Literal, TypeAlias

import attrs

from penstock._events import AttemptEnded, BreakerChanged, CoolingDown, Event
from penstock.cli._demo.scenario import TARGETS, Job
from penstock.errors import BudgetExceededError, CallError, CircuitOpenError, PenstockError, RejectedError
from penstock.types import ChatResponse

__all__ = ["AttemptClass", "Charges", "Ending", "Sort", "Tally", "attempt_class"]

Sort: TypeAlias = Literal["answered", "cached", "shared", "refused", "failed"]
AttemptClass: TypeAlias = Literal["ok", "429", "5xx", "slow", "broken", "other"]

CLASSES: dict[str, AttemptClass] = {
    "ok": "ok",
    "rate_limited": "429",
    "server_error": "5xx",
    "overloaded": "5xx",
    "first_token_timeout": "slow",
    "idle_timeout": "slow",
    "total_timeout": "slow",
    "connect_timeout": "slow",
    "connect": "broken",
    "connection_lost": "broken",
    "truncated": "broken",
    "malformed": "broken",
}
FAILED = frozenset(CLASSES.values()) - {"ok"}
FROM_CACHE: dict[str, Sort] = {"hit": "cached", "follower": "shared"}
NOTES_KEPT = 40


@attrs.frozen(order=True)
class Ending:
    """How a call ended: the sort, and the target, account or error that goes with it."""

    sort: Sort
    of: str


@attrs.define
class Charges:
    """What penstock booked for a target."""

    attempts: int = 0
    unbilled: int = 0
    """Of the attempts, those that ended without a bill: the most that they can have cost is charged."""
    tokens: int = 0
    nano_usd: int = 0


@attrs.define
class Tally:
    """Filled as calls end and events come."""

    total: int
    bins: int
    bin_s: float
    """The length of the run is cut into so many spans, each with a count of answers by target."""
    started: int = 0
    endings: Counter[Ending] = attrs.Factory(Counter[Ending])
    not_whole: int = 0
    """Answers that were given out as complete and are not what was to be said. There must be none."""
    attempts: dict[str, Counter[AttemptClass]] = attrs.Factory(lambda: {name: Counter() for name in TARGETS})
    charges: dict[str, Charges] = attrs.Factory(lambda: {name: Charges() for name in TARGETS})
    answers: dict[str, list[int]] = attrs.field(init=False)
    notes: deque[tuple[float, str]] = attrs.field(factory=lambda: deque[tuple[float, str]](maxlen=NOTES_KEPT))

    def __attrs_post_init__(self) -> None:
        self.answers = {name: [0] * self.bins for name in (*TARGETS, "cache")}

    @property
    def ended(self) -> int:
        """Calls that are over."""
        return self.endings.total()

    @property
    def struck(self) -> int:
        """Attempts that the upstream or the connection to it failed."""
        return sum(count for each in self.attempts.values() for name, count in each.items() if name in FAILED)

    def count(self, sort: Sort) -> int:
        """Calls that ended so."""
        return sum(count for ending, count in self.endings.items() if ending.sort == sort)

    def answered(self, job: Job, response: ChatResponse, text: str, elapsed: float) -> None:
        """A call ended in a response; `text` is what its caller read."""
        sort = FROM_CACHE.get(response.cache, "answered")
        self.endings[Ending(sort, response.target)] += 1
        self.not_whole += text != job.answer
        row = response.target if sort == "answered" else "cache"
        place = min(self.bins - 1, int(elapsed / self.bin_s))
        self.answers[row][place] += 1

    def failed(self, error: PenstockError) -> None:
        """A call ended in an error."""
        match error:
            case BudgetExceededError():
                self.endings[Ending("refused", f"by the budget of {error.account or 'all'}")] += 1
            case CircuitOpenError():
                self.endings[Ending("refused", "no target could take it in time")] += 1
            case RejectedError():
                self.endings[Ending("refused", error.says)] += 1
            case CallError():
                self.endings[Ending("failed", error.says)] += 1
            case _:
                self.endings[Ending("failed", type(error).__name__)] += 1

    def heard(self, event: Event, elapsed: float) -> None:
        """The kernel told something."""
        match event:
            case AttemptEnded():
                self.attempts[event.target][attempt_class(event.outcome)] += 1
                charges = self.charges[event.target]
                charges.attempts += 1
                charges.unbilled += event.estimated
                charges.tokens += event.charged_tokens
                charges.nano_usd += event.charged_nano_usd
            case BreakerChanged():
                name = event.scope.partition(":")[2]
                self._note(elapsed, f"breaker of {name}: {event.before} to {event.after} ({event.reason})")
            case CoolingDown():
                name = event.scope.partition(":")[2]
                self._note(elapsed, f"{name} is left alone for {event.seconds:.1f} s ({event.reason})")
            case _:
                pass

    def _note(self, elapsed: float, words: str) -> None:
        # Calls in flight are told the same, one after the other.
        if not self.notes or self.notes[-1][1] != words:
            self.notes.append((elapsed, words))


def attempt_class(outcome: str) -> AttemptClass:
    """The column an attempt is counted in."""
    return CLASSES.get(outcome, "other")
