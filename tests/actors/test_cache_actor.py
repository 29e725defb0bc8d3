"""The cache actor behind its Ref: answers, flights and their heirs, leaving, closing, breaking."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, cast

import pytest
import trio
from supervised import Crashing, cancelled_everywhere, run, with_actor
from trio.testing import wait_all_tasks_blocked

from penstock._clock import Clock
from penstock.actors.cache_actor import CacheSettings, Hit, Leads, Miss, open_cache_actor
from penstock.errors import ActorFailedError, CallError, InvalidRequestError, KernelClosedError
from penstock.policy.coalesce import GoneReason
from penstock.policy.entries import Entry
from penstock.policy.freshness import Freshness

KEY = "k"
ANSWER = b"an answer"


class Got(NamedTuple):
    """An answer, by its value."""

    value: bytes
    follower: bool


class World:
    """A cache of 10 kB whose answers last an hour; stale for a minute, for ten in an outage."""

    def __init__(self, slots: int = 8) -> None:
        self.clock = Clock()
        self.actor, self.inbox, self.ref = open_cache_actor(
            CacheSettings(10_000, Freshness(60.0, 600.0)), self.clock, slots=slots
        )
        self.found: dict[str, Leads | Miss | Got | str] = {}

    def answer(self, value: bytes = ANSWER, *, ago: float = 0.0) -> Entry:
        """An entry that was fresh for an hour from some time ago on."""
        stored_at = self.clock.wall() - ago
        return Entry(value, stored_at, stored_at + 3600.0)

    async def lookup(
        self,
        call: str,
        key: str = KEY,
        *,
        may_lead: bool = True,
        seconds: float = 600.0,
        read: bool = True,
        max_age: float | None = None,
    ) -> Leads | Miss | Got:
        deadline = trio.current_time() + seconds
        found = await self.ref.lookup(call, key, may_lead=may_lead, deadline=deadline, read=read, max_age=max_age)
        return Got(found.entry.value, found.follower) if isinstance(found, Hit) else found

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
        world.ref.end("one", KEY, entry=world.answer())
        assert await world.lookup("two") == Got(ANSWER, follower=False)
        world.ref.end("two", KEY, gone="not_shareable")
        await world.clean()
        assert world.ref.contents().entries.entries == 1

    with_world(talk)


def test_followers_are_given_the_leaders_answer() -> None:
    async def talk(world: World) -> None:
        async with trio.open_nursery() as nursery:
            await flight(world, nursery, "a", "b", "c")
            assert world.ref.contents().flights.followers == 3
            world.ref.end("leader", KEY, entry=world.answer())
        assert world.found == dict.fromkeys("abc", Got(ANSWER, follower=True))
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
            world.ref.end("long", KEY, entry=world.answer())
        assert world.found["short"] == world.found["middle"] == Got(ANSWER, follower=True)
        for call in ("short", "middle"):
            world.ref.end(call, KEY)
        await world.clean()

    with_world(talk)


@pytest.mark.parametrize("gone", ["cancelled", "target_failed"])
def test_streams_follow_and_never_lead_and_learn_why_their_leader_is_gone(gone: GoneReason) -> None:
    async def talk(world: World) -> None:
        assert await world.lookup("stream", may_lead=False) == Miss()
        world.ref.end("stream", KEY)
        async with trio.open_nursery() as nursery:
            await flight(world, nursery)
            nursery.start_soon(lambda: world.follow("streamed", may_lead=False))
            await wait_all_tasks_blocked()
            world.ref.end("leader", KEY, gone=gone)
        assert world.found == {"streamed": Miss(after=gone)}
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
            world.ref.end("leader", KEY, entry=world.answer())
        assert world.found == {"stays": Got(ANSWER, follower=True)}
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
            world.ref.end("leader", KEY, entry=world.answer(b"x" * 50_000))
        assert world.found == {"a": Got(b"x" * 50_000, follower=True)}
        world.ref.end("a", KEY)
        await world.clean()
        assert world.ref.contents().entries.entries == 0

    with_world(talk)


def test_answers_are_served_no_longer_than_they_last() -> None:
    async def talk(world: World) -> None:
        await world.lookup("one")
        world.ref.end("one", KEY, entry=world.answer())
        await trio.sleep(3600 + 600)
        assert await world.lookup("two") == Leads()
        world.ref.end("two", KEY)
        await world.clean()

    with_world(talk)


def test_one_past_its_time_is_served_for_a_while_and_then_kept_for_who_finds_nobody() -> None:
    async def talk(world: World) -> None:
        await world.lookup("one")
        world.ref.end("one", KEY, entry=world.answer())
        await trio.sleep(3600 + 30)
        assert await world.lookup("two") == Got(ANSWER, follower=False)
        world.ref.end("two", KEY)
        await trio.sleep(60)
        async with trio.open_nursery() as nursery:
            leads = await world.lookup("three")
            assert isinstance(leads, Leads)
            assert leads.stale is not None
            assert leads.stale.value == ANSWER
            nursery.start_soon(lambda: world.follow("four"))
            await wait_all_tasks_blocked()
            world.ref.end("three", KEY, gone="target_failed")
        assert world.found == {"four": Leads(after="target_failed", stale=leads.stale)}
        world.ref.end("four", KEY)
        await world.clean()

    with_world(talk)


def test_who_wants_no_older_answer_is_not_given_one() -> None:
    async def talk(world: World) -> None:
        await world.lookup("one")
        world.ref.end("one", KEY, entry=world.answer(ago=100.0))
        assert await world.lookup("two", max_age=100.0) == Got(ANSWER, follower=False)
        world.ref.end("two", KEY)
        for call, wants in (("three", {"max_age": 99.0}), ("four", {"read": False})):
            assert await world.lookup(call, **cast("dict[str, Any]", wants)) == Leads()
            world.ref.end(call, KEY)
        await world.clean()

    with_world(talk)


def test_why_an_answer_was_not_stored_is_kept_in_mind_until_one_is() -> None:
    async def talk(world: World) -> None:
        await world.lookup("one")
        world.ref.end("one", KEY, gone="not_shareable", refused="it was cut short")
        await world.ref.flush()
        assert (await world.ref.see(KEY)).refused == "it was cut short"
        await world.lookup("two")
        world.ref.end("two", KEY, entry=world.answer(bytes(50_000)))
        await world.ref.flush()
        assert "memory_bytes" in (await world.ref.see(KEY)).refused
        await world.lookup("three")
        world.ref.end("three", KEY, entry=world.answer())
        await world.ref.flush()
        seen = await world.ref.see(KEY)
        assert seen.entry is not None
        assert seen.refused == ""
        assert [key for key, _ in await world.ref.newest("", 5)] == [KEY]
        assert await world.ref.purge() == 1
        await world.clean()

    with_world(talk)


def test_a_restart_forgets_answers_and_lets_followers_go_alone() -> None:
    async def talk(world: World) -> None:
        await world.lookup("old", "other")
        world.ref.end("old", "other", entry=world.answer())
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
        world.ref.end("leader", KEY, entry=world.answer())
        for call in "ab":
            world.ref.end(call, KEY)
        assert await world.lookup("later") == Got(ANSWER, follower=False)
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
        world.ref.end("leader", KEY, entry=world.answer())
        world.ref.end("leader", KEY, entry=world.answer())
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
