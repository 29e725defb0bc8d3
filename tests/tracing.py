"""A kernel whose spans and metrics are kept in memory, under whatever clock: what they say can be looked at.

What exporters send of them is tested by `collector`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import penstock
from penstock.telemetry._content import Capture
from penstock.telemetry._measures import Measures, Sink, instruments
from penstock.telemetry._metrics import MetricBook
from penstock.telemetry._names import LATEST, RELEASED
from penstock.telemetry._otel.telemetry import OtelTelemetry

__all__ = ["Tracing"]


class Tracing:
    """Traces kernels from the moment that it is told of them."""

    def __init__(
        self,
        *,
        latest: bool = False,
        capture: Capture | None = None,
        sink: Sink | None = None,
        processors: Sequence[SpanProcessor] = (),
    ) -> None:
        """`sink` takes the figures in place of the book; `processors` see the spans before they are kept."""
        self._names = LATEST if latest else RELEASED
        self._capture = capture
        self._memory = InMemorySpanExporter()
        self._provider = TracerProvider(shutdown_on_exit=False)
        for each in (*processors, SimpleSpanProcessor(self._memory)):
            self._provider.add_span_processor(each)
        self.book = MetricBook(instruments(self._names))
        self._sink = sink or self.book

    def trace(self, kernel: penstock.Kernel) -> None:
        """Every call from here on."""
        engine: Any = kernel._engine  # pyright: ignore[reportPrivateUsage] - what calls are told to
        telemetry = OtelTelemetry(
            self._provider.get_tracer("test"),
            Measures(self._names, self._sink),
            self._names,
            clock=engine.clock.monotonic,
            kind_of=lambda name: name,
            metadata=("about",),
            capture=self._capture,
        )
        engine.telemetry = telemetry
        engine.events.watch(telemetry.heard)

    @property
    def names(self) -> list[str]:
        """Those of the spans that ended."""
        return sorted(span.name for span in self._memory.get_finished_spans())

    @property
    def spans(self) -> list[str]:
        """Each span that ended, with all that is in it."""
        return [span.to_json() for span in self._memory.get_finished_spans()]

    @property
    def figures(self) -> Iterator[str]:
        """Every series, with its attributes."""
        for each in self.book.instruments:
            yield str(self.book.sums(each.name) if each.bounds is None else [*self.book.distributions(each.name)])
