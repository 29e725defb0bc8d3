"""Spans as the bytes that OTLP sends, written when their call ends. The SDK's own exporter sends them over HTTP.

The SDK keeps a span of sixty objects until its batch is full, and then builds and copies five messages for each
attribute: half of all that two spans cost, in a thread that takes the interpreter from calls for tens of milliseconds.
Written at once, while it is at hand, a span costs less than a quarter of that (180,000 instructions in place of 800,000
for the two of a call), and waits as one string of bytes.

Not here: spans of a program's own SDK, and those for the console or over gRPC, which the SDK exports as ever. Only
imported where there is the extra that sends over HTTP.
"""

from __future__ import annotations

import gzip
import logging
import time
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from struct import Struct
from types import MappingProxyType
from typing import Any, cast

import requests
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext, SpanKind, Status, StatusCode

__all__ = ["BodySession", "EncodedExporter", "EncodingProcessor", "encoded"]

logger = logging.getLogger("penstock")

HAS_IS_REMOTE, IS_REMOTE = 0x100, 0x200
"""Flags of a span: that it is told whether its parent came over a network, and that it did."""
MOST_KNOWN = 4_096
"""Attributes that are kept as their bytes: names of targets, models and outcomes come again in every call."""
LONGEST_KNOWN = 64
"""Characters of such a text. Longer ones are contents, which come once."""
TOLD_EVERY = 60.0
"""Seconds between two lines of the log that spans are lost."""
_DOUBLE, _TIMES, _TIME, _FLAGS = Struct("<d").pack, Struct("<BQBQ").pack, Struct("<Q").pack, Struct("<HI").pack
_SMALL = tuple(bytes((value,)) for value in range(128))
_UNSET = b"\x7a\x00"


def encoded(span: ReadableSpan) -> bytes:
    """`opentelemetry.proto.trace.v1.Span`, by the numbers of its fields. Of a span that has ended, and has no links."""
    context, parent, attributes = cast("SpanContext", span.context), span.parent, span.attributes
    flags = HAS_IS_REMOTE
    parts = [b"\x0a\x10", context.trace_id.to_bytes(16, "big"), b"\x12\x08", context.span_id.to_bytes(8, "big")]
    if context.trace_state:
        parts += b"\x1a", _text(",".join(f"{key}={value}" for key, value in context.trace_state.items()))
    if parent is not None:
        parts += b"\x22\x08", parent.span_id.to_bytes(8, "big")
        if parent.is_remote:
            flags |= IS_REMOTE
    # The wire's kinds are one more than the API's: 0 is "unspecified".
    parts += b"\x2a", _name(span.name), b"\x30", _SMALL[span.kind.value + 1]
    parts.append(_TIMES(0x39, span.start_time or 0, 0x41, span.end_time or 0))
    if attributes:
        parts.append(_pairs(b"\x4a", attributes))
    if span.dropped_attributes:
        parts += b"\x50", _varint(span.dropped_attributes)
    for event in span.events:
        parts += b"\x5a", _long(_event(event))
    if span.dropped_events:
        parts += b"\x60", _varint(span.dropped_events)
    parts += _UNSET if span.status.status_code is StatusCode.UNSET else _status(span.status), _FLAGS(0x0185, flags)
    return b"".join(parts)


def _event(event: Event) -> bytes:
    said = b"\x09%b\x12%b" % (_TIME(event.timestamp), _name(event.name))
    if event.attributes:
        said += _pairs(b"\x1a", event.attributes)
    if event.dropped_attributes:
        said += b"\x20" + _varint(event.dropped_attributes)
    return said


def _status(status: Status) -> bytes:
    said = b"\x12" + _text(status.description) if status.description else b""
    return b"\x7a" + _long(said + b"\x18" + _SMALL[status.status_code.value])


