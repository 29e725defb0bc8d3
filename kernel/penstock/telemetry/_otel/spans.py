"""Spans: one for a call, one for each of its attempts, with explicit parents. Nothing is ever attached to a context.

Whatever goes wrong here stays here: a sampler, a span processor or an instrument of the host's own is foreign code, and
so is what a caller gave as metadata. Everything that a call is told through is `kept`: it never raises.

Not here: what they have in common (`telemetry`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context, get_current
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    format_span_id,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from penstock._foreign import let_through
from penstock.telemetry import NO_TELEMETRY, AttemptSpan, Attribute, CallSpan, TraceIds
from penstock.telemetry import _names as n
from penstock.telemetry._attributes import Attributes, attempt_ended, begin_word, call_ended, chosen
from penstock.telemetry._content import Capture
from penstock.telemetry._story import ATTEMPT_FAILED, UNKNOWN, Story
from penstock.telemetry._troubles import kept
from penstock.types import Message

if TYPE_CHECKING:
    from penstock._attempt import AttemptRun
    from penstock._books import Books, Running
    from penstock._ending import Ended
    from penstock._live_target import LiveTarget
    from penstock._stored_answer import StoredAnswer
    from penstock.policy.commit import Begin
    from penstock.telemetry._otel.telemetry import OtelTelemetry
    from penstock.types import Attempt, ChatRequest

__all__ = ["OtelAttemptSpan", "OtelCallSpan"]

CALL_OF_A_MODEL = "model"
"""In place of a route, in names: those of models can come from callers."""
_TRACE_CONTEXT = TraceContextTextMapPropagator()
_FAILED: dict[str, Status] = {}
"""By kind of error: there are some thirty."""


class OtelCallSpan(CallSpan):
    """The span of a call, and its story."""

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
        except BaseException as error:  # noqa: BLE001 - as above
            let_through(error)
            self.troubles.met(error)
            return None

    @kept
    def placed(self, waited: float) -> None:
        self._queued = waited
        self._telemetry.measures.placed(waited)

    @kept
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
            return OtelAttemptSpan(telemetry, span, began)
        except BaseException as error:  # noqa: BLE001 - as above
            let_through(error)
            telemetry.troubles.met(error)
            return NO_TELEMETRY.call("", "", "", (), self._request, None).attempt(target, running, begin)

    def _in_the_way(self, target: str) -> str | None:
        found = self._telemetry.stands_at(self.targets, target)
        return None if found is None else found[0]

    def _scope_of(self, target: str, reason: object) -> dict[str, str]:
        """The breaker or the cool-down that is the reason; nothing where that is something else."""
        found = self._telemetry.stands_at(self.targets, target)
        return {"scope": found[1]} if found is not None and found[0] == reason else {}

    @kept
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

    @kept
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

    @kept
    def _measure(self, ended: Ended, books: Books) -> None:
        telemetry = self._telemetry
        telemetry.measures.call_ended(self._route, ended, books, telemetry.clock() - self._began, self._queued)


class OtelAttemptSpan(AttemptSpan):
    """The span of an attempt, beneath its call's."""

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
        except BaseException as error:  # noqa: BLE001 - as above
            let_through(error)
            self.troubles.met(error)
        return tuple(carrier.items())

    @kept
    def chunk(self, attempt: AttemptRun) -> None:
        now, last = self._telemetry.clock(), self._last
        self._last = now
        if last is not None:
            self._telemetry.measures.chunk(now - last, attempt.target, self._provider, attempt.exchange.url)

    def end(self, attempt: AttemptRun, told: Attempt) -> None:
        self._end_span(attempt, told)
        self._measure(attempt, told)

    @kept
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

    @kept
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
