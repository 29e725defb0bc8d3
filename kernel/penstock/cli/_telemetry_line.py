"""What `penstock check` says of telemetry: where it goes, by whose word, and what is missing. No header is in it.

Not here: who decides (`telemetry._destination`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from penstock._config import TelemetryConfig
from penstock._config_telemetry import OTLP_PACKAGES, missing_extra
from penstock.cli._words import escaped
from penstock.telemetry._destination import (
    HEADERS,
    SIGNALS,
    Signal,
    address_of,
    console_by,
    headers_of,
    is_off,
    named_by,
    protocol_of,
    silenced_by,
    ways_of,
)
from penstock.telemetry._variables import unfit

__all__ = ["safe_address", "telemetry_line"]


def telemetry_line(said: TelemetryConfig | None, environ: Mapping[str, str]) -> str:
    """One sentence. A program that has an SDK of its own has everything there instead."""
    if off := is_off(said, environ):
        return f"switched off by {off}"
    if mistakes := list(unfit(said, environ)):
        return f"no kernel opens: {'; '.join(mistakes)}"
    named = named_by(said, environ)
    if not (named or console_by(environ)):
        return "exported nowhere (neither telemetry.otlp nor OTEL_EXPORTER_OTLP_ENDPOINT names a collector)"
    sent: list[Signal] = [signal for signal in SIGNALS if "otlp" in ways_of(said, environ, signal)]
    for protocol, spoken_by in dict.fromkeys(protocol_of(said, environ, signal) for signal in sent):
        if protocol not in OTLP_PACKAGES:
            says = f"{spoken_by} is {escaped(protocol)}, which is neither {' nor '.join(OTLP_PACKAGES)}"
            return f"exported nowhere: {says}"
        missing = missing_extra(protocol)
        if missing is not None:
            return f"exported nowhere: {protocol}, named by {named[0]}, {missing}"
    parts = [", ".join(_signals(said, environ)), _won(named or console_by(environ))]
    if sent:
        spoken = dict.fromkeys("{} ({})".format(*protocol_of(said, environ, signal)) for signal in sent)
        parts += [" and ".join(spoken), *_headers(said, environ), "the extra penstock[otlp] is installed"]
    return "; ".join(parts)


def safe_address(url: str) -> str:
    """A URL without what may be secret in it: a user, a password, a query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that cannot be read"
    host = parts.netloc.rpartition("@")[2]
    if not (parts.scheme and host):
        return "an address that cannot be read"
    return escaped(f"{parts.scheme}://{host}{parts.path}")


def _signals(said: TelemetryConfig | None, environ: Mapping[str, str]) -> Iterator[str]:
    for signal in SIGNALS:
        ways = ways_of(said, environ, signal)
        if "otlp" in ways:
            protocol, _ = protocol_of(said, environ, signal)
            yield f"{signal} to {safe_address(address_of(said, environ, signal, protocol))}"
        if "console" in ways:
            yield f"{signal} to the console"
        if not ways:
            by = silenced_by(said, environ, signal)
            yield f"no {signal} ({by})" if by else f"no {signal}"


def _won(named: tuple[str, ...]) -> str:
    """Between variables nobody loses: each is for what the others leave open."""
    first, *others = named
    if first != "telemetry.otlp":
        return f"by {' and '.join(named)}"
    return f"by {first}" + (f", which goes before {' and '.join(others)}" if others else "")


def _headers(said: TelemetryConfig | None, environ: Mapping[str, str]) -> Iterator[str]:
    by_variable = [name for name in (HEADERS, *map(headers_of, SIGNALS)) if environ.get(name)]
    if said is not None and said.headers:
        yield f"with the headers {', '.join(said.headers)} of telemetry.headers"
    if by_variable and (said is None or said.otlp is None):  # they are for the collector that variables name
        yield f"with the headers of {' and '.join(by_variable)}"