def _pairs(tag: bytes, attributes: Mapping[str, Any]) -> bytes:
    """Each behind the tag of its field."""
    # Its own copy is one call; read as the mapping it is, a span's take two calls of Python for every key.
    plain: Mapping[str, Any] = (
        cast("dict[str, Any]", attributes.copy())
        if isinstance(attributes, BoundedAttributes | MappingProxyType)
        else attributes
    )
    pairs: list[bytes] = []
    for key, value in plain.items():
        kind = type(value)  # pyright: ignore[reportUnknownVariableType] - of whatever it is
        if kind is float:
            pairs.append(_key_of_float(key) + _DOUBLE(value))
        elif kind is str and len(value) <= LONGEST_KNOWN:
            pairs.append(_known(key, value, "text"))
        elif kind is int:
            pairs.append(_known(key, value, "number"))
        elif kind is tuple and len(value) == 1 and type(value[0]) is str and len(value[0]) <= LONGEST_KNOWN:
            pairs.append(_known(key, value[0], "one of a list"))  # as reasons to finish are, nearly always
        else:
            pairs.append(_pair(key, value))
    return tag + tag.join(pairs) if pairs else b""


@lru_cache(maxsize=MOST_KNOWN)
def _known(key: str, value: str | int, kind: str) -> bytes:
    """No floats, and no truth: 1.0 and True are equal to 1, and would be found in its place."""
    return _pair(key, (value,) if kind == "one of a list" else value)


@lru_cache(maxsize=1_024)
def _key_of_float(key: str) -> bytes:
    """All of the pair up to the eight bytes of its value."""
    said = b"\x0a%b\x12\x09\x21" % _text(key)
    return _varint(len(said) + 8) + said


def _pair(key: str, value: object) -> bytes:
    """`KeyValue`, with its length."""
    return _long(b"\x0a%b\x12%b" % (_text(key), _value(value)))


def _value(value: object) -> bytes:
    """`AnyValue`, with its length."""
    match value:
        case str():
            return _long(b"\x0a" + _text(value))
        case bool():
            return b"\x02\x10\x01" if value else b"\x02\x10\x00"
        case int() if -(2**63) <= value < 2**63:
            return _long(b"\x18" + _varint(value & (2**64 - 1)))
        case float():
            return b"\x09\x21" + _DOUBLE(value)
        case None:
            return b"\x00"
        case bytes():
            return _long(b"\x3a" + _long(value))
        case list() | tuple():
            items = cast("Sequence[object]", value)
            return _long(b"\x2a" + _long(b"".join([b"\x0a" + _value(each) for each in items])))
        case Mapping():
            return _long(b"\x32" + _long(_pairs(b"\x0a", cast("Mapping[str, object]", value))))
        case _:
            return _long(b"\x0a" + _text(str(value)))


@lru_cache(maxsize=1_024)
def _name(name: str) -> bytes:
    """Of a span or an event, with its length."""
    return _text(name)


def _text(text: str) -> bytes:
    """With its length. What is no Unicode is escaped: the wire takes no half of a pair of surrogates."""
    return _long(text.encode("utf-8", "backslashreplace"))


