"""One task watches over everybody's patience."""

from __future__ import annotations

import math

import trio
import trio.testing

from penstock_plugins.sqlite.watch import Watch


def test_who_is_watched_too_long_is_told_in_time_and_as_often_as_said() -> None:
    told: list[tuple[str, float]] = []
    more: dict[str, list[float]] = {"begun": [9.0], "waits": []}

    def is_over(name: str) -> float:
        told.append((name, trio.current_time()))
        return more[name].pop() if more[name] else math.inf

    async def main() -> None:
        watch = Watch(is_over)
        watch.begin("begun", 4.0)
        watch.begin("waits", 3.0)  # later, and with less patience
        await trio.sleep_until(20)
        assert told == [("waits", 3.0), ("begun", 4.0), ("begun", 9.0)]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_who_was_answered_in_time_is_not_told_and_the_watch_ends() -> None:
    told: list[str] = []

    def is_over(name: str) -> float:
        told.append(name)
        return math.inf

    async def main() -> None:
        tasks = trio.lowlevel.current_statistics().tasks_living
        watch = Watch(is_over)
        for round_number in range(3):
            for name in ("one", "two"):
                watch.begin(name, trio.current_time() + 4)
                assert trio.lowlevel.current_statistics().tasks_living == tasks + 1
                await trio.sleep(1)
                watch.end(name)
            await trio.sleep(4)
            assert trio.lowlevel.current_statistics().tasks_living == tasks, round_number
        assert told == []

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_watch_that_is_stopped_ends_and_tells_nobody() -> None:
    told: list[str] = []

    def is_over(name: str) -> float:
        told.append(name)
        return math.inf

    async def main() -> None:
        tasks = trio.lowlevel.current_statistics().tasks_living
        watch = Watch(is_over)
        await watch.stopped()  # it never began
        watch.begin("one", 4.0)
        watch.stop()
        await watch.stopped()
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        watch.end("one")
        await trio.sleep(5)
        assert told == []

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
