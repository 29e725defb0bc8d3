"""Figures for OpenTelemetry: through the instruments of a host's SDK, or as the data that an exporter sends."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry.metrics import CallbackOptions, Counter, Histogram, MeterProvider, Observation
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Histogram as HistogramData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from penstock._foreign import let_through
from penstock.telemetry import _names as n
from penstock.telemetry._metrics import MOST_SERIES, Distribution, Instrument, Labels, MetricBook
from penstock.telemetry._standing import STANDING, Look
from penstock.telemetry._troubles import Troubles

__all__ = ["HostFigures", "Pusher", "host_figures"]

logger = logging.getLogger("penstock")


class HostFigures:
    """The instruments of one meter of a host's, shared by the kernels of the process: a name is registered once.

    Laws: `add` and `record` never raise, whatever the host's views, filters and instruments do.
    """

    def __init__(self, provider: MeterProvider, instruments: Sequence[Instrument], version: str, schema: str) -> None:
        meter = provider.get_meter(n.SCOPE, version, schema_url=schema)
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        self._troubles = Troubles()
        self.looks: list[Look] = []
        """Of the kernels that are open."""
        self._known: dict[Labels, dict[str, str | int]] = {}
        for each in instruments:
            if each.bounds is None:
                self._counters[each.name] = meter.create_counter(each.name, each.unit, each.says)
            else:
                self._histograms[each.name] = meter.create_histogram(
                    each.name, each.unit, each.says, explicit_bucket_boundaries_advisory=list(each.bounds)
                )
        for each in STANDING:
            meter.create_observable_gauge(each.name, [self._looking(each.name)], each.unit, each.says)

    def add(self, name: str, amount: float, labels: Labels) -> None:
        """Counts up."""
        try:
            self._counters[name].add(amount, self._attributes(labels))
        except BaseException as error:  # noqa: BLE001 - foreign code; the other figures of the call are not lost to it
            let_through(error)
            self._troubles.met(error)

    def record(self, name: str, value: float, labels: Labels) -> None:
        """One value of a distribution."""
        try:
            self._histograms[name].record(value, self._attributes(labels))
        except BaseException as error:  # noqa: BLE001 - as above
            let_through(error)
            self._troubles.met(error)

    def _attributes(self, labels: Labels) -> dict[str, str | int]:
        found = self._known.get(labels)
        if found is None:
            if len(self._known) >= MOST_SERIES:
                self._known.clear()
            found = self._known[labels] = dict(labels)
        return found

    def _looking(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            for look in tuple(self.looks):
                for value, labels in look(name):
                    yield Observation(value, dict(labels))

        return observe


_HOSTS: WeakKeyDictionary[MeterProvider, dict[str, HostFigures]] = WeakKeyDictionary()
"""By the schema that they speak: kernels of one process may have different vocabularies."""


def host_figures(provider: MeterProvider, instruments: Sequence[Instrument], version: str, schema: str) -> HostFigures:
    """Those of the provider, made once. Raises whatever the provider does."""
    try:
        made = _HOSTS.setdefault(provider, {})
    except TypeError:
        made = {}  # it has slots, or no hash, and cannot be remembered: its kernels have each their own
    if schema not in made:
        made[schema] = HostFigures(provider, instruments, version, schema)
    return made[schema]


class Pusher:
    """Sends what a book holds, every so many seconds, from a thread of its own that nothing waits for.

    An exporter that hangs holds this thread, and nothing else: the book stays as large as it is.
    """

    def __init__(
        self,
        book: MetricBook,
        exporters: Sequence[MetricExporter],
        resource: Resource,
        scope: InstrumentationScope,
        *,
        every: float,
        delta: bool = False,
    ) -> None:
        """`delta`: what came since the last time is sent, in place of what came since the start."""
        self.look: Look | None = None
        self._book = book
        self._exporters = exporters
        self._delta = delta
        self._sent = MetricBook(book.instruments)
        """With `delta`: what was sent by the last time."""
        self._resource = resource
        self._scope = scope
        self._every = every
        self._began = time.time_ns()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="penstock-metrics", daemon=True)
        self._thread.start()

    def close(self, timeout: float) -> None:
        """Sends once more, and ends. Blocks for so many seconds at most: not for the loop's own thread."""
        self._over.set()
        until = time.monotonic() + timeout
        self._thread.join(timeout)
        for each in self._exporters:
            left = max(0.0, until - time.monotonic())
            each.shutdown(timeout_millis=left * 1000)  # pyright: ignore[reportUnknownMemberType] - as the SDK has it

    def _run(self) -> None:
        while not self._over.wait(self._every):
            self._send()
        self._send()

    def _send(self) -> None:
        now, seen = time.time_ns(), self._book.copy()
        data, taken = self._data(seen, now), True
        for each in self._exporters:
            try:
                result = each.export(data)  # pyright: ignore[reportUnknownMemberType] - as the SDK has it
            except BaseException as error:  # noqa: BLE001 - foreign code; the next time may go better
                let_through(error)
                logger.debug("telemetry: metrics were not exported: %s", type(error).__name__)
                taken = False
            else:
                taken = taken and result is MetricExportResult.SUCCESS
        if self._delta and taken:
            self._sent, self._began = seen, now

    def _data(self, seen: MetricBook, now: int) -> MetricsData:
        """Everything since the start, or since the last time, as the wire wants it."""
        told = seen.since(self._sent) if self._delta else seen
        metrics = [metric for each in seen.instruments if (metric := self._metric(told, each, now)) is not None]
        if self.look is not None:
            for each in STANDING:
                points = [_number(value, labels, now, now) for value, labels in self.look(each.name)]
                if points:
                    metrics.append(Metric(each.name, each.says, each.unit, Gauge(points)))
        scope = ScopeMetrics(self._scope, metrics, self._scope.schema_url or "")
        return MetricsData([ResourceMetrics(self._resource, [scope], "")])

    def _metric(self, told: MetricBook, each: Instrument, now: int) -> Metric | None:
        kept = AggregationTemporality.DELTA if self._delta else AggregationTemporality.CUMULATIVE
        if each.bounds is None:
            sums = told.sums(each.name)
            numbers = [_number(value, labels, self._began, now) for labels, value in sums.items()]
            data: Sum | HistogramData = Sum(numbers, kept, is_monotonic=True)
            return Metric(each.name, each.says, each.unit, data) if numbers else None
        points = [
            HistogramDataPoint(
                attributes=dict(labels),
                start_time_unix_nano=self._began,
                time_unix_nano=now,
                count=spread.count,
                sum=spread.total,
                bucket_counts=spread.counts,
                explicit_bounds=each.bounds,
                **_extremes(spread),
            )
            for labels, spread in told.distributions(each.name).items()
        ]
        data = HistogramData(points, kept)
        return Metric(each.name, each.says, each.unit, data) if points else None


def _extremes(spread: Distribution) -> dict[str, Any]:
    """The least value and the most; of a part of the time nobody knows them, and the wire takes that."""
    return {"min": spread.least, "max": spread.most} if spread.least <= spread.most else {"min": None, "max": None}


def _number(value: float, labels: Labels, began: int, now: int) -> NumberDataPoint:
    return NumberDataPoint(dict(labels), began, now, value)
