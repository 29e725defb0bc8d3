"""Whether there is anybody to tell: decided without importing OpenTelemetry, which takes a tenth of a second.

In this order: switched off; the SDK of the program itself, where it has set one up before the kernel opens; a collector
that the configuration names; one that the environment names. Not here: what is then opened (`_otel.opened`).
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from penstock._config_telemetry import OTLP_PACKAGES, missing_extra
from penstock.errors import ConfigError
from penstock.telemetry._destination import is_off, named_by, protocol_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from penstock._config import Config
    from penstock.telemetry._otel.opened import OpenTelemetry

__all__ = ["open_telemetry"]

logger = logging.getLogger("penstock")


def open_telemetry(
    config: Config,
    *,
    clock: Callable[[], float],
    redactors: Sequence[Callable[[str], str]],
    environ: Mapping[str, str] | None = None,
) -> OpenTelemetry | None:
    """What the kernel tells; None: nobody asks. Raises ConfigError where what is asked for cannot be."""
    environ = os.environ if environ is None else environ
    said = config.telemetry
    if is_off(said, environ):
        return None
    collector = named_by(said, environ)
    named = said is not None and said.otlp is not None
    if not (collector or "opentelemetry.trace" in sys.modules):
        return None
    from penstock.telemetry._otel.opened import open_exporting, open_in_host  # noqa: PLC0415  # heavy

    hosted = open_in_host(config, clock=clock, redactors=redactors, environ=environ)
    if hosted is not None:
        if named:
            logger.warning(
                "telemetry.otlp means nothing: the program has an OpenTelemetry SDK of its own, which is used"
            )
        return hosted
    if not collector:
        return None
    protocol, _ = protocol_of(said, environ)
    if protocol not in OTLP_PACKAGES:
        logger.warning("OTEL_EXPORTER_OTLP_PROTOCOL is neither http/protobuf nor grpc: nothing is exported")
        return None
    if (says := missing_extra(protocol)) is not None:
        if named:
            raise ConfigError(f"telemetry.otlp: {says}")
        logger.warning("the environment names a collector, which %s; nothing is exported", says)
        return None
    return open_exporting(config, protocol, clock=clock, redactors=redactors, environ=environ)
