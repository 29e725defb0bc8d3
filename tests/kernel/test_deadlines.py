"""Whose deadline ends a call, and that an answer in hand is not lost to one."""

from __future__ import annotations

import re
from typing import Any, cast

import httpx
import msgspec
import pytest
import trio
from trio.testing import MockClock
from worlds import ANSWER, GPT, SONNET, config, failing, good, openai_chunks, run

import penstock
from penstock import errors
from penstock.actors._inbox import FEW
from penstock.testing import Reply, ScriptedTransport, Silence

BOOM = Reply(500, json={"type": "error", "error": {"type": "api_error", "message": "boom"}})


# Deadlines


class SlowActor(trio.abc.Instrument):
    """Lets time pass just before an actor gets its turn: the mail it then finds is late."""

    def __init__(self, clock: MockClock, actor: str, seconds: float) -> None:
        self.clock = clock
        self.actor = actor
        self.seconds = seconds
        self.armed = False

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        frame = task.coro.cr_frame
        if self.armed and frame is not None and self.actor in repr(frame.f_locals.get("actor")):
            self.armed = False
            self.clock.jump(self.seconds)


@pytest.mark.parametrize("actor", ["CacheActor", "BudgetKeeper", "BreakerRegistry"])
def test_an_actor_that_comes_too_late_ends_the_call_as_any_deadline_does(actor: str) -> None:
    clock = MockClock(autojump_threshold=0)
    late = SlowActor(clock, actor, 100.0)
    settings = config(
        budget={"limits": [{"per": "day", "tokens": 10**6}]},
        cache={"store": "memory", "when": "always"},
        breaker={"failures_in_a_row": 1, "min_calls_in_a_row": 1, "open_for": 1.0, "open_cap": 1.0},
    )

    async def main() -> None:
        upstream = failing(SONNET, answer=BOOM)
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            await kernel.complete("something that opens a breaker")
            await trio.sleep(2)
            trio.lowlevel.add_instrument(late)
            late.armed = True
            # At work already, or with others to serve: else they would answer in the caller's own step, and in time.
            engine = cast("Any", kernel)._engine
            engine.cache._address._box.wake()
            for _ in range(FEW):
                engine.budget._address._box.free.acquire_nowait()
            with pytest.raises(errors.DeadlineExceededError, match="not over within its 50 s"):
                await kernel.complete("hello", timeout=50)
            trio.lowlevel.remove_instrument(late)
            assert not late.armed
            for _ in range(FEW):
                engine.budget._address._box.free.release()
            snapshot = await kernel.snapshot()
            assert all(each.slots_in_use == 0 for each in snapshot.actors.values())
            assert (await kernel.complete("hello", model=GPT)).text == ANSWER

    trio.run(main, clock=clock)


def test_where_both_deadlines_fall_together_the_callers_own_scope_wins_for_streams_too() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport([Silence()])) as kernel:
            with pytest.raises(trio.TooSlowError):
                with trio.fail_after(5):
                    async with kernel.stream("hello", timeout=5) as stream:
                        await anext(stream)

    run(main)


class SlowToClose(httpx.AsyncBaseTransport):
    """Answers at once, and takes its time to close the response."""

    def __init__(self, seconds: float, error: Exception | None = None) -> None:
        self.seconds = seconds
        self.error = error

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=_SlowBody(self, request))


class _SlowBody(httpx.AsyncByteStream):
    def __init__(self, transport: SlowToClose, request: httpx.Request) -> None:
        self.transport = transport
        self.pieces = iter([msgspec.json.encode(good(request).json)] if good(request).json else good(request).chunks)

    def __aiter__(self) -> _SlowBody:
        return self

    async def __anext__(self) -> bytes:
        piece = next(self.pieces, None)
        if isinstance(piece, bytes):
            return piece
        raise StopAsyncIteration

    async def aclose(self) -> None:
        await trio.sleep(self.transport.seconds)
        if self.transport.error is not None:
            raise self.transport.error


@pytest.mark.parametrize("error", [None, httpx.CloseError("no"), RuntimeError("a bug of theirs")])
def test_an_answer_in_hand_is_delivered_however_badly_its_connection_closes(error: Exception | None) -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=SlowToClose(0.5, error)) as kernel:
            response = await kernel.complete("hello", timeout=0.2)
            assert response.text == ANSWER
            assert trio.current_time() == pytest.approx(0.5)

    run(main)


@pytest.mark.parametrize("total", [2.0, 600.0])
def test_a_stream_whose_connection_stays_open_past_its_end_is_whole_before_any_deadline(total: float) -> None:
    def endless(_: httpx.Request) -> Reply:
        return Reply(chunks=[*openai_chunks(), *[b": still here\n\n"] * 100], pause=0.25)

    async def main() -> None:
        settings = config(defaults={"timeouts": {"total": total}})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(endless)) as kernel:
            async with kernel.stream("hello", model=GPT, timeout=2.2) as stream:
                assert "".join([text async for text in stream.text()]) == ANSWER
                assert [attempt.outcome for attempt in stream.response.attempts] == ["ok"]
            assert trio.current_time() < 2.2

    run(main)


@pytest.mark.parametrize(
    ("timeout", "route", "kernel", "expected"),
    [
        (3.0, None, 50.0, 3.0),
        (None, 4.0, 50.0, 4.0),
        (3.0, 4.0, 50.0, 3.0),
        (9.0, 4.0, 50.0, 4.0),
        (80.0, None, 50.0, 80.0),
    ],
)
def test_the_earliest_of_call_and_route_holds_and_the_kernels_only_where_neither_speaks(
    timeout: float | None, route: float | None, kernel: float, expected: float
) -> None:
    async def main() -> None:
        stages: dict[str, Any] = {"cascade": [SONNET]} | ({} if route is None else {"timeout": route})
        settings = config(kernel={"timeout": kernel}, routes={"default": stages})
        async with penstock.open_kernel(settings, transport=ScriptedTransport([Silence()])) as opened:
            with pytest.raises(errors.DeadlineExceededError, match=re.escape(f"within its {expected:g} s")):
                await opened.complete("hello", timeout=timeout)
            assert trio.current_time() == pytest.approx(expected)

    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("timeout", [50, 0.05, 1e-9])
def test_a_call_that_was_not_over_in_time_is_told_the_time_that_it_was_given(timeout: float) -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport([Silence()])) as kernel:
            with pytest.raises(errors.DeadlineExceededError, match=f"not over within its {timeout:g} s"):
                await kernel.complete("hello", timeout=timeout)

    # Time passes while the call begins, too.
    trio.run(main, clock=MockClock(rate=1_000))
