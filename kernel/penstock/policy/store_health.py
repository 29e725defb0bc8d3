"""Whether the second level of the cache is asked: a breaker small enough for a store that one can do without.

A store that fails is a miss and no error, so there is nothing to weigh: a few failures in a row and it is left alone,
then one probe at a time. Not here: calling the store, and telling about it.
"""

from __future__ import annotations

import attrs
from msgspec import Struct

__all__ = ["Admission", "StoreHealth", "StoreHealthSettings"]


@attrs.frozen
class StoreHealthSettings:
    """Times in seconds. `lease`: a probe that was never reported is given up after it."""

    failures_in_a_row: int = 3
    first_pause: float = 1.0
    longest_pause: float = 30.0
    lease: float = 5.0


class Admission(Struct, frozen=True):
    """Leave to use the store once. `period` counts the times it was closed: a report of an earlier one says nothing."""

    period: int
    probe: bool


class StoreHealth:
    """Closed, open for a while, then one probe; a pause doubles with each probe that fails.

    Laws: while it is open nobody is admitted; of several that ask when the pause is over exactly one is, until it
    reports, gives up, or its lease ends, so that it cannot wedge; one success closes it; reports of an earlier period
    change nothing.
    """

    def __init__(self, settings: StoreHealthSettings | None = None) -> None:
        self._settings = settings or StoreHealthSettings()
        self._period = 0
        self._failures = 0
        self._pause = 0.0
        """0: closed."""
        self._open_until = 0.0
        self._probing_until = 0.0

    @property
    def is_closed(self) -> bool:
        """True while everybody is admitted."""
        return not self._pause

    def admit(self, now: float) -> Admission | None:
        """Leave to use the store, which `succeeded`, `failed` or `gave_up` must follow; None: do without it."""
        if not self._pause:
            return Admission(self._period, probe=False)
        if now < self._open_until or now < self._probing_until:
            return None
        self._probing_until = now + self._settings.lease
        return Admission(self._period, probe=True)

    def succeeded(self, admission: Admission) -> bool:
        """It answered, be it with a miss. True where that closes it."""
        if admission.period != self._period:
            return False
        self._failures = 0
        if not self._pause:
            return False
        self._pause = 0.0
        self._period += 1
        return True

    def failed(self, admission: Admission, now: float) -> bool:
        """It raised, or took too long. True where that opens it, or keeps it open."""
        if admission.period != self._period:
            return False
        self._failures += 1
        if not self._pause and self._failures < self._settings.failures_in_a_row:
            return False
        settings = self._settings
        self._pause = min(settings.longest_pause, self._pause * 2 or settings.first_pause)
        self._open_until = now + self._pause
        self._probing_until = 0.0
        self._period += 1
        self._failures = 0
        return True

    def gave_up(self, admission: Admission) -> None:
        """Whoever was admitted left before the store answered: that says nothing of the store."""
        if admission.probe and admission.period == self._period:
            self._probing_until = 0.0
