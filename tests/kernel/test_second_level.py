"""Calls and a store that outlives the process: what is found there, and that its trouble is never a call's."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from worlds import ANSWER, GPT, HAIKU, SONNET, anthropic_body, config, good
from worlds import run as run_in_a_world

import penstock
from penstock._clock import MOCK_WALL_ANCHOR
from penstock.abc import CacheStore, StoredEntry
from penstock.errors import PluginLoadError
from penstock.hookspecs import CacheStoreSpec
from penstock.policy.sealed import seal, unseal
from penstock.testing import FakeCacheStore, Reply, ScriptedTransport


def run(main: Callable[[], Awaitable[None]]) -> None:
    """All kernels of one run tell one time."""

    async def dated() -> None:
        MOCK_WALL_ANCHOR.set(1_700_000_000.0)
        await main()

    run_in_a_world(dated)


def stored(**cache: Any) -> penstock.Config:
    return config(cache={"store": "fake", "when": "always", **cache}, kernel={"max_in_flight": 1_000})


def upstream_after(seconds: float = 1.0) -> ScriptedTransport:
    return ScriptedTransport(lambda request: Reply(json=good(request).json, delay=seconds))


def test_an_answer_outlives_the_kernel_that_asked_for_it() -> None:
    async def main() -> None:
        store, upstream = FakeCacheStore(), upstream_after()
        for outcome in ("miss", "hit"):
            async with penstock.open_kernel(stored(), transport=upstream, plugins=[store.plugin()]) as kernel:
                response = await kernel.complete("hello")
                assert (response.cache, response.text) == (outcome, ANSWER)
        assert len(upstream.requests) == 1

    run(main)


def test_what_was_found_in_the_store_is_in_memory_from_then_on() -> None:
    async def main() -> None:
        store, upstream = FakeCacheStore(), upstream_after()
        async with penstock.open_kernel(stored(), transport=upstream, plugins=[store.plugin()]) as kernel:
            await kernel.complete("hello")
        async with penstock.open_kernel(stored(), transport=upstream, plugins=[store.plugin()]) as kernel:
            before = store.reads
            for _ in range(3):
                assert (await kernel.complete("hello")).cache == "hit"
            assert store.reads == before + 1
            snapshot = await kernel.snapshot()
            assert snapshot.cache_store is not None
            assert (snapshot.cache_store.hits, snapshot.cache_store.misses) == (1, 0)

    run(main)


@pytest.mark.slow
def test_a_thousand_calls_that_meet_a_stored_answer_read_it_once() -> None:
    async def main() -> None:
        store, upstream = FakeCacheStore(), upstream_after()
        async with penstock.open_kernel(stored(), transport=upstream, plugins=[store.plugin()]) as kernel:
            await kernel.complete("hello")
        store.delay, before = 0.1, store.reads
        outcomes: list[str] = []
        async with penstock.open_kernel(stored(), transport=upstream, plugins=[store.plugin()]) as kernel:

            async def call() -> None:
                outcomes.append((await kernel.complete("hello")).cache)

            async with trio.open_nursery() as nursery:
                for _ in range(1_000):
                    nursery.start_soon(call)
        assert store.reads == before + 1
        assert sorted(set(outcomes)) == ["follower", "hit"]
        assert len(upstream.requests) == 1

    run(main)


@pytest.mark.parametrize("changed", ["flipped", "cut", "of another version", "of another key", "empty"])
def test_an_entry_that_is_not_what_was_stored_is_a_miss(changed: str) -> None:
    async def main() -> None:
        store, upstream = FakeCacheStore(), upstream_after()
        async with penstock.open_kernel(stored(), transport=upstream, plugins=[store.plugin()]) as kernel:
            await kernel.complete("hello")
            await kernel.complete("another question")
        one, other = store.entries.values()
        sealed = {
            "flipped": one.sealed[:-9] + bytes([one.sealed[-9] ^ 4]) + one.sealed[-8:],
            "cut": one.sealed[:-1],
            "of another version": bytes([one.sealed[0] + 1]) + one.sealed[1:],
            "of another key": other.sealed,
            "empty": b"",
        }[changed]
        store.entries[one.key] = StoredEntry(one.key, sealed, one.keep_until)
        async with penstock.open_kernel(stored(), transport=upstream, plugins=[store.plugin()]) as kernel:
            assert (await kernel.complete("hello")).cache == "miss"
            assert (await kernel.complete("another question")).cache == "hit"

    run(main)


@pytest.mark.parametrize("trouble", ["fails", "hangs", "is slow"])
def test_a_store_in_trouble_is_a_miss_and_costs_a_call_no_more_than_its_timeout(trouble: str) -> None:
    async def main() -> None:
        store, upstream = FakeCacheStore(), upstream_after(0.0)
        store.error = OSError("down") if trouble == "fails" else None
        store.delay = {"fails": 0.0, "hangs": float("inf"), "is slow": 0.3}[trouble]
        async with penstock.open_kernel(stored(), transport=upstream, plugins=[store.plugin()]) as kernel:
            began = trio.current_time()
            for number in range(200):
                before = trio.current_time()
                assert (await kernel.complete(f"question {number}")).text == ANSWER
                assert trio.current_time() - before <= 0.25 + 0.001
            assert trio.current_time() - began <= 200 * 0.001 + 4 * 0.25, "after three failures it is left alone"

    run(main)


def numbered(is_down: Callable[[], bool] = lambda: False) -> ScriptedTransport:
    """Answers `v1`, `v2`, ..."""
    count = itertools.count(1)

    def answer(request: httpx.Request) -> Reply:
        if is_down():
            return Reply(status=503)
        return Reply(json=json.loads(json.dumps(good(request).json).replace(ANSWER, f"v{next(count)}")))

    return ScriptedTransport(answer)


def test_an_answer_that_the_store_did_not_take_is_never_followed_by_an_older_one() -> None:
    async def main() -> None:
        store, upstream = FakeCacheStore(), numbered()
        settings = stored(ttl=100)
        async with penstock.open_kernel(settings, transport=upstream, plugins=[store.plugin()]) as kernel:
            assert (await kernel.complete("hello")).text == "v1"
            await trio.sleep(1)
            store.error, store.trouble = penstock.CacheStoreError("the disk is full"), "writing"
            assert (await kernel.complete("hello", cache="refresh")).text == "v2"
            assert (await kernel.complete("hello")).text == "v2"
            (one,) = store.entries.values()
            older = unseal(one.key, one.sealed)
            assert older is not None
            # More is left of its time than of the newer one's: both vary by a tenth.
            longer = msgspec.structs.replace(older, fresh_until=older.fresh_until + 50)
            sealed = seal(one.key, longer)
            assert sealed is not None
            store.entries[one.key] = StoredEntry(one.key, sealed, 1e12)
            await trio.sleep(115)
            response = await kernel.complete("hello")
            assert (response.cache, response.text) == ("miss", "v3")

    run(main)


def test_in_an_outage_the_newer_answer_in_memory_goes_before_the_older_one_in_the_store() -> None:
    async def main() -> None:
        is_down = False
        store, upstream = FakeCacheStore(), numbered(lambda: is_down)
        settings = stored(ttl=10, stale_if_error=1_000)
        async with penstock.open_kernel(settings, transport=upstream, plugins=[store.plugin()]) as kernel:
            await kernel.complete("hello")
            await wait_all_tasks_blocked()
            older = dict(store.entries)
            await trio.sleep(1)
            assert (await kernel.complete("hello", cache="refresh")).text == "v2"
            await wait_all_tasks_blocked()
            # Another process, which asked before and was slow to write.
            store.entries = older
            await trio.sleep(20)
            is_down = True
            for _ in range(2):
                response = await kernel.complete("hello")
                assert (response.cache, response.text) == ("stale", "v2")

    run(main)


def test_trouble_and_its_end_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        store, upstream = FakeCacheStore(), upstream_after(0.0)
        async with penstock.open_kernel(stored(), transport=upstream, plugins=[store.plugin()]) as kernel:
            with kernel.events() as events:
                store.error, store.trouble = penstock.CacheStoreError("the disk is gone"), "reading"
                for number in range(50):
                    await kernel.complete(f"question {number}")
                    await trio.sleep(1)
                store.error = None
                await trio.sleep(30)
                await kernel.complete("one more")
                told = [event for event in events.take() if type(event).__name__ == "CacheStoreChanged"]
        assert [(each.part, each.usable) for each in told] == [("reading", False), ("reading", True)]  # type: ignore[union-attr]
        assert "the disk is gone" in str(told[0])

    with caplog.at_level(logging.INFO, "penstock"):
        run(main)
    lines = [record for record in caplog.records if "cache store" in record.message]
    assert [line.levelname for line in lines] == ["WARNING", "INFO"]


def test_a_store_that_takes_nothing_more_is_still_read() -> None:
    async def main() -> None:
        store, upstream = FakeCacheStore(), upstream_after(0.0)
        async with penstock.open_kernel(stored(), transport=upstream, plugins=[store.plugin()]) as kernel:
            await kernel.complete("hello")
        store.error, store.trouble = OSError("full"), "writing"
        async with penstock.open_kernel(stored(), transport=upstream, plugins=[store.plugin()]) as kernel:
            for number in range(10):
                await kernel.complete(f"question {number}")
            assert (await kernel.complete("hello")).cache == "hit"
            statistics = (await kernel.snapshot()).cache_store
            assert statistics is not None
            assert (statistics.reads, statistics.writes) == (True, False)

    run(main)


@pytest.mark.slow
def test_what_waits_to_be_written_is_written_before_the_kernel_is_closed() -> None:
    async def main() -> None:
        store, upstream = FakeCacheStore(), upstream_after(0.0)
        store.delay, store.trouble = 0.2, "writing"
        async with penstock.open_kernel(
            stored(store_timeout=1.0), transport=upstream, plugins=[store.plugin()]
        ) as kernel:
            async with trio.open_nursery() as nursery:
                for number in range(100):
                    nursery.start_soon(kernel.complete, f"question {number}")
        assert len(store.entries) == 100
        assert store.claims == {}

    run(main)


def test_a_store_that_hangs_at_the_end_holds_nobody_up() -> None:
    async def main() -> None:
        store, upstream = FakeCacheStore(), upstream_after(0.0)
        async with penstock.open_kernel(stored(), transport=upstream, plugins=[store.plugin()]) as kernel:
            store.delay, store.trouble = float("inf"), "writing"
            await kernel.complete("hello")
            left = trio.current_time()
        assert trio.current_time() - left <= 10.0 + 0.1, "its grace"

    run(main)


@pytest.mark.slow
def test_what_cannot_be_written_in_time_is_let_go_and_takes_no_memory() -> None:
    async def main() -> None:
        store, upstream = FakeCacheStore(), upstream_after(0.0)
        async with penstock.open_kernel(stored(), transport=upstream, plugins=[store.plugin()]) as kernel:
            store.delay, store.trouble = 4.9, "writing"
            for number in range(1_500):
                await kernel.complete(f"question {number}")
            statistics = kernel.snapshot().cache_store
            assert statistics is not None
            assert statistics.waiting <= 1_024
            assert statistics.dropped > 0

    run(main)


def test_a_store_whose_plugin_breaks_is_opened_again(caplog: pytest.LogCaptureFixture) -> None:
    store = FakeCacheStore()
    opened: list[float] = []

    @asynccontextmanager
    async def open_it(_options: Any, _tools: Any) -> AsyncGenerator[CacheStore]:
        async def burst() -> None:
            await trio.sleep(10)
            raise RuntimeError("burst")

        opened.append(trio.current_time())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(burst)
            yield store
            nursery.cancel_scope.cancel()

    async def main() -> None:
        upstream = upstream_after(0.0)
        async with penstock.open_kernel(
            stored(), transport=upstream, plugins=[CacheStoreSpec("fake", open_it)]
        ) as kernel:
            for number in range(30):
                await kernel.complete(f"question {number}")
                await trio.sleep(1)
        assert len(opened) == 3
        assert len(store.entries) > 20

    run(main)
    assert "broke and is opened again" in caplog.text


def test_the_error_of_a_store_that_cannot_be_opened_is_not_its_own_cause() -> None:
    @asynccontextmanager
    async def open_it(_options: Any, _tools: Any) -> AsyncGenerator[CacheStore]:
        raise PluginLoadError("there is no such folder") from OSError("who looks for it")
        yield FakeCacheStore()

    async def main() -> None:
        with pytest.raises(PluginLoadError, match="no such folder") as caught:
            async with penstock.open_kernel(stored(), plugins=[CacheStoreSpec("fake", open_it)]):
                pass
        assert isinstance(caught.value.__cause__, OSError)

    run(main)


def test_of_two_processes_one_asks_and_the_other_waits_for_its_answer() -> None:
    async def main() -> None:
        store, upstream = FakeCacheStore(), upstream_after(2.0)
        outcomes: dict[str, str] = {}

        async def process(name: str) -> None:
            async with penstock.open_kernel(stored(), transport=upstream, plugins=[store.plugin()]) as kernel:

                async def call(number: int) -> None:
                    outcomes[f"{name}{number}"] = (await kernel.complete("hello")).cache

                async with trio.open_nursery() as calls:
                    for number in range(20):
                        calls.start_soon(call, number)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(process, "one")
            nursery.start_soon(process, "two")
        assert len(upstream.requests) == 1
        assert sorted(set(outcomes.values())) == ["follower", "miss"]
        assert list(outcomes.values()).count("miss") == 1

    run(main)


def test_where_the_process_that_asks_is_gone_another_one_asks_at_once() -> None:
    async def main() -> None:
        store, upstream = FakeCacheStore(), upstream_after(60.0)
        async with (
            penstock.open_kernel(stored(), transport=upstream, plugins=[store.plugin()]) as one,
            penstock.open_kernel(stored(), transport=upstream, plugins=[store.plugin()]) as other,
            trio.open_nursery() as nursery,
        ):
            async with trio.open_nursery() as leaders:
                leaders.start_soon(one.complete, "hello")
                await wait_all_tasks_blocked()
                nursery.start_soon(other.complete, "hello")
                await trio.sleep(4)
                assert len(upstream.requests) == 1
                await trio.sleep(1)
                leaders.cancel_scope.cancel()
            await trio.sleep(1)
            assert len(upstream.requests) == 2
            nursery.cancel_scope.cancel()

    run(main)


def test_processes_ask_in_turn_for_an_answer_that_is_not_to_be_stored() -> None:
    """Each has its own call and answer, and its callers share it; nobody waits for one that will never be there."""

    cut = Reply(json=anthropic_body() | {"stop_reason": "max_tokens"}, delay=2.0)

    async def main() -> None:
        store, upstream = FakeCacheStore(), ScriptedTransport(lambda _: cut)
        answered: list[tuple[str, float]] = []

        async def process() -> None:
            async with penstock.open_kernel(stored(), transport=upstream, plugins=[store.plugin()]) as kernel:
                response = await kernel.complete("hello")
                answered.append((response.cache, trio.current_time()))

        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(process)
        assert [cache for cache, _ in answered] == ["miss"] * 3
        assert len(upstream.requests) == 3
        assert store.entries == {}
        # One after the other, each soon after the one before it.
        for turn, (_, at) in enumerate(answered, 1):
            assert 2.0 * turn <= at - began <= 2.0 * turn + 0.75 * turn

    run(main)


def test_a_process_that_was_killed_is_waited_for_no_longer_than_its_lease() -> None:
    async def main() -> None:
        store, upstream = FakeCacheStore(), upstream_after(1.0)
        async with penstock.open_kernel(stored(), transport=upstream, plugins=[store.plugin()]) as kernel:
            await kernel.complete("hello", cache="refresh")
            await kernel.snapshot()
            await trio.sleep(1)
            (key,) = store.entries
            store.entries.clear()
            await kernel.cache.purge()
            store.claims[key] = ("of a process that is no more", 1_700_000_000.0 + trio.current_time() + 6.0)
            began = trio.current_time()
            assert (await kernel.complete("hello")).cache == "miss"
            assert 6.0 <= trio.current_time() - began <= 6.0 + 0.75 + 1.0

    run(main)


def test_a_claim_is_renewed_for_as_long_as_the_call_takes() -> None:
    async def main() -> None:
        store, upstream = FakeCacheStore(), upstream_after(40.0)
        answers: list[str] = []

        async def process() -> None:
            async with penstock.open_kernel(stored(), transport=upstream, plugins=[store.plugin()]) as kernel:
                answers.append((await kernel.complete("hello")).text)

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(process)
        assert answers == [ANSWER] * 4
        assert len(upstream.requests) == 1

    run(main)


def test_where_claims_cannot_be_made_every_process_asks_for_itself() -> None:
    async def main() -> None:
        store, upstream = FakeCacheStore(), upstream_after(1.0)
        store.error, store.trouble = OSError("read only"), "writing"

        async def process() -> None:
            async with penstock.open_kernel(stored(), transport=upstream, plugins=[store.plugin()]) as kernel:
                assert (await kernel.complete("hello")).text == ANSWER

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(process)
        assert len(upstream.requests) == 3

    run(main)


def test_a_call_that_fails_over_releases_its_claim_at_once() -> None:
    def answer(request: httpx.Request) -> Reply:
        if b"sonnet" in request.content:
            return Reply(404, json={"error": {"type": "not_found_error", "message": "no"}}, delay=1.0)
        return Reply(json=good(request).json, delay=1.0)

    async def main() -> None:
        store, upstream = FakeCacheStore(), ScriptedTransport(answer)
        targets: list[str] = []

        async def process() -> None:
            async with penstock.open_kernel(stored(), transport=upstream, plugins=[store.plugin()]) as kernel:
                targets.append((await kernel.complete("hello")).target)

        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(process)
        assert targets == [GPT, GPT]
        assert trio.current_time() - began < 6.0, "no lease was waited for"
        assert {SONNET, HAIKU} - set(targets) == {SONNET, HAIKU}

    run(main)
