"""What one call may say of the cache, why an answer was not in it, and emptying it."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import httpx
import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from worlds import ANSWER, GPT, SONNET, config, good, run

import penstock
from penstock import CachePolicy, errors
from penstock.testing import Answer, FakeCacheStore, Reply, ScriptedTransport


def cached(**cache: Any) -> penstock.Config:
    return config(cache={"store": "memory", "when": "always", **cache})


def counting() -> ScriptedTransport:
    upstream: ScriptedTransport

    def answer(request: httpx.Request) -> Answer:
        return Reply(json=good(request, f"answer {len(upstream.requests)}").json, delay=1.0)

    upstream = ScriptedTransport(answer)
    return upstream


@pytest.mark.parametrize("word", ["no-store", "never"])
def test_no_store_takes_nothing_and_leaves_nothing(word: str) -> None:
    async def main() -> None:
        async with penstock.open_kernel(cached(), transport=counting()) as kernel:
            assert (await kernel.complete("hello", cache=word)).cache == "off"
            assert (await kernel.complete("hello")).cache == "miss"
            again = await kernel.complete("hello", cache=word)
            assert (again.cache, again.text) == ("off", "answer 3")

    run(main)


def test_read_only_takes_what_is_there_and_leaves_nothing() -> None:
    async def main() -> None:
        async with penstock.open_kernel(cached(), transport=counting()) as kernel:
            assert (await kernel.complete("hello", cache="read-only")).cache == "miss"
            assert (await kernel.complete("hello")).text == "answer 2"
            assert (await kernel.complete("hello", cache="read-only")).text == "answer 2"

    run(main)


def test_read_only_follows_and_never_leads() -> None:
    async def main() -> None:
        upstream = counting()
        async with penstock.open_kernel(cached(), transport=upstream) as kernel:
            found: list[str] = []

            async def call(cache: str | None) -> None:
                found.append((await kernel.complete("hello", cache=cache)).cache)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call, "read-only")
                await wait_all_tasks_blocked()
                nursery.start_soon(call, None)
                await wait_all_tasks_blocked()
                nursery.start_soon(call, "read-only")
            assert trio.current_time() < 1.5, "nobody waited for the one whose answer is not shared"
            assert sorted(found) == ["follower", "miss", "miss"]
            assert len(upstream.requests) == 2

    run(main)


def test_refresh_asks_anew_and_stores_what_it_gets() -> None:
    async def main() -> None:
        async with penstock.open_kernel(cached(), transport=counting()) as kernel:
            await kernel.complete("hello")
            anew = await kernel.complete("hello", cache="refresh")
            assert (anew.cache, anew.text) == ("miss", "answer 2")
            assert (await kernel.complete("hello")).text == "answer 2"

    run(main)


def test_refresh_asks_past_a_store_too() -> None:
    async def main() -> None:
        store, upstream = FakeCacheStore(), counting()
        for text, cache in (("answer 1", None), ("answer 2", "refresh"), ("answer 2", None)):
            async with penstock.open_kernel(
                cached(store="fake"), transport=upstream, plugins=[store.plugin()]
            ) as kernel:
                assert (await kernel.complete("hello", cache=cache)).text == text

    run(main)


def test_many_refreshes_at_once_share_one_answer_that_is_new() -> None:
    async def main() -> None:
        upstream = counting()
        async with penstock.open_kernel(cached(), transport=upstream) as kernel:
            await kernel.complete("hello")
            found: list[str] = []

            async def call() -> None:
                found.append((await kernel.complete("hello", cache="refresh")).text)

            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(call)
            assert found == ["answer 2"] * 20
            assert len(upstream.requests) == 2

    run(main)


@pytest.mark.parametrize("wanted", ["max-age=60", CachePolicy(max_age=60)], ids=str)
def test_an_answer_older_than_the_call_wants_is_asked_for_anew(wanted: Any) -> None:
    async def main() -> None:
        async with penstock.open_kernel(cached(), transport=counting()) as kernel:
            await kernel.complete("hello")
            await trio.sleep(30)
            assert (await kernel.complete("hello", cache=wanted)).cache == "hit"
            await trio.sleep(40)
            assert (await kernel.complete("hello", cache=wanted)).text == "answer 2"
            assert (await kernel.complete("hello", cache=wanted)).cache == "hit"

    run(main)


def test_who_follows_a_call_that_found_an_older_answer_in_a_store_is_not_given_it() -> None:
    async def main() -> None:
        store, upstream = FakeCacheStore(), counting()
        async with penstock.open_kernel(cached(store="fake"), transport=upstream, plugins=[store.plugin()]) as kernel:
            await kernel.complete("hello")
            await trio.sleep(100)
            # Out of the memory, as by a restart, and the store is slow: the next two meet in one flight.
            await cast("Any", kernel)._engine.cache.purge()
            store.delay, store.trouble = 0.2, "reading"
            texts: dict[str, str] = {}

            async def call(cache: str) -> None:
                texts[cache] = (await kernel.complete("hello", cache=cache)).text

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call, "always")
                await wait_all_tasks_blocked()
                nursery.start_soon(call, "max-age=60")
                nursery.start_soon(call, "refresh")
            assert texts == {"always": "answer 1", "max-age=60": "answer 2", "refresh": "answer 2"}

    run(main)


@pytest.mark.parametrize("cache", ["no-cache", "max-age=soon", 60, {"max_age": 60}])
def test_what_is_no_policy_is_refused_with_what_is_valid(cache: Any) -> None:
    async def main() -> None:
        async with penstock.open_kernel(cached(), transport=counting()) as kernel:
            with pytest.raises(errors.ConfigError, match=r"read-only|CachePolicy|max-age"):
                await kernel.complete("hello", cache=cache)

    run(main)


def test_a_view_may_hold_a_policy_and_a_call_another() -> None:
    async def main() -> None:
        async with penstock.open_kernel(cached(), transport=counting()) as kernel:
            view = kernel.with_options(cache=CachePolicy(read=False))
            assert [(await view.complete("hello")).text for _ in range(2)] == ["answer 1", "answer 2"]
            assert (await view.complete("hello", cache="always")).cache == "hit"

    run(main)


# Why not


def explained(kernel: penstock.Kernel, request: Any, **options: Any) -> Any:
    async def first() -> Any:
        return (await kernel.cache.explain_miss(request, **options)).stages[0]

    return first()


def test_what_differs_from_the_nearest_stored_request_is_named_and_nothing_of_it_shown() -> None:
    async def main() -> None:
        upstream = counting()
        async with penstock.open_kernel(cached(), transport=upstream) as kernel:
            await kernel.complete("canary-prompt", model=GPT, temperature=0.0, max_tokens=10)
            await kernel.complete("something far", model=GPT, temperature=1.0, max_tokens=99, system="canary-system")
            asked = len(upstream.requests)
            stage = await explained(kernel, "canary-prompt", model=GPT, temperature=0.5, max_tokens=10)
            assert stage.outcome == "miss"
            assert stage.near[0].differs == ("temperature",)
            assert "temperature" in stage.says
            stage = await explained(kernel, "canary-prompt!", model=GPT, temperature=0.0, max_tokens=10)
            assert stage.near[0].differs == ("messages[0]",)
            assert "canary" not in repr(stage)
            assert len(upstream.requests) == asked

    run(main)


def test_an_answer_that_is_there_is_told_with_its_age() -> None:
    async def main() -> None:
        async with penstock.open_kernel(
            cached(ttl=100, stale_while_revalidate=50, stale_if_error=500), transport=counting()
        ) as kernel:
            await kernel.complete("hello")
            for slept, outcome in ((10, "hit"), (110, "stale"), (200, "expired"), (600, "miss")):
                await trio.sleep(slept)
                stage = await explained(kernel, "hello")
                assert stage.outcome == outcome, stage
            await kernel.complete("hello")
            await trio.sleep(20)
            stage = await explained(kernel, "hello", cache="max-age=10")
            assert (stage.outcome, "none older than 10 s" in stage.says) == ("expired", True)

    run(main)


def test_why_an_answer_was_not_stored_is_told() -> None:
    def cut(request: httpx.Request) -> Answer:
        body = good(request).json
        body["choices"][0]["finish_reason"] = "length"
        return Reply(json=body)

    async def main() -> None:
        async with penstock.open_kernel(cached(), transport=ScriptedTransport(cut)) as kernel:
            await kernel.complete("hello", model=GPT)
            stage = await explained(kernel, "hello", model=GPT)
            assert (stage.outcome, "finish_reason 'length'" in stage.says) == ("miss", True)

    run(main)


def test_what_is_never_cached_is_told_with_the_reason() -> None:
    async def main() -> None:
        async with penstock.open_kernel(cached(when="deterministic"), transport=counting()) as kernel:
            stage = await explained(kernel, "hello", temperature=0.7)
            assert (stage.outcome, "it is 0.7" in stage.says) == ("not_cached", True)
            stage = await explained(kernel, "hello", cache="no-store")
            assert (stage.outcome, "never cached" in stage.says) == ("not_cached", True)
        async with penstock.open_kernel(config(), transport=counting()) as kernel:
            stage = await explained(kernel, "hello")
            assert (stage.outcome, "no [cache] table" in stage.says) == ("not_cached", True)

    run(main)


def test_entries_of_another_tenant_are_not_near() -> None:
    async def main() -> None:
        async with penstock.open_kernel(cached(), transport=counting()) as kernel:
            await kernel.complete("hello", account="one")
            stage = await explained(kernel, "hello", account="two")
            assert (stage.outcome, stage.near) == ("miss", ())
            assert (await explained(kernel, "hello", account="one")).outcome == "hit"

    run(main)


def test_near_entries_are_found_in_a_store_by_a_kernel_that_never_saw_them() -> None:
    async def main() -> None:
        store = FakeCacheStore()

        def opened() -> Any:
            return penstock.open_kernel(cached(store="fake"), transport=counting(), plugins=[store.plugin()])

        async with opened() as kernel:
            await kernel.complete("hello", model=SONNET, max_tokens=5)
        async with opened() as kernel:
            stage = await explained(kernel, "hello", model=SONNET, max_tokens=6)
            assert stage.near[0].differs == ("max_tokens",)
            store.error = OSError("down")
            assert "does not answer" in (await explained(kernel, "hello", model=SONNET, max_tokens=7)).says

    run(main)


def test_emptying_the_cache_takes_all_or_what_is_of_one_tenant() -> None:
    async def main() -> None:
        store = FakeCacheStore()
        async with penstock.open_kernel(cached(store="fake"), transport=counting(), plugins=[store.plugin()]) as kernel:
            for account in ("one", "two"):
                for number in range(3):
                    await kernel.complete(f"question {number}", account=account)
            contents = await kernel.cache.contents()
            assert contents is not None
            assert contents.memory.entries.entries == 6
            assert await kernel.cache.purge(account="one") == 3
            assert len(store.entries) == 3
            assert (await kernel.complete("question 1", account="two")).cache == "hit"
            assert (await kernel.complete("question 1", account="one")).cache == "miss"
            assert await kernel.cache.purge() == 4
            assert store.entries == {}

    run(main)


@pytest.mark.parametrize("store", ["memory", "fake"])
def test_what_was_asked_for_before_the_cache_was_emptied_is_not_in_it_afterwards(store: str) -> None:
    async def main() -> None:
        kept = FakeCacheStore()
        async with penstock.open_kernel(cached(store=store), transport=counting(), plugins=[kept.plugin()]) as kernel:
            async with trio.open_nursery() as nursery:
                for account in ("one", "two"):
                    nursery.start_soon(partial(kernel.complete, "hello", account=account))
                await wait_all_tasks_blocked(0.1)
                await kernel.cache.purge(account="one")
            await trio.sleep(1)
            assert (await kernel.complete("hello", account="two")).cache == "hit"
            assert len(kept.entries) == (1 if store == "fake" else 0)
            assert (await kernel.complete("hello", account="one")).cache == "miss"
            assert (await kernel.complete("hello", account="one")).cache == "hit"

    run(main)


def test_a_kernel_without_a_cache_has_nothing_in_it() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=counting()) as kernel:
            assert await kernel.cache.contents() is None
            assert await kernel.cache.purge() == 0
            assert (await kernel.complete("hello", cache="max-age=60")).text == "answer 1"
            assert ANSWER

    run(main)
