"""What one watcher has seen of calls and attempts since it came. Pure: `now` is an argument, in seconds."""

from __future__ import annotations

from collections import Counter, deque

import attrs

from penstock._events import AttemptEnded, CallEnded, Event

__all__ = ["LiveTally", "TargetTally"]

RATE_OVER = 10.0
"""Seconds that a rate is of: long enough to be steady, short enough to be now."""
KEPT = 512
"""Durations that a percentile is of: the last ones."""
MOST_TARGETS = 1_000
"""Names of models can come from callers: beyond so many nothing is counted for one that is new."""


class _Recent:
    """Times of what happened within the last `RATE_OVER` seconds, and the durations of the last `KEPT`."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, int]] = deque()
        self._durations: deque[float] = deque(maxlen=KEPT)

    def happened(self, now: float, duration: float | None) -> None:
        second = int(now)
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1] = (second, self._seconds[-1][1] + 1)
        else:
            self._seconds.append((second, 1))
        if duration is not None:
            self._durations.append(duration)

    def rate(self, now: float, since: float) -> float:
        """A second, over the time that there is anything to say of."""
        while self._seconds and self._seconds[0][0] <= now - RATE_OVER:
            self._seconds.popleft()
        return sum(count for _, count in self._seconds) / max(1.0, min(RATE_OVER, now - since))

    def percentile(self, share: float) -> float | None:
        """None: nothing was seen."""
        ordered = sorted(self._durations)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


@attrs.define(eq=False)
class TargetTally:
    """Of one target."""

    attempts: int = 0
    failures: int = 0
    last_failure: str = ""
    recent: _Recent = attrs.Factory(_Recent)


@attrs.define(eq=False)
class LiveTally:
    """Everything that is counted for one watcher, from `since` on."""

    since: float
    calls: int = 0
    outcomes: Counter[str] = attrs.Factory(Counter[str])
    tokens: int = 0
    nano_usd: int = 0
    recent: _Recent = attrs.Factory(_Recent)
    targets: dict[str, TargetTally] = attrs.Factory(dict[str, TargetTally])

    def heard(self, event: Event, now: float) -> None:
        """Something happened."""
        match event:
            case CallEnded():
                self.calls += 1
                self.outcomes[event.outcome] += 1
                self.tokens += event.tokens
                self.nano_usd += event.cost or 0
                self.recent.happened(now, event.duration if event.outcome == "ok" else None)
            case AttemptEnded():
                self._attempt(event, now)
            case _:
                pass

    def _attempt(self, event: AttemptEnded, now: float) -> None:
        target = self.targets.get(event.target)
        if target is None:
            if len(self.targets) >= MOST_TARGETS:
                return
            target = self.targets[event.target] = TargetTally()
        answered = event.outcome == "ok"
        target.attempts += 1
        target.recent.happened(now, event.duration if answered else None)
        if not answered and event.outcome != "cancelled":
            target.failures += 1
            target.last_failure = event.outcome
