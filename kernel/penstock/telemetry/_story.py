"""Why a call makes the attempt that it makes: told from what happened in it before. Pure.

The kernel says what goes wrong and which attempts begin; that one is a retry and another a fallback, and for what
reason, follows from the order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import attrs

from penstock.telemetry._names import DENIED, FALLBACK, PASSED_OVER, REPAIR, RETRY, RETRY_SUPPRESSED

__all__ = ["ATTEMPT_FAILED", "UNKNOWN", "Reason", "Step", "Story"]

ATTEMPT_FAILED = "attempt_failed"
"""What the kernel says of a failed attempt. No event of its own: the attempt's span says it."""
Reason: TypeAlias = Literal["first", "retry", "repair", "fallback", "hedge"]
UNKNOWN = "unavailable"
INVALID = "output_invalid"
SAYS = {ATTEMPT_FAILED: "kind", PASSED_OVER: "kind", DENIED: "reason", RETRY_SUPPRESSED: "reason"}
"""What stands in the way, by event, and the attribute that says why."""


@attrs.frozen
class Step:
    """An attempt that begins: why, and the event that tells it, where there is one."""

    reason: Reason
    event: str | None = None
    attributes: Mapping[str, str | int] = attrs.field(factory=dict[str, str | int])


FIRST, REPAIRS, HEDGES = Step("first"), Step("repair"), Step("hedge")
"""Those that no event tells, made once: nearly every attempt is the first of its call."""


class Story:
    """Of one call."""

    __slots__ = ("_at", "_first", "_mends", "why")

    def __init__(self, first: str) -> None:
        """`first` is the target that its route begins with."""
        self._first = first
        self._at: str | None = None
        self._mends = False
        self.why: str | None = None
        """What last stood in the way."""

    def heard(self, event: str, attributes: Mapping[str, object]) -> None:
        """Something happened."""
        key = SAYS.get(event)
        if key is not None:
            self.why = str(attributes.get(key, UNKNOWN))
        if event == REPAIR:
            self.why, self._mends = INVALID, True

    def begins(self, target: str, number: int, *, hedge: bool, known: Callable[[str], str | None]) -> Step:
        """An attempt at the target begins. `known` says what is known to stand in the way of another target, where
        nothing was tried there in this call.
        """
        if hedge:
            return HEDGES
        before, self._at = self._at or self._first, target
        mends, self._mends = self._mends, False
        if target != before:
            why = self.why = self.why or known(before) or UNKNOWN
            return Step("fallback", FALLBACK, {"from": before, "to": target, "reason": why, "attempt": number})
        if number == 1:
            return FIRST
        if mends:
            return REPAIRS  # its event is told already
        return Step("retry", RETRY, {"target": target, "reason": self.why or UNKNOWN, "attempt": number})

    @property
    def fell_back(self) -> bool:
        """True where the last attempt was not at the route's first target."""
        return self._at is not None and self._at != self._first
