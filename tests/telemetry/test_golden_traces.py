"""Whole traces, as a collector decodes them from the bytes that were sent: one for each way that a call can go.

A call with n attempts has exactly n + 1 spans: whatever else happens is an event of the call's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import httpx
import msgspec
import pytest
import trio
import trio.testing
from collector import Collector, GotSpan, collecting
from golden import check_golden
from worlds import ANSWER, anthropic_chunks, config, good, model_of, openai_chunks

import penstock
from penstock import errors
from penstock.testing import Answer, Reply, ScriptedTransport, Silence

Main = Callable[[penstock.Kernel], Awaitable[object]]
TARGETS = {
    "first": {"provider": "openai", "model": "gpt-4o", "price": {"input": 2, "output": 8}},
    "second": {"provider": "anthropic", "model": "claude-3-haiku-20240307", "price": {"input": 1, "output": 5}},
}
ROUTES = {"default": {"cascade": [{"target": "first", "attempts": 2}, {"target": "second", "attempts": 2}]}}
BOOM = Reply(500, json={"error": {"type": "api_error", "message": "boom"}})
WAIT = Reply(429, json={"error": {"message": "slow down"}}, headers=[("retry-after", "0.01")])


def traced(main: Main, answer: Callable[[httpx.Request], Answer], **tables: Any) -> list[GotSpan]:
    """The spans of what happens in `main`, in real time."""

    async def run(collector: Collector) -> None:
        settings = config(
            **{"targets": TARGETS, "routes": ROUTES, "telemetry": {"otlp": collector.url, "metrics": False}, **tables}
        )
        with trio.fail_after(10):
            async with penstock.open_kernel(settings, transport=ScriptedTransport(answer)) as kernel:
                await main(kernel)

    with collecting() as collector:
        trio.run(run, collector)
        return collector.spans


def once(first: Answer) -> Callable[[httpx.Request], Answer]:
    """That answer first, good ones after it."""
    left = [first]
    return lambda request: left.pop() if left else good(request)


async def ask(kernel: penstock.Kernel) -> None:
    await kernel.complete("hello", max_tokens=64, temperature=0.0)


async def read(kernel: penstock.Kernel, **options: Any) -> str:
    text = ""
    async with kernel.stream("hello", **options) as stream:
        async for piece in stream.text():
            text += piece
    return text


def test_success() -> None:
    check_golden("success", traced(ask, good))


def test_retry() -> None:
    check_golden("retry", traced(ask, once(WAIT)))


def test_fallback() -> None:
    def answer(request: httpx.Request) -> Answer:
        return good(request) if "claude" in model_of(request) else Reply(404, json={"error": {"message": "no such"}})

    check_golden("fallback", traced(ask, answer))


class Trip(msgspec.Struct):
    city: str
    days: int


def test_repair() -> None:
    """Asked again by the first target, in vain, and then by the second."""

    async def main(kernel: penstock.Kernel) -> None:
        extracted = await kernel.extract(Trip, "when?")
        assert extracted.value == Trip("Rome", 3)

    wrong, right = (f'{{"city": "Rome", "days": {days}}}' for days in ('"canary"', 3))

    def answer(request: httpx.Request) -> Answer:
        return good(request, right if "claude" in model_of(request) else wrong)

    spans = traced(main, answer)
    assert b"canary" not in b"".join(span.span.SerializeToString() for span in spans)
    check_golden("repair", spans)


def test_a_schema_that_is_refused_is_told_as_why_the_target_is_asked_again() -> None:
    async def main(kernel: penstock.Kernel) -> None:
        await kernel.extract(Trip, "when?")

    right = '{"city": "Rome", "days": 3}'
    left: list[Answer] = [Reply(400, json={"error": {"type": "invalid_request_error", "message": "no such schema"}})]
    spans = traced(main, lambda request: left.pop() if left else good(request, right))
    (call,) = (span for span in spans if span.kind == "internal")
    ((name, told),) = call.events
    assert (name, told["target"], told["reason"]) == ("penstock.retry", "first", "invalid_request")


def test_cache_hit() -> None:
    async def main(kernel: penstock.Kernel) -> None:
        await ask(kernel)
        await ask(kernel)

    spans = traced(main, good, cache={"store": "memory"})
    check_golden("cache-hit", [span for span in spans if span.span.trace_id == spans[-1].span.trace_id])


def test_a_follower_of_a_flight() -> None:
    async def main(kernel: penstock.Kernel) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, kernel)
            nursery.start_soon(ask, kernel)

    spans = traced(main, lambda request: attrs.evolve(good(request), delay=0.02), cache={"store": "memory"})
    calls = [span for span in spans if span.kind == "internal"]
    assert sorted(span.attributes["penstock.cache.outcome"] for span in calls) == ["follower", "miss"]
    follower = next(span for span in calls if span.attributes["penstock.cache.outcome"] == "follower")
    check_golden("follower", [span for span in spans if span.span.trace_id == follower.span.trace_id])


def test_stream() -> None:
    async def main(kernel: penstock.Kernel) -> None:
        assert await read(kernel) == ANSWER

    check_golden("stream", traced(main, good))


def cut_after(pieces: int, request: httpx.Request) -> Reply:
    chunks = anthropic_chunks() if "claude" in model_of(request) else openai_chunks("forty two or so")
    return Reply(chunks=[*chunks[:pieces], httpx.ReadError("reset")])


def test_a_stream_that_was_cut() -> None:
    async def main(kernel: penstock.Kernel) -> None:
        with pytest.raises(errors.StreamBrokenError):
            await read(kernel)

    check_golden("cut-stream", traced(main, lambda request: cut_after(3, request)))


def test_a_continuation() -> None:
    async def main(kernel: penstock.Kernel) -> None:
        await read(kernel, commit="continue")

    def answer(request: httpx.Request) -> Answer:
        return cut_after(3, request) if "gpt" in model_of(request) else good(request)

    route = {"cascade": [{"target": "first", "attempts": 1}, {"target": "second", "attempts": 1}]}
    check_golden("continuation", traced(main, answer, routes={"default": route}))


def test_a_breaker_that_is_open() -> None:
    async def main(kernel: penstock.Kernel) -> None:
        await kernel.breakers.isolate("target:first")
        await ask(kernel)

    check_golden("breaker-open", traced(main, good))


def test_no_circuit_lets_a_call_pass() -> None:
    async def main(kernel: penstock.Kernel) -> None:
        await kernel.breakers.isolate("target:first")
        await kernel.breakers.isolate("provider:anthropic")
        with pytest.raises(errors.CircuitOpenError):
            await ask(kernel)

    check_golden("no-circuit-closed", traced(main, good))


ALONE = {"default": {"cascade": [{"target": "first", "attempts": 1}]}}


def test_a_cool_down_that_a_call_began_is_told_in_its_own_trace_though_it_ends_there() -> None:
    async def main(kernel: penstock.Kernel) -> None:
        with pytest.raises(errors.RateLimitedError):
            await ask(kernel)

    limited = Reply(429, json={"error": {"message": "slow down"}}, headers=[("retry-after", "20")])
    check_golden("cool-down", traced(main, lambda _: limited, routes=ALONE))


def changes(spans: list[GotSpan]) -> list[list[tuple[str, ...]]]:
    """What each call tells of breakers, in the order in which they began."""
    calls = sorted((span for span in spans if span.kind == "internal"), key=lambda span: span.span.start_time_unix_nano)
    told = ("scope", "before", "after", "reason")
    return [
        [tuple(about[key] for key in told if key in about) for name, about in call.events if "wait" not in name]
        for call in calls
    ]


def test_a_breaker_that_a_call_opens_is_told_in_its_own_trace_and_in_no_later_one() -> None:
    async def main(kernel: penstock.Kernel) -> None:
        for _ in range(5):
            with pytest.raises(errors.ServerError):
                await ask(kernel)
        with pytest.raises(errors.CircuitOpenError):
            await kernel.complete("hello", timeout=1)

    opens = ("target:first", "closed", "open", "failures_in_a_row")
    assert changes(traced(main, lambda _: BOOM, routes=ALONE)) == [[], [], [], [], [opens], [("target:first", "open")]]


def test_the_probe_that_closes_a_breaker_tells_it_in_its_own_trace() -> None:
    left = [BOOM] * 2

    async def main(kernel: penstock.Kernel) -> None:
        for _ in range(2):
            with pytest.raises(errors.ServerError):
                await ask(kernel)
        while kernel.snapshot().breakers:
            await ask(kernel)

    breaker = {"failures_in_a_row": 2, "open_for": 0.05, "open_cap": 0.05}
    spans = traced(main, lambda request: left.pop() if left else good(request), routes=ALONE, breaker=breaker)
    *_, last = changes(spans)
    assert [change[1:3] for change in last] == [("half_open", "closed")]


def test_a_breaker_that_opens_under_a_call() -> None:
    async def main(kernel: penstock.Kernel) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, kernel)
            await trio.testing.wait_all_tasks_blocked()
            await kernel.breakers.isolate("target:first")

    check_golden("breaker-opens", traced(main, lambda request: attrs.evolve(good(request), delay=0.02)))


def test_a_budget_that_refuses() -> None:
    async def main(kernel: penstock.Kernel) -> None:
        with pytest.raises(errors.BudgetExceededError):
            await ask(kernel)

    check_golden("budget-refusal", traced(main, good, budget={"limits": [{"per": "day", "tokens": 10}]}))


def test_a_budget_that_holds() -> None:
    check_golden("budget-hold", traced(ask, good, budget={"limits": [{"per": "day", "tokens": 100_000}]}))


def test_cancellation() -> None:
    async def main(kernel: penstock.Kernel) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, kernel)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    check_golden("cancellation", traced(main, lambda _: Silence()))


def test_a_consumer_that_leaves() -> None:
    async def main(kernel: penstock.Kernel) -> None:
        async with kernel.stream("hello") as stream:
            await anext(aiter(stream.text()))

    spans = traced(main, lambda _: Reply(chunks=openai_chunks("a b c d"), pause=0.01))
    check_golden("left-stream", spans)


def test_every_call_that_fails_says_its_kind_and_nothing_else() -> None:
    async def main(kernel: penstock.Kernel) -> None:
        with pytest.raises(errors.InvalidRequestError, match="canary"):
            await ask(kernel)

    bad = Reply(400, json={"error": {"type": "invalid_request_error", "message": "the canary"}})
    spans = traced(main, lambda _: bad)
    assert {span.status for span in spans} == {"error: invalid_request"}
    assert b"canary" not in b"".join(span.span.SerializeToString() for span in spans)
