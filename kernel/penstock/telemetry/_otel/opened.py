"""Telemetry, open: in the SDK that the program has, or with an SDK of penstock's own that nobody else sees.

The global providers are read and never set. Not here: whether either is wanted (`_opening`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import trio
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics.export import MetricExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from penstock._config import Config, TelemetryConfig
from penstock.telemetry import _names as n
from penstock.telemetry._content import Capture
from penstock.telemetry._destination import silenced_by
from penstock.telemetry._measures import Measures, Sink, instruments
from penstock.telemetry._metrics import Labels, MetricBook
from penstock.telemetry._otel.figures import HostFigures, Pusher, host_figures
from penstock.telemetry._otel.spans import OtelTelemetry
from penstock.telemetry._redaction import redaction
from penstock.telemetry._standing import Look, look_at

__all__ = ["OpenTelemetry", "open_exporting", "open_in_host"]

logger = logging.getLogger("penstock")

CLOSING = 3.0
"""Seconds that what is left may take to be sent when the kernel closes. What is not gone by then is lost."""
CAPTURE_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
CAPTURE_WORDS = frozenset({"true", "span_only", "span_and_event"})


class OpenTelemetry:
    """What is open for one kernel: the telemetry that its calls are told to, and what has to be closed with it."""

    def __init__(
        self,
        telemetry: OtelTelemetry,
        *,
        host: HostFigures | None = None,
        pusher: Pusher | None = None,
        provider: TracerProvider | None = None,
    ) -> None:
        self.telemetry = telemetry
        self._host = host
        self._pusher = pusher
        self._provider = provider
        self._look: Look | None = None

    def watch(self, engine: Any) -> None:
        """Looks at the kernel from now on."""
        engine.events.watch(self.telemetry.heard)
        self._look = look_at(engine, lambda: self.telemetry.holds)
        if self._host is not None:
            self._host.looks.append(self._look)
        if self._pusher is not None:
            self._pusher.look = self._look

    async def aclose(self) -> None:
        """Sends what is left, within bounds: whoever closes a kernel does not wait for a collector that is down."""
        if self._host is not None and self._look is not None:
            self._host.looks.remove(self._look)
        with trio.move_on_after(CLOSING) as waiting:
            async with trio.open_nursery() as nursery:
                for close in self._closes():
                    nursery.start_soon(partial(trio.to_thread.run_sync, close, abandon_on_cancel=True))
        if waiting.cancelled_caught:
            logger.warning("telemetry: the collector did not take what was left within %g s; it is lost", CLOSING)

    def _closes(self) -> list[Callable[[], object]]:
        closes: list[Callable[[], object]] = []
        if self._provider is not None:
            closes.append(self._provider.shutdown)
        if self._pusher is not None:
            closes.append(partial(self._pusher.close, CLOSING))
        return closes


class _Nowhere:
    """A sink for figures that nobody collects."""

    def add(self, name: str, amount: float, labels: Labels) -> None:
        """Nothing."""

    def record(self, name: str, value: float, labels: Labels) -> None:
        """Nothing."""


def open_in_host(
    config: Config,
    *,
    clock: Callable[[], float],
    redactors: Sequence[Callable[[str], str]],
    environ: Mapping[str, str],
) -> OpenTelemetry | None:
    """In the SDK that the program has set up; None: it has none."""
    tracers, meters = trace.get_tracer_provider(), metrics.get_meter_provider()
    has_traces = not isinstance(tracers, trace.ProxyTracerProvider | trace.NoOpTracerProvider)
    # The API has no name for the provider that stands in until there is one.
    has_metrics = not (isinstance(meters, metrics.NoOpMeterProvider) or type(meters).__name__ == "_ProxyMeterProvider")
    if not (has_traces or has_metrics):
        return None
    names, said = n.vocabulary(environ.get("OTEL_SEMCONV_STABILITY_OPT_IN", "")), config.telemetry or TelemetryConfig()
    figures = host_figures(meters, instruments(names), _version()) if has_metrics and said.metrics else None
    tracer = tracers.get_tracer(n.SCOPE, _version()) if said.traces else trace.NoOpTracer()
    telemetry = _telemetry(config, tracer, figures or _Nowhere(), names, clock, redactors, environ)
    return OpenTelemetry(telemetry, host=figures)


def open_exporting(
    config: Config,
    protocol: str,
    *,
    clock: Callable[[], float],
    redactors: Sequence[Callable[[str], str]],
    environ: Mapping[str, str],
) -> OpenTelemetry:
    """With an SDK of penstock's own, and exporters that send to a collector from threads of theirs."""
    said = config.telemetry or TelemetryConfig()
    names = n.vocabulary(environ.get("OTEL_SEMCONV_STABILITY_OPT_IN", ""))
    resource = _resource(said)
    provider = pusher = None
    tracer: trace.Tracer = trace.NoOpTracer()
    sink: Sink = _Nowhere()
    if not silenced_by(said, environ, "traces"):
        sampler = None if said.sample is None else ParentBased(TraceIdRatioBased(said.sample))
        # Closed by the kernel, within bounds: the SDK's own hook would wait for half a minute when Python exits.
        provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(_span_exporter(said, protocol)))
        tracer = provider.get_tracer(n.SCOPE, _version())
    if not silenced_by(said, environ, "metrics"):
        sink = book = MetricBook(instruments(names))
        every = _milliseconds(environ.get("OTEL_METRIC_EXPORT_INTERVAL"), 60_000) / 1000
        pusher = Pusher(book, _metric_exporter(said, protocol), resource, _version(), every=every)
    telemetry = _telemetry(config, tracer, sink, names, clock, redactors, environ)
    return OpenTelemetry(telemetry, pusher=pusher, provider=provider)


