"""Where telemetry goes: what the configuration and the environment say, and collectors that are no help."""

from __future__ import annotations

import gc
import io
import logging
import socket
import statistics
import time
import tracemalloc
from collections.abc import Generator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import trio
from collector import Collector, collecting, collecting_grpc
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.util.re import parse_env_headers
from requests.utils import check_header_validity
from soak import SOAK
from worlds import config, good

import penstock
from penstock import Config, errors
from penstock._config import TelemetryConfig
from penstock.telemetry import NO_TELEMETRY
from penstock.telemetry._otel import opened
from penstock.telemetry._variables import unfit
from penstock.testing import ScriptedTransport


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SERVICE_NAME", "OTEL_SDK_DISABLED", "OTEL_TRACES_SAMPLER"):
        monkeypatch.delenv(name, raising=False)


async def calls(settings: Config, count: int = 1) -> list[float]:
    """So many calls, one after the other: how long each took, and last the closing of the kernel."""
    took: list[float] = []
    async with penstock.open_kernel(settings, transport=ScriptedTransport(good)) as kernel:
        for number in range(count):
            began = time.perf_counter()
            await kernel.complete(f"hello {number}")
            took.append(time.perf_counter() - began)
        began = time.perf_counter()
    took.append(time.perf_counter() - began)
    return took


def test_traces_and_metrics_go_to_the_address_of_the_table() -> None:
    with collecting() as collector:
        trio.run(calls, config(telemetry={"otlp": collector.url, "service_name": "shop"}), 2)
    assert len(collector.spans) == 4
    assert {span.resource["service.name"] for span in collector.spans} == {"shop"}
    assert {span.scope for span in collector.spans} == {"penstock"}
    assert collector.latest()["penstock.attempts"].sum.data_points[0].as_int == 2


@pytest.mark.slow
def test_both_go_over_grpc() -> None:
    with collecting_grpc() as collector:
        telemetry = {"otlp": collector.url, "protocol": "grpc", "headers": {"Api-Token": "t-1"}}
        trio.run(calls, config(telemetry=telemetry))
    assert len(collector.spans) == 2
    assert "gen_ai.client.operation.duration" in collector.latest()
    assert {headers["api-token"] for headers in collector.headers} == {"t-1"}


def test_the_environment_names_a_collector_where_no_table_does(monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "from-the-environment")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-token=secret")
        trio.run(calls, config())
    assert {span.resource["service.name"] for span in collector.spans} == {"from-the-environment"}
    assert {headers["x-token"] for headers in collector.headers} == {"secret"}


