"""Exporters: to a collector over OTLP, or to the console. What is not given to them they take from `OTEL_*` variables.

Not here: which are wanted (`telemetry._destination`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.util.re import parse_env_headers

from penstock._config import TelemetryConfig
from penstock.telemetry._destination import HEADERS, Signal, Way, address_of, headers_of, protocol_of
from penstock.telemetry._variables import room_of

if TYPE_CHECKING:
    import requests

__all__ = ["metric_exporter", "of_grpc", "of_http", "span_processor"]

SESSION_VARIABLES = (
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
)
"""Each names an entry point that makes the exporter's session."""
NO_HEADERS = ","
"""A list of headers with none in it. Where nothing at all is given, the exporter for gRPC takes those of a variable."""


def span_processor(
    said: TelemetryConfig, way: Way, environ: Mapping[str, str], resource: Resource, scope: InstrumentationScope
) -> SpanProcessor:
    """Of traces: batches, and what sends them."""
    if way == "console":
        return BatchSpanProcessor(ConsoleSpanExporter(out=sys.stdout))
    if protocol_of(said, environ, "traces")[0] == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  # an extra

        return BatchSpanProcessor(OTLPSpanExporter(**of_grpc(said)))
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415  # an extra
        OTLPSpanExporter as HTTPSpanExporter,
    )

    from penstock.telemetry._otel.encoded import BodySession, EncodedExporter, EncodingProcessor  # noqa: PLC0415

    given = of_http(said, "traces", environ)
    session = given.get("session")
    if session is None:
        if any(environ.get(name) for name in SESSION_VARIABLES):
            # The exporter would take a session of the program's own, which is not ours to take the place of.
            return BatchSpanProcessor(HTTPSpanExporter(**given))
        session = given["session"] = BodySession()
    exporter = EncodedExporter(HTTPSpanExporter(**given), session, resource, scope)
    return EncodingProcessor(exporter, room=room_of(environ))


def metric_exporter(said: TelemetryConfig, way: Way, environ: Mapping[str, str]) -> MetricExporter:
    """Of metrics."""
    if way == "console":
        return ConsoleMetricExporter(out=sys.stdout)
    if protocol_of(said, environ, "metrics")[0] == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (  # noqa: PLC0415  # an extra
            OTLPMetricExporter,
        )

        return OTLPMetricExporter(**of_grpc(said))
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415  # an extra
        OTLPMetricExporter as HTTPMetricExporter,
    )

    return HTTPMetricExporter(**of_http(said, "metrics", environ))


def of_http(said: TelemetryConfig, signal: Signal, environ: Mapping[str, str]) -> dict[str, Any]:
    """What an exporter over HTTP is given. None: as the environment says."""
    if said.otlp is None:
        return {"endpoint": None, "headers": _headers(said)}
    endpoint = address_of(said, environ, signal, "http/protobuf")
    return {"endpoint": endpoint, "headers": _headers(said), "session": _session(said, signal, environ)}


def of_grpc(said: TelemetryConfig) -> dict[str, Any]:
    """The same over gRPC."""
    headers = _headers(said)
    if said.otlp is None:
        return {"endpoint": None, "insecure": None, "headers": _lower(headers)}
    insecure = said.otlp.startswith("http://")
    return {"endpoint": said.otlp, "insecure": insecure, "headers": _lower(headers) or NO_HEADERS}


def _headers(said: TelemetryConfig) -> dict[str, str] | None:
    return {name: secret.reveal() for name, secret in said.headers.items()} or None


def _lower(headers: dict[str, str] | None) -> dict[str, str] | None:
    """HTTP/2 knows no capital letters."""
    return None if headers is None else {name.lower(): value for name, value in headers.items()}


def _session(said: TelemetryConfig, signal: Signal, environ: Mapping[str, str]) -> requests.Session:
    """One that sends no header of a variable: that is a credential of another collector than the configuration's.

    The exporter adds them whatever it is given.
    """
    import requests  # noqa: PLC0415  # comes with the exporter

    from penstock.telemetry._otel.encoded import BodySession  # noqa: PLC0415  # for traces

    given = environ.get(headers_of(signal)) or environ.get(HEADERS, "")
    own = {name.lower() for name in said.headers}
    strange = [name for name in parse_env_headers(given, liberal=True) if name.lower() not in own]

    def without(request: requests.PreparedRequest) -> requests.PreparedRequest:
        for name in strange:
            request.headers.pop(name, None)
        return request

    session = BodySession() if signal == "traces" else requests.Session()
    session.auth = without
    return session
