"""Calls and the cache: who asks upstream, who waits, what is stored, and for whom."""

from __future__ import annotations

from functools import partial
from typing import Any

import attrs
import httpx
import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from worlds import ANSWER, GPT, SONNET, config, failing, good, run

import penstock
from penstock import errors
from penstock.testing import Answer, Broken, Reply, ScriptedTransport, Silence


def cached(**tables: Any) -> penstock.Config:
    return config(cache={"store": "memory", "when": "always"}, **tables)


def slow(seconds: float = 1.0) -> ScriptedTransport:
    return ScriptedTransport(lambda request: attrs.evolve(good(request), delay=seconds))


def test_the_same_request_is_answered_from_the_cache_and_costs_nothing() -> None:
    async def main() -> None:
        upstream = slow()
        async with penstock.open_kernel(cached(), transport=upstream) as kernel:
            first = await kernel.complete("hello")
            second = await kernel.complete("hello")
            assert (first.cache, second.cache) == ("miss", "hit")
            assert second.text == first.text
            assert second.cost == 0
            assert second.usage.total_tokens == 0
            assert second.attempts == ()
            assert len(upstream.requests) == 1

    run(main)


def test_without_a_cache_table_nothing_is_cached_or_shared() -> None:
    async def main() -> None:
        upstream = slow()
        async with penstock.open_kernel(config(), transport=upstream) as kernel:
            responses = [await kernel.complete("hello", temperature=0) for _ in range(2)]
            assert [response.cache for response in responses] == ["off", "off"]
            assert len(upstream.requests) == 2

    run(main)


def test_by_default_only_deterministic_requests_are_cached() -> None:
    async def main() -> None:
        upstream = slow()
        settings = config(cache={"store": "memory"})
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            for temperature in (None, 0.7, 0.7, 0.0, 0.0):
                last = await kernel.complete("hello", temperature=temperature)
            assert last.cache == "hit"
            assert len(upstream.requests) == 4

    run(main)


@pytest.mark.parametrize(
    ("field", "extra", "outcome"), [(0, 1, "miss"), (0, None, "miss"), (1, 0, "hit"), (0, 0.0, "hit")]
)
def test_what_is_deterministic_is_told_by_what_is_sent(field: float, extra: float | None, outcome: str) -> None:
    request = penstock.ChatRequest("hello", temperature=field, extra={"openai": {"temperature": extra}})

    async def main() -> None:
        upstream = slow()
        settings = config(cache={"store": "memory"}, routes={"default": {"cascade": [GPT]}})
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            await kernel.complete(request)
            told = (await kernel.complete(request)).cache
            assert (told if told == "hit" else "miss") == outcome
            (stage,) = (await kernel.cache.explain_miss(request)).stages
            assert stage.outcome == (outcome if outcome == "hit" else "not_cached")
            if extra == 1:
                assert "it is 1 (" in stage.says

    run(main)


def test_targets_that_differ_in_their_headers_alone_never_answer_for_one_another() -> None:
    targets = {
        name: {
            "provider": "openai",
            "model": "m",
            "headers": {"x-portkey-config": name, "x-api-key": f"of {name}"},
        }
        for name in ("one", "two")
    }

    async def main() -> None:
        upstream = slow()
        settings = cached(targets=targets)
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            outcomes = [(await kernel.complete("hello", model=name)).cache for name in ("one", "two", "one", "two")]
            assert outcomes == ["miss", "miss", "hit", "hit"]
            near = (await kernel.cache.explain_miss("hello", model="one", temperature=0.5)).stages[0].near
            # The nearest is its own: the other differs in a header as well, whose value nobody is told.
            assert [entry.differs for entry in near] == [
                ("temperature",),
                ("header x-portkey-config", "temperature"),
            ]

    run(main)


def test_two_tenants_never_share_an_answer() -> None:
    async def main() -> None:
        upstream = slow()
        async with penstock.open_kernel(cached(), transport=upstream) as kernel:
            for account in ("one", "two", "one"):
                last = await kernel.complete("hello", account=account)
            assert last.cache == "hit"
            assert len(upstream.requests) == 2

    run(main)


def test_a_subtree_that_names_a_tenant_shares() -> None:
    async def main() -> None:
        upstream = slow()
        settings = cached(accounts={"team": {"tenant": "team"}})
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            for account in ("team/a", "team/b"):
                await kernel.complete("hello", account=account)
            assert len(upstream.requests) == 1

    run(main)


def test_stream_and_complete_share_entries() -> None:
    async def main() -> None:
        upstream = ScriptedTransport(good)
        async with penstock.open_kernel(cached(), transport=upstream) as kernel:
            async with kernel.stream("hello") as stream:
                streamed = "".join([text async for text in stream.text()])
            response = await kernel.complete("hello")
            assert (response.cache, response.text) == ("hit", streamed)
            async with kernel.stream("hello") as stream:
                assert "".join([text async for text in stream.text()]) == streamed
                assert stream.response.cache == "hit"
            assert len(upstream.requests) == 1

    run(main)


