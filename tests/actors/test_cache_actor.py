"""The cache actor behind its Ref: answers, flights and their heirs, leaving, closing, breaking."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import trio
from supervised import Crashing, cancelled_everywhere, run, with_actor
from trio.testing import wait_all_tasks_blocked

from penstock._clock import Clock
from penstock.actors.cache_actor import CacheSettings, Found, Hit, Leads, Miss, open_cache_actor
from penstock.errors import ActorFailedError, CallError, InvalidRequestError, KernelClosedError

KEY = "k"
ANSWER = b"an answer"


class World:
    """A cache of 10 kB whose answers last an hour."""

    def __init__(self, slots: int = 8) -> None:
        self.actor, self.inbox, self.ref = open_cache_actor(CacheSettings(10_000, 3600.0), Clock(), slots=slots)
        self.found: dict[str, Found | str] = {}

    async def lookup(self, call: str, key: str = KEY, *, may_lead: bool = True, seconds: float = 600.0) -> Found:
        deadline = trio.current_time() + seconds
        return await self.ref.lookup(call, key, may_lead=may_lead, deadline=deadline)

    async def follow(self, call: str, *, may_lead: bool = True, seconds: float = 600.0) -> None:
        """Looks up and notes what came of it; leaves where it was cancelled or failed."""
        try:
            self.found[call] = await self.lookup(call, may_lead=may_lead, seconds=seconds)
        except CallError as error:
            self.found[call] = error.kind

    async def clean(self) -> None:
        await self.ref.flush()
        statistics = self.ref.statistics()
        assert (statistics.slots_in_use, statistics.lost, statistics.stray) == (0, 0, 0)
        flights = self.ref.contents().flights
        assert (flights.flights, flights.followers) == (0, 0)


def with_world(talk: Callable[[World], Awaitable[None]], *, slots: int = 8) -> None:
    async def main() -> None:
        world = World(slots)
        await with_actor(world.actor, world.inbox, world.ref.close, lambda: talk(world))

    run(main)


async def flight(world: World, nursery: trio.Nursery, *followers: str) -> None:
    """A leader with followers."""
    assert await world.lookup("leader") == Leads()
    for call in followers:
        nursery.start_soon(world.follow, call)
        await wait_all_tasks_blocked()


def test_the_first_leads_and_whoever_comes_after_it_ended_hits() -> None:
    async def talk(world: World) -> None:
        assert await world.lookup("one") == Leads()
        world.ref.end("one", KEY, value=ANSWER)
        assert await world.lookup("two") == Hit(ANSWER, follower=False)
        world.ref.end("two", KEY, gone="not_shareable")
        await world.clean()
        assert world.ref.contents().entries.entries == 1

    with_world(talk)


def test_followers_are_given_the_leaders_answer() -> None:
    async def talk(world: World) -> None:
        async with trio.open_nursery() as nursery:
            await flight(world, nursery, "a", "b", "c")
            assert world.ref.contents().flights.followers == 3
            world.ref.end("leader", KEY, value=ANSWER)
        assert world.found == dict.fromkeys("abc", Hit(ANSWER, follower=True))
        for call in "abc":
            world.ref.end(call, KEY)
        await world.clean()

    with_world(talk)


def test_followers_meet_an_error_that_they_would_meet_themselves() -> None:
    async def talk(world: World) -> None:
        async with trio.open_nursery() as nursery:
            await flight(world, nursery, "a", "b")
            world.ref.end("leader", KEY, error=InvalidRequestError("no"))
        assert world.found == dict.fromkeys("ab", "invalid_request")
        assert world.ref.contents().entries.entries == 0
        for call in "ab":
            world.ref.end(call, KEY)
        await world.clean()

    with_world(talk)


def test_where_the_leader_is_gone_one_follower_leads_on_and_the_others_follow_it() -> None:
    async def talk(world: World) -> None:
        async with trio.open_nursery() as nursery:
            assert await world.lookup("leader") == Leads()
            for call, seconds in (("short", 5.0), ("long", 60.0), ("middle", 30.0)):
                nursery.start_soon(lambda name, left: world.follow(name, seconds=left), call, seconds)
                await wait_all_tasks_blocked()
            world.ref.end("leader", KEY, gone="target_failed")
            await wait_all_tasks_blocked()
            assert world.found == {"long": Leads(after="target_failed")}
            world.ref.end("long", KEY, value=ANSWER)
        assert world.found["short"] == world.found["middle"] == Hit(ANSWER, follower=True)
        for call in ("short", "middle"):
            world.ref.end(call, KEY)
        await world.clean()

    with_world(talk)


def test_streams_follow_and_never_lead() -> None:
    async def talk(world: World) -> None:
        assert await world.lookup("stream", may_lead=False) == Miss()
        world.ref.end("stream", KEY)
        async with trio.open_nursery() as nursery:
            await flight(world, nursery)
            nursery.start_soon(lambda: world.follow("streamed", may_lead=False))
            await wait_all_tasks_blocked()
            world.ref.end("leader", KEY, gone="cancelled")
        assert world.found == {"streamed": Miss()}
        world.ref.end("streamed", KEY)
        await world.clean()

    with_world(talk)


def test_a_follower_that_leaves_disturbs_neither_its_leader_nor_the_others() -> None:
    async def talk(world: World) -> None:
        async with trio.open_nursery() as nursery:
            await flight(world, nursery, "stays")
            with trio.move_on_after(1):
                await world.lookup("leaves")
            world.ref.end("leaves", KEY)
            world.ref.end("leader", KEY, value=ANSWER)
        assert world.found == {"stays": Hit(ANSWER, follower=True)}
        world.ref.end("stays", KEY)
        await world.clean()

    with_world(talk)


def test_cancelled_at_any_step_a_lookup_leaves_nothing_when_it_was_ended() -> None:
    async def talk(world: World) -> None:
        number = 0

        async def job() -> None:
            nonlocal number
            number += 1
            async with trio.open_nursery() as nursery:
                for role in ("leads", "follows"):
                    nursery.start_soon(one, f"{number}.{role}")

        async def one(call: str) -> None:
            try:
                await world.lookup(call, f"key {number}")
                await trio.sleep(1)
            finally:
                world.ref.end(call, f"key {number}", gone="cancelled")

        assert await cancelled_everywhere(job, world.clean) > 4

    with_world(talk, slots=2)


def test_what_is_larger_than_the_cache_is_given_to_followers_and_not_kept() -> None:
    async def talk(world: World) -> None:
        async with trio.open_nursery() as nursery:
            await flight(world, nursery, "a")
            world.ref.end("leader", KEY, value=b"x" * 50_000)
        assert world.found == {"a": Hit(b"x" * 50_000, follower=True)}
        world.ref.end("a", KEY)
        await world.clean()
        assert world.ref.contents().entries.entries == 0

    with_world(talk)


def test_answers_are_served_no_longer_than_they_last() -> None:
    async def talk(world: World) -> None:
        await world.lookup("one")
        world.ref.end("one", KEY, value=ANSWER)
        await trio.sleep(3600 * 1.2)
        assert await world.lookup("two") == Leads()
        world.ref.end("two", KEY)
        await world.clean()

    with_world(talk)


def test_a_restart_forgets_answers_and_lets_followers_go_alone() -> None:
    async def talk(world: World) -> None:
        await world.lookup("old", "other")
        world.ref.end("old", "other", value=ANSWER)
        async with trio.open_nursery() as nursery:
            await flight(world, nursery, "a", "b")
            world.actor._entries = cast("Any", Crashing())  # pyright: ignore[reportPrivateUsage] - planted
            with pytest.raises(ActorFailedError, match="cache_actor"):
                await world.lookup("unlucky")
            world.ref.end("unlucky", KEY)
        assert world.found == dict.fromkeys("ab", Miss())
        assert await world.lookup("new", "other") == Leads(), "what was stored is forgotten"
        world.ref.end("new", "other")
        # The leader of before does not know: its answer is stored, and its end breaks nothing.
        world.ref.end("leader", KEY, value=ANSWER)
        for call in "ab":
            world.ref.end(call, KEY)
        assert await world.lookup("later") == Hit(ANSWER, follower=False)
        world.ref.end("later", KEY)
        await world.clean()
        assert world.ref.statistics().restarts == 1

    with_world(talk)


def test_after_the_end_lookups_are_refused_and_what_is_owed_is_counted() -> None:
    async def main() -> None:
        world = World()

        async def talk() -> None:
            await world.lookup("leader")

        await with_actor(world.actor, world.inbox, world.ref.close, talk)
        world.ref.end("leader", KEY, value=ANSWER)
        world.ref.end("leader", KEY, value=ANSWER)
        assert (world.ref.statistics().lost, world.ref.statistics().slots_in_use) == (1, 0)
        with pytest.raises(KernelClosedError):
            await world.lookup("later")

    run(main)


def test_followers_that_wait_when_the_kernel_closes_are_told() -> None:
    async def main() -> None:
        world = World()
        told: list[type[Exception]] = []

        async def waits() -> None:
            try:
                await world.lookup("follower")
            except ActorFailedError as error:
                told.append(type(error))

        async with trio.open_nursery() as nursery:

            async def talk() -> None:
                await world.lookup("leader")
                nursery.start_soon(waits)
                await wait_all_tasks_blocked()

            await with_actor(world.actor, world.inbox, world.ref.close, talk)
        assert told == [ActorFailedError]

    run(main)
