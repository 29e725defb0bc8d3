"""The thread that owns a connection: cancelled, stuck, closed, and never two jobs at once."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from supervised import cancelled_everywhere

from penstock_plugins.sqlite.own_thread import Begin, OwnThread, StuckError

SHORT = 0.3
"""Seconds in which a thread that is there comes to its turn, on a loaded machine too."""


@asynccontextmanager
async def own_thread(rest: Callable[[bool], None] = lambda _: None) -> AsyncGenerator[OwnThread]:
    thread = OwnThread("test-own-thread", rest=rest, pause=0.01)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(thread.keep_watch)
        try:
            yield thread
        finally:
            with trio.fail_after(5):
                await thread.close(lambda: None)


def begun(begin: Begin) -> str:
    return "begun" if begin() else "left"


def test_a_job_gives_what_it_returns_and_raises_what_it_raises() -> None:
    async def main() -> None:
        async with own_thread() as thread:
            names = [await thread.ask(lambda _: threading.current_thread().name) for _ in range(3)]
            assert names == ["test-own-thread"] * 3
            with pytest.raises(ZeroDivisionError):
                await thread.ask(lambda _: 1 / 0)
            assert await thread.ask(begun) == "begun"

    trio.run(main)


def test_cancelled_at_any_step_it_takes_the_next_job() -> None:
    async def main() -> None:
        async with own_thread() as thread:

            async def job() -> None:
                async with trio.open_nursery() as nursery:
                    for _ in range(3):
                        nursery.start_soon(thread.ask, begun)

            async def after() -> None:
                assert await thread.ask(begun) == "begun"

            assert await cancelled_everywhere(job, after) > 3

    trio.run(main)


def test_the_next_job_waits_until_a_cancelled_one_that_had_begun_is_done() -> None:
    done: list[str] = []
    go_on = threading.Event()

    def slow(begin: Begin, token: trio.lowlevel.TrioToken, scope: trio.CancelScope) -> None:
        assert begin()
        token.run_sync_soon(scope.cancel)
        assert go_on.wait(5)
        done.append("slow")

    def next_one(_: Begin) -> None:
        done.append("next")

    async def main() -> None:
        async with own_thread() as thread:
            token = trio.lowlevel.current_trio_token()
            with trio.CancelScope() as scope:
                await thread.ask(lambda begin: slow(begin, token, scope))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: thread.ask(next_one))
                await trio.testing.wait_all_tasks_blocked()
                assert done == []
                go_on.set()
        assert done == ["slow", "next"]

    trio.run(main)


def test_a_job_that_nobody_waits_for_any_more_never_begins() -> None:
    asked: list[bool] = []
    waits = threading.Event()
    go_on = threading.Event()

    def queued(begin: Begin) -> None:
        waits.set()
        assert go_on.wait(5)
        asked.append(begin())

    async def main() -> None:
        async with own_thread() as thread:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(lambda: thread.ask(queued))
                    await trio.to_thread.run_sync(waits.wait)
                    scope.cancel()
            go_on.set()
            await thread.ask(begun)
        assert asked == [False]

    trio.run(main)


@pytest.mark.parametrize("has_begun", [True, False])
def test_a_stuck_job_is_waited_for_in_vain_for_so_long_and_then_all_goes_on(*, has_begun: bool) -> None:
    go_on = threading.Event()
    rounds: list[str] = []

    def stuck(begin: Begin) -> None:
        assert not has_begun or begin()
        assert go_on.wait(5)
        rounds.append("through" if has_begun or begin() else "turned back")

    async def main() -> None:
        async with own_thread() as thread:
            await thread.ask(begun)
            with pytest.raises(StuckError) as raised:
                await thread.ask_within(SHORT, stuck)
            assert raised.value.begun is has_begun
            with pytest.raises(StuckError) as raised:
                await thread.ask_within(SHORT, begun)
            assert raised.value.begun is False
            go_on.set()
            assert await thread.ask(begun) == "begun"
        assert rounds == ["through" if has_begun else "turned back"]

    trio.run(main)


def test_who_waits_behind_a_rest_that_takes_long_hears_so() -> None:
    go_on = threading.Event()
    rests = threading.Event()

    def rest(_: object) -> None:
        rests.set()
        assert go_on.wait(5)

    async def main() -> None:
        async with own_thread(rest) as thread:
            assert await thread.ask(begun) == "begun"
            await trio.to_thread.run_sync(rests.wait)
            with pytest.raises(StuckError) as raised:
                await thread.ask_within(SHORT, begun)
            assert (raised.value.begun, raised.value.resting) == (False, True)
            go_on.set()
            assert await thread.ask(begun) == "begun"

    trio.run(main)


def test_closing_waits_for_a_stuck_job_no_longer_than_told() -> None:
    go_on = threading.Event()
    closed = threading.Event()

    async def main() -> None:
        thread = OwnThread("test-own-thread", rest=lambda _: None, pause=0.01)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(thread.keep_watch)
            await thread.ask(begun)
            with pytest.raises(StuckError):
                await thread.ask_within(SHORT, lambda begin: begin() and go_on.wait(5))
            with pytest.raises(trio.TooSlowError), trio.fail_after(SHORT):
                await thread.close(closed.set)
        assert not closed.is_set()
        go_on.set()
        # What it owns is let go of as soon as it can.
        assert await trio.to_thread.run_sync(closed.wait, 5)

    trio.run(main)


def test_many_ask_at_once_and_each_hears_of_its_own_in_the_order_of_asking() -> None:
    done: list[int] = []
    heard: list[int] = []

    def job(number: int) -> int:
        done.append(number)
        return number

    async def main() -> None:
        async with own_thread() as thread:

            async def one(number: int) -> None:
                assert await thread.ask(lambda _: job(number)) == number
                heard.append(number)

            async with trio.open_nursery() as nursery:
                for number in range(1_000):  # more than a pair of sockets has room for
                    nursery.start_soon(one, number)
        assert sorted(done) == sorted(heard) == list(range(1_000))
        assert len(done) == len(set(done))

    trio.run(main)


def test_when_the_one_that_listens_leaves_the_others_hear_of_theirs() -> None:
    go_on = threading.Event()

    async def main() -> None:
        async with own_thread() as thread:
            first, second = trio.CancelScope(), trio.CancelScope()

            async def asked(scope: trio.CancelScope) -> None:
                with scope:
                    await thread.ask(lambda _: go_on.wait(5))

            with trio.fail_after(5):
                async with trio.open_nursery() as nursery:
                    for scope in (first, second):
                        nursery.start_soon(asked, scope)
                        await trio.testing.wait_all_tasks_blocked()
                    nursery.start_soon(thread.ask, begun)
                    nursery.start_soon(thread.ask, begun)
                    await trio.testing.wait_all_tasks_blocked()
                    first.cancel()  # it listened,
                    second.cancel()  # and this was the next to
                    await trio.testing.wait_all_tasks_blocked()
                    go_on.set()

    trio.run(main)


def test_who_waits_for_a_thread_that_is_closed_meanwhile_is_told() -> None:
    go_on = threading.Event()
    ended = threading.Event()

    async def main() -> None:
        thread = OwnThread("test-own-thread")

        async def asked() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await thread.ask(lambda _: go_on.wait(5))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(asked)
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(0) as scope:
                await thread.close(ended.set)
            assert scope.cancelled_caught
        with pytest.raises(trio.ClosedResourceError):
            await thread.ask(begun)
        go_on.set()
        assert await trio.to_thread.run_sync(ended.wait, 5)

    trio.run(main)


def test_it_rests_after_each_job_and_once_in_a_pause() -> None:
    rests: list[bool] = []
    paused = threading.Event()

    def rest(idle: bool) -> None:  # noqa: FBT001 - the thread's signature
        rests.append(idle)
        if idle:
            paused.set()

    async def main() -> None:
        async with own_thread(rest) as thread:
            await thread.ask(begun)
            assert await trio.to_thread.run_sync(paused.wait, 5)
            await trio.sleep(0.05)
            assert rests == [False, True], "an idle thread sleeps"

    trio.run(main)


def test_a_program_that_ends_without_closing_leaves_no_thread_waiting_for_it() -> None:
    go_on = threading.Event()
    threads: list[threading.Thread] = []

    async def main() -> None:
        token = trio.lowlevel.current_trio_token()
        scope = trio.CancelScope()

        def last(_: Begin) -> None:
            threads.append(threading.current_thread())
            token.run_sync_soon(scope.cancel)
            assert go_on.wait(5)

        with scope:
            await OwnThread("test-own-thread", rest=lambda _: None, pause=0.01).ask(last)

    trio.run(main)
    go_on.set()
    threads[0].join(5)
    assert not threads[0].is_alive()
