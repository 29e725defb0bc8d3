"""Where spans hang: under the caller's own, whichever task reads the stream, and nowhere else."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import trio
import trio.testing
from collector import Collector, GotSpan, collecting
from golden import tree_of
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind
from soak import SOAK
from tracing import Tracing
from worlds import GPT, SONNET, config, good, model_of, openai_chunks

import penstock
from penstock import errors
from penstock.telemetry._opening import open_telemetry
from penstock.testing import Answer, Reply, ScriptedTransport, Silence

BOOM = Reply(500, json={"error": {"type": "api_error", "message": "boom"}})


def by_trace(spans: list[GotSpan]) -> list[list[GotSpan]]:
    """The spans of each trace."""
    traces: dict[bytes, list[GotSpan]] = {}
    for span in spans:
        traces.setdefault(span.span.trace_id, []).append(span)
    return list(traces.values())


def sent(
    main: Callable[[penstock.Kernel], Awaitable[object]],
    answer: Callable[[httpx.Request], Answer] = good,
    **telemetry: Any,
) -> tuple[list[GotSpan], ScriptedTransport]:
    """What came to a collector of what happened in `main`."""
    upstream = ScriptedTransport(answer)

    async def run(collector: Collector) -> None:
        settings = config(telemetry={"otlp": collector.url, "metrics": False, **telemetry})
        with trio.fail_after(60):
            async with penstock.open_kernel(settings, transport=upstream) as kernel:
                await main(kernel)

    with collecting() as collector:
        trio.run(run, collector)
        return collector.spans, upstream


def test_json_is_told_as_what_is_asked_for_whether_natively_by_a_tool_or_in_words() -> None:
    day = {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]}

    async def main(kernel: penstock.Kernel) -> None:
        await kernel.extract(day, "when?", model=GPT)
        await kernel.complete("when?", model=GPT)

    def answer(request: httpx.Request) -> Answer:
        if {"response_format", "tool_choice"} & json.loads(request.content).keys():
            return Reply(
                400, json={"error": {"type": "invalid_request_error", "message": "neither response_format nor tools"}}
            )
        return good(request, '{"day": "Monday"}')

    spans, upstream = sent(main, answer)
    asked = [json.loads(request.content) for request in upstream.requests]
    ways = [body.get("response_format", {}).get("type") or ("tool" if "tool_choice" in body else "") for body in asked]
    assert ways == ["json_schema", "tool", "json_object", "", ""]
    told = [span.attributes.get("gen_ai.output.type") for span in spans if span.kind == "client"]
    assert told == ["json", "json", "json", "json", None]


class Started(SpanProcessor):
    """Keeps what spans say when they begin: what a sampler can see."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        del parent_context
        if span.kind is SpanKind.CLIENT:
            self.seen.append(dict(span.attributes))


def test_a_span_says_where_it_goes_from_its_beginning_and_what_was_asked_for_in_the_words_of_the_wire() -> None:
    started = Started()
    tracing = Tracing(processors=[started])
    targets = {
        "first": {
            "provider": "local",
            "model": "m",
            "params": {"top_k": 4, "presence_penalty": 1, "frequency_penalty": 0.5},
        }
    }
    providers = {"local": {"kind": "openai", "base_url": "http://127.0.0.1:8080/v1", "api_key": "k"}}

    async def main() -> None:
        settings = config(targets=targets, providers=providers, routes={"default": {"cascade": ["first"]}})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(good)) as kernel:
            tracing.trace(kernel)
            request = penstock.ChatRequest("hello", stop=("END", "STOP"), extra={"local": {"n": 2, "top_k": 5}})
            for _ in range(2):
                await kernel.complete(request)

    trio.run(main)
    assert [each.get("server.address") for each in started.seen] == [None, "127.0.0.1"], "known once it was asked"
    told = json.loads(tracing.spans[0])["attributes"]
    assert {
        name.removeprefix("gen_ai.request."): value for name, value in told.items() if "gen_ai.request" in name
    } == {
        "model": "m",
        "stop_sequences": ["END", "STOP"],
        "top_k": 5,
        "presence_penalty": 1.0,
        "frequency_penalty": 0.5,
        "choice.count": 2,
    }


def test_where_a_provider_has_a_url_in_the_configuration_its_first_span_begins_with_it() -> None:
    with collecting() as collector:
        told = config(
            telemetry={"otlp": collector.url, "metrics": False},
            providers={"local": {"kind": "openai", "base_url": "http://127.0.0.1:8080/v1", "api_key": "k"}},
        )
        opened = open_telemetry(told, clock=float, redactors=(), environ={})
        assert opened is not None
        target: Any = SimpleNamespace(name="t", provider=SimpleNamespace(name="local"))
        assert opened.telemetry.server_at(target) == ("127.0.0.1", 8080)
        trio.run(opened.aclose)


CALLS = 10_000 if SOAK else 600


