"""A job on a kernel, cancelled at each step that it has, one after the other: nothing may be left behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
from trio.testing import MockClock
from worlds import config

import penstock
from penstock.testing import ScriptedTransport

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
