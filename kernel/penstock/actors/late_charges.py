"""Charges that a ledger's store did not take though it answers: when each is tried again, and for how long.

What went wrong may be over in a moment. Until then the charge stands aside, so that it holds up no other. Not here:
stores that do not answer at all (`store_standing`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from msgspec import Struct

from penstock.actors.store_standing import RETRY
from penstock.policy.ledger_steps import Settle, Step

__all__ = ["MOST_ASIDE", "PATIENCE", "LateCharges"]

PATIENCE = 60.0
"""Seconds from its first failure until a charge is dropped."""
MOST_ASIDE = 16
"""More at once are no matter of single charges: then the store is taken to be away."""


class _Late(Struct):
    charge: Settle
    until: float
    again_at: float
    again_in: float
    aside: bool = True
    """It waits, and is in no batch."""


class LateCharges:
    """Those of one keeper. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._late: dict[str, _Late] = {}
        self.next_at = math.inf
        """When the next of them is due."""

    def __bool__(self) -> bool:
        return bool(self._late)

    def takes(self, charge: Settle, now: float) -> bool:
        """It failed, for the first time or once more: True where it stands aside now; False where that is over."""
        late = self._late.get(charge.hold_id)
        if late is None:
            late = self._late[charge.hold_id] = _Late(charge, now + PATIENCE, now, RETRY[0])
        if now >= late.until:
            self.forget([charge])
            return False
        late.charge, late.aside = charge, True
        late.again_at = min(now + late.again_in, late.until)
        late.again_in = min(2 * late.again_in, RETRY[1])
        self._look_ahead()
        return True

    @property
    def too_many(self) -> bool:
        """True where it is rather the store than the charges."""
        return len(self._late) > MOST_ASIDE

    def due(self, now: float) -> list[Settle]:
        """Those that are to be tried again now."""
        if now < self.next_at:
            return []
        found = [late for late in self._late.values() if late.aside and late.again_at <= now]
        for late in found:
            late.aside = False
        self._look_ahead()
        return [late.charge for late in found]

    def let_wait_no_more(self) -> None:
        """All of them are due."""
        for late in self._late.values():
            late.again_at = -math.inf
        self._look_ahead()

    def forget(self, steps: Iterable[Step]) -> None:
        """What these charge is booked, or will never be."""
        for step in steps:
            if isinstance(step, Settle):
                self._late.pop(step.hold_id, None)
        self._look_ahead()

    def _look_ahead(self) -> None:
        self.next_at = min((late.again_at for late in self._late.values() if late.aside), default=math.inf)
