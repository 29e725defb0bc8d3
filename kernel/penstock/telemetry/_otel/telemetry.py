"""Telemetry in an SDK, for one kernel: what its spans have in common, and what happens beside its calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Tracer

from penstock._events import BreakerChanged, CoolingDown, Event
from penstock._foreign import let_through
from penstock.telemetry import NO_TELEMETRY, Attribute, CallSpan, Telemetry
from penstock.telemetry import _names as n
from penstock.telemetry._attributes import Attributes, server_of
from penstock.telemetry._content import Capture
from penstock.telemetry._measures import Measures
from penstock.telemetry._names import Vocabulary
from penstock.telemetry._otel.spans import OtelCallSpan
from penstock.telemetry._troubles import Troubles, kept

if TYPE_CHECKING:
    from penstock._live_target import LiveTarget
    from penstock.types import ChatRequest

__all__ = ["OtelTelemetry"]


class OtelTelemetry(Telemetry):
    """Spans of one tracer, figures of one set of measures."""

    def __init__(
        self,
        tracer: Tracer,
        measures: Measures,
        names: Vocabulary,
        *,
        clock: Callable[[], float],
        kind_of: Callable[[str], str],
        base_of: Callable[[str], str | None] = lambda _: None,
        metadata: Sequence[str] = (),
        capture: Capture | None = None,
    ) -> None:
        """`clock` is the kernel's; `kind_of` gives the kind of a provider by its name, `base_of` its configured URL."""
        self.tracer = tracer
        self.measures = measures
        self.names = names
        self.clock = clock
        self.metadata = tuple(metadata)
        self.capture = capture
        self.troubles = Troubles()
        self.live: set[OtelCallSpan] = set()
        """Calls under way whose spans are recorded."""
        self.holds = 0
        """Calls that hold a part of a budget."""
        self._kind_of = kind_of
        self._base_of = base_of
        self._servers: dict[str, tuple[str, int]] = {}
        """By the name of a target."""
        self._begins: dict[str, tuple[LiveTarget, Attributes]] = {}
        """The same: of that target, what `begins_with` says."""
        self._providers: dict[str, str] = {}
        self._standing: dict[str, str] = {}
        """By scope: what stands in the way there, as far as events told."""

    def call(  # noqa: PLR0917 - as its parent says
        self,
        call_id: str,
        route: str,
        account: str,
        targets: Sequence[LiveTarget],
        request: ChatRequest,
        metadata: Mapping[str, Any] | None,
    ) -> CallSpan:
        """A call begins. Its parent is the span that is current in the caller's task, or `metadata["traceparent"]`."""
        try:
            return OtelCallSpan(self, call_id, route, account, targets, request, metadata)
        except BaseException as error:  # noqa: BLE001 - as above
            let_through(error)
            self.troubles.met(error)
            return NO_TELEMETRY.call(call_id, route, account, targets, request, metadata)

    def heard(self, event: Event) -> None:
        """Something happened beside the calls: counted, and told in the spans of those whom it concerns."""
        self._count(event)
        self._tell_calls(event)

    @kept
    def _count(self, event: Event) -> None:
        self.measures.heard(event)

    @kept
    def _tell_calls(self, event: Event) -> None:
        match event:
            case BreakerChanged():
                self._stands(event.scope, None if event.after == "closed" else f"circuit {event.after}")
                told: dict[str, Attribute] = {"before": event.before, "after": event.after, "reason": event.reason}
                self._tell(n.BREAKER, event.scope, told)
            case CoolingDown():
                self._stands(event.scope, f"cooling down: {event.reason}")
                self._tell(n.COOL_DOWN, event.scope, {"seconds": event.seconds, "reason": event.reason})
            case _:
                pass

    def provider_word(self, target: LiveTarget) -> str:
        """The conventions' word for its provider."""
        name = target.provider.name
        word = self._providers.get(name)
        if word is None:
            kind = self._kind_of(name)
            word = self._providers[name] = n.PROVIDERS.get(kind, kind)
        return word

    def server_at(self, target: LiveTarget) -> tuple[str, int] | None:
        """Where it is asked, for samplers: as configured, else as it was asked last. None: nobody knows yet."""
        name = target.name
        if name not in self._servers and (base := self._base_of(target.provider.name)) is not None:
            self.asked_at(name, base)
        return self._servers.get(name)

    def asked_at(self, target: str, url: str) -> None:
        """It was asked there."""
        if target not in self._servers and (server := server_of(url)) is not None:
            if len(self._servers) >= 1_024:
                del self._servers[next(iter(self._servers))]
            self._servers[target] = server

    def begins_with(self, target: LiveTarget) -> Attributes:
        """What the spans of all attempts at it begin with: made once where its server is known. Not to be changed."""
        found = self._begins.get(target.name)
        if found is not None and found[0] is target:
            return found[1]
        attributes: Attributes = {
            n.OPERATION: n.CHAT,
            n.PROVIDER: self.provider_word(target),
            n.REQUEST_MODEL: target.wire.model,
            n.TARGET: target.name,
        }
        if (server := self.server_at(target)) is not None:
            attributes[n.SERVER_ADDRESS], attributes[n.SERVER_PORT] = server
            if len(self._begins) >= 1_024:
                self._begins.clear()
            self._begins[target.name] = (target, attributes)
        return attributes

    def stands_at(self, targets: Sequence[LiveTarget], name: str) -> tuple[str, str] | None:
        """What is known to stand in the way of a target, and in which scope."""
        if not self._standing:
            return None
        scopes = next((target.scopes for target in targets if target.name == name), ())
        return next(((self._standing[scope], scope) for scope in scopes if scope in self._standing), None)

    def _stands(self, scope: str, what: str | None) -> None:
        self._standing.pop(scope, None)
        if what is not None:
            self._standing[scope] = what
            if len(self._standing) > 1_024:
                del self._standing[next(iter(self._standing))]

    def _tell(self, name: str, scope: str, attributes: dict[str, Attribute]) -> None:
        for span in self.live:
            if any(scope in target.scopes for target in span.targets):
                span.event(name, scope=scope, **attributes)