async def text_of(kernel: penstock.Kernel, *, streamed: bool) -> tuple[str, str]:
    """What one of a thousand alike is told, and what the cache had to do with it."""
    if not streamed:
        response = await kernel.complete("hello", timeout=100.0)
        return response.text, response.cache
    async with kernel.stream("hello", timeout=100.0) as stream:
        text = "".join([piece async for piece in stream.text()])
    return text, stream.response.cache


@pytest.mark.slow
@pytest.mark.parametrize("streams", [0, 500])
def test_a_thousand_identical_calls_make_one_upstream_call(streams: int) -> None:
    async def main() -> None:
        upstream = slow()
        outcomes: list[str] = []
        async with penstock.open_kernel(cached(kernel={"max_in_flight": 1_000}), transport=upstream) as kernel:

            async def call(*, streamed: bool) -> None:
                text, outcome = await text_of(kernel, streamed=streamed)
                assert text == ANSWER
                outcomes.append(outcome)

            async with trio.open_nursery() as nursery:
                # A stream joins a flight and never starts one: the first is a `complete`.
                nursery.start_soon(partial(call, streamed=False))
                await wait_all_tasks_blocked()
                for number in range(999):
                    nursery.start_soon(partial(call, streamed=number < streams))
            assert len(upstream.requests) == 1
            assert outcomes.count("miss") == 1
            assert outcomes.count("follower") == 999

    run(main)


@pytest.mark.slow
@pytest.mark.parametrize("streams", [0, 500])
@pytest.mark.parametrize(
    "end", ["is cancelled", "has no more time", "fails over", "finds no connection", "waits in vain"]
)
def test_a_thousand_identical_calls_ask_once_more_where_their_leader(end: str, streams: int) -> None:
    bad: dict[str, Answer] = {
        "fails over": Reply(404, json={"error": {"type": "not_found_error", "message": "no"}}, delay=5.0),
        "finds no connection": Broken(delay=5.0),
        "waits in vain": Silence(),
    }

    def answer(request: httpx.Request) -> Answer:
        if end in bad and b"sonnet" in request.content:
            return bad[end]
        return attrs.evolve(good(request), delay=10.0)

    async def main() -> None:
        upstream = ScriptedTransport(answer)
        settings = cached(
            kernel={"max_in_flight": 1_000},
            routes={"default": {"cascade": [{"target": SONNET, "attempts": 1}, GPT]}},
            defaults={"timeouts": {"total": 20.0}},
        )
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            texts: list[str] = []
            leader = trio.CancelScope()

            async def lead() -> None:
                with leader:
                    try:
                        await kernel.complete("hello", timeout=5.0 if end == "has no more time" else 100.0)
                    except errors.DeadlineExceededError:
                        assert end == "has no more time"

            async def follow(*, streamed: bool) -> None:
                texts.append((await text_of(kernel, streamed=streamed))[0])

            async with trio.open_nursery() as nursery:
                nursery.start_soon(lead)
                await wait_all_tasks_blocked()
                for number in range(999):
                    nursery.start_soon(partial(follow, streamed=number < streams))
                if end == "is cancelled":
                    await trio.sleep(5)
                    leader.cancel()
            assert texts == [ANSWER] * 999
            assert len(upstream.requests) == 2

    run(main)


def test_when_the_leader_is_cancelled_one_follower_takes_over() -> None:
    async def main() -> None:
        upstream = slow(10)
        async with penstock.open_kernel(cached(), transport=upstream) as kernel:
            answers: list[str] = []

            async def follow() -> None:
                answers.append((await kernel.complete("hello")).text)

            async with trio.open_nursery() as nursery:
                async with trio.open_nursery() as leaders:
                    leaders.start_soon(kernel.complete, "hello")
                    await wait_all_tasks_blocked()
                    for _ in range(20):
                        nursery.start_soon(follow)
                    await trio.sleep(5)
                    leaders.cancel_scope.cancel()
            assert answers == [ANSWER] * 20
            assert len(upstream.requests) == 2

    run(main)


def test_equal_calls_whose_answers_are_none_to_store_do_not_go_one_after_another() -> None:
    def cut_off(request: httpx.Request) -> Answer:
        body: Any = good(request).json
        return Reply(json={**body, "choices": [{**body["choices"][0], "finish_reason": "length"}]}, delay=10.0)

    async def main() -> None:
        upstream = ScriptedTransport(cut_off)
        async with penstock.open_kernel(cached(), transport=upstream) as kernel:
            began = trio.current_time()
            ends: list[float] = []

            async def call() -> None:
                response = await kernel.complete("hello", model=GPT, timeout=100)
                assert (response.finish_reason, response.cache) == ("length", "miss")
                ends.append(trio.current_time() - began)

            async with trio.open_nursery() as nursery:
                for _ in range(30):
                    nursery.start_soon(call)
            assert max(ends) == pytest.approx(20.0), "the first, and then all others at once"
            assert len(upstream.requests) == 30

    run(main)


