"""A cancel from outside, Ctrl-C in a task of ours, and onlookers: the body stays the first to know."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from worlds import ANSWER, config, good, run

import penstock
from penstock import errors
from penstock.abc import CacheStore
from penstock.hookspecs import CacheStoreSpec
from penstock.testing import FakeCacheStore, ScriptedTransport, Silence

LIMITED = {"limits": [{"per": "day", "tokens": 10**9}]}


def test_the_bodys_own_exception_survives_a_cancel_from_outside() -> None:
    async def main() -> None:
        mine = ValueError("mine")
        with pytest.raises(ValueError, match="mine") as caught, trio.CancelScope() as outer:
            async with penstock.open_kernel(config(), transport=ScriptedTransport(good)):
                outer.cancel()
                raise mine
        assert caught.value is mine

    run(main)


def test_a_body_that_cleans_up_after_a_cancel_finds_the_kernel_in_its_place() -> None:
    async def main() -> None:
        answers: list[str] = []
        with trio.CancelScope() as outer:
            async with penstock.open_kernel(config(budget=LIMITED), transport=ScriptedTransport(good)) as kernel:
                outer.cancel()
                with trio.CancelScope(shield=True), trio.fail_after(5):
                    await wait_all_tasks_blocked()
                    answers.append((await kernel.complete("last words", timeout=30)).text)
                    assert (await kernel.snapshot()).in_flight == 0
        assert answers == [ANSWER]

    run(main)


def test_a_kernel_that_is_cancelled_while_it_opens_ends_at_once() -> None:
    async def main() -> None:
        before = trio.current_time()
        with trio.CancelScope() as outer:
            outer.cancel()
            async with penstock.open_kernel(config(), transport=ScriptedTransport(good)):
                pytest.fail("it has not opened")
        assert outer.cancelled_caught
        assert trio.current_time() == before

    run(main)


def test_a_kernel_that_is_cancelled_while_its_cache_opens_ends_at_once() -> None:
    async def main() -> None:
        before, store = trio.current_time(), FakeCacheStore()
        closed: list[CacheStore] = []

        @asynccontextmanager
        async def open_it(_options: Any, _tools: Any) -> AsyncGenerator[CacheStore]:
            outer.cancel()  # and then no checkpoint before it is open
            yield store
            closed.append(store)

        with trio.CancelScope() as outer:
            cached = config(cache={"store": "fake"})
            plugins = [CacheStoreSpec("fake", open_it)]
            async with penstock.open_kernel(cached, transport=ScriptedTransport(good), plugins=plugins):
                pytest.fail("it has not opened")
        assert outer.cancelled_caught
        assert closed == [store]
        assert trio.current_time() == before

    run(main)


def test_an_interrupt_in_a_task_of_ours_comes_out_bare() -> None:
    def interrupted(_request: httpx.Request) -> Silence:
        raise KeyboardInterrupt

    async def main() -> None:
        upstream = ScriptedTransport(interrupted)
        async with penstock.open_kernel(config(), transport=upstream) as kernel, kernel.stream("hello") as stream:
            await anext(stream)

    with pytest.raises(KeyboardInterrupt):
        run(main)


def test_a_full_kernel_can_still_be_seen_and_steered() -> None:
    async def main() -> None:
        settings = config(kernel={"max_in_flight": 2}, budget=LIMITED)
        upstream = ScriptedTransport(lambda request: good(request, pause=1.0))
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            async with kernel.stream("one") as first, kernel.stream("two") as second:
                await anext(first)
                await anext(second)
                began = trio.current_time()
                snapshot = await kernel.snapshot()
                await kernel.breakers.isolate("provider:openai")
                assert trio.current_time() == began
                assert snapshot.in_flight == 2

    run(main)


def test_onlookers_are_bounded() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
            refused = 0

            async def look() -> None:
                nonlocal refused
                try:
                    await kernel.snapshot()
                except errors.OverloadedLocallyError:
                    refused += 1

            async with trio.open_nursery() as nursery:
                for _ in range(1_000):
                    nursery.start_soon(look)
            assert 0 < refused < 1_000
            assert (await kernel.snapshot()).in_flight == 0

    run(main)


def test_a_kernel_is_entered_once() -> None:
    async def main() -> None:
        opened = penstock.open_kernel(config(), transport=ScriptedTransport(good))
        async with opened:
            with pytest.raises(errors.KernelError, match="opened once"):
                await opened.__aenter__()

    run(main)
