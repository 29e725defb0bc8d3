"""Where telemetry goes, and who has said so: the configuration before the environment. Pure, and without OpenTelemetry.

A program's own SDK goes before both, where it has set one up: of that nothing can be known here. Not here: opening it
(`_opening`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from penstock._config import TelemetryConfig

__all__ = ["SIGNALS", "Signal", "address_of", "is_off", "named_by", "protocol_of", "silenced_by"]

Signal: TypeAlias = Literal["traces", "metrics"]
SIGNALS: tuple[Signal, ...] = ("traces", "metrics")
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
AT_HOME = {"http/protobuf": "http://localhost:4318", "grpc": "http://localhost:4317"}
"""Where the exporters send what nobody has named an address for."""


def is_off(said: TelemetryConfig | None, environ: Mapping[str, str]) -> str:
    """What has switched everything off; empty: nothing has."""
    if said is not None and not said.enabled:
        return "telemetry.enabled"
    return "OTEL_SDK_DISABLED" if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" else ""


def named_by(said: TelemetryConfig | None, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Everything that names a collector, what counts first."""
    variables = (ENDPOINT, *map(_endpoint_of, SIGNALS))
    named = ("telemetry.otlp",) if said is not None and said.otlp is not None else ()
    return (*named, *(name for name in variables if environ.get(name)))


def protocol_of(said: TelemetryConfig | None, environ: Mapping[str, str]) -> tuple[str, str]:
    """What is spoken, and what says so. It may be no protocol that there is."""
    if said is not None and said.protocol is not None:
        return said.protocol, "telemetry.protocol"
    given = environ.get(PROTOCOL)
    return (given, PROTOCOL) if given else ("http/protobuf", "by default")


def silenced_by(said: TelemetryConfig | None, environ: Mapping[str, str], signal: Signal) -> str:
    """What keeps one signal back; empty: nothing does."""
    if said is not None and not getattr(said, signal):
        return f"telemetry.{signal}"
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    return variable if environ.get(variable, "otlp") == "none" else ""


def address_of(said: TelemetryConfig | None, environ: Mapping[str, str], signal: Signal, protocol: str) -> str:
    """Where one signal is sent. It may hold a password, as whoever wrote it has put one there."""
    if said is not None and said.otlp is not None:
        base = said.otlp
    elif protocol == "http/protobuf" and (own := environ.get(_endpoint_of(signal))):
        return own  # as it stands
    else:
        base = environ.get(_endpoint_of(signal)) or environ.get(ENDPOINT) or AT_HOME.get(protocol, "")
    return f"{base.rstrip('/')}/v1/{signal}" if protocol == "http/protobuf" else base


def _endpoint_of(signal: Signal) -> str:
    return f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"
