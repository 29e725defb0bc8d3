"""The `[telemetry]` table: read, with every mistake in it. Not here: what becomes of it (`telemetry._otel`)."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import attrs

from penstock._config import TelemetryConfig
from penstock._config_checks import at_least_one, is_header_name, not_empty
from penstock._config_mistakes import Mistakes, join
from penstock._config_tables import tables_reader
from penstock._secrets import BadSecretError, Secret, open_secret

__all__ = ["OTLP_PACKAGES", "holds_more_than_a_place", "missing_extra", "read_telemetry"]

OTLP_PACKAGES = {
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http",
    "grpc": "opentelemetry.exporter.otlp.proto.grpc",
}


def holds_more_than_a_place(address: str) -> bool:
    """Whether it has a user, a password, a query or a fragment.

    It is shown and logged as it stands, by exporters too; and the path of each signal comes behind it.
    """
    return "@" in address or "?" in address or "#" in address


def _a_share(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{attribute.name} must lie between 0 and 1")


def _an_address(_: object, attribute: attrs.Attribute[Any], value: str) -> None:
    try:
        parts = urlsplit(value)
        wrong = parts.scheme not in {"http", "https"} or not parts.hostname or (parts.port or 1) < 1
    except ValueError:
        wrong = True
    if wrong:
        raise ValueError(f"{attribute.name} must be an address such as http://localhost:4318")
    if holds_more_than_a_place(value):
        raise ValueError(
            f"{attribute.name} takes no user, password, query or fragment: credentials go into telemetry.headers"
        )


@attrs.frozen(kw_only=True)
class _Table:
    enabled: bool = True
    otlp: str | None = attrs.field(default=None, validator=attrs.validators.optional(_an_address))
    protocol: Literal["http/protobuf", "grpc"] | None = None
    headers: dict[str, str] = attrs.field(factory=dict[str, str])
    traces: bool = True
    metrics: bool = True
    service_name: str | None = attrs.field(default=None, validator=attrs.validators.optional(not_empty))
    sample: float | None = attrs.field(default=None, validator=attrs.validators.optional(_a_share))
    metadata: tuple[str, ...] = ()
    capture_content: bool = False
    content_limit: int = attrs.field(default=8_192, validator=at_least_one)
    live_view: bool = False


def read_telemetry(
    table: Mapping[str, Any], environ: Mapping[str, str], folder: Path, mistakes: Mistakes
) -> TelemetryConfig:
    """What the table says; to be thrown away where there are mistakes."""
    path = "telemetry"
    headers: dict[str, Secret] = {}
    given: object = table.get("headers", {})
    if isinstance(given, dict):
        for place, (name, source) in enumerate(cast("dict[str, object]", given).items(), 1):
            if not is_header_name(name):
                # It is not shown: a credential may stand where a name should.
                mistakes.add(join(path, "headers"), f"number {place} of them has a name that no header may have")
                continue
            try:
                headers[name] = open_secret(source, environ=environ, folder=folder, of_header=True)
            except BadSecretError as error:
                mistakes.add(join(join(path, "headers"), name), str(error))
    read = tables_reader().read(_Table, table, path, mistakes)
    if read is None:
        return TelemetryConfig()
    if read.otlp is not None and read.enabled and (says := missing_extra(read.protocol or "http/protobuf")):
        mistakes.add(join(path, "otlp"), says)
    values = {field.name: getattr(read, field.name) for field in attrs.fields(_Table) if field.name != "headers"}
    return TelemetryConfig(headers=headers, **values)


def missing_extra(protocol: str) -> str | None:
    """What to install before anything can be sent; None: nothing."""
    package = OTLP_PACKAGES[protocol]
    try:
        found = find_spec(package) is not None
    except ModuleNotFoundError:
        found = False
    return None if found else "needs a package that is not installed: pip install 'penstock[otlp]'"
