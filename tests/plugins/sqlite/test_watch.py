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
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.keep)
            watch.begin("begun", 4.0)
            watch.begin("waits", 3.0)  # later, and with less patience
            await trio.sleep_until(20)
            watch.begin("waits", 23.0)
            await trio.sleep_until(30)
            watch.stop()
        assert told == [("waits", 3.0), ("begun", 4.0), ("begun", 9.0), ("waits", 23.0)]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_who_was_answered_in_time_is_not_told() -> None:
    told: list[str] = []

    def is_over(name: str) -> float:
        told.append(name)
        return math.inf

    async def main() -> None:
        watch = Watch(is_over)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.keep)
            for _ in range(3):
                for name in ("one", "two"):
                    watch.begin(name, trio.current_time() + 4)
                    await trio.sleep(1)
                    watch.end(name)
                await trio.sleep(4)
            watch.stop()
        assert told == []

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_watch_goes_on_while_its_program_is_cancelled_and_ends_when_it_is_stopped() -> None:
    told: list[str] = []

    def is_over(name: str) -> float:
        told.append(name)
        return math.inf

    async def main() -> None:
        watch = Watch(is_over)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.keep)
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                watch.begin("one", trio.current_time() + 4)
                watch.begin("two", trio.current_time() + 6)
                await trio.sleep(5)
                assert told == ["one"]
                watch.stop()
                await trio.sleep(5)
        assert told == ["one"]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_watch_that_was_stopped_before_it_began_ends_at_once() -> None:
    async def main() -> None:
        watch = Watch[str](lambda _: math.inf)
        watch.stop()
        with trio.fail_after(1):
            await watch.keep()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
