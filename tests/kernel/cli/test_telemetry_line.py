"""The line of `penstock check` about telemetry: where it goes, and by whose word."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from penstock._config import TelemetryConfig
from penstock._config_telemetry import OTLP_PACKAGES
from penstock._secrets import open_secret
from penstock.cli._telemetry_line import safe_address, telemetry_line
from penstock.telemetry._destination import Signal, address_of
from penstock.telemetry._otel.exporters import of_http

TOML = TelemetryConfig(otlp="http://collector:4318")
ENDPOINT, PROTOCOL, HEADERS = (f"OTEL_EXPORTER_OTLP_{each}" for each in ("ENDPOINT", "PROTOCOL", "HEADERS"))

EXPORTERS: dict[Signal, Any] = {"traces": OTLPSpanExporter, "metrics": OTLPMetricExporter}


@pytest.mark.parametrize(
    ("said", "environ", "line"),
    [
        (None, {}, "exported nowhere (neither telemetry.otlp nor OTEL_EXPORTER_OTLP_ENDPOINT names a collector)"),
        (TelemetryConfig(enabled=False), {ENDPOINT: "http://a"}, "switched off by telemetry.enabled"),
        (TOML, {"OTEL_SDK_DISABLED": "True"}, "switched off by OTEL_SDK_DISABLED"),
        (
            TOML,
            {},
            (
                "traces to http://collector:4318/v1/traces, metrics to http://collector:4318/v1/metrics;"
                " by telemetry.otlp; http/protobuf (by default); the extra penstock[otlp] is installed"
            ),
        ),
        (
            TelemetryConfig(otlp="https://collector:4317", protocol="grpc", metrics=False),
            {ENDPOINT: "http://other:1", PROTOCOL: "http/protobuf"},
            (
                "traces to https://collector:4317, no metrics (telemetry.metrics); by telemetry.otlp, which goes before"
                " OTEL_EXPORTER_OTLP_ENDPOINT; grpc (telemetry.protocol); the extra penstock[otlp] is installed"
            ),
        ),
        (
            None,
            {ENDPOINT: "http://c:1/otel", PROTOCOL: "grpc", "OTEL_TRACES_EXPORTER": "none"},
            (
                "no traces (OTEL_TRACES_EXPORTER), metrics to http://c:1/otel; by OTEL_EXPORTER_OTLP_ENDPOINT; grpc"
                " (OTEL_EXPORTER_OTLP_PROTOCOL); the extra penstock[otlp] is installed"
            ),
        ),
        (
            TelemetryConfig(otlp="http://c:1"),
            {"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "grpc", "OTEL_TRACES_EXPORTER": "otlp,console"},
            (
                "traces to http://c:1/v1/traces, traces to the console, metrics to http://c:1; by telemetry.otlp;"
                " http/protobuf (by default) and grpc (OTEL_EXPORTER_OTLP_METRICS_PROTOCOL);"
                " the extra penstock[otlp] is installed"
            ),
        ),
        (
            None,
            {"OTEL_TRACES_EXPORTER": "console"},
            "traces to the console, no metrics; by OTEL_TRACES_EXPORTER",
        ),
        (
            TOML,
            {"OTEL_BSP_MAX_QUEUE_SIZE": "0"},
            "no kernel opens: OTEL_BSP_MAX_QUEUE_SIZE must be 1 or more",
        ),
        (
            None,
            {ENDPOINT: "http://me:password@c:1/otel?key=secret"},
            (
                "no kernel opens: OTEL_EXPORTER_OTLP_ENDPOINT takes no user, password, query or fragment:"
                " credentials go into OTEL_EXPORTER_OTLP_HEADERS"
            ),
        ),
        (
            None,
            {ENDPOINT: "http://c", PROTOCOL: "carrier\x1bpigeon"},
            (
                "exported nowhere: OTEL_EXPORTER_OTLP_PROTOCOL is carrier\\x1bpigeon,"
                " which is neither http/protobuf nor grpc"
            ),
        ),
    ],
)
def test_the_line_says_what_is_exported_where_and_by_whose_word(
    said: TelemetryConfig | None, environ: dict[str, str], line: str
) -> None:
    assert telemetry_line(said, environ) == line


def test_headers_are_named_and_never_shown() -> None:
    secret = open_secret("canary-of-the-table")
    said = TelemetryConfig(otlp="http://c", headers={"x-team": secret})
    environ = {HEADERS: "authorization=canary-of-a-variable"}
    assert "with the headers x-team of telemetry.headers;" in telemetry_line(said, environ)
    # Those of a variable are for the collector that variables name.
    assert "HEADERS" not in telemetry_line(TOML, environ)
    assert "with the headers of OTEL_EXPORTER_OTLP_HEADERS;" in telemetry_line(None, {**environ, ENDPOINT: "http://c"})
    for each in (said, TOML, None):
        assert "canary" not in telemetry_line(each, {**environ, ENDPOINT: "http://canary@c/?canary"})


def test_a_missing_extra_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OTLP_PACKAGES, "grpc", "a_package.that_is_not_installed")
    assert telemetry_line(None, {ENDPOINT: "http://c", PROTOCOL: "grpc"}) == (
        "exported nowhere: grpc, named by OTEL_EXPORTER_OTLP_ENDPOINT, needs a package that is not installed:"
        " pip install 'penstock[otlp]'"
    )


@pytest.mark.parametrize("url", ["", "collector:4318", "http://[::1", "http://"])
def test_what_is_no_address_is_said_to_be_none(url: str) -> None:
    assert safe_address(url) == "an address that cannot be read"


def test_what_may_be_secret_in_an_address_is_not_shown() -> None:
    assert safe_address("http://me:password@c:1/otel?key=secret#part") == "http://c:1/otel"


def test_it_is_the_address_that_the_exporters_take(monkeypatch: pytest.MonkeyPatch) -> None:
    for said in (TelemetryConfig(), TelemetryConfig(otlp="http://toml:1/")):
        for general in (None, "http://general:2", "http://general:2/base/"):
            for own in (None, "http://own:3/exactly/this"):
                environ: dict[str, Any] = {ENDPOINT: general, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": own}
                for name, value in environ.items():
                    monkeypatch.delenv(name, raising=False)
                    if value is not None:
                        monkeypatch.setenv(name, value)
                environ = {name: value for name, value in environ.items() if value is not None}
                for signal, exporter in EXPORTERS.items():
                    made = exporter(**of_http(said, signal, environ))
                    assert made._endpoint == address_of(said, environ, signal, "http/protobuf")
                    made.shutdown()
