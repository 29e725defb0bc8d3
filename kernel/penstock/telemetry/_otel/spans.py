"""Spans: one for a call, one for each of its attempts, with explicit parents. Nothing is ever attached to a context.

Whatever goes wrong here stays here: a sampler, a span processor or an instrument of the host's own is foreign code, and
so is what a caller gave as metadata. Everything that a call is told through is `_kept`: it never raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

from opentelemetry.context import Context, get_current
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_span_id,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from penstock._events import BreakerChanged, CoolingDown, Event
from penstock.telemetry import NO_TELEMETRY, AttemptSpan, Attribute, CallSpan, Telemetry, TraceIds
from penstock.telemetry import _names as n
from penstock.telemetry._attributes import Attributes, attempt_ended, begin_word, call_ended, chosen, server_of
from penstock.telemetry._content import Capture
from penstock.telemetry._measures import Measures
from penstock.telemetry._names import Vocabulary
from penstock.telemetry._story import ATTEMPT_FAILED, UNKNOWN, Story
from penstock.telemetry._troubles import Troubles
from penstock.types import Message

if TYPE_CHECKING:
    from penstock._answers import StoredAnswer
    from penstock._attempt import AttemptRun
    from penstock._books import Books, Running
    from penstock._ending import Ended
    from penstock._targets import LiveTarget
    from penstock.policy.commit import Begin
    from penstock.types import Attempt, ChatRequest

__all__ = ["OtelTelemetry"]

P = ParamSpec("P")
R = TypeVar("R")

CALL_OF_A_MODEL = "model"
"""In place of a route, in names: those of models can come from callers."""
_TRACE_CONTEXT = TraceContextTextMapPropagator()
_FAILED: dict[str, Status] = {}
"""By kind of error: there are some thirty."""


class _Troubled(Protocol):
    troubles: Troubles


T = TypeVar("T", bound=_Troubled)


def _kept(method: Callable[Concatenate[T, P], None]) -> Callable[Concatenate[T, P], None]:
    """The border: what the method raises is told once of each kind, and goes no further."""

    @wraps(method)
    def keeps(self: T, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - foreign code
            self.troubles.met(error)

    return keeps


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
        self.live: set[_CallSpan] = set()
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
            return _CallSpan(self, call_id, route, account, targets, request, metadata)
        except Exception as error:  # noqa: BLE001 - as above
            self.troubles.met(error)
            return NO_TELEMETRY.call(call_id, route, account, targets, request, metadata)

    def heard(self, event: Event) -> None:
        """Something happened beside the calls: counted, and told in the spans of those whom it concerns."""
        self._count(event)
        self._tell_calls(event)

    @_kept
    def _count(self, event: Event) -> None:
        self.measures.heard(event)

    @_kept
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


class _CallSpan(CallSpan):
    __slots__ = (
        "_began",
        "_holds",
        "_queued",
        "_records",
        "_request",
        "_route",
        "_span",
        "_story",
        "_telemetry",
        "_within",
        "context",
        "targets",
        "troubles",
    )

    def __init__(  # noqa: PLR0917 - as its maker has them
        self,
        telemetry: OtelTelemetry,
        call_id: str,
        route: str,
        account: str,
        targets: Sequence[LiveTarget],
        request: ChatRequest,
        metadata: Mapping[str, Any] | None,
    ) -> None:
        self.targets = targets
        self.troubles = telemetry.troubles
        self._telemetry = telemetry
        self._request = request
        self._route = CALL_OF_A_MODEL if request.model is not None else route
        self._story = Story(targets[0].name if targets else "")
        self._began = telemetry.clock()
        self._queued = 0.0
        self._holds = False
        attributes: Attributes = {n.CALL_ID: call_id, n.ROUTE: route}
        if account:
            attributes[n.ACCOUNT] = account
        if metadata and telemetry.metadata:
            for key, value in chosen(metadata, telemetry.metadata).items():
                attributes[n.METADATA + key] = value
        self._span = telemetry.tracer.start_span(
            n.span_of_call(self._route),
            context=(parent := _parent(metadata)),
            kind=SpanKind.INTERNAL,
            attributes=attributes,
        )
        self._within = self.context = set_span_in_context(self._span, parent)
        self._records = self._span.is_recording()
        if self._records:
            telemetry.live.add(self)

    @property
    def ids(self) -> TraceIds | None:
        # Worked out where somebody asks: a log that nobody keeps needs none.
        try:
            return _ids(self._span)
        except Exception as error:  # noqa: BLE001 - as above
            self.troubles.met(error)
            return None

    @_kept
    def placed(self, waited: float) -> None:
        self._queued = waited
        self._telemetry.measures.placed(waited)

    @_kept
    def event(self, /, name: str, **attributes: Attribute) -> None:
        self._story.heard(name, attributes)
        if name == n.HOLD and not self._holds and attributes.get("outcome") == "granted":
            self._holds = True
            self._telemetry.holds += 1
        if not self._records or name == ATTEMPT_FAILED:
            return
        if name == n.WAIT:
            target = str(attributes.get("target"))
            attributes["reason"] = self._story.why or self._in_the_way(target) or UNKNOWN
            attributes |= self._scope_of(target, attributes["reason"])
        self._span.add_event(n.event_name(name), attributes)

    def attempt(self, target: LiveTarget, running: Running, begin: Begin) -> AttemptSpan:
        telemetry = self._telemetry
        try:
            step = self._story.begins(
                target.name,
                running.number,
                hedge=running.hedge,
                known=self._in_the_way,
            )
            if step.event is not None:
                before = str(step.attributes.get("from"))
                self.event(step.event, **step.attributes, **self._scope_of(before, step.attributes["reason"]))
            began = telemetry.begins_with(target)
            attributes: Attributes = {**began, n.ATTEMPT_NUMBER: running.number, n.ATTEMPT_REASON: step.reason}
            if running.probe:
                attributes[n.ATTEMPT_PROBE] = True
            if (word := begin_word(begin)) is not None:
                attributes[n.ATTEMPT_BEGIN] = word
            span = telemetry.tracer.start_span(
                n.span_of_attempt(target.wire.model),
                context=self._within,
                kind=SpanKind.CLIENT,
                attributes=attributes,
            )
            return _AttemptSpan(telemetry, span, began)
        except Exception as error:  # noqa: BLE001 - as above
            telemetry.troubles.met(error)
            return NO_TELEMETRY.call("", "", "", (), self._request, None).attempt(target, running, begin)

    def _in_the_way(self, target: str) -> str | None:
        found = self._telemetry.stands_at(self.targets, target)
        return None if found is None else found[0]

    def _scope_of(self, target: str, reason: object) -> dict[str, str]:
        """The breaker or the cool-down that is the reason; nothing where that is something else."""
        found = self._telemetry.stands_at(self.targets, target)
        return {"scope": found[1]} if found is not None and found[0] == reason else {}

    @_kept
    def replayed(self, answer: StoredAnswer) -> None:
        capture = self._telemetry.capture
        if capture is None or not self._records:
            return
        # No exchange has a span that could hold them.
        self._span.set_attributes(
            {**capture.asked(self._request), **capture.answered(answer.message, answer.finish_reason)}
        )

    def end(self, ended: Ended, books: Books) -> None:
        self._telemetry.live.discard(self)
        self._telemetry.holds -= self._holds
        # Each for itself: whichever of them fails, the other is not lost to it.
        self._end_span(ended, books)
        self._measure(ended, books)

    @_kept
    def _end_span(self, ended: Ended, books: Books) -> None:
        try:
            if self._records:
                if ended.cache != "off":
                    self._span.add_event(n.event_name(n.CACHE_EVENT), {"outcome": ended.cache})
                fallback = self._story.why if self._story.fell_back else None
                self._span.set_attributes(call_ended(ended, books, fallback=fallback, queued=self._queued))
                _close(self._span, ended.outcome)
        finally:
            self._span.end()

    @_kept
    def _measure(self, ended: Ended, books: Books) -> None:
        telemetry = self._telemetry
        telemetry.measures.call_ended(self._route, ended, books, telemetry.clock() - self._began, self._queued)


class _AttemptSpan(AttemptSpan):
    __slots__ = ("_began", "_last", "_provider", "_span", "_telemetry", "troubles")

    def __init__(self, telemetry: OtelTelemetry, span: Span, began: Attributes) -> None:
        self.troubles = telemetry.troubles
        self._telemetry = telemetry
        self._span = span
        self._began = began
        self._provider = str(began[n.PROVIDER])
        self._last: float | None = None

    def headers(self) -> Sequence[tuple[str, str]]:
        carrier: dict[str, str] = {}
        try:
            # Of the trace alone: baggage of the host's is not for strangers.
            _TRACE_CONTEXT.inject(carrier, set_span_in_context(self._span, Context()))
        except Exception as error:  # noqa: BLE001 - as above
            self.troubles.met(error)
        return tuple(carrier.items())

    @_kept
    def chunk(self, attempt: AttemptRun) -> None:
        now, last = self._telemetry.clock(), self._last
        self._last = now
        if last is not None:
            self._telemetry.measures.chunk(now - last, attempt.target, self._provider, attempt.exchange.url)

    def end(self, attempt: AttemptRun, told: Attempt) -> None:
        self._end_span(attempt, told)
        self._measure(attempt, told)

    @_kept
    def _end_span(self, attempt: AttemptRun, told: Attempt) -> None:
        telemetry, span = self._telemetry, self._span
        try:
            if attempt.exchange.url is not None:
                telemetry.asked_at(attempt.target.name, attempt.exchange.url)
            if span.is_recording():
                span.set_attributes(attempt_ended(telemetry.names, attempt, told, self._began))
                if telemetry.capture is not None:
                    span.set_attributes(_content(telemetry.capture, attempt))
                _close(span, told.outcome)
        finally:
            span.end()

    @_kept
    def _measure(self, attempt: AttemptRun, told: Attempt) -> None:
        self._telemetry.measures.attempt_ended(attempt, told, self._provider)


def _content(capture: Capture, attempt: AttemptRun) -> Attributes:
    said = capture.asked(attempt.sent or attempt.request)
    completion = attempt.completion
    if completion is not None:
        said |= capture.answered(completion.message, completion.finish_reason)
    elif partial := attempt.exchange.partial:
        said |= capture.answered(Message.assistant(partial), "error")
    return said


def _close(span: Span, outcome: str) -> None:
    """An error is one of the kinds of ours: their words may quote a prompt. A cancelled call is no error."""
    if outcome not in {"ok", "cancelled"}:
        span.set_status(_FAILED.setdefault(outcome, Status(StatusCode.ERROR, outcome)))


def _parent(metadata: Mapping[str, Any] | None) -> Context:
    """The caller's own context; where it is in no trace, the one that came with a request it serves."""
    current = get_current()
    if metadata and "traceparent" in metadata and not get_current_span(current).get_span_context().is_valid:
        given = {key: value for key in ("traceparent", "tracestate") if isinstance(value := metadata.get(key), str)}
        return _TRACE_CONTEXT.extract(given, current)
    return current


def _ids(span: Span) -> TraceIds | None:
    context = span.get_span_context()
    if not context.is_valid:
        return None
    return format_trace_id(context.trace_id), format_span_id(context.span_id)