@pytest.mark.slow
def test_of_calls_at_once_every_one_is_a_whole_tree_with_a_span_for_each_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", str(8 * CALLS))

    def answer(request: httpx.Request) -> Answer:
        # Every third call meets a failure at its first target, and some of those another one at the second.
        number = int(request.content.split(b"call-")[1].split(b"!")[0])
        if number % 3 == 0 and model_of(request) == "claude-sonnet-4-20250514":
            return Reply(404, json={"error": {"message": "no such model"}})
        return good(request)

    attempts: dict[str, int] = {}

    async def main(kernel: penstock.Kernel) -> None:
        async def call(number: int) -> None:
            response = await kernel.complete(f"call-{number}!", timeout=60, metadata={"number": str(number)})
            attempts[str(number)] = len(response.attempts)

        async with trio.open_nursery() as nursery:
            for number in range(CALLS):
                nursery.start_soon(call, number)

    print(f"{CALLS} calls at once")
    spans, _ = sent(main, answer, metadata=["number"])
    traces = by_trace(spans)
    assert len(traces) == CALLS
    for trace in traces:
        root, *others = tree_of(trace)
        assert root["parent"] is None
        assert {each["parent"] for each in others} == {"call default"}
        assert len(others) == attempts[root["attributes"]["penstock.metadata.number"]]
    assert len(spans) == CALLS + sum(attempts.values())


HOST = """
import sys
sys.path[:0] = {paths!r}
import trio
import trio.testing
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from worlds import config, good, run
import penstock
from penstock.testing import ScriptedTransport

memory, reader = InMemorySpanExporter(), InMemoryMetricReader()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(memory))
meters = MeterProvider(metric_readers=[reader])
trace.set_tracer_provider(provider)
metrics.set_meter_provider(meters)
tracer = trace.get_tracer("app")
"""


def in_a_host(program: str) -> str:
    """Runs a program that has an SDK of its own, in a process of its own: a process has one for good."""
    tests = Path(__file__).parents[1]
    source = HOST.format(paths=[str(tests)]) + program
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_in_a_program_with_an_sdk_of_its_own_spans_hang_under_its_spans_and_its_sdk_stays() -> None:
    in_a_host("""
async def main():
    async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
        async def one(number):
            with tracer.start_as_current_span(f"request {number}") as mine:
                await kernel.complete("hello")
                assert trace.get_current_span() is mine
                assert mine.is_recording()
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(one, number)
run(main)
assert trace.get_tracer_provider() is provider
assert metrics.get_meter_provider() is meters
spans = memory.get_finished_spans()
mine = {span.context.span_id: span for span in spans if span.name.startswith("request")}
calls = {span.context.span_id: span for span in spans if span.name == "call default"}
attempts = [span for span in spans if span.name.startswith("chat")]
assert len(mine) == len(calls) == len(attempts) == 20, len(spans)
assert {span.parent.span_id for span in calls.values()} == set(mine)
assert all(span.parent.span_id in calls for span in attempts)
assert all(span.parent is None and not span.events and not span.attributes for span in mine.values())
assert all(span.status.status_code.name == "UNSET" for span in mine.values())
""")


@pytest.mark.slow
def test_a_stream_read_by_another_task_stays_in_the_trace_of_who_opened_it() -> None:
    in_a_host("""
async def main():
    async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
        send, receive = trio.open_memory_channel(1)
        async def opener():
            with tracer.start_as_current_span("opener") as mine:
                async with kernel.stream("hello") as stream:
                    await send.send(stream)
                    await done.wait()
                assert trace.get_current_span() is mine
        async def reader():
            with tracer.start_as_current_span("reader") as mine:
                stream = await receive.receive()
                async for _ in stream:
                    assert trace.get_current_span() is mine
                done.set()
        done = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(opener)
            nursery.start_soon(reader)
run(main)
spans = {span.name: span for span in memory.get_finished_spans()}
assert spans["call default"].parent.span_id == spans["opener"].context.span_id
assert spans["reader"].parent is None and spans["opener"].parent is None
""")


@pytest.mark.slow
def test_what_a_program_measures_of_itself_stands_beside_what_penstock_measures() -> None:
    out = in_a_host("""
async def main():
    for _ in range(2):  # a second kernel registers nothing anew
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
            await kernel.complete("hello")
            data = reader.get_metrics_data()
    names = {}
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        names[metric.name] = [(dict(point.attributes), getattr(point, "value", getattr(point, "count", None)))
                              for point in metric.data.data_points]
    assert names["gen_ai.client.operation.duration"][0][1] == 2
    assert names["penstock.calls.in_flight"] == [({}, 0)], names["penstock.calls.in_flight"]
    print(sorted(names))
    closed = reader.get_metrics_data()
run(main)
""")
    assert "gen_ai.client.token.usage" in out
    assert "penstock.attempts" in out


def test_a_trace_that_came_with_a_request_goes_on() -> None:
    came = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    async def main(kernel: penstock.Kernel) -> None:
        await kernel.complete("hello", metadata={"traceparent": came})

    spans, _ = sent(main)
    (call,) = (span for span in spans if span.kind == "internal")
    assert call.span.trace_id.hex() == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert call.span.parent_span_id.hex() == "00f067aa0ba902b7"


