"""One actor under its supervisor, as a kernel runs it; and a cancel before each step of a job that talks to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
from trio.testing import MockClock

from penstock._clock import MOCK_WALL_ANCHOR
from penstock.actors._inbox import Inbox
from penstock.actors._supervisor import Actor, supervise

__all__ = ["CancelAtStep", "Crashing", "cancelled_everywhere", "run", "with_actor"]


NOON = 1_699_963_200.0
"""Of a day in UTC."""


def run(main: Callable[[], Awaitable[None]], *, limit: float = 10_000.0) -> None:
    """Runs `main` under virtual time, from noon on: what takes minutes must not meet another day by chance."""

    async def bounded() -> None:
        MOCK_WALL_ANCHOR.set(NOON)
        with trio.fail_after(limit):
            await main()

    trio.run(bounded, clock=MockClock(autojump_threshold=0))


async def with_actor(
    actor: Actor, inbox: Inbox, close: Callable[[], None], talk: Callable[[], Awaitable[None]]
) -> None:
    """Runs `talk` beside the actor, then closes its address and waits until it has ended."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervise, actor, inbox, _unheard)
        try:
            await talk()
        except BaseException:
            nursery.cancel_scope.cancel()
            raise
        close()


def _unheard(_name: str, _crash: Exception, _again: bool) -> None:  # noqa: FBT001 - the supervisor's signature
    """Nobody listens to crashes: the tests look at what they leave."""


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope just before the n-th time that any task is scheduled."""

    def __init__(self, nth: int) -> None:
        self.left = nth
        self.scope = trio.CancelScope()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        del task
        self.left -= 1
        if self.left == 0:
            self.scope.cancel()


class Crashing:
    """Stands in for a core: whatever is asked of it breaks."""

    def __getattr__(self, name: str) -> object:
        raise ZeroDivisionError(f"a planted bug in {name}")


async def cancelled_everywhere(job: Callable[[], Awaitable[object]], after: Callable[[], Awaitable[None]]) -> int:
    """Runs `job` again and again, cancelled one step later each time, and `after` it each time. Returns the runs."""
    for nth in range(1, 200):
        cancel = CancelAtStep(nth)
        trio.lowlevel.add_instrument(cancel)
        with cancel.scope:
            await job()
        trio.lowlevel.remove_instrument(cancel)
        await after()
        if not cancel.scope.cancelled_caught:
            return nth
    raise AssertionError("the job never gets through")
