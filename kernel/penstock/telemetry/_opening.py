"""Whether there is anybody to tell: decided without importing OpenTelemetry, which takes a tenth of a second.

In this order: switched off; the SDK of the program itself, where it has set one up before the kernel opens; a collector
that the configuration names; one, or the console, that the environment names. Not here: what is then opened
(`_otel.opened`).
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from penstock._config_telemetry import OTLP_PACKAGES, missing_extra
from penstock.errors import ConfigError
from penstock.telemetry._destination import (
    SIGNALS,
    Signal,
    Way,
    console_by,
    is_off,
    named_by,
    protocol_of,
    strange_ways,
    ways_of,
)
from penstock.telemetry._variables import unfit, unheeded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from penstock._config import Config, TelemetryConfig
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
    asked = bool(named_by(said, environ) or console_by(environ))
    named = said is not None and said.otlp is not None
    if not (asked or "opentelemetry.trace" in sys.modules):
        return None
    from penstock.telemetry._otel.opened import open_exporting, open_in_host  # noqa: PLC0415  # heavy

    hosted = open_in_host(config, clock=clock, redactors=redactors, environ=environ)
    if hosted is not None:
        if named:
            logger.warning(
                "telemetry.otlp means nothing: the program has an OpenTelemetry SDK of its own, which is used"
            )
        return hosted
    if not asked:
        return None
    if mistakes := list(unfit(said, environ)):
        raise ConfigError(f"the environment: {'; '.join(mistakes)}")
    for says in unheeded(environ):
        logger.warning("telemetry: %s", says)
    for name, words in strange_ways(environ).items():
        logger.warning(
            "telemetry: %s names %s; penstock has otlp, console and none", name, " and ".join(map(ascii, words))
        )
    ways: dict[Signal, tuple[Way, ...]] = {signal: _open_ways(said, environ, signal) for signal in SIGNALS}
    if not any(ways.values()):
        return None
    return open_exporting(config, ways, clock=clock, redactors=redactors, environ=environ)


def _open_ways(said: TelemetryConfig | None, environ: Mapping[str, str], signal: Signal) -> tuple[Way, ...]:
    """Those that can be gone. Raises ConfigError where the configuration names one that cannot."""
    ways = ways_of(said, environ, signal)
    if "otlp" not in ways:
        return ways
    protocol, spoken_by = protocol_of(said, environ, signal)
    if protocol not in OTLP_PACKAGES:
        logger.warning("%s is neither http/protobuf nor grpc: no %s are exported", spoken_by, signal)
    elif (says := missing_extra(protocol)) is None:
        return ways
    elif said is not None and said.otlp is not None:
        raise ConfigError(f"telemetry.otlp: {says}")
    else:
        logger.warning("the environment names a collector, which %s; no %s are exported", says, signal)
    return tuple(way for way in ways if way != "otlp")