@pytest.mark.parametrize("told", [True, False])
def test_a_provider_is_told_of_the_trace_only_where_its_table_says_so(told: bool) -> None:  # noqa: FBT001 - a case
    upstream = ScriptedTransport(good)

    async def main(collector: Collector) -> None:
        settings = config(
            telemetry={"otlp": collector.url, "metrics": False},
            providers={"openai": {"api_key": "sk-x", "propagate_trace": told}, "anthropic": {"api_key": "sk-x"}},
        )
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            await kernel.complete("hello", model=GPT)
            await kernel.complete("hello", model=SONNET)

    with collecting() as collector:
        trio.run(main, collector)
        attempts = {span.attributes["penstock.target"]: span for span in collector.spans if span.kind == "client"}
    by_host = {request.url.host: request.headers.get("traceparent") for request in upstream.requests}
    assert by_host["api.anthropic.com"] is None
    if told:
        span = attempts[GPT].span
        # The flags say that it is sampled, and where the SDK knows it, that the id is random.
        assert by_host["api.openai.com"] in [
            f"00-{span.trace_id.hex()}-{span.span_id.hex()}-{flags}" for flags in ("01", "03")
        ]
    else:
        assert by_host["api.openai.com"] is None


def test_a_log_record_leads_to_the_trace_and_tells_the_metadata_that_was_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main(kernel: penstock.Kernel) -> None:
        await kernel.complete("hello", metadata={"user": "u-7", "secret": "never"})

    with caplog.at_level(logging.INFO, "penstock"):
        spans, _ = sent(main, metadata=["user"])
    (record,) = (each for each in caplog.records if getattr(each, "call_id", None))
    (call,) = (span for span in spans if span.kind == "internal")
    told = vars(record)
    assert told["trace_id"] == call.span.trace_id.hex()
    assert told["span_id"] == call.span.span_id.hex()
    assert told["metadata_user"] == call.attributes["penstock.metadata.user"] == "u-7"
    assert told["input_tokens"] == call.attributes["penstock.usage.input_tokens"]
    assert "never" not in str(told)


def test_spans_that_are_not_sampled_are_not_sent_and_their_parents_decide() -> None:
    async def main(kernel: penstock.Kernel) -> None:
        await kernel.complete("hello")
        sampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        await kernel.complete("hello", metadata={"traceparent": sampled})

    spans, _ = sent(main, sample=0.0)
    assert {span.span.trace_id.hex() for span in spans} == {"4bf92f3577b34da6a3ce929d0e0e4736"}
    assert len(spans) == 2


def test_a_stale_answer_that_is_fetched_anew_is_a_trace_of_its_own() -> None:
    async def main(collector: Collector) -> None:
        settings = config(
            telemetry={"otlp": collector.url, "metrics": False},
            cache={"store": "memory", "ttl": 0.01, "stale_while_revalidate": 60},
        )
        async with penstock.open_kernel(settings, transport=ScriptedTransport(good)) as kernel:
            await kernel.complete("hello", temperature=0)
            with trio.fail_after(5):
                # Until its time is over, and nobody tells when that is.
                while (await kernel.complete("hello", temperature=0)).cache != "stale":  # noqa: ASYNC110
                    await trio.sleep(0.005)
            await trio.testing.wait_all_tasks_blocked()

    with collecting() as collector:
        trio.run(main, collector)
        calls = [span for span in collector.spans if span.kind == "internal"]
    assert all(not span.span.parent_span_id for span in calls)
    assert len({span.span.trace_id for span in calls}) == len(calls)
    (stale,) = [span for span in calls if span.attributes["penstock.cache.outcome"] == "stale"]
    (refresh,) = [about for span in calls for name, about in span.events if name == "penstock.refresh"]
    assert refresh == {"of": stale.attributes["penstock.call.id"]}


def test_a_call_that_a_shutdown_cut_ends_in_a_word_like_all_others() -> None:
    async def main(collector: Collector) -> None:
        settings = config(telemetry={"otlp": collector.url, "metrics": False}, kernel={"grace": 0.01})
        async with trio.open_nursery() as nursery:
            async with penstock.open_kernel(settings, transport=ScriptedTransport(lambda _: Silence())) as kernel:

                async def ask() -> None:
                    with pytest.raises(errors.KernelClosedError):
                        await kernel.complete("hello")

                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()

    with collecting() as collector:
        trio.run(main, collector)
    (call,) = (span for span in collector.spans if span.kind == "internal")
    assert call.status == "error: kernel_closed"


def test_the_chunks_of_a_stream_are_no_spans() -> None:
    async def main(kernel: penstock.Kernel) -> None:
        async with kernel.stream("hello", model=GPT) as stream:
            async for _ in stream:
                pass

    spans, _ = sent(main, lambda _: Reply(chunks=openai_chunks("word " * 50)))
    assert len(spans) == 2