def test_when_the_leader_falls_over_its_followers_go_with_it() -> None:
    async def main() -> None:
        upstream = failing(SONNET, answer=Reply(404, json={"error": {"type": "not_found_error", "message": "no"}}))
        async with penstock.open_kernel(cached(), transport=upstream) as kernel:
            answers: list[str] = []

            async def call() -> None:
                answers.append((await kernel.complete("hello")).target)

            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(call)
            assert answers == [GPT] * 50
            assert len(upstream.requests) == 2, "one at the target that fails, one at the next"

    run(main)


def test_an_error_that_would_meet_every_follower_is_shared() -> None:
    async def main() -> None:
        bad = Reply(400, json={"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}, delay=1)
        upstream = ScriptedTransport([bad])
        failed: list[errors.CallError] = []
        async with penstock.open_kernel(cached(), transport=upstream) as kernel:

            async def call() -> None:
                try:
                    await kernel.complete("hello")
                except errors.InvalidRequestError as error:
                    failed.append(error)

            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(call)
        assert len(failed) == 10
        assert len({id(error) for error in failed}) == 10, "each raises its own"
        assert len(upstream.requests) == 1

    run(main)


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_truncated_and_filtered_answers_are_never_stored(finish: str) -> None:
    def answer(request: httpx.Request) -> Reply:
        body = good(request).json
        body["choices"][0]["finish_reason"] = finish
        return Reply(json=body)

    async def main() -> None:
        upstream = ScriptedTransport(answer)
        async with penstock.open_kernel(cached(), transport=upstream) as kernel:
            for _ in range(2):
                assert (await kernel.complete("hello", model=GPT)).cache == "miss"
            assert len(upstream.requests) == 2

    run(main)


def test_an_answer_is_stored_under_the_target_that_gave_it() -> None:
    async def main() -> None:
        down = True

        def answer(request: httpx.Request) -> Reply:
            if down and b"sonnet" in request.content:
                return Reply(404, json={"error": {"type": "not_found_error", "message": "no"}})
            return good(request, "from " + ("gpt" if b"gpt" in request.content else "sonnet"))

        upstream = ScriptedTransport(answer)
        async with penstock.open_kernel(cached(), transport=upstream) as kernel:
            assert (await kernel.complete("hello")).text == "from gpt"
            down = False
            assert (await kernel.complete("hello")).text == "from sonnet"

    run(main)


def test_a_follower_keeps_its_own_deadline() -> None:
    async def main() -> None:
        async with penstock.open_kernel(cached(), transport=ScriptedTransport([Silence()])) as kernel:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kernel.complete, "hello")
                await wait_all_tasks_blocked()
                with pytest.raises(errors.DeadlineExceededError):
                    await kernel.complete("hello", timeout=3)
                nursery.cancel_scope.cancel()

    run(main)


def test_a_stored_answer_is_served_while_its_target_is_out_of_use() -> None:
    async def main() -> None:
        upstream = slow()
        async with penstock.open_kernel(cached(), transport=upstream) as kernel:
            await kernel.complete("hello", model=GPT)
            await kernel.breakers.isolate(f"target:{GPT}")
            again = await kernel.complete("hello", model=GPT)
            assert (again.cache, again.attempts) == ("hit", ())
            async with kernel.stream("hello", model=GPT) as stream:
                assert "".join([text async for text in stream.text()]) == ANSWER
            with pytest.raises(errors.CircuitOpenError):
                await kernel.complete("something else", model=GPT)
            assert len(upstream.requests) == 1

    run(main)


def test_a_failure_that_only_the_leaders_route_calls_one_is_not_shared() -> None:
    def answer(request: httpx.Request) -> Reply:
        body = good(request).json
        if b"gpt" in request.content:
            body["choices"][0]["finish_reason"] = "content_filter"
        return Reply(json=body, delay=1.0)

    async def main() -> None:
        routes = {"strict": {"cascade": [GPT, SONNET], "on_content_filter": "next"}, "plain": {"cascade": [GPT]}}
        async with penstock.open_kernel(cached(routes=routes), transport=ScriptedTransport(answer)) as kernel:
            targets: dict[str, tuple[str, str]] = {}

            async def call(route: str) -> None:
                response = await kernel.complete("hello", route=route)
                targets[route] = (response.target, response.finish_reason)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call, "strict")
                await wait_all_tasks_blocked()
                nursery.start_soon(call, "plain")
            assert targets == {"strict": (SONNET, "stop"), "plain": (GPT, "content_filter")}

    run(main)


def test_a_leader_that_may_not_pay_sends_nobody_away() -> None:
    async def main() -> None:
        tables = {
            "routes": {"default": {"cascade": ["openai/no-price", GPT]}},
            "accounts": {"s": {"tenant": "s"}, "s/a": {"limits": [{"per": "day", "usd": 5}]}},
        }
        async with penstock.open_kernel(cached(**tables), transport=slow()) as kernel:
            targets: dict[str, str] = {}

            async def call(account: str) -> None:
                targets[account] = (await kernel.complete("hello", account=account)).target

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call, "s/a")
                nursery.start_soon(call, "s/b")
            # Whoever led: one that may pay is not sent away by one that may not.
            assert targets["s/b"] == "openai/no-price"

    run(main)
