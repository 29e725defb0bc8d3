"""What a breaker knows of the recent past of one scope: counts by the second, and the last failures.

Not here: the rules that judge it (`circuit`). Bounded, and independent of settings, so that results can be added up
away from the breaker and merged into it later.
"""

from __future__ import annotations

import enum
import math
from collections import deque

import attrs
from msgspec import Struct

__all__ = ["MAX_FAILURES", "MAX_SECONDS", "OK", "Counts", "Row", "Tally", "Verdict"]

MAX_SECONDS = 128
"""Seconds that are kept: more than the longest window that may be set."""
MAX_FAILURES = 32
"""Failures that are remembered one by one: more than the longest row that may be asked for."""


class Verdict(enum.Enum):
    """What one attempt says about the health of a scope."""

    OK = "ok"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    """A failure like any other, which took its time: a caller waited for nothing."""
    SLOW = "slow"
    """An answer, but its first token came late. Not to be said of a target that was the last admissible of its route:
    a slow answer is better than none, and so it never opens."""
    OVERTAKEN = "overtaken"
    """No answer in the time that a probe was given, and by then another target had answered. It counts against a scope
    that is known to keep callers waiting, of which it is just what was to be found out; elsewhere it says nothing."""
    NEUTRAL = "neutral"
    """Nothing: the caller left, or the request was at fault."""

    # Members are compared by identity. An enum's own hash is that of its name, found anew each time, at every result.
    __hash__ = object.__hash__

    @property
    def is_failure(self) -> bool:
        """True for the two that count as failures."""
        return self in (Verdict.FAILED, Verdict.TIMED_OUT)


class Counts(Struct, frozen=True):
    """Results within a window."""

    ok: int = 0
    failed: int = 0
    slow: int = 0
    timed_out: int = 0
    """Those of the failed that were timeouts."""

    @property
    def total(self) -> int:
        """All of them, each counted once."""
        return self.ok + self.failed + self.slow


class _Second(Struct):
    """`Counts` of one second, while they grow."""

    ok: int = 0
    failed: int = 0
    slow: int = 0
    timed_out: int = 0


OK = Verdict.OK
"""Looked up once: each call tells of two scopes, and on Python 3.11 a member of an enum costs a call. So does its hash:
no set of them is kept, and none is asked."""
_COUNTED = (OK, Verdict.FAILED, Verdict.TIMED_OUT, Verdict.SLOW)


@attrs.frozen
class Row:
    """Failures with no answer between them: how many, of how many calls, and how many of them were timeouts."""

    failures: int
    calls: int
    timed_out: int


@attrs.frozen
class _Failure:
    at: float
    call: str | None
    timed_out: bool


class Tally:
    """Results of one scope, in the order in which they came.

    Laws: its size is bounded; merging tallies equals adding their results one after the other; what says nothing of a
    scope that is closed (NEUTRAL, OVERTAKEN) leaves no trace.
    """

    def __init__(self) -> None:
        self._seconds: dict[int, _Second] = {}
        self._failures: deque[_Failure] = deque(maxlen=MAX_FAILURES)
        self._in_a_row = 0
        self._not_before = -math.inf
        self.answered = False
        """True where there was an answer, late or not."""
        self.slow = False
        """True where there was a late answer."""
        self.failed = False
        """True where there was a failure, a timeout or another."""

    @property
    def not_before(self) -> float:
        """The latest moment before which the server asked not to come again, in failures since the last answer."""
        return self._not_before

    def add(self, verdict: Verdict, at: float, *, call: str | None = None, retry_after: float | None = None) -> None:
        """One result. Failures of the same `call` count as one call's; without it each is a call of its own."""
        if verdict not in _COUNTED:
            return
        second = self._second(math.floor(at))
        if verdict is OK:
            second.ok += 1
        elif verdict is Verdict.SLOW:
            second.slow += 1
            self.slow = True
        else:
            self.failed = True
            second.failed += 1
            second.timed_out += verdict is Verdict.TIMED_OUT
            self._failures.append(_Failure(at, call, timed_out=verdict is Verdict.TIMED_OUT))
            self._in_a_row += 1
            if retry_after is not None and math.isfinite(retry_after):
                self._not_before = max(self._not_before, at + retry_after)
            return
        self.answered = True
        self._in_a_row = 0
        # An answer takes back what earlier failures asked for.
        self._not_before = -math.inf

    def merge(self, later: Tally) -> None:
        """Takes in what came after."""
        for at, counts in later._seconds.items():
            second = self._second(at)
            second.ok += counts.ok
            second.failed += counts.failed
            second.slow += counts.slow
            second.timed_out += counts.timed_out
        self._failures.extend(later._failures)
        self.answered |= later.answered
        self.slow |= later.slow
        self.failed |= later.failed
        if later.answered:
            self._in_a_row = later._in_a_row
            self._not_before = later._not_before
            return
        self._in_a_row += later._in_a_row
        self._not_before = max(self._not_before, later._not_before)

    def counts(self, now: float, window: float) -> Counts:
        """Results within the last `window` seconds, rounded up to whole ones."""
        within = [counts for second, counts in self._seconds.items() if now - window < second + 1]
        return Counts(
            sum(counts.ok for counts in within),
            sum(counts.failed for counts in within),
            sum(counts.slow for counts in within),
            sum(counts.timed_out for counts in within),
        )

    def row(self, max_gap: float) -> Row:
        """The failures since the last answer with no gap longer than `max_gap` between them."""
        row: list[_Failure] = []
        for failure in list(self._failures)[::-1][: self._in_a_row]:
            if row and row[-1].at - failure.at > max_gap:
                break
            row.append(failure)
        return Row(len(row), _calls(row), sum(failure.timed_out for failure in row))

    def failing_calls(self, now: float, window: float) -> int:
        """Calls that had a failure within the window."""
        return _calls([failure for failure in self._failures if now - window < math.floor(failure.at) + 1])

    def _second(self, at: int) -> _Second:
        """That one, to be added to. The earliest is forgotten for it where there are too many: it, where it is that."""
        second = self._seconds.get(at)
        if second is None:
            second = self._seconds[at] = _Second()
            if len(self._seconds) > MAX_SECONDS:
                del self._seconds[min(self._seconds)]
        return second


def _calls(failures: list[_Failure]) -> int:
    named = {failure.call for failure in failures if failure.call is not None}
    return len(named) + sum(failure.call is None for failure in failures)
