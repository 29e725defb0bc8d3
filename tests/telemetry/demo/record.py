"""Records traces of the demo as OTLP JSON, which Jaeger's *Upload* and other tools read: `python record.py`.

Ten of them: those that tell most.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from collector import collecting  # noqa: E402 - it is beside the other tests' tools
from commands import run_command  # noqa: E402 - as above
from google.protobuf.json_format import (  # type: ignore[import-untyped]  # noqa: E402 - it has no stubs of its own
    MessageToDict,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: E402 - as above

MOST = 10
IDS = ("traceId", "spanId", "parentSpanId")


def main() -> None:
    """Plays the demo, and writes `traces.json`."""
    with collecting() as collector:
        ended = run_command("demo", "--calls", "120", "--speed", "4", "--otlp", collector.url)
    assert ended.code == 0, ended.err
    by_trace: dict[bytes, list[Any]] = {}
    for span in collector.spans:
        by_trace.setdefault(span.span.trace_id, []).append(span)
    told = sorted(by_trace.values(), key=lambda spans: -sum(len(span.events) for span in spans) - len(spans))[:MOST]
    request = ExportTraceServiceRequest.FromString(collector.traces[0])
    scope = request.resource_spans[0].scope_spans[0]
    del scope.spans[:], request.resource_spans[1:], request.resource_spans[0].scope_spans[1:]
    scope.spans.extend(span.span for spans in told for span in spans)
    written = MessageToDict(request)
    for span, source in zip(written["resourceSpans"][0]["scopeSpans"][0]["spans"], scope.spans, strict=True):
        # OTLP writes ids in hexadecimal digits, and enumerations as numbers.
        ids = (source.trace_id, source.span_id, source.parent_span_id)
        span |= {name: value.hex() for name, value in zip(IDS, ids, strict=True) if value}
        span["kind"] = source.kind
        span["status"] = {"code": source.status.code, "message": source.status.message}
    (HERE / "traces.json").write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
