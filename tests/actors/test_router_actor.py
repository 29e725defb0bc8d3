"""The router behind its Ref: it is only told things, and shows what it knows without being asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import trio
from supervised import Crashing, run, with_actor
from trio.testing import wait_all_tasks_blocked

from penstock._clock import Clock
from penstock.actors.router import open_router
from penstock.errors import KernelClosedError
from penstock.policy.routing import CoolDown

TARGET = "target:t"


class World:
    def __init__(self) -> None:
        self.told: list[CoolDown] = []
        self.actor, self.inbox, self.ref = open_router(Clock(), slots=4, on_cool_down=self.told.append)

    def left(self, scope: str = TARGET) -> float | None:
        """Seconds that a scope still cools."""
        cool = self.ref.snapshot.cooling.get(scope)
        return None if cool is None else cool.until - trio.current_time()


def with_world(talk: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World()
        await with_actor(world.actor, world.inbox, world.ref.close, lambda: talk(world))

    run(main)


def test_of_many_limits_before_one_drain_the_longest_hint_counts() -> None:
    async def talk(world: World) -> None:
        for hint in (3.0, 20.0, None, 7.0):
            world.ref.limited(TARGET, "rate_limited", hint)
        await wait_all_tasks_blocked()
        assert world.left() == pytest.approx(20)
        assert [cool.until for cool in world.told] == [trio.current_time() + 20]
        assert world.ref.statistics().merged == 3

    with_world(talk)


def test_an_answer_ends_nothing_that_still_cools_and_lets_the_next_begin_small() -> None:
    async def talk(world: World) -> None:
        world.ref.limited(TARGET, "rate_limited", 10.0)
        await wait_all_tasks_blocked()
        world.ref.answered(TARGET)
        await wait_all_tasks_blocked()
        assert world.left() == pytest.approx(10)
        await trio.sleep(10)
        world.ref.answered(TARGET)
        await wait_all_tasks_blocked()
        assert world.left() is None
        world.ref.limited(TARGET, "rate_limited", None)
        await wait_all_tasks_blocked()
        left = world.left()
        assert left is not None
        assert 0.5 <= left <= 1.0

    with_world(talk)


def test_targets_and_keys_cool_each_for_itself() -> None:
    async def talk(world: World) -> None:
        world.ref.limited(TARGET, "rate_limited", 5.0)
        world.ref.limited("key:p/0", "quota_exhausted", None)
        await world.ref.flush()
        assert world.left() == pytest.approx(5)
        left = world.left("key:p/0")
        assert left is not None
        assert left >= 300
        assert world.ref.snapshot.cooling["key:p/0"].reason == "quota_exhausted"

    with_world(talk)


def test_a_snapshot_that_was_read_never_changes_and_is_replaced_only_when_something_did() -> None:
    async def talk(world: World) -> None:
        empty = world.ref.snapshot
        world.ref.answered(TARGET)
        await wait_all_tasks_blocked()
        assert world.ref.snapshot is empty
        world.ref.limited(TARGET, "rate_limited", 5.0)
        await wait_all_tasks_blocked()
        assert empty.cooling == {}
        first = world.ref.snapshot
        world.ref.limited(TARGET, "rate_limited", 2.0)
        await wait_all_tasks_blocked()
        assert world.ref.snapshot is first, "shorter than what holds already"

    with_world(talk)


def test_a_crash_forgets_cool_downs_and_the_next_are_learned_again() -> None:
    async def talk(world: World) -> None:
        world.ref.limited(TARGET, "rate_limited", 60.0)
        await world.ref.flush()
        world.actor._core = cast("Any", Crashing())  # pyright: ignore[reportPrivateUsage] - planted
        world.ref.limited(TARGET, "rate_limited", 90.0)
        await world.ref.flush()
        assert world.left() is None
        assert world.ref.statistics().restarts == 1
        world.ref.limited(TARGET, "rate_limited", 5.0)
        await wait_all_tasks_blocked()
        assert world.left() == pytest.approx(5)

    with_world(talk)


def test_after_the_end_observations_are_counted_as_lost_and_nothing_is_raised() -> None:
    async def main() -> None:
        world = World()

        async def talk() -> None:
            world.ref.limited(TARGET, "rate_limited", 60.0)

        await with_actor(world.actor, world.inbox, world.ref.close, talk)
        assert world.left() == pytest.approx(60), "what was told before the end is taken"
        world.ref.limited(TARGET, "rate_limited", 5.0)
        world.ref.answered(TARGET)
        assert world.ref.statistics().lost == 2
        with pytest.raises(KernelClosedError):
            await world.ref.flush()

    run(main)


def test_a_flush_that_is_left_disturbs_nobody() -> None:
    async def talk(world: World) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await world.ref.flush()
        world.ref.limited(TARGET, "rate_limited", 5.0)
        await world.ref.flush()
        assert world.left() == pytest.approx(5)
        assert world.ref.statistics().slots_in_use == 0

    with_world(talk)
