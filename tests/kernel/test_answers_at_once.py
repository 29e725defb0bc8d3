"""Calls that the memory answers at once: all that is told of them is what the usual way tells."""

from __future__ import annotations

from functools import partial
from typing import Any

import attrs
import httpx
import msgspec
import pytest
import trio
from cancelled import cancelled_everywhere
from turns import another_at_work
from worlds import GPT, HAIKU, config, good, run

import penstock
from penstock import errors
from penstock._events import AttemptEnded, CacheRefreshed, CallEnded, CallStarted, Event
from penstock.testing import Reply, ScriptedTransport

CACHED = config(
    cache={"store": "memory", "when": "always", "ttl": 60, "stale_while_revalidate": 60},
    routes={"default": {"cascade": [GPT, HAIKU]}},
)


def slow(request: httpx.Request) -> Reply:
    return attrs.evolve(good(request), delay=1.0)


def without_chance(event: Event) -> Event:
    """As it would be of any call, whenever it came."""
    match event:
        case CallEnded():
            return msgspec.structs.replace(event, call_id="", duration=0.0)
        case CallStarted() | AttemptEnded() | CacheRefreshed():
            return msgspec.structs.replace(event, call_id="")
        case _:
            return event


async def told_of_a_hit(*, at_once: bool, **words: Any) -> list[object]:
    """Everything that anybody sees of the second of two equal calls. A fallback that is isolated bars the short way."""
    async with penstock.open_kernel(CACHED, transport=ScriptedTransport(slow)) as kernel:
        await kernel.complete("hello")
        if not at_once:
            await kernel.breakers.isolate(f"target:{HAIKU}")
        await trio.sleep(words.pop("after", 0))
        with kernel.events() as events:
            response = await kernel.complete("hello", metadata={"a": "b"}, **words)
            await trio.sleep(5)
            told = [without_chance(event) for event in events.take()]
        snapshot = await kernel.snapshot()
        assert snapshot.cache is not None
        seen = (response.text, response.cache, response.target, response.usage, response.cost, response.saved)
        return [
            *told,
            seen,
            len(response.attempts),
            response.metadata,
            response.model,
            snapshot.cache,
            snapshot.in_flight,
        ]


@pytest.mark.parametrize(
    "words",
    [{}, {"after": 30}, {"after": 90}, {"after": 200}, {"cache": "max-age=10", "after": 30}, {"cache": "refresh"}],
)
def test_what_is_told_of_a_hit_is_the_same_whichever_way_it_was_found(words: dict[str, Any]) -> None:
    short, usual = [run(partial(told_of_a_hit, at_once=at_once, **words)) for at_once in (True, False)]
    assert short == usual
    assert len(short) > 6


def test_a_call_that_finds_nothing_counts_as_one_miss_and_one_that_does_as_one_hit() -> None:
    async def main() -> None:
        async with penstock.open_kernel(CACHED, transport=ScriptedTransport(slow)) as kernel:
            for _ in range(3):
                await kernel.complete("hello")
            cache = (await kernel.snapshot()).cache
            assert cache is not None
            assert (cache.entries.hits, cache.entries.misses) == (2, 1)

    run(main)


def test_a_hit_waits_for_its_place_like_any_call() -> None:
    async def main() -> None:
        settings = config(cache={"store": "memory", "when": "always"}, kernel={"max_in_flight": 1})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(slow)) as kernel:
            await kernel.complete("hello")
            refused = False
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kernel.complete, "another")
                await trio.sleep(0.4)
                before = trio.current_time()
                assert (await kernel.complete("hello")).cache == "hit"
                assert trio.current_time() - before == pytest.approx(0.6)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kernel.complete, "a third")
                await trio.sleep(0.1)
                try:
                    await kernel.complete("hello", timeout=0.5)
                except errors.OverloadedLocallyError:
                    refused = True
            assert refused

    run(main)


def test_a_hit_under_a_scope_that_was_cancelled_ends_as_cancelled() -> None:
    async def main() -> None:
        async with penstock.open_kernel(CACHED, transport=ScriptedTransport(slow)) as kernel:
            await kernel.complete("hello")
            with kernel.events() as events, trio.CancelScope() as scope:
                scope.cancel()
                await kernel.complete("hello")
            assert scope.cancelled_caught
            assert [event.outcome for event in events.take() if isinstance(event, CallEnded)] == ["cancelled"]
            assert (await kernel.snapshot()).in_flight == 0

    run(main)


@pytest.mark.slow
def test_a_hit_cancelled_at_any_point_leaves_nothing_behind() -> None:
    async def job(kernel: penstock.Kernel) -> None:
        for _ in range(3):
            await kernel.complete("before")

    assert cancelled_everywhere(job, lambda: ScriptedTransport(good)) > 3


def test_who_asks_for_what_is_stored_over_and_over_lets_others_have_their_turn() -> None:
    async def main() -> None:
        async with penstock.open_kernel(CACHED, transport=ScriptedTransport(slow)) as kernel:
            await kernel.complete("hello")
            async with another_at_work() as turns:
                for _ in range(10):
                    await kernel.complete("hello")
            assert turns.number >= 5

    run(main)


def test_a_shutdown_waits_for_a_hit_that_has_begun() -> None:
    async def main() -> None:
        responses: list[penstock.ChatResponse] = []
        told: list[Event] = []

        async def ask(kernel: penstock.Kernel) -> None:
            responses.append(await kernel.complete("hello"))

        async with trio.open_nursery() as outside:
            async with penstock.open_kernel(CACHED, transport=ScriptedTransport(slow)) as kernel:
                await kernel.complete("hello")
                events = kernel.events()
                outside.start_soon(ask, kernel)
                while not any(isinstance(event, CallStarted) for event in told):
                    await trio.lowlevel.checkpoint()
                    told += events.take()
            told += events.take()
            assert [event.outcome for event in told if isinstance(event, CallEnded)] == ["ok"]
        assert [response.cache for response in responses] == ["hit"]

    run(main)
