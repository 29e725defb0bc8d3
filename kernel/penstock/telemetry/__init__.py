"""Where the kernel says what happens, for traces and metrics. Every seam calls it; this one does nothing.

Laws for every implementation: it never raises, never blocks, and never touches the caller's own span.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.types import Attempt

__all__ = ["NO_TELEMETRY", "AttemptSpan", "CallSpan", "NoTelemetry", "Telemetry"]

Attribute = str | int | float | bool


class AttemptSpan(ABC):
    """One upstream exchange."""

    @abstractmethod
    def event(self, name: str, **attributes: Attribute) -> None:
        """Something that happened on the way."""

    @abstractmethod
    def end(self, attempt: Attempt) -> None:
        """The exchange is over."""


class CallSpan(ABC):
    """One call of a user."""

    context: object = None
    """The trace context that mail to actors carries."""

    @abstractmethod
    def event(self, name: str, **attributes: Attribute) -> None:
        """Something that happened on the way: a wait, a fallback, a hit."""

    @abstractmethod
    def attempt(self, target: str, number: int) -> AttemptSpan:
        """A new upstream exchange begins."""

    @abstractmethod
    def end(self, outcome: str, **attributes: Attribute) -> None:
        """The call is over: `ok`, `cancelled`, or the kind of its error."""


class Telemetry(ABC):
    """Makes spans."""

    @abstractmethod
    def call(self, call_id: str, route: str, account: str) -> CallSpan:
        """A call begins, in the caller's own task: its trace context is captured here, explicitly and once."""


class _NoAttemptSpan(AttemptSpan):
    def event(self, name: str, **attributes: Attribute) -> None:
        pass

    def end(self, attempt: Attempt) -> None:
        pass


class _NoCallSpan(CallSpan):
    def event(self, name: str, **attributes: Attribute) -> None:
        pass

    def attempt(self, target: str, number: int) -> AttemptSpan:
        del target, number
        return _NO_ATTEMPT

    def end(self, outcome: str, **attributes: Attribute) -> None:
        pass


class NoTelemetry(Telemetry):
    """Says nothing to nobody, at no cost."""

    def call(self, call_id: str, route: str, account: str) -> CallSpan:
        """The one silent span."""
        del call_id, route, account
        return _NO_CALL


_NO_ATTEMPT = _NoAttemptSpan()
_NO_CALL = _NoCallSpan()
NO_TELEMETRY = NoTelemetry()
