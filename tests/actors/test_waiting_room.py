"""The waiting room: who sleeps in it, who is woken when, and that nobody's turn is lost."""

from __future__ import annotations

from collections import Counter

import pytest
import trio
from supervised import cancelled_everywhere, run
from trio.testing import wait_all_tasks_blocked

from penstock._clock import Clock
from penstock.actors._waiting_room import WaitingRoom
from penstock.policy.line import ABREAST, PACE

TARGET = "target:t"
HERD = 250
LAST = (HERD - 1) // ABREAST * PACE
"""Seconds until the last of a herd looks."""


class World:
    def __init__(self) -> None:
        self.room = WaitingRoom(Clock())
        self.woken: list[tuple[str, float, str | None]] = []

    async def sleep(self, name: str, until: float, scope: str = TARGET) -> None:
        turn = await self.room.sleep([scope], until)
        self.woken.append((name, trio.current_time(), turn))

    def at(self) -> list[float]:
        return [when for _, when, _ in self.woken]

    def names(self) -> list[str]:
        return sorted(name for name, _, _ in self.woken)


def crowds(moments: list[float]) -> int:
    """The most that look at one moment."""
    return max(Counter(moments).values())


@pytest.mark.parametrize("news", ["the moment they wait for", "a circuit that closes"])
def test_a_herd_looks_a_few_at_a_time_and_all_of_it_does(news: str) -> None:
    async def main() -> None:
        world = World()
        async with trio.open_nursery() as nursery:
            for number in range(HERD):
                nursery.start_soon(world.sleep, str(number), 60.0 if news == "a circuit that closes" else 7.0)
            await trio.sleep(7)
            world.room.ease({TARGET: float("inf")} if news == "a circuit that closes" else {})
        assert len(world.woken) == HERD
        assert crowds(world.at()) == ABREAST
        assert min(world.at()) == 7
        assert max(world.at()) == pytest.approx(7 + LAST)
        assert len(world.room) == 0

    run(main)


def test_where_few_may_pass_few_look_and_in_the_order_of_coming() -> None:
    async def main() -> None:
        world = World()
        async with trio.open_nursery() as nursery:
            for name in "abcd":
                nursery.start_soon(world.sleep, name, 60.0)
                await wait_all_tasks_blocked()
            nursery.start_soon(world.sleep, "elsewhere", 70.0, "target:other")
            await wait_all_tasks_blocked()
            world.room.ease({TARGET: 2})
            await wait_all_tasks_blocked()
            assert world.names() == ["a", "b"]
            world.room.ease({TARGET: 1})
            await wait_all_tasks_blocked()
            assert world.names() == ["a", "b", "c"]
        assert [(name, when) for name, when, turn in world.woken if turn is None] == [("d", 60.0), ("elsewhere", 70.0)]

    run(main)


def test_a_turn_of_one_that_left_in_the_same_moment_goes_to_the_next() -> None:
    async def main() -> None:
        world = World()
        leaving = trio.CancelScope()

        async def leave() -> None:
            with leaving:
                await world.sleep("leaves", 60.0)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)
            await wait_all_tasks_blocked()
            nursery.start_soon(world.sleep, "stays", 60.0)
            await wait_all_tasks_blocked()
            world.room.ease({TARGET: 1})
            leaving.cancel()
        assert world.woken == [("stays", 0.0, TARGET)]

    run(main)


def test_cancelled_at_any_step_nobody_stays_in_the_room_and_no_turn_is_lost() -> None:
    async def main() -> None:
        room = WaitingRoom(Clock())

        async def job() -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(room.sleep, [TARGET], trio.current_time() + 5)
                await wait_all_tasks_blocked()
                room.ease({TARGET: 2})

        async def after() -> None:
            assert len(room) == 0
            async with trio.open_nursery() as nursery:
                nursery.start_soon(room.sleep, [TARGET], trio.current_time() + 50)
                await wait_all_tasks_blocked()
                began = trio.current_time()
                room.ease({TARGET: 1})
            assert trio.current_time() - began < 2 * PACE

        assert await cancelled_everywhere(job, after) > 4

    run(main)
