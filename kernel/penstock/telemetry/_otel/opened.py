"""Telemetry, open: in the SDK that the program has, or with an SDK of penstock's own that nobody else sees.

The global providers are read and never set. Not here: whether either is wanted (`_opening`), and what sends
(`exporters`, `figures`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import trio
from opentelemetry import metrics, trace
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from penstock._config import Config, TelemetryConfig
from penstock._foreign import let_through
from penstock.errors import ConfigError
from penstock.telemetry import _names as n
from penstock.telemetry._content import Capture
from penstock.telemetry._destination import Signal, Way
from penstock.telemetry._measures import Measures, Sink, instruments
from penstock.telemetry._metrics import Labels, MetricBook
from penstock.telemetry._otel.exporters import metric_exporter, span_processor
from penstock.telemetry._otel.figures import HostFigures, Pusher, host_figures
from penstock.telemetry._otel.telemetry import OtelTelemetry
from penstock.telemetry._redaction import redaction
from penstock.telemetry._standing import Look, look_at
from penstock.telemetry._variables import is_delta

__all__ = ["OpenTelemetry", "open_exporting", "open_in_host"]

logger = logging.getLogger("penstock")

S = TypeVar("S")

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
                    kept = partial(self._close, close)
                    nursery.start_soon(partial(trio.to_thread.run_sync, kept, abandon_on_cancel=True))
        if waiting.cancelled_caught:
            logger.warning("telemetry: the collector did not take what was left within %g s; it is lost", CLOSING)

    def _close(self, close: Callable[[], object]) -> None:
        try:
            close()
        except BaseException as error:  # noqa: BLE001 - of the SDK, or of an exporter: the kernel closes all the same
            let_through(error)
            self.telemetry.troubles.met(error)

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
    tracers = _taken(trace.get_tracer_provider, "traces") or trace.NoOpTracerProvider()
    meters = _taken(metrics.get_meter_provider, "metrics") or metrics.NoOpMeterProvider()
    has_traces = not isinstance(tracers, trace.ProxyTracerProvider | trace.NoOpTracerProvider)
    # The API has no name for the provider that stands in until there is one.
    has_metrics = not (isinstance(meters, metrics.NoOpMeterProvider) or type(meters).__name__ == "_ProxyMeterProvider")
    if not (has_traces or has_metrics):
        return None
    names, said = n.vocabulary(environ.get("OTEL_SEMCONV_STABILITY_OPT_IN", "")), config.telemetry or TelemetryConfig()
    figures = None
    if has_metrics and said.metrics:
        figures = _taken(lambda: host_figures(meters, instruments(names), _version(), names.schema_url), "metrics")
    tracer: trace.Tracer | None = None
    if said.traces:
        tracer = _taken(lambda: tracers.get_tracer(n.SCOPE, _version(), schema_url=names.schema_url), "traces")
    telemetry = _telemetry(
        config, tracer or trace.NoOpTracer(), figures or _Nowhere(), names, clock, redactors, environ
    )
    return OpenTelemetry(telemetry, host=figures)


def _taken(take: Callable[[], S], what: str) -> S | None:
    """What a provider of the host's gives; None where it raises. It is foreign code: no kernel fails to open for it."""
    try:
        return take()
    except BaseException as error:  # noqa: BLE001 - foreign code
        let_through(error)
        kind = type(error).__name__  # its words are not ours
        logger.error("telemetry: the program's own SDK takes no %s: its provider raised %s", what, kind)  # noqa: TRY400
        return None


def open_exporting(
    config: Config,
    ways: Mapping[Signal, Sequence[Way]],
    *,
    clock: Callable[[], float],
    redactors: Sequence[Callable[[str], str]],
    environ: Mapping[str, str],
) -> OpenTelemetry:
    """With an SDK of penstock's own, and exporters that send from threads of theirs.

    Raises ConfigError where the SDK does not take what variables say.
    """
    said = config.telemetry or TelemetryConfig()
    names = n.vocabulary(environ.get("OTEL_SEMCONV_STABILITY_OPT_IN", ""))
    provider = pusher = None
    tracer: trace.Tracer = trace.NoOpTracer()
    sink: Sink = _Nowhere()
    try:
        resource, scope = _resource(said), InstrumentationScope(n.SCOPE, _version(), names.schema_url)
        if ways["traces"]:
            sampler = None if said.sample is None else ParentBased(TraceIdRatioBased(said.sample))
            # Closed by the kernel, within bounds: the SDK's own hook would wait for half a minute when Python exits.
            provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
            for way in ways["traces"]:
                provider.add_span_processor(span_processor(said, way, environ, resource, scope))
            tracer = provider.get_tracer(n.SCOPE, _version(), schema_url=names.schema_url)
        if ways["metrics"]:
            sink = book = MetricBook(instruments(names))
            pusher = Pusher(
                book,
                [metric_exporter(said, way, environ) for way in ways["metrics"]],
                resource,
                scope,
                every=_milliseconds(environ.get("OTEL_METRIC_EXPORT_INTERVAL"), 60_000) / 1000,
                delta=is_delta(environ),
            )
    except BaseException as error:  # noqa: BLE001 - whatever the SDK raises of what variables say
        let_through(error)
        if provider is not None:
            provider.shutdown()
        raise ConfigError(_not_taken(error, environ)) from None
    telemetry = _telemetry(config, tracer, sink, names, clock, redactors, environ)
    return OpenTelemetry(telemetry, pusher=pusher, provider=provider)


def _not_taken(error: BaseException, environ: Mapping[str, str]) -> str:
    """What the SDK says, where it names a variable; else the variables that it may mean. Of others it may say anything,
    the value of a header too.
    """
    words = str(error)
    says = f": {words}" if "OTEL_" in words and "HEADERS" not in words else ""
    variables = ", ".join(sorted(name for name in environ if name.startswith("OTEL_"))) or "none"
    return f"telemetry cannot be set up ({type(error).__name__}{says}); the variables that are set: {variables}"


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
    bases = {name: str(url) for name, each in config.providers.items() if (url := each.options.get("base_url"))}
    return OtelTelemetry(
        tracer,
        Measures(names, sink),
        names,
        clock=clock,
        kind_of=lambda name: kinds.get(name, name),
        base_of=bases.get,
        metadata=said.metadata,
        capture=capture,
    )


def _resource(said: TelemetryConfig) -> Resource:
    resource = Resource.create({SERVICE_NAME: said.service_name} if said.service_name else {})
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        return resource.merge(Resource({SERVICE_NAME: "penstock"}))
    return resource


def _milliseconds(given: str | None, default: float) -> float:
    try:
        value = float(given) if given else default
    except ValueError:
        return default
    return value if value > 0 else default


def _version() -> str:
    import penstock  # noqa: PLC0415  # the front door, which imports this package

    return penstock.__version__
