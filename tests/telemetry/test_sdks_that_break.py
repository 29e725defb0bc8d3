"""The SDK of a program is foreign code: no call fails for what it raises, and no kernel fails to open."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from collector import Collector, collecting
from opentelemetry.metrics import NoOpMeter
from opentelemetry.sdk.metrics import ExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor
from tracing import Tracing
from worlds import ANSWER, config, good

import penstock
from penstock import hookimpl
from penstock.telemetry._content import Capture
from penstock.telemetry._measures import instruments
from penstock.telemetry._metrics import Labels
from penstock.telemetry._names import LATEST, RELEASED, Vocabulary
from penstock.telemetry._otel.figures import host_figures
from penstock.testing import ScriptedTransport

SPANS = ["call default", "call default", "chat claude-sonnet-4-20250514", "chat claude-sonnet-4-20250514"]


class Broken:
    """A sink that raises at everything."""

    def add(self, name: str, amount: float, labels: Labels) -> None:
        raise ValueError(name, amount, labels)

    def record(self, name: str, value: float, labels: Labels) -> None:
        raise ValueError(name, value, labels)


class BrokenProcessor(SpanProcessor):
    """One that raises where it is told to."""

    def __init__(self, where: str) -> None:
        self._where = where

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        del span, parent_context
        if self._where == "start":
            raise ValueError("canary")

    def on_end(self, span: Any) -> None:
        del span
        if self._where == "end":
            raise ValueError("canary")


def told(tracing: Tracing, caplog: pytest.LogCaptureFixture) -> list[str]:
    """A call and a stream are answered; what the log says of telemetry meanwhile."""

    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
            tracing.trace(kernel)
            assert (await kernel.complete("hello", metadata={"about": "x"})).text == ANSWER
            async with kernel.stream("hello") as stream:
                assert "".join([piece async for piece in stream.text()]) == ANSWER
            await kernel.breakers.isolate("provider:openai")

    with caplog.at_level(logging.WARNING, "penstock"):
        trio.run(main)
    # Not what an exporter says that another test left to end by itself.
    return [record.getMessage() for record in caplog.records if record.name.startswith("penstock")]


def test_figures_that_nobody_takes_cost_no_call_its_answer_and_no_span(caplog: pytest.LogCaptureFixture) -> None:
    tracing = Tracing(sink=Broken())
    (said,) = told(tracing, caplog)
    assert "ValueError" in said
    assert tracing.names == SPANS


@pytest.mark.parametrize("where", ["start", "end"])
def test_a_processor_of_spans_that_raises_is_told_once(where: str, caplog: pytest.LogCaptureFixture) -> None:
    (said,) = told(Tracing(processors=[BrokenProcessor(where)]), caplog)
    assert "ValueError" in said
    assert "canary" not in said


def test_what_redacts_may_raise_what_it_will_and_the_span_is_there() -> None:
    def interrupt(text: str) -> str:
        raise KeyboardInterrupt(len(text))

    tracing = Tracing(capture=Capture(interrupt, 100))

    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
            tracing.trace(kernel)
            with pytest.raises(KeyboardInterrupt):  # somebody pressed Ctrl-C, for all that anybody knows
                await kernel.complete("hello")

    trio.run(main)
    assert tracing.names == ["call default", "chat claude-sonnet-4-20250514"]


class Whimsical:
    """A value that will not be a text."""

    def __str__(self) -> str:
        raise ValueError("canary")


@pytest.mark.parametrize("value", [Whimsical(), 10**5_000, 2**70], ids=["whimsical", "endless", "long"])
def test_metadata_that_is_no_text_fails_no_call(value: object, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        settings = config(telemetry={"metadata": ["about"]})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(good)) as kernel:
            assert (await kernel.complete("hello", metadata={"about": value})).text == ANSWER

    with caplog.at_level(logging.INFO, "penstock"):
        trio.run(main)
    (record,) = (each for each in caplog.records if getattr(each, "call_id", None))
    assert isinstance(vars(record)["metadata_about"], str)


class BrokenFilter(ExemplarFilter):
    """A host's own, that raises for every figure."""

    def should_sample(self, value: Any, time_unix_nano: Any, attributes: Any, context: Any) -> bool:
        raise ValueError(value, time_unix_nano, attributes, context)


class ForgottenMeters(MeterProvider):
    """One that cannot be remembered: no hash."""

    __hash__ = None  # type: ignore[assignment]  # so that it has none

    def __init__(self) -> None: ...

    def __eq__(self, other: object) -> bool:
        return self is other

    def get_meter(self, *_: Any, **__: Any) -> Any:
        return NoOpMeter("x")


@pytest.mark.parametrize(
    "make", [MeterProvider, lambda: MeterProvider(exemplar_filter=BrokenFilter()), ForgottenMeters]
)
def test_instruments_of_a_host_take_every_figure_of_every_vocabulary(make: Callable[[], MeterProvider]) -> None:
    provider = make()

    def figures_of(names: Vocabulary) -> Any:
        return host_figures(provider, instruments(names), "1", names.schema_url)

    for names in (RELEASED, LATEST, RELEASED):
        figures = figures_of(names)
        for each in instruments(names):
            take = figures.record if each.bounds else figures.add
            take(each.name, 1, ())


def test_kernels_of_two_vocabularies_share_a_provider() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    for names in (RELEASED, LATEST):
        host_figures(provider, instruments(names), "1", names.schema_url).record(names.duration, 1, ())
    data: Any = reader.get_metrics_data()
    scopes = data.resource_metrics[0].scope_metrics
    found = {scope.schema_url: [metric.name for metric in scope.metrics if metric.data.data_points] for scope in scopes}
    assert found == {names.schema_url: [names.duration] for names in (RELEASED, LATEST)}


PROGRAM = """
import sys
sys.path[:0] = {paths!r}
import logging
import trio
from opentelemetry import metrics, trace
from worlds import ANSWER, config, good
import penstock
from penstock.testing import ScriptedTransport

class Tracers(trace.TracerProvider):
    def get_tracer(self, *_, **__):
        raise ValueError("canary")

class Meters(metrics.MeterProvider):
    def get_meter(self, *_, **__):
        raise ValueError("canary")

trace.set_tracer_provider(Tracers())
metrics.set_meter_provider(Meters())

logging.basicConfig()

async def main():
    async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
        assert (await kernel.complete("hello")).text == ANSWER

trio.run(main)
"""


@pytest.mark.slow
def test_a_kernel_opens_in_a_program_whose_sdk_gives_nothing() -> None:
    """In a process of its own: a process has one SDK, for good."""
    source = PROGRAM.format(paths=[str(Path(__file__).parents[1])])
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert [line.count("its provider raised ValueError") for line in done.stderr.splitlines()] == [1, 1]
    assert "canary" not in done.stderr


def test_a_host_that_redacts_with_system_exit_ends_no_program(caplog: pytest.LogCaptureFixture) -> None:
    class Leaves:
        @hookimpl
        def penstock_redact(self, text: str) -> str:
            sys.exit(text)

    async def main(collector: Collector) -> None:
        settings = config(telemetry={"otlp": collector.url, "capture_content": True, "metrics": False})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(good), plugins=[Leaves()]) as kernel:
            assert (await kernel.complete("my canary")).text == ANSWER

    with caplog.at_level(logging.ERROR, "penstock"), collecting() as collector:
        trio.run(main, collector)
    (said,) = {record.getMessage() for record in caplog.records if record.name == "penstock"}
    assert "SystemExit" in said
    assert "canary" not in said
