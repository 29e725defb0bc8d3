"""Every actor hop, every wait and every exchange of a call, cancelled at each checkpoint it has: nothing is left."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx
import trio
from trio.testing import MockClock
from worlds import config, good

import penstock
from penstock.testing import Broken, Reply, ScriptedTransport

GUARDED = config(
    budget={"limits": [{"per": "day", "usd": 100}]},
    cache={"store": "memory", "when": "always"},
    breaker={"failures_in_a_row": 2, "min_calls_in_a_row": 1},
)


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope just before the n-th time that any task is scheduled: the caller, an actor, a pump."""

    def __init__(self, nth: int) -> None:
        self.left = nth
        self.scope: trio.CancelScope | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        del task
        self.left -= 1
        if self.left == 0 and self.scope is not None:
            self.scope.cancel()


def cancelled_everywhere(
    job: Callable[[penstock.Kernel], Awaitable[object]], upstream: Callable[[], ScriptedTransport]
) -> int:
    """Runs `job` again and again, cancelled one step later each time, until it gets through. Returns the steps."""
    nth = 0
    while True:
        nth += 1
        through = trio.run(cancelled_once, job, upstream(), CancelAtStep(nth), clock=MockClock(autojump_threshold=0))
        if through:
            return nth
        assert nth < 2_000, "the job never gets through"


async def cancelled_once(
    job: Callable[[penstock.Kernel], Awaitable[object]], upstream: ScriptedTransport, cancel: CancelAtStep
) -> bool:
    async with penstock.open_kernel(GUARDED, transport=upstream) as kernel:
        # Something before it, so that breakers, cool-downs and the cache are not in their first state.
        await kernel.complete("before")
        with trio.CancelScope() as cancel.scope:
            trio.lowlevel.add_instrument(cancel)
            await job(kernel)
        trio.lowlevel.remove_instrument(cancel)
        snapshot = await kernel.snapshot()
        assert snapshot.in_flight == 0 == snapshot.waiting
        assert upstream.open == 0
        for actor in snapshot.actors.values():
            assert (actor.slots_in_use, actor.queued, actor.lost, actor.stray) == (0, 0, 0, 0), actor
        assert all(window.held.tokens == 0 for window in snapshot.accounts[""].windows)
        assert snapshot.cache is not None
        assert snapshot.cache.flights.flights == 0
        # And the kernel goes on as if nothing had been.
        with trio.fail_after(60):
            assert (await kernel.complete("after")).text
        return not cancel.scope.cancelled_caught


def answers() -> ScriptedTransport:
    """Fails in between, so that calls retry, ask breakers, and wait."""
    script = iter(range(1_000))

    def answer(request: httpx.Request) -> Reply | Broken:
        match next(script):
            case 1:
                return Reply(500, json={"error": {"message": "boom"}})
            case 2:
                return Reply(429, json={"error": {"message": "slow"}}, headers=[("retry-after", "1")])
            case 3:
                return Broken(httpx.ReadError("reset"))
            case _:
                return good(request, pause=0.1)

    return ScriptedTransport(answer)


def test_a_call_cancelled_at_any_point_leaves_nothing_behind() -> None:
    async def job(kernel: penstock.Kernel) -> None:
        await kernel.complete("what is the answer?")

    assert cancelled_everywhere(job, answers) > 10


def test_a_stream_cancelled_at_any_point_leaves_nothing_behind() -> None:
    async def job(kernel: penstock.Kernel) -> None:
        async with kernel.stream("what is the answer?") as stream:
            async for _ in stream:
                pass

    assert cancelled_everywhere(job, answers) > 10


def test_followers_and_leaders_cancelled_at_any_point_leave_nothing_behind() -> None:
    async def job(kernel: penstock.Kernel) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(kernel.complete, "the same question")

    assert cancelled_everywhere(job, answers) > 10
