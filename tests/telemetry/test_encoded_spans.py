"""Spans as penstock writes them for OTLP are, field by field, what the SDK's own exporter would have sent."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from penstock.telemetry._otel.encoded import BodySession, EncodedExporter, EncodingProcessor, encoded
from penstock.telemetry._variables import room_of

TEXTS = st.text(max_size=200)
PLAIN = st.one_of(
    TEXTS, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.binary(max_size=200)
)
VALUES = st.one_of(
    PLAIN,
    st.lists(PLAIN, max_size=4),
    st.dictionaries(st.text(min_size=1, max_size=9), PLAIN, max_size=3),
    st.none(),
)
KEYS = st.one_of(st.sampled_from(["a", "b", "c"]), st.text(min_size=1, max_size=200))
ATTRIBUTES = st.dictionaries(KEYS, VALUES, max_size=8)
ALIKE = st.dictionaries(st.just("same"), st.sampled_from([1, True, 1.0, "1", ("1",), (1,), (True,)]))
"""Values that Python holds to be equal, and the wire tells apart."""


class Ids(IdGenerator):
    """Those that are given."""

    def __init__(self, trace: int, span: int) -> None:
        self.trace, self.span = trace, span

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span


class Ended(SpanProcessor):
    """Keeps what ended."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def by_the_sdk(span: ReadableSpan) -> WireSpan:
    wire: WireSpan = encode_spans([span]).resource_spans[0].scope_spans[0].spans[0]
    return wire


@settings(max_examples=200, deadline=None)
@given(
    trace=st.integers(1, 2**128 - 1),
    span=st.integers(1, 2**64 - 1),
    name=TEXTS,
    kind=st.sampled_from(SpanKind),
    attributes=st.one_of(ATTRIBUTES, ALIKE),
    events=st.lists(st.tuples(TEXTS, st.one_of(ATTRIBUTES, ALIKE)), max_size=4),
    status=st.sampled_from(StatusCode),
    says=st.one_of(st.none(), TEXTS),
    parent=st.one_of(st.none(), st.booleans()),
    state=st.dictionaries(st.sampled_from(["vendor", "other"]), st.sampled_from(["1", "opaque"])),
    most=st.integers(1, 9),
)
def test_a_span_is_written_as_the_sdk_would_write_it(
    *,
    trace: int,
    span: int,
    name: str,
    kind: SpanKind,
    attributes: Mapping[str, Any],
    events: Sequence[tuple[str, Mapping[str, Any]]],
    status: StatusCode,
    says: str | None,
    parent: bool | None,
    state: Mapping[str, str],
    most: int,
) -> None:
    ended = Ended()
    provider = TracerProvider(
        id_generator=Ids(trace, span),
        span_limits=SpanLimits(max_span_attributes=most, max_event_attributes=most, max_events=3),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(ended)
    context = None
    if parent is not None:  # near or far
        above = SpanContext(trace, span, parent, TraceFlags(1), TraceState(list(state.items())))
        context = set_span_in_context(NonRecordingSpan(above))
    told = provider.get_tracer("test").start_span(name, context, kind, attributes)
    for event, said in events:
        told.add_event(event, said)
    told.set_status(Status(status, says if status is StatusCode.ERROR else None))
    told.end()
    assert WireSpan.FromString(encoded(ended.spans[0])) == by_the_sdk(ended.spans[0])


def test_text_that_is_no_unicode_is_escaped_and_nothing_else_is_lost() -> None:
    ended = Ended()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(ended)
    provider.get_tracer("test").start_span("half", attributes={"half": "a\ud800", "whole": "b"}).end()
    wire = WireSpan.FromString(encoded(ended.spans[0]))
    assert {each.key: each.value.string_value for each in wire.attributes} == {"half": "a\\ud800", "whole": "b"}


@pytest.mark.parametrize(("named", "opens"), [(None, bytes), ("gzip", gzip.decompress), ("deflate", zlib.decompress)])
def test_a_body_is_sent_in_the_place_of_another_and_packed_as_its_header_says(
    named: str | None, opens: Callable[[bytes], bytes]
) -> None:
    came: list[bytes] = []

    class Takes(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Takes) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        with BodySession() as session:
            session.trust_env = False
            session.body = b"what is to be sent" * 9
            headers = {} if named is None else {"Content-Encoding": named}
            session.post(f"http://127.0.0.1:{server.server_port}/", data=b"what is given", headers=headers, timeout=9)
        server.shutdown()
        serving.join()
    assert [opens(each) for each in came] == [b"what is to be sent" * 9]


class Stuck(SpanExporter):
    """One that does not come back until it is let go. It keeps the spans that it was to send."""

    def __init__(self, session: BodySession) -> None:
        self.session = session
        self.begun, self.let_go = Event(), Event()
        self.spans: list[WireSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - as its parent has it
        self.spans += ExportTraceServiceRequest.FromString(self.session.body).resource_spans[0].scope_spans[0].spans
        self.begun.set()
        return SpanExportResult.SUCCESS if self.let_go.wait(30) else SpanExportResult.FAILURE


def test_what_a_full_queue_has_no_room_for_is_lost_by_whole_calls_and_later_calls_are_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
    stuck = Stuck(session := BodySession())
    processor = EncodingProcessor(
        EncodedExporter(stuck, session, Resource({}), InstrumentationScope("tests")), room=room_of(os.environ)
    )
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("tests")

    def calls(**attempts: int) -> None:
        """All under way at once, each with so many attempts; they end in their order."""
        begun = {name: tracer.start_span(name) for name in attempts}
        for name, count in attempts.items():
            for _ in range(count):
                context = set_span_in_context(begun[name])
                tracer.start_span(f"attempt of {name}", context, kind=SpanKind.CLIENT).end()
        for span in begun.values():
            span.end()

    calls(taken=1)
    assert stuck.begun.wait(30)
    calls(three=3, two=2, never=1, one=0, nor=2)  # four, then three, which leaves room for one
    stuck.let_go.set()
    assert processor.force_flush()
    calls(later=1)
    assert processor.force_flush()
    assert [span.name for span in stuck.spans] == [
        *("attempt of taken", "taken"),
        *("attempt of three", "attempt of three", "attempt of three", "three"),
        *("attempt of two", "attempt of two", "two", "one"),
        *("attempt of later", "later"),
    ]
    by_id = {span.span_id: span.name for span in stuck.spans}
    attempts = [span for span in stuck.spans if span.name.startswith("attempt")]
    assert all(span.name == f"attempt of {by_id[span.parent_span_id]}" for span in attempts)
    # Told once, not for each.
    assert [record.getMessage() for record in caplog.records] == [
        "telemetry: the collector does not keep up: the spans of some calls are lost, 1 so far"
    ]
    processor.shutdown()


def test_an_attempt_of_a_call_that_is_not_recorded_comes_alone() -> None:
    stuck = Stuck(session := BodySession())
    stuck.let_go.set()
    processor = EncodingProcessor(EncodedExporter(stuck, session, Resource({}), InstrumentationScope("tests")), room=8)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    away = NonRecordingSpan(SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)))
    tracer = provider.get_tracer("tests")
    tracer.start_span("attempt", set_span_in_context(away), kind=SpanKind.CLIENT).end()
    processor.shutdown()
    assert [span.name for span in stuck.spans] == ["attempt"]