def _long(content: bytes) -> bytes:
    """With its length."""
    return _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits in each byte, the least first; all but the last have the eighth bit."""
    if value < 128:
        return _SMALL[value]
    parts = bytearray()
    while value >= 128:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)


class _Encoded:
    """What a batch keeps in the place of a span: the context says whether it is sampled."""

    __slots__ = ("context", "wire")

    def __init__(self, context: SpanContext, wire: bytes) -> None:
        self.context = context
        self.wire = wire


class EncodingProcessor(SpanProcessor):
    """Gives the spans of each call to the SDK's batches as their bytes, when the call ends and while there is room.

    Those of a call that ends while there is none are lost together: no attempt comes without its call, no call without
    its attempts, and nobody pays for bytes that go nowhere. The SDK's batches would lose the oldest spans, whose calls
    come later.
    """

    def __init__(self, exporter: EncodedExporter, room: int) -> None:
        """`room` is the spans that the SDK's batches let wait."""
        self._batches = BatchSpanProcessor(exporter)
        self._exporter = exporter
        self._room = room
        self._given = 0
        self._attempts: dict[int, list[ReadableSpan]] = {}
        """Those that are over, by the id of their call's span: of calls under way, of which the kernel bounds the
        number.
        """
        self._lost = 0
        self._told = -TOLD_EVERY

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 - as its parent has it
        """Of a call: its attempts are to wait for it."""
        context = span.context
        if span.kind is not SpanKind.CLIENT and context is not None and context.trace_flags.sampled:
            self._attempts[context.span_id] = []

    def on_end(self, span: ReadableSpan) -> None:
        """An attempt waits for its call, which takes all of them along: encoded here and now, in a few microseconds
        each.
        """
        context, parent = span.context, span.parent
        if context is None or not context.trace_flags.sampled:
            return
        if parent is not None and (waiting := self._attempts.get(parent.span_id)) is not None:
            waiting.append(span)
            return
        spans = [*self._attempts.pop(context.span_id, ()), span]
        if self._given - self._exporter.taken + len(spans) > self._room:
            self._lose()
            return
        self._given += len(spans)
        for each in spans:
            self._batches.on_end(cast("ReadableSpan", _Encoded(context, encoded(each))))

    def _lose(self) -> None:
        self._lost += 1
        now = time.monotonic()
        if now - self._told >= TOLD_EVERY:
            self._told = now
            logger.warning(
                "telemetry: the collector does not keep up: the spans of some calls are lost, %d so far", self._lost
            )

    def shutdown(self) -> None:
        """As the SDK's batches do."""
        self._batches.shutdown()  # type: ignore[no-untyped-call]  # as the SDK has it

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """The same."""
        return self._batches.force_flush(timeout_millis)


class BodySession(requests.Session):
    """Sends a body of ours in the place of the one that it is given: an exporter's, which is then its request alone."""

    body = b""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """As its parent does. A request without a body, as after some redirects, keeps none."""
        if request.body is not None:
            match request.headers.get("Content-Encoding"):
                case "gzip":
                    request.body = gzip.compress(self.body)
                case "deflate":
                    request.body = zlib.compress(self.body)
                case _:
                    request.body = self.body
            request.prepare_content_length(request.body)
        return super().send(request, **options)


class EncodedExporter(SpanExporter):
    """Sends spans that are encoded already. Addresses, headers, certificates and retries are those of the SDK's
    exporter, which is given a span that says nothing, and whose `session` sends the batch instead.
    """

    def __init__(
        self, exporter: SpanExporter, session: BodySession, resource: Resource, scope: InstrumentationScope
    ) -> None:
        self.taken = 0
        """Spans that wait no more: sent, being sent, or given up."""
        self._exporter = exporter
        self._session = session
        self._blank = ReadableSpan("", INVALID_SPAN_CONTEXT, resource=resource, instrumentation_scope=scope)
        of_resource = encode_spans([self._blank]).resource_spans[0]
        of_scope = of_resource.scope_spans[0]
        del of_scope.spans[:]
        self._scope = of_scope.SerializeToString()
        del of_resource.scope_spans[:]
        self._resource = of_resource.SerializeToString()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """One request. Called by one thread at a time, as batches are."""
        self.taken += len(spans)
        wires = [cast("_Encoded", each).wire for each in spans]
        # Repeated fields may stand anywhere in a message: those of the scope and the resource are put before them.
        of_scope = self._scope + b"".join([b"\x12" + _long(each) for each in wires])
        self._session.body = b"\x0a" + _long(self._resource + b"\x12" + _long(of_scope))
        return self._exporter.export([self._blank])

    def shutdown(self) -> None:
        """As the SDK's exporter does."""
        self._exporter.shutdown()