@pytest.mark.parametrize("how", ["table", "variable", "sampler", "exporter"])
def test_there_are_several_ways_to_say_no(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        table: dict[str, Any] = {"otlp": collector.url, "metrics": False}
        match how:
            case "table":
                table["enabled"] = False
            case "variable":
                monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
            case "sampler":
                monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
            case _:
                monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
        trio.run(calls, config(telemetry=table))
    assert collector.spans == []


def test_where_nobody_asks_nothing_is_opened() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
            engine: Any = kernel._engine  # pyright: ignore[reportPrivateUsage] - what calls are told to
            assert engine.telemetry is NO_TELEMETRY

    trio.run(main)


def test_the_headers_of_a_collector_are_secrets() -> None:
    settings = config(telemetry={"otlp": "http://localhost:4318", "headers": {"authorization": "Bearer-canary"}})
    assert "canary" not in repr(settings)
    assert "authorization" in repr(settings)


@pytest.mark.parametrize(
    ("table", "path"),
    [
        ({"otlp": "localhost:4318"}, "telemetry.otlp"),
        ({"otlp": "http://"}, "telemetry.otlp"),
        ({"otlp": "http://me:canary@localhost:4318"}, "telemetry.otlp"),
        ({"otlp": "http://localhost:4318/?key=canary"}, "telemetry.otlp"),
        ({"headers": {"authorization": "Bearer canary\nx: y"}}, "telemetry.headers.authorization"),
        ({"headers": {"authorization": " "}}, "telemetry.headers.authorization"),
        ({"protocol": "udp"}, "telemetry.protocol"),
        ({"sample": 1.5}, "telemetry.sample"),
        ({"content_limit": 0}, "telemetry.content_limit"),
        ({"headers": {"bad name": "x"}}, "telemetry.headers"),
        ({"headers": {"token": "env:NOT_SET"}}, "telemetry.headers.token"),
        ({"capture": True}, "telemetry.capture"),
    ],
)
def test_a_mistake_in_the_table_is_told_at_its_path(table: dict[str, Any], path: str) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        config(telemetry=table)
    assert [mistake.path for mistake in caught.value.mistakes] == [path]
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("given", ["Bearer canary", "Basic Y2FuYXJ5Og==", "file"])
def test_a_header_of_a_collector_may_hold_spaces(given: str, tmp_path: Path) -> None:
    kept = tmp_path / "header"
    kept.write_text("Bearer from-a-file\n")
    with collecting() as collector:
        header = f"file:{kept}" if given == "file" else given
        trio.run(calls, config(telemetry={"otlp": collector.url, "headers": {"authorization": header}}))
    expected = "Bearer from-a-file" if given == "file" else given
    assert {each["authorization"] for each in collector.headers} == {expected}


def test_the_table_and_the_value_have_the_same_settings() -> None:
    every = {
        "enabled": False,
        "otlp": "http://localhost:4318",
        "protocol": "grpc",
        "headers": {"token": "x"},
        "traces": False,
        "metrics": False,
        "service_name": "shop",
        "sample": 0.5,
        "metadata": ["user"],
        "capture_content": True,
        "content_limit": 5,
        "live_view": True,
    }
    assert set(every) == {field.name for field in attrs.fields(TelemetryConfig)}
    read = config(telemetry=every).telemetry
    assert read is not None
    plain = {key: value for key, value in every.items() if key not in {"headers", "metadata"}}
    assert {key: getattr(read, key) for key in plain} == plain


# Collectors that are no help


def unbound() -> str:
    """An address that refuses."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def in_trouble(how: str) -> Generator[str]:
    if how == "refuses":
        yield unbound()
        return
    with collecting({"hangs": None, "breaks": 500, "is full": 429, "moved": 302}[how]) as collector:
        yield collector.url


@pytest.mark.slow
@pytest.mark.parametrize("how", ["hangs", "breaks", "is full", "refuses", "moved"])
def test_no_call_notices_a_collector_in_trouble_and_closing_is_bounded(
    how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(opened, "CLOSING", 0.3)
    # As many batches as there can be, while the calls go on.
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "10")
    with caplog.at_level(logging.CRITICAL), in_trouble(how) as url:
        *took, closing = trio.run(calls, config(telemetry={"otlp": url}), 200)
    assert len(took) == 200
    assert max(took) < 1.0
    assert closing < 2.0


@pytest.mark.slow
def test_a_collector_that_never_answers_costs_a_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "CLOSING", 0.1)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "256")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "64")
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)

    async def main(collector: Collector) -> tuple[int, int]:
        settings = config(telemetry={"otlp": collector.url})
        upstream = ScriptedTransport(good)
        async with penstock.open_kernel(settings, transport=upstream) as kernel:

            async def many(count: int) -> int:
                for number in range(count):
                    await kernel.complete(f"hello {number % 10}")
                upstream.requests.clear()
                gc.collect()
                return tracemalloc.get_traced_memory()[0]

            tracemalloc.start()
            return await many(200), await many(600)

    with collecting(None) as collector:
        early, late = trio.run(main, collector)
    tracemalloc.stop()
    # A call leaves two spans of some 4 KB each: all of them would be 5 MB.
    assert late - early < 500_000


class _Latent(ScriptedTransport):
    """An upstream that takes 2 ms."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.sleep(0.002)
        return await super().handle_async_request(request)


RATE = 250
"""Calls a second. They begin when they are due, however long others take: a call that is held up is seen to be."""


def p99_of(settings: Config, count: int) -> float:
    async def main() -> float:
        took: list[float] = []
        async with penstock.open_kernel(settings, transport=_Latent(good)) as kernel:

            async def call(number: int, due: float) -> None:
                await kernel.complete(f"hello {number}")
                took.append(trio.current_time() - due)

            for number in range(200):
                await kernel.complete(f"before {number}")
            gc.collect()  # what stands now is no garbage: no call waits while it is looked through
            gc.freeze()
            start = trio.current_time()
            async with trio.open_nursery() as nursery:
                for number in range(count):
                    due = start + number / RATE
                    await trio.sleep_until(due)
                    nursery.start_soon(call, number, due)
        gc.unfreeze()
        return statistics.quantiles(took, n=100)[98]

    return trio.run(main)


@contextmanager
def spans_for_nobody() -> Generator[None]:
    """An SDK of the program's own, that makes spans and exports none."""
    with pytest.MonkeyPatch.context() as patch:
        provider = TracerProvider()
        patch.setattr(trace, "get_tracer_provider", lambda: provider)
        yield


@pytest.mark.slow
@pytest.mark.skipif(not SOAK, reason="a figure of latency, which a machine that does other things does not give")
def test_the_p99_of_calls_is_the_same_without_a_collector_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "CLOSING", 0.1)
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    nobody: list[float] = []
    answered: list[float] = []
    hanging: list[float] = []
    for _ in range(5):
        with collecting(None) as collector:
            hanging.append(p99_of(config(telemetry={"otlp": collector.url}), 2_500))
        with spans_for_nobody():
            nobody.append(p99_of(config(), 2_500))
        with collecting() as collector:
            answered.append(p99_of(config(telemetry={"otlp": collector.url}), 2_500))
    p99 = statistics.median(hanging)
    beside = {"nobody": p99 / statistics.median(nobody), "one that answers": p99 / statistics.median(answered)}
    for whom, ratio in beside.items():
        print(f"p99 with a collector that never answers: {ratio:.3f} x that where spans go to {whom}")
    assert max(beside.values()) <= 1.10


