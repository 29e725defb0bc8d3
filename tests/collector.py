"""An OTLP collector of the tests' own: a real server on loopback that decodes what is sent to it, or will not.

It runs in threads, for that is where exporters send from.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import attrs
import grpc  # type: ignore[import-untyped]  # it has no stubs of its own
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

__all__ = ["Collector", "GotSpan", "attributes_of", "collecting", "collecting_grpc"]


def attributes_of(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    """As Python says it."""
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return None if kind is None else getattr(value, kind)


@attrs.frozen
class GotSpan:
    """A span as it was decoded."""

    span: Span
    resource: dict[str, Any]
    scope: str
    schema_url: str

    @property
    def name(self) -> str:
        return str(self.span.name)

    @property
    def kind(self) -> str:
        return str(Span.SpanKind.Name(self.span.kind)).removeprefix("SPAN_KIND_").lower()

    @property
    def status(self) -> str:
        name = str(Status.StatusCode.Name(self.span.status.code)).removeprefix("STATUS_CODE_").lower()
        return f"{name}: {self.span.status.message}" if self.span.status.message else name

    @property
    def attributes(self) -> dict[str, Any]:
        return attributes_of(self.span.attributes)

    @property
    def events(self) -> list[tuple[str, dict[str, Any]]]:
        return [(event.name, attributes_of(event.attributes)) for event in self.span.events]


class Collector:
    """What has come so far. `answer` is the status of each response; None: it never answers."""

    def __init__(self, answer: int | None = 200) -> None:
        self.answer = answer
        self.url = ""
        self.traces: list[bytes] = []
        self.metrics: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.over = threading.Event()

    def take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        """A request has come."""
        self.headers.append(headers)
        (self.traces if "race" in path else self.metrics).append(body)

    @property
    def spans(self) -> list[GotSpan]:
        """All of them, in the order in which they came."""
        found: list[GotSpan] = []
        for body in self.traces:
            for part in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = attributes_of(part.resource.attributes)
                found += [
                    GotSpan(span, resource, scope.scope.name, scope.schema_url)
                    for scope in part.scope_spans
                    for span in scope.spans
                ]
        return found

    def each(self) -> list[dict[str, Metric]]:
        """The metrics of each time that they were sent, by name."""
        return [
            {
                metric.name: metric
                for part in ExportMetricsServiceRequest.FromString(body).resource_metrics
                for scope in part.scope_metrics
                for metric in scope.metrics
            }
            for body in self.metrics
        ]

    def latest(self) -> dict[str, Metric]:
        """The metrics of the last time that they were sent, by name."""
        return {name: metric for found in self.each() for name, metric in found.items()}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    collector: Collector


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        collector = cast("_Server", self.server).collector
        body = self.rfile.read(int(self.headers["content-length"]))
        if collector.answer is None:
            collector.over.wait()
            return
        collector.take(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        self.send_response(collector.answer)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@contextmanager
def collecting(answer: int | None = 200) -> Generator[Collector]:
    """A collector that speaks OTLP over HTTP."""
    collector = Collector(answer)
    server = _Server(("127.0.0.1", 0), _Handler)
    server.collector = collector
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        collector.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def collecting_grpc() -> Generator[Collector]:
    """The same over gRPC."""
    collector = Collector()

    def export(path: str, answer: Any) -> Any:
        def handle(request: bytes, context: Any) -> bytes:
            collector.take(path, dict(context.invocation_metadata()), request)
            return bytes(answer.SerializeToString())

        return handle

    handlers = {
        "TraceService": ("opentelemetry.proto.collector.trace.v1.TraceService", ExportTraceServiceResponse()),
        "MetricsService": ("opentelemetry.proto.collector.metrics.v1.MetricsService", ExportMetricsServiceResponse()),
    }
    server = grpc.server(ThreadPoolExecutor(2))
    for name, (service, answer) in handlers.items():
        method = cast("Any", grpc.unary_unary_rpc_method_handler(export(name, answer)))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    collector.url = f"http://127.0.0.1:{port}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(0).wait()
