"""Where the kernel says what happens, for traces and metrics. Every seam calls it; this one does nothing.

Laws for every implementation: it never raises, never blocks, and never touches the caller's own span. One span for a
call, one for each attempt of it, and no other; whatever else happens is an event of the call's.

Not here: names (`_names`), what a span says (`_attributes`), what is counted (`_measures`), OpenTelemetry (`_otel`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from penstock._attempt import AttemptRun
    from penstock._books import Books, Running
    from penstock._ending import Ended
    from penstock._live_target import LiveTarget
    from penstock._stored_answer import StoredAnswer
    from penstock.policy.commit import Begin
    from penstock.telemetry._json_lines import JsonFormatter as JsonFormatter
    from penstock.types import Attempt, ChatRequest

__all__ = ["NO_TELEMETRY", "AttemptSpan", "CallSpan", "JsonFormatter", "NoTelemetry", "Telemetry", "TraceIds"]

Attribute: TypeAlias = str | int | float | bool
TraceIds: TypeAlias = tuple[str, str]
"""Of a span, in hexadecimal digits: that of its trace, and its own."""


class AttemptSpan(ABC):
    """One upstream exchange."""

    @abstractmethod
    def headers(self) -> Sequence[tuple[str, str]]:
        """What tells the provider of the trace: `traceparent`, and `tracestate` where there is one."""

    @abstractmethod
    def chunk(self, attempt: AttemptRun) -> None:
        """A read of its stream brought something. Called for every read."""

    @abstractmethod
    def end(self, attempt: AttemptRun, told: Attempt) -> None:
        """The exchange is over."""


class CallSpan(ABC):
    """One call of a user."""

    context: object = None
    """The trace context that mail to actors carries."""

    @property
    @abstractmethod
    def ids(self) -> TraceIds | None:
        """For the log. None: the call is in no trace."""

    @abstractmethod
    def placed(self, waited: float) -> None:
        """It got its place among the calls in flight, after so many seconds."""

    @abstractmethod
    def event(self, name: str, **attributes: Attribute) -> None:
        """Something that happened on the way, by a name of `_names`: a wait, a commit, a hold."""

    @abstractmethod
    def attempt(self, target: LiveTarget, running: Running, begin: Begin) -> AttemptSpan:
        """A new upstream exchange begins."""

    @abstractmethod
    def replayed(self, answer: StoredAnswer) -> None:
        """It is answered out of the cache."""

    @abstractmethod
    def end(self, ended: Ended, books: Books) -> None:
        """The call is over."""


class Telemetry(ABC):
    """Makes spans."""

    @abstractmethod
    def call(  # noqa: PLR0917 - asked for once for each call, where keywords cost
        self,
        call_id: str,
        route: str,
        account: str,
        targets: Sequence[LiveTarget],
        request: ChatRequest,
        metadata: Mapping[str, Any] | None,
    ) -> CallSpan:
        """A call begins, in the caller's own task: its trace context is captured here, explicitly and once."""


class _NoAttemptSpan(AttemptSpan):
    def headers(self) -> Sequence[tuple[str, str]]:
        return ()

    def chunk(self, attempt: AttemptRun) -> None:
        pass

    def end(self, attempt: AttemptRun, told: Attempt) -> None:
        pass


class _NoCallSpan(CallSpan):
    @property
    def ids(self) -> TraceIds | None:
        return None

    def placed(self, waited: float) -> None:
        pass

    def event(self, name: str, **attributes: Attribute) -> None:
        pass

    def attempt(self, target: LiveTarget, running: Running, begin: Begin) -> AttemptSpan:
        del target, running, begin
        return _NO_ATTEMPT

    def replayed(self, answer: StoredAnswer) -> None:
        pass

    def end(self, ended: Ended, books: Books) -> None:
        pass


class NoTelemetry(Telemetry):
    """Says nothing to nobody, at no cost."""

    def call(  # noqa: PLR0917 - as above
        self,
        call_id: str,
        route: str,
        account: str,
        targets: Sequence[LiveTarget],
        request: ChatRequest,
        metadata: Mapping[str, Any] | None,
    ) -> CallSpan:
        """The one silent span."""
        del call_id, route, account, targets, request, metadata
        return _NO_CALL


_NO_ATTEMPT = _NoAttemptSpan()
_NO_CALL = _NoCallSpan()
NO_TELEMETRY = NoTelemetry()


def __getattr__(name: str) -> Any:
    if name == "JsonFormatter":
        from penstock.telemetry._json_lines import JsonFormatter  # noqa: PLC0415  # only where logs are formatted so

        return JsonFormatter
    raise AttributeError(f"module 'penstock.telemetry' has no attribute {name!r}")