@pytest.mark.slow
def test_telemetry_that_is_off_takes_no_more_than_two_microseconds_of_a_call() -> None:
    """All that one guarded call makes of it: seven calls of functions that do nothing."""
    from penstock.telemetry._names import HOLD

    attempt: Any = None

    def one() -> None:
        span = NO_TELEMETRY.call("id", "route", "account", (), attempt, None)
        span.placed(0.0)
        span.event(HOLD, outcome="granted", tokens=1, usd=0.1)
        exchange = span.attempt(attempt, attempt, attempt)
        exchange.chunk(attempt)
        exchange.end(attempt, attempt)
        span.end(attempt, attempt)

    best = min(_timed(one) for _ in range(7))
    print(f"telemetry that is off: {best * 1e6:.2f} us for a call")
    assert best < 2e-6


def _timed(one: Any) -> float:
    began = time.process_time()
    for _ in range(20_000):
        one()
    return (time.process_time() - began) / 20_000


# Variables of the SDK


OTLP = "OTEL_EXPORTER_OTLP"


def test_metrics_may_tell_what_came_since_the_last_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{OTLP}_METRICS_TEMPORALITY_PREFERENCE", "delta")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "20")

    async def main(collector: Collector) -> None:
        settings = config(telemetry={"otlp": collector.url, "traces": False})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(good)) as kernel:
            for _ in range(5):
                await kernel.complete("hello")
                await trio.sleep(0.03)

    with collecting() as collector:
        trio.run(main, collector)
    attempts = [found["penstock.attempts"].sum for found in collector.each() if "penstock.attempts" in found]
    name = "penstock.call.duration"
    durations = [found[name].histogram for found in collector.each() if name in found]
    assert len(attempts) > 1
    assert {each.aggregation_temporality for each in attempts} == {1}, "delta"
    assert {each.aggregation_temporality for each in durations} == {1}
    assert sum(point.as_int or point.as_double for each in attempts for point in each.data_points) == 5
    assert sum(point.count for each in durations for point in each.data_points) == 5
    points = [each.data_points[0] for each in attempts]
    assert all(one.time_unix_nano <= other.start_time_unix_nano for one, other in pairwise(points))


