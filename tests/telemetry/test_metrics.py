"""Figures: what is measured of calls, in which buckets, under how few attributes, and how they are kept."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import Any

import httpx
import pytest
import trio
from collector import Collector, attributes_of, collecting
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from worlds import GPT, SONNET, config, good, model_of

import penstock
from penstock import errors
from penstock.telemetry import _names as n
from penstock.telemetry._labels import OTHER, Bounded
from penstock.telemetry._measures import instruments
from penstock.telemetry._metrics import MOST_SERIES, Instrument, Labels, MetricBook
from penstock.testing import Answer, Reply, ScriptedTransport

SUM, SPREAD = Instrument("sum", "1", "A sum."), Instrument("spread", "s", "A distribution.", (1.0, 2.0, 4.0))


def measured(main: Any, answer: Any = good, **tables: Any) -> dict[str, Metric]:
    """The metrics of what happens in `main`, as they were decoded."""

    async def run(collector: Collector) -> None:
        settings = config(telemetry={"otlp": collector.url, "traces": False}, **tables)
        with trio.fail_after(20):
            async with penstock.open_kernel(settings, transport=ScriptedTransport(answer)) as kernel:
                await main(kernel)

    with collecting() as collector:
        trio.run(run, collector)
        return collector.latest()


def points(metric: Metric) -> list[tuple[dict[str, Any], float]]:
    """By attributes: the sum, or how many values there were."""
    if metric.WhichOneof("data") == "histogram":
        return [(attributes_of(each.attributes), each.count) for each in metric.histogram.data_points]
    data = metric.sum if metric.WhichOneof("data") == "sum" else metric.gauge
    return [(attributes_of(each.attributes), each.as_double or each.as_int) for each in data.data_points]


def test_a_call_with_a_fallback_is_measured_in_all_its_parts() -> None:
    def answer(request: httpx.Request) -> Answer:
        failed = model_of(request).startswith("claude-sonnet")
        return Reply(404, json={"error": {"message": "no such model"}}) if failed else good(request)

    async def main(kernel: penstock.Kernel) -> None:
        await kernel.complete("hello", account="team/user-7")

    found = measured(main, answer)
    durations = points(found["gen_ai.client.operation.duration"])
    assert len(durations) == 2
    assert {attributes.get("error.type") for attributes, _ in durations} == {None, "model_not_found"}
    assert {attributes["gen_ai.provider.name"] for attributes, _ in durations} == {"openai", "anthropic"}
    outcomes = {attributes["penstock.outcome"]: count for attributes, count in points(found["penstock.attempts"])}
    assert outcomes == {"ok": 1, "model_not_found": 1}
    tokens = {each["gen_ai.token.type"]: count for each, count in points(found["gen_ai.client.token.usage"]) if count}
    assert tokens.keys() == {"input", "output"}
    ((_, cost),) = points(found["penstock.cost"])
    assert cost == pytest.approx(11 * 2.5e-6 + 3 * 10e-6)
    assert points(found["penstock.call.duration"]) == [({"penstock.route": "default", "penstock.outcome": "ok"}, 1)]
    assert points(found["penstock.call.overhead"]) == [({"penstock.route": "default"}, 1)]
    assert points(found["penstock.queue.wait"]) == [({}, 1)]
    # An account may be a user: there are as many series as there are of those.
    assert b"user-7" not in b"".join(metric.SerializeToString() for metric in found.values())


def test_a_stream_tells_its_first_token_and_the_time_between_reads() -> None:
    async def main(kernel: penstock.Kernel) -> None:
        async with kernel.stream("hello", model=GPT) as stream:
            async for _ in stream:
                pass

    def answer(request: httpx.Request) -> Answer:
        return good(request, "one two three", pause=0.001)

    found = measured(main, answer)
    assert [count for _, count in points(found["gen_ai.client.operation.time_to_first_chunk"])] == [1]
    ((attributes, reads),) = points(found["gen_ai.client.operation.time_per_output_chunk"])
    assert reads >= 2
    assert attributes["gen_ai.request.model"] == "gpt-4o"


def test_breakers_queues_holds_and_the_cache_are_measured() -> None:
    async def main(kernel: penstock.Kernel) -> None:
        await kernel.complete("hello", model=GPT, temperature=0)
        await kernel.complete("hello", model=GPT, temperature=0)
        await kernel.breakers.isolate(f"target:{SONNET}")

    found = measured(main, cache={"store": "memory"})
    lookups = {attributes["penstock.cache.outcome"]: count for attributes, count in points(found[n.CACHE_METRIC])}
    assert lookups == {"miss": 1, "hit": 1}
    assert points(found[n.BREAKER_METRIC]) == [({n.BREAKER_SCOPE: f"target:{SONNET}"}, 1.0)]
    told = {n.BREAKER_SCOPE: f"target:{SONNET}", n.BREAKER_METRIC: "isolated"}
    assert points(found[n.BREAKER_CHANGES]) == [(told, 1)]
    for name in (n.QUEUE_LENGTH, n.IN_FLIGHT, n.HOLDS):
        assert points(found[name]) == [({}, 0)]


def test_where_no_breaker_is_out_of_order_there_is_no_metric_of_breakers() -> None:
    async def main(kernel: penstock.Kernel) -> None:
        await kernel.complete("hello", model=GPT)

    found = measured(main)
    assert n.IN_FLIGHT in found
    assert n.BREAKER_METRIC not in found


def test_models_that_callers_name_do_not_grow_the_metrics_without_bound() -> None:
    async def main(kernel: penstock.Kernel) -> None:
        for number in range(300):
            with pytest.raises(errors.PenstockError):
                await kernel.complete("hello", model=f"openai/made-up-{number}")

    def answer(_: httpx.Request) -> Answer:
        return Reply(404, json={"error": {"message": "no such model"}})

    found = measured(main, answer)
    series = points(found["gen_ai.client.operation.duration"])
    assert len(series) == 200
    others = [count for attributes, count in series if attributes["gen_ai.request.model"] == OTHER]
    assert others == [101]
    assert [attributes["penstock.route"] for attributes, _ in points(found["penstock.call.duration"])] == ["model"]


def test_breakers_of_models_that_callers_name_do_not_grow_the_metrics_without_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "10")

    async def main(collector: Collector) -> None:
        settings = config(telemetry={"otlp": collector.url, "traces": False})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(good)) as kernel:
            for number in range(300):
                await kernel.breakers.isolate(f"target:openai/made-up-{number}")
                if number >= 50:
                    await kernel.breakers.close(f"target:openai/made-up-{number - 50}")
                await trio.sleep(0.002)

    with collecting() as collector:
        trio.run(main, collector)
        found = collector.each()
    for name in (n.BREAKER_METRIC, n.BREAKER_CHANGES):
        told = {
            str(attributes[n.BREAKER_SCOPE]) for each in found if name in each for attributes, _ in points(each[name])
        }
        assert 50 <= len(told) <= 200, name
        assert OTHER in told


def test_the_newest_conventions_are_spoken_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http,gen_ai_latest_experimental")

    async def main(kernel: penstock.Kernel) -> None:
        await kernel.complete("hello")

    found = measured(main)
    assert points(found["gen_ai.client.inference.usage.input_tokens"])[0][0]["gen_ai.token.modality"] == "unknown"
    assert points(found["gen_ai.client.inference.usage.output_tokens"])[0][1] == 3
    assert points(found["gen_ai.client.inference.operation.input_tokens"])[0][1] == 1
    assert not [name for name in found if name.startswith("gen_ai.client.operation") or "token.usage" in name]


@pytest.mark.parametrize("names", [n.RELEASED, n.LATEST])
def test_every_instrument_has_a_name_of_its_own_a_unit_and_buckets_that_grow(names: n.Vocabulary) -> None:
    made = instruments(names)
    assert len({each.name for each in made}) == len(made)
    for each in made:
        assert each.unit
        assert each.says.endswith(".")
        assert each.bounds is None or list(each.bounds) == sorted(set(each.bounds))


# The book


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 8, allow_nan=False))))
def test_a_distribution_counts_every_value_once_in_the_bucket_that_holds_it(values: list[tuple[str, float]]) -> None:
    book = MetricBook([SPREAD])
    for label, value in values:
        book.record("spread", value, (("label", label),))
    for labels, found in book.distributions("spread").items():
        own = [value for label, value in values if (("label", label),) == labels]
        assert found.count == len(own)
        assert found.total == pytest.approx(sum(own))
        assert (found.least, found.most) == (min(own), max(own))
        # A bucket holds what is at most its bound, and more than the bound before it.
        edges = [float("-inf"), 1.0, 2.0, 4.0, float("inf")]
        between = pairwise(edges)
        assert found.counts == [sum(low < value <= high for value in own) for low, high in between]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 10))))
def test_a_sum_is_that_of_all_amounts(amounts: list[tuple[str, int]]) -> None:
    book = MetricBook([SUM])
    for label, amount in amounts:
        book.add("sum", amount, (("label", label),))
    assert sum(book.sums("sum").values()) == sum(amount for _, amount in amounts)


def test_beyond_so_many_series_nothing_is_lost_but_its_attributes() -> None:
    book = MetricBook([SUM, SPREAD])
    for number in range(MOST_SERIES + 50):
        labels: Labels = (("number", number),)
        book.add("sum", 1, labels)
        book.record("spread", 1, labels)
    assert len(book.sums("sum")) == len(book.distributions("spread")) == MOST_SERIES + 1
    assert book.sums("sum")[()] == book.distributions("spread")[()].count == 50


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 8))),
    st.lists(st.tuples(st.sampled_from("bcd"), st.integers(0, 8))),
)
def test_what_came_since_a_copy_and_what_was_in_it_are_all_there_is(
    first: list[tuple[str, int]], then: list[tuple[str, int]]
) -> None:
    book, alone = MetricBook([SUM, SPREAD]), MetricBook([SUM, SPREAD])

    def fill(taken: MetricBook, values: list[tuple[str, int]]) -> None:
        for label, value in values:
            taken.add("sum", value, (("label", label),))
            taken.record("spread", value, (("label", label),))

    fill(book, first)
    before = book.copy()
    fill(book, then)
    fill(alone, then)
    since = book.since(before)
    assert since.sums("sum") == {labels: value for labels, value in alone.sums("sum").items() if value}
    assert {labels: (each.counts, each.total) for labels, each in since.distributions("spread").items()} == {
        labels: (each.counts, each.total) for labels, each in alone.distributions("spread").items()
    }


def test_another_thread_may_read_while_series_are_made() -> None:
    book = MetricBook([SUM, SPREAD])
    failed: list[Exception] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            try:
                book.copy()
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not be
                failed.append(error)
                return

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(4 * MOST_SERIES):
        book.add("sum", 1, (("number", number % MOST_SERIES),))
        book.record("spread", 1, (("number", number % MOST_SERIES),))
    over.set()
    reader.join()
    assert failed == []


@given(st.lists(st.text(max_size=3)))
def test_a_value_keeps_its_name_once_it_has_one(values: list[str]) -> None:
    bounded = Bounded(3)
    said = [bounded(value) for value in values]
    assert len(set(said) - {OTHER}) <= 3
    assert all(shown in {value, OTHER} for value, shown in zip(values, said, strict=True))
    assert [bounded(value) for value in values] == said
