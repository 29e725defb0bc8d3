"""Structured concurrency, from the outside: whose exception comes out, and what is left when it has."""

from __future__ import annotations

import signal

import httpx
import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from worlds import ANSWER, config, good, openai_chunks, run

import penstock
from penstock import errors
from penstock.testing import Reply, ScriptedTransport, Silence


class MineError(Exception):
    """The user's own."""


def healthy(pause: float = 0.0) -> ScriptedTransport:
    return ScriptedTransport(lambda request: good(request, pause=pause))


def test_the_bodys_own_exception_comes_out_as_it_is() -> None:
    async def main() -> None:
        mine = MineError()
        with pytest.raises(MineError) as caught:
            async with penstock.open_kernel(config(), transport=healthy()) as kernel, kernel.stream("hello"):
                raise mine
        assert caught.value is mine

    run(main)


def test_the_bodys_own_group_comes_out_as_it_is() -> None:
    async def main() -> None:
        mine = ExceptionGroup("mine", [MineError(), ValueError()])
        with pytest.raises(ExceptionGroup) as caught:
            async with penstock.open_kernel(config(), transport=healthy()) as kernel, kernel.stream("hello"):
                raise mine
        assert caught.value is mine

    run(main)


def test_no_exception_group_of_ours_reaches_the_user() -> None:
    async def main() -> None:
        upstream = ScriptedTransport([Reply(400, json={"error": {"message": "no"}})])
        async with penstock.open_kernel(config(), transport=upstream) as kernel:
            with pytest.raises(errors.InvalidRequestError):
                async with kernel.stream("hello") as stream:
                    async for _ in stream:
                        pass

    run(main)


def test_an_outer_cancel_ends_everything_at_once() -> None:
    async def main() -> None:
        upstream = ScriptedTransport([Silence()])
        with trio.move_on_after(5) as scope:
            async with penstock.open_kernel(config(), transport=upstream) as kernel:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(kernel.complete, "one")
                    async with kernel.stream("two") as stream:
                        await anext(stream)
        assert scope.cancelled_caught
        assert trio.current_time() - scope.deadline < 1
        assert upstream.open == 0

    run(main)


def test_a_caller_that_stops_waiting_leaves_nothing_behind() -> None:
    async def main() -> None:
        upstream = ScriptedTransport([Silence()])
        async with penstock.open_kernel(config(), transport=upstream) as kernel:
            with trio.move_on_after(5):
                await kernel.complete("hello")
            snapshot = await kernel.snapshot()
            assert snapshot.in_flight == 0
            assert all(actor.slots_in_use == 0 for actor in snapshot.actors.values())

    run(main)


def test_a_callers_own_scope_is_the_callers_not_ours() -> None:
    async def main() -> None:
        upstream = ScriptedTransport([Silence()])
        async with penstock.open_kernel(config(), transport=upstream) as kernel:
            with pytest.raises(trio.TooSlowError):
                with trio.fail_after(5):
                    await kernel.complete("hello", timeout=5)

    run(main)


def test_our_own_timeout_is_a_typed_error_with_the_attempts_in_it() -> None:
    async def main() -> None:
        upstream = ScriptedTransport([Silence()])
        async with penstock.open_kernel(config(), transport=upstream) as kernel:
            began = trio.current_time()
            with pytest.raises(errors.DeadlineExceededError) as caught:
                await kernel.complete("hello", timeout=5)
            assert trio.current_time() - began == pytest.approx(5)
            assert [attempt.outcome for attempt in caught.value.attempts] == ["cancelled"]

    run(main)


def test_a_call_without_any_timeout_gets_the_kernels() -> None:
    async def main() -> None:
        upstream = ScriptedTransport([Silence()])
        settings = config(kernel={"timeout": 50})
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            began = trio.current_time()
            with pytest.raises(errors.DeadlineExceededError):
                await kernel.complete("hello")
            assert trio.current_time() - began == pytest.approx(50)

    # The caller's own scope, however long, counts as a timeout of the caller's: this one must have none.
    from trio.testing import MockClock

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_an_upstream_that_fails_while_the_body_sleeps_is_told_when_the_body_reads() -> None:
    async def main() -> None:
        broken = Reply(chunks=[*openai_chunks("hello")[:2], httpx.ReadError("reset")])
        async with penstock.open_kernel(config(), transport=ScriptedTransport([broken])) as kernel:
            async with kernel.stream("hello", model="openai/gpt-4o") as stream:
                await trio.sleep(100)
                with pytest.raises(errors.StreamBrokenError) as caught:
                    async for _ in stream:
                        pass
            assert caught.value.partial == "hel"
            assert caught.value.attempts[-1].outcome == "truncated"

    run(main)


