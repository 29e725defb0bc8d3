"""Permits to try what may be broken or used up: one at first, then two, then four, each leased for a time.

Not here: who needs one (`circuit` for breakers, `cooling` for cool-downs), and what follows when a probe fails.
"""

from __future__ import annotations

import attrs

__all__ = ["PROBES", "Permits"]

PROBES = (1, 2, 4)
"""Probes at once: all of a stage must be answered before the next; after the last, everyone may pass."""
MAX_OVERDUE = 64
"""Permits remembered beyond their lease; of more, the oldest are forgotten."""


@attrs.define
class Permits:
    """One period of probing. What was leased in another one is unknown here."""

    stage: int = 0
    answered: int = 0
    leases: dict[str, float] = attrs.Factory(dict[str, float])
    """No more than the stage lets out."""
    overdue: dict[str, None] = attrs.Factory(dict[str, None])
    """Permits that came back by time while their probe still ran: what it says in the end counts all the same, else
    a healthy target whose answers take longer than a lease would never be known for healthy."""

    @property
    def left(self) -> int:
        """How many may be taken now."""
        return max(0, PROBES[self.stage] - self.answered - len(self.leases))

    def blocked_until(self, permit_id: str) -> float | None:
        """None: it can be taken, or is out already. Else the end of the first lease."""
        return None if permit_id in self.leases or self.left else min(self.leases.values())

    def take(self, permit_id: str, until: float) -> None:
        """Leases a permit. To be called only where `blocked_until` is None; one that is out is confirmed."""
        self.overdue.pop(permit_id, None)
        self.leases.setdefault(permit_id, until)

    def returned(self, permit_id: str) -> bool:
        """Takes the permit back; False where it is none of this period's."""
        if permit_id in self.leases:
            del self.leases[permit_id]
            return True
        if permit_id in self.overdue:
            del self.overdue[permit_id]
            return True
        return False

    def expire(self, now: float) -> None:
        """Takes back the permits whose lease has ended."""
        for permit_id in [id for id, until in self.leases.items() if until <= now]:
            del self.leases[permit_id]
            self.overdue[permit_id] = None
        while len(self.overdue) > MAX_OVERDUE:
            del self.overdue[next(iter(self.overdue))]

    def answer(self) -> bool:
        """A probe was answered. True where it was the last that was needed."""
        self.answered += 1
        if self.answered < PROBES[self.stage]:
            return False
        if self.stage + 1 == len(PROBES):
            return True
        self.stage += 1
        self.answered = 0
        return False

    def begin_again(self) -> None:
        """Back to the first stage; the permits that are out stay so."""
        self.stage = self.answered = 0
