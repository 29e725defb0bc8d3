"""Variables of the OpenTelemetry SDK that it would stumble over, or that penstock cannot follow: told by their names.

What the SDK itself tells (a sampler that it does not know, a number that is none) is not told here once more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

from penstock._config import TelemetryConfig
from penstock._config_checks import is_header_name, is_header_value
from penstock._config_telemetry import holds_more_than_a_place
from penstock.telemetry._destination import HEADERS, SIGNALS, headers_of, named_by

__all__ = ["is_delta", "room_of", "unfit", "unheeded"]

TEMPORALITY = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
AGGREGATION = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
QUEUE, BATCH, DELAY = (f"OTEL_BSP_{each}" for each in ("MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE", "SCHEDULE_DELAY"))
LIMITS = (
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
)
MEANINGLESS = {
    "OTEL_CONFIG_FILE": "the configuration is penstock's own",
    "OTEL_METRICS_EXEMPLAR_FILTER": "metrics have no exemplars",
    "OTEL_METRIC_EXPORT_TIMEOUT": "the exporter has a timeout of its own, OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
}
"""With why."""
USUAL = {QUEUE: 2_048, BATCH: 512, DELAY: 5_000}
"""What the specification has where nothing is set."""
_HEADER_VALUE = re.compile(r'[^\t",;\\]*')
"""Before it is decoded. Spaces pass, as in "Bearer ...": many write them as they are."""


def unfit(said: TelemetryConfig | None, environ: Mapping[str, str]) -> Iterator[str]:
    """Mistakes, each a sentence: with them the SDK cannot be set up, or would log what is secret."""
    for name in LIMITS:
        given = environ.get(name, "").strip()
        if given and ((number := _whole(given)) is None or number < 0):
            yield f"{name} must be a whole number, 0 or more"
    found = {name: _whole(environ.get(name, "")) for name in USUAL}
    numbers = {name: USUAL[name] if number is None else number for name, number in found.items()}
    wrong = [name for name, number in numbers.items() if number < 1]
    yield from (f"{name} must be 1 or more" for name in wrong)
    if not wrong and numbers[BATCH] > numbers[QUEUE]:
        yield f"{BATCH} must be no more than {QUEUE}, which is {numbers[QUEUE]}"
    for name in named_by(said, environ):
        if name == "telemetry.otlp":
            break  # it goes before the variables, which are not read
        if holds_more_than_a_place(environ[name]):
            yield f"{name} takes no user, password, query or fragment: credentials go into {HEADERS}"
    # The exporter over HTTP reads it even where it is given headers, and logs what it cannot read: mostly credentials.
    read = dict.fromkeys(own if environ.get(own := headers_of(signal)) else HEADERS for signal in SIGNALS)
    yield from (f"{name} {fault}" for name in read if (fault := _unfit_headers(environ.get(name, ""))))


def unheeded(environ: Mapping[str, str]) -> Iterator[str]:
    """What is set and means nothing to penstock, each a sentence."""
    if environ.get(AGGREGATION, "").strip().lower() not in {"", "explicit_bucket_histogram"}:
        yield f"{AGGREGATION} means nothing: histograms have explicit buckets"
    if environ.get("OTEL_PROPAGATORS") and "tracecontext" not in environ["OTEL_PROPAGATORS"]:
        yield "OTEL_PROPAGATORS means nothing: where a provider's table says so, it is sent traceparent"
    yield from (f"{name} means nothing: {why}" for name, why in MEANINGLESS.items() if environ.get(name))
    interval = environ.get("OTEL_METRIC_EXPORT_INTERVAL", "").strip()
    if interval and (_whole(interval) or 0) < 1:
        yield "OTEL_METRIC_EXPORT_INTERVAL must be a whole number of milliseconds, 1 or more: 60000 is taken"


def is_delta(environ: Mapping[str, str]) -> bool:
    """Whether metrics tell what came since the last time, in place of what came since the start.

    `lowmemory` is the same: of the sums and histograms that there are it means nothing else.
    """
    return environ.get(TEMPORALITY, "").strip().lower() in {"delta", "lowmemory"}


def room_of(environ: Mapping[str, str]) -> int:
    """Spans that may wait to be sent."""
    given = _whole(environ.get(QUEUE, ""))
    return USUAL[QUEUE] if given is None else given


def _unfit_headers(given: str) -> str:
    """What is wrong with a list of headers; empty: nothing is. Nothing of the list is in it, for a mistake may put a
    credential where a name should be.
    """
    items = [item for each in given.split(",") if (item := each.strip())]
    for place, item in enumerate(items, 1):
        name, equals, value = item.partition("=")
        where = f"must be a list such as name=value,name=value with percent-encoded values: number {place} of it"
        if not equals:
            return f"{where} has no ="
        name, value = name.rstrip(" \t"), value.lstrip(" \t")
        if not (is_header_name(name) and is_header_name(unquote(name))):
            return f"{where} has, before the =, no name of a header"
        if not (is_header_value(value) and _HEADER_VALUE.fullmatch(value)):
            return f"{where} has a value with characters that must be percent-encoded"
        if not is_header_value(unquote(value)):
            return f"{where} has a value that no header may have: a line break, or no plain ASCII"
    return ""


def _whole(given: str) -> int | None:
    try:
        return int(given)
    except ValueError:
        return None