def test_streams_may_be_left_in_any_order() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=healthy(pause=1)) as kernel:
            first, second = kernel.stream("one"), kernel.stream("two")
            one, two = await first.__aenter__(), await second.__aenter__()
            await anext(one)
            await first.__aexit__(None, None, None)
            assert "".join([text async for text in two.text()]) == ANSWER
            await second.__aexit__(None, None, None)
            assert (await kernel.snapshot()).in_flight == 0

    run(main)


def test_leaving_a_stream_early_ends_the_call_upstream() -> None:
    async def main() -> None:
        upstream = healthy(pause=1)
        async with penstock.open_kernel(config(), transport=upstream) as kernel:
            async with kernel.stream("hello") as stream:
                await anext(stream)
                assert upstream.open == 1
            assert upstream.open == 0
            assert (await kernel.snapshot()).in_flight == 0

    run(main)


def test_the_response_of_a_stream_is_not_there_before_its_end() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=healthy()) as kernel, kernel.stream("hello") as stream:
            await anext(stream)
            with pytest.raises(errors.KernelError, match="after the last chunk"):
                _ = stream.response

    run(main)


def test_a_shutdown_waits_for_calls_in_flight_and_then_cancels_them() -> None:
    async def main() -> None:
        outcomes: dict[str, object] = {}

        async def call(name: str, kernel: penstock.Kernel) -> None:
            try:
                outcomes[name] = (await kernel.complete(name)).text
            except errors.KernelClosedError:
                outcomes[name] = trio.current_time()

        def answer(request: httpx.Request) -> Reply | Silence:
            return Silence() if b"forever" in request.content else good_after(request, 3.0)

        async with trio.open_nursery() as outside:
            async with penstock.open_kernel(config(), transport=ScriptedTransport(answer)) as kernel:
                outside.start_soon(call, "quick", kernel)
                outside.start_soon(call, "forever", kernel)
                await wait_all_tasks_blocked()
                began = trio.current_time()
            assert trio.current_time() - began == pytest.approx(10)
            with pytest.raises(errors.KernelClosedError):
                await kernel.complete("too late")
        assert outcomes["quick"] == ANSWER
        assert outcomes["forever"] == pytest.approx(began + 10)

    run(main)


def good_after(request: httpx.Request, delay: float) -> Reply:
    reply = good(request)
    return Reply(reply.status, json=reply.json, delay=delay)


def test_events_end_with_the_kernel() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=healthy()) as kernel:
            events = kernel.events()
            await kernel.complete("hello")
        kinds = [type(event).__name__ async for event in events]
        assert kinds == ["CallStarted", "AttemptEnded", "CallEnded", "Shutdown"]

    run(main)


def test_a_slow_listener_loses_the_oldest_events_and_slows_nobody() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=healthy()) as kernel:
            events = kernel.events(size=4)
            for _ in range(10):
                await kernel.complete("hello")
            assert events.missed == 26
            assert len(events.take()) == 4

    run(main)


def test_a_keyboard_interrupt_comes_out_and_leaves_nothing_behind() -> None:
    upstream = ScriptedTransport([Silence()])

    async def main() -> None:
        with trio.fail_after(60):
            async with penstock.open_kernel(config(), transport=upstream) as kernel:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(kernel.complete, "hello")
                    await wait_all_tasks_blocked()
                    signal.raise_signal(signal.SIGINT)
                    await trio.sleep_forever()

    # A process that was started in the background ignores the signal; trio takes it only from Python's own handler.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(BaseException) as caught:  # noqa: PT011 - trio wraps it in the user's own nursery's group
            trio.run(main)
    finally:
        signal.signal(signal.SIGINT, before)
    assert caught.group_contains(KeyboardInterrupt) or isinstance(caught.value, KeyboardInterrupt)
    assert upstream.open == 0


def test_open_kernel_outside_trio_says_so_before_anything_starts() -> None:
    import asyncio

    async def under_asyncio() -> None:
        async with penstock.open_kernel(config()):
            raise AssertionError("never reached")

    with pytest.raises(errors.KernelError, match="under asyncio"):
        asyncio.run(under_asyncio())
    with pytest.raises(errors.KernelError, match="no event loop"):
        penstock.open_kernel(config())


def test_kernels_nest() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=healthy()) as outer:
            async with penstock.open_kernel(config(), transport=healthy()) as inner:
                assert (await inner.complete("hello")).text == (await outer.complete("hello")).text == ANSWER

    run(main)
