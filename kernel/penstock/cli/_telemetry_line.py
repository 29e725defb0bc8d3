"""What `penstock check` says of telemetry: where it goes, by whose word, and what is missing. No header is in it.

Not here: who decides (`telemetry._destination`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from penstock._config import TelemetryConfig
from penstock._config_telemetry import OTLP_PACKAGES, missing_extra
from penstock.cli._words import escaped
from penstock.telemetry._destination import SIGNALS, address_of, is_off, named_by, protocol_of, silenced_by

__all__ = ["safe_address", "telemetry_line"]

HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", *(f"OTEL_EXPORTER_OTLP_{each.upper()}_HEADERS" for each in SIGNALS))


def telemetry_line(said: TelemetryConfig | None, environ: Mapping[str, str]) -> str:
    """One sentence. A program that has an SDK of its own has everything there instead."""
    if off := is_off(said, environ):
        return f"switched off by {off}"
    named = named_by(said, environ)
    if not named:
        return "exported nowhere (neither telemetry.otlp nor OTEL_EXPORTER_OTLP_ENDPOINT names a collector)"
    protocol, spoken_by = protocol_of(said, environ)
    if protocol not in OTLP_PACKAGES:
        return f"exported nowhere: {spoken_by} is {escaped(protocol)}, which is neither {' nor '.join(OTLP_PACKAGES)}"
    missing = missing_extra(protocol)
    if missing is not None:
        return f"exported nowhere: {protocol}, named by {named[0]}, {missing}"
    return "; ".join(
        [
            ", ".join(_signals(said, environ, protocol)),
            _won(named),
            f"{protocol} ({spoken_by})",
            *_headers(said, environ),
            "the extra penstock[otlp] is installed",
        ]
    )


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


def _signals(said: TelemetryConfig | None, environ: Mapping[str, str], protocol: str) -> Iterator[str]:
    for signal in SIGNALS:
        by = silenced_by(said, environ, signal)
        if by:
            yield f"no {signal} ({by})"
        else:
            yield f"{signal} to {safe_address(address_of(said, environ, signal, protocol))}"


def _won(named: tuple[str, ...]) -> str:
    """Between variables nobody loses: each is for what the others leave open."""
    first, *others = named
    if first != "telemetry.otlp":
        return f"by {' and '.join(named)}"
    return f"by {first}" + (f", which goes before {' and '.join(others)}" if others else "")


def _headers(said: TelemetryConfig | None, environ: Mapping[str, str]) -> Iterator[str]:
    by_variable = [name for name in HEADERS if environ.get(name)]
    if said is not None and said.headers:
        others = f", which go before {' and '.join(by_variable)}" if by_variable else ""
        yield f"with the headers {', '.join(said.headers)} of telemetry.headers{others}"
    elif by_variable:
        yield f"with the headers of {' and '.join(by_variable)}"
