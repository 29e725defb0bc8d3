"""Where telemetry goes, and who has said so: the configuration before the environment. Pure, and without OpenTelemetry.

A program's own SDK goes before both, where it has set one up: of that nothing can be known here. Not here: opening it
(`_opening`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from penstock._config import TelemetryConfig

__all__ = [
    "HEADERS",
    "SIGNALS",
    "WAYS",
    "Signal",
    "Way",
    "address_of",
    "console_by",
    "headers_of",
    "is_off",
    "named_by",
    "protocol_of",
    "silenced_by",
    "strange_ways",
    "ways_of",
]

Signal: TypeAlias = Literal["traces", "metrics"]
Way: TypeAlias = Literal["otlp", "console"]
WAYS: tuple[Way, ...] = ("otlp", "console")
SIGNALS: tuple[Signal, ...] = ("traces", "metrics")
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
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


def console_by(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The variables that ask for what is told to be printed."""
    return tuple(_exporter_of(signal) for signal in SIGNALS if "console" in _words_of(environ, signal))


def protocol_of(said: TelemetryConfig | None, environ: Mapping[str, str], signal: Signal) -> tuple[str, str]:
    """What is spoken where one signal goes, and what says so. It may be no protocol that there is."""
    if said is not None and said.protocol is not None:
        return said.protocol, "telemetry.protocol"
    for name in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", PROTOCOL):
        if given := environ.get(name, "").strip():
            return given, name
    return "http/protobuf", "by default"


def silenced_by(said: TelemetryConfig | None, environ: Mapping[str, str], signal: Signal) -> str:
    """What keeps one signal back; empty: nothing does."""
    if said is not None and not getattr(said, signal):
        return f"telemetry.{signal}"
    return _exporter_of(signal) if _words_of(environ, signal) == ["none"] else ""


def ways_of(said: TelemetryConfig | None, environ: Mapping[str, str], signal: Signal) -> tuple[Way, ...]:
    """How one signal leaves: to a collector, where one is named, and to the console, where a variable asks for it."""
    if silenced_by(said, environ, signal):
        return ()
    words = _words_of(environ, signal)
    named = bool(named_by(said, environ))
    return tuple(way for way in WAYS if way in words and (way != "otlp" or named))


def strange_ways(environ: Mapping[str, str]) -> dict[str, list[str]]:
    """What variables ask for that there is not, by variable."""
    known = {*WAYS, "none"}
    asked = {_exporter_of(signal): _words_of(environ, signal) for signal in SIGNALS}
    return {
        name: strange for name, words in asked.items() if (strange := [each for each in words if each not in known])
    }


def address_of(said: TelemetryConfig | None, environ: Mapping[str, str], signal: Signal, protocol: str) -> str:
    """Where one signal is sent. It may hold a password, as whoever wrote it has put one there."""
    if said is not None and said.otlp is not None:
        base = said.otlp
    elif protocol == "http/protobuf" and (own := environ.get(_endpoint_of(signal))):
        return own  # as it stands
    else:
        base = environ.get(_endpoint_of(signal)) or environ.get(ENDPOINT) or AT_HOME.get(protocol, "")
    return f"{base.rstrip('/')}/v1/{signal}" if protocol == "http/protobuf" else base


def headers_of(signal: Signal) -> str:
    """The variable with the headers of one signal, which goes before `HEADERS`."""
    return f"OTEL_EXPORTER_OTLP_{signal.upper()}_HEADERS"


def _endpoint_of(signal: Signal) -> str:
    return f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"


def _exporter_of(signal: Signal) -> str:
    return f"OTEL_{signal.upper()}_EXPORTER"


def _words_of(environ: Mapping[str, str], signal: Signal) -> list[str]:
    words = (word.strip().lower() for word in environ.get(_exporter_of(signal), "").split(","))
    return [word for word in words if word] or ["otlp"]
