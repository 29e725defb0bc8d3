"""Variables of the OpenTelemetry SDK that it would stumble over, or that penstock cannot follow: told by their names.

What the SDK itself tells (a sampler that it does not know, a number that is none) is not told here once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

__all__ = ["is_delta", "unfit", "unheeded"]

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


def unfit(environ: Mapping[str, str]) -> Iterator[str]:
    """Mistakes, each a sentence: with them the SDK cannot be set up."""
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


def _whole(given: str) -> int | None:
    try:
        return int(given)
    except ValueError:
        return None