def _telemetry(  # noqa: PLR0917 - what both ways to open have in common
    config: Config,
    tracer: trace.Tracer,
    sink: Sink,
    names: n.Vocabulary,
    clock: Callable[[], float],
    redactors: Sequence[Callable[[str], str]],
    environ: Mapping[str, str],
) -> OtelTelemetry:
    said = config.telemetry or TelemetryConfig()
    # The variable is for those who cannot change the configuration; what that says goes before it.
    by_variable = config.telemetry is None and environ.get(CAPTURE_VARIABLE, "").strip().lower() in CAPTURE_WORDS
    capture = Capture(redaction(redactors), said.content_limit) if said.capture_content or by_variable else None
    kinds = {name: provider.kind for name, provider in config.providers.items()}
    return OtelTelemetry(
        tracer,
        Measures(names, sink),
        names,
        clock=clock,
        kind_of=lambda name: kinds.get(name, name),
        metadata=said.metadata,
        capture=capture,
    )


def _resource(said: TelemetryConfig) -> Resource:
    resource = Resource.create({SERVICE_NAME: said.service_name} if said.service_name else {})
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        return resource.merge(Resource({SERVICE_NAME: "penstock"}))
    return resource


def _span_exporter(said: TelemetryConfig, protocol: str) -> SpanExporter:
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  # an extra

        return OTLPSpanExporter(**_grpc(said))
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415  # an extra
        OTLPSpanExporter as HTTPSpanExporter,
    )

    return HTTPSpanExporter(**_http(said, "v1/traces"))


def _metric_exporter(said: TelemetryConfig, protocol: str) -> MetricExporter:
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (  # noqa: PLC0415  # an extra
            OTLPMetricExporter,
        )

        return OTLPMetricExporter(**_grpc(said))
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415  # an extra
        OTLPMetricExporter as HTTPMetricExporter,
    )

    return HTTPMetricExporter(**_http(said, "v1/metrics"))


def _http(said: TelemetryConfig, path: str) -> dict[str, Any]:
    """What an exporter is given. None: as the environment says."""
    return {"endpoint": None if said.otlp is None else f"{said.otlp.rstrip('/')}/{path}", "headers": _headers(said)}


def _grpc(said: TelemetryConfig) -> dict[str, Any]:
    headers = _headers(said)
    # HTTP/2 knows no capital letters.
    lower = None if headers is None else {name.lower(): value for name, value in headers.items()}
    insecure = None if said.otlp is None else said.otlp.startswith("http://")
    return {"endpoint": said.otlp, "insecure": insecure, "headers": lower}


def _headers(said: TelemetryConfig) -> dict[str, str] | None:
    return {name: secret.reveal() for name, secret in said.headers.items()} or None


def _milliseconds(given: str | None, default: float) -> float:
    try:
        value = float(given) if given else default
    except ValueError:
        return default
    return value if value > 0 else default


def _version() -> str:
    import penstock  # noqa: PLC0415  # the front door, which imports this package

    return penstock.__version__