def test_each_signal_may_have_a_protocol_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{OTLP}_PROTOCOL", "http/protobuf")
    monkeypatch.setenv(f"{OTLP}_TRACES_PROTOCOL", "grpc")
    with collecting() as over_http, collecting_grpc() as over_grpc:
        monkeypatch.setenv(f"{OTLP}_TRACES_ENDPOINT", over_grpc.url)
        monkeypatch.setenv(f"{OTLP}_METRICS_ENDPOINT", f"{over_http.url}/v1/metrics")
        trio.run(calls, config())
    assert (len(over_grpc.traces) > 0, over_grpc.metrics) == (True, [])
    assert (over_http.traces, len(over_http.metrics) > 0) == ([], True)


def test_what_is_told_may_be_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    trio.run(calls, config())
    printed = capsys.readouterr().out
    assert '"name": "call default"' in printed
    assert '"penstock.attempts": 1' in printed


def test_the_console_and_a_collector_may_have_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for signal in ("TRACES", "METRICS"):
        monkeypatch.setenv(f"OTEL_{signal}_EXPORTER", "otlp, console, zipkin")
    with collecting() as collector:
        trio.run(calls, config(telemetry={"otlp": collector.url}))
    printed = capsys.readouterr().out
    assert '"name": "call default"' in printed
    assert '"name": "penstock.attempts"' in printed
    assert len(collector.spans) == 2
    assert collector.latest()
    assert "OTEL_TRACES_EXPORTER names 'zipkin'" in caplog.text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "99999"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "0"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "abc"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "-5"),
        (f"{OTLP}_TRACES_COMPRESSION", "canary"),
    ],
)
def test_a_variable_that_the_sdk_does_not_take_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    # Over gRPC, which the SDK is stricter with.
    with pytest.raises(errors.ConfigError, match=name):
        trio.run(calls, config(telemetry={"otlp": "http://127.0.0.1:9", "protocol": "grpc"}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (f"{OTLP}_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "base2_exponential_bucket_histogram"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "soon"),
        ("OTEL_PROPAGATORS", "b3"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "always_on"),
        (f"{OTLP}_TRACES_PROTOCOL", "http/json"),
    ],
)
def test_a_variable_that_is_not_followed_is_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(name, value)
    with collecting() as collector:
        trio.run(calls, config(telemetry={"otlp": collector.url}))
    assert [name in record.getMessage() for record in caplog.records if record.name == "penstock"] == [True]


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_credentials_of_a_variable_do_not_go_to_the_collector_of_the_table(
    protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{OTLP}_HEADERS", "authorization=canary,x-team=theirs")
    for headers in ({}, {"X-Team": "ours"}):
        with collecting() if protocol == "http/protobuf" else collecting_grpc() as collector:
            trio.run(calls, config(telemetry={"otlp": collector.url, "protocol": protocol, "headers": headers}))
        assert collector.headers
        assert "canary" not in str(collector.headers)
        assert {each.get("x-team") for each in collector.headers} == {headers.get("X-Team")}


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("variable", ["ENDPOINT", "TRACES_ENDPOINT", "METRICS_ENDPOINT"])
def test_an_address_in_a_variable_holds_no_credentials_for_it_is_logged(
    variable: str, protocol: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(f"{OTLP}_PROTOCOL", protocol)
    for address in ("http://127.0.0.1:9/?key=CANARY", "http://me:CANARY@127.0.0.1:9", "http://127.0.0.1:9/#CANARY"):
        monkeypatch.setenv(f"{OTLP}_{variable}", address)
        with caplog.at_level(logging.DEBUG), pytest.raises(errors.ConfigError, match=f"{OTLP}_{variable} takes no"):
            trio.run(calls, config())
    assert "CANARY" not in caplog.text


def test_an_address_in_a_variable_is_not_judged_where_the_table_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{OTLP}_ENDPOINT", "http://127.0.0.1:9/?key=canary")
    with collecting() as collector:
        trio.run(calls, config(telemetry={"otlp": collector.url}))
    assert len(collector.spans) == 2


MALFORMED = {
    "authorization: Bearer CANARY": "has no =",
    "x-team=a,authorization CANARY=1": "number 2 of it has, before the =, no name of a header",
    "x a=CANARY": "no name of a header",
    "=CANARY": "no name of a header",
    "CANARY%0A=x": "no name of a header",
    "content-length=CANARY": "no name of a header",
    'authorization="CANARY"': "must be percent-encoded",
    "authorization=a\tCANARY": "must be percent-encoded",
    "authorization=CANARY;secure": "must be percent-encoded",
    "authorization=CANARY\u00e9": "must be percent-encoded",
    "authorization=CANARY\nx": "must be percent-encoded",
    "authorization=Bearer%20CANARY%0Ax": "no header may have",
    "authorization=%C3%A9CANARY": "no header may have",
}


@pytest.mark.parametrize("named_by", ["table", "variable"])
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("variable", ["HEADERS", "TRACES_HEADERS", "METRICS_HEADERS"])
def test_headers_in_a_variable_that_are_malformed_are_told_without_a_word_of_them(
    variable: str, protocol: str, named_by: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table = {"telemetry": {"otlp": "http://127.0.0.1:9"}} if named_by == "table" else {}
    monkeypatch.setenv(f"{OTLP}_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv(f"{OTLP}_PROTOCOL", protocol)
    for malformed, wrong in MALFORMED.items():
        monkeypatch.setenv(f"{OTLP}_{variable}", malformed)
        with caplog.at_level(logging.DEBUG), pytest.raises(errors.ConfigError) as caught:
            trio.run(calls, config(**table))
        assert f"{OTLP}_{variable} must be" in str(caught.value)
        assert wrong in str(caught.value)
        assert "CANARY" not in str(caught.value)
        assert "CANARY" not in caplog.text


@pytest.mark.parametrize(
    ("listed", "sent"),
    [
        ("x-token=secret", "secret"),
        ("X-Token = Bearer%20secret%3D%2C , ,x-team=a\n", "Bearer secret=,"),
        ("x-token=Bearer secret==", "Bearer secret=="),
        ("x-token=", ""),
    ],
)
def test_headers_in_a_variable_that_are_well_formed_are_sent(
    listed: str, sent: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with collecting() as collector:
        monkeypatch.setenv(f"{OTLP}_ENDPOINT", collector.url)
        monkeypatch.setenv(f"{OTLP}_HEADERS", listed)
        # Read by nobody, for logs are sent nowhere.
        monkeypatch.setenv(f"{OTLP}_LOGS_HEADERS", "malformed")
        trio.run(calls, config())
    assert {headers["x-token"] for headers in collector.headers} == {sent}
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@given(
    st.lists(
        st.sampled_from(["a", "B", "-", "=", ",", ";", " ", "\t", "\n", '"', ":", "\\", "%0A", "%41", "%", "\u00e9"])
    ).map("".join)
)
def test_what_passes_of_a_variable_of_headers_is_read_without_a_word_and_sent_without_a_mistake(text: str) -> None:
    stream = io.StringIO()
    listening = logging.StreamHandler(stream)
    listening.setFormatter(logging.Formatter("%(args)s"))
    reads = logging.getLogger("opentelemetry.util.re")
    if next(unfit(None, {f"{OTLP}_HEADERS": text}), None) is not None:
        return
    reads.addHandler(listening)
    try:
        headers = parse_env_headers(text, liberal=True)
    finally:
        reads.removeHandler(listening)
    # It tells of blanks between two commas as well.
    assert set(stream.getvalue()) <= set("(' \\tn',)\n")
    for name, value in headers.items():
        check_header_validity((name, value))
        value.encode("ascii")


def test_a_variable_of_headers_that_another_goes_before_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{OTLP}_HEADERS", "malformed")
    for signal in ("TRACES", "METRICS"):
        monkeypatch.setenv(f"{OTLP}_{signal}_HEADERS", "x-token=secret")
    with collecting() as collector:
        monkeypatch.setenv(f"{OTLP}_ENDPOINT", collector.url)
        trio.run(calls, config())
    assert {headers["x-token"] for headers in collector.headers} == {"secret"}
