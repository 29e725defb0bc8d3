"""What OpenTelemetry's own SDK takes for the two spans of a call, with as many attributes, sent in the same way.

No call is made: it is what the traced row is compared with, for this part of its cost is not penstock's.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio

from benchmarks.worker import Jobs, Row, run

CALL: dict[str, Any] = {
    "penstock.call.id": "0a1b2c3d-1",
    "penstock.route": "default",
    "penstock.account": "team/user-0",
}
CALL_END: dict[str, Any] = {
    "penstock.outcome": "ok",
    "penstock.attempts": 1,
    "penstock.cache.outcome": "miss",
    "penstock.phase.queue_s": 0.0001,
    "penstock.target": "target-0",
    "penstock.usage.input_tokens": 300,
    "penstock.usage.output_tokens": 30,
    "penstock.cost_usd": 0.001,
}
ATTEMPT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "penstock.target": "target-0",
    "penstock.attempt.number": 1,
    "penstock.attempt.reason": "first",
}
ATTEMPT_END: dict[str, Any] = {
    "penstock.outcome": "ok",
    "gen_ai.request.max_tokens": 64,
    "gen_ai.request.temperature": 0,
    "server.address": "127.0.0.1",
    "server.port": 8_000,
    "http.response.status_code": 200,
    "gen_ai.response.finish_reasons": ("stop",),
    "gen_ai.response.model": "gpt-4o",
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.usage.input_tokens": 300,
    "gen_ai.usage.output_tokens": 30,
    "penstock.cost_usd": 0.001,
    "penstock.phase.connect_s": 0.0002,
}
HOLD: dict[str, Any] = {"outcome": "granted", "tokens": 2_400, "usd": 0.01}


@asynccontextmanager
async def opened(origin: str, kind: str) -> AsyncGenerator[Jobs]:
    from opentelemetry.context import Context
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import SpanKind, set_span_in_context

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{origin}/{kind}/v1/traces")))
    tracer = provider.get_tracer("bare")

    async def call(_: int) -> int:
        call = tracer.start_span("call default", context=Context(), attributes=CALL)
        call.add_event("penstock.hold", HOLD)
        within = set_span_in_context(call, Context())
        attempt = tracer.start_span("chat gpt-4o", context=within, kind=SpanKind.CLIENT, attributes=ATTEMPT)
        attempt.set_attributes(ATTEMPT_END)
        attempt.end()
        call.add_event("penstock.cache", {"outcome": "miss"})
        call.set_attributes(CALL_END)
        call.end()
        return 1

    yield {"call": call}
    await trio.to_thread.run_sync(provider.shutdown)


if __name__ == "__main__":
    run(
        Row(
            opened,
            "trio",
            ("opentelemetry-sdk",),
            "two spans with their attributes and events; no call is made",
            ("call",),
        )
    )
