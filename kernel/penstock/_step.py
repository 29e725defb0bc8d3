"""Where calls in flight let one another come as far as they are, and go on in groups.

A call is more code than a processor keeps at hand: run one after the other, each finds that of its beginning evicted by
the end of the one before. In step, all but the first find it there. But the first of those that go on together is done
only when the last is: so groups are bounded, and one that is behind waits until the group before it has gone its way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import trio

__all__ = ["Step"]

GROUP = 32
"""Calls that go on together. With no bound, 256 that are answered at once are sent on only when all are dealt with, and
3% fewer come through a second (`benchmarks`: waiting). Groups of 16 bring 1% more, and each call takes more of the CPU.
"""
TURNS = 5
"""Turns of the loop that a group gets before the next: what a call takes from here to where it waits for others."""


class Step:
    """One place in a call. Whoever comes to it waits for a turn of the loop; more than a group, in the order of coming,
    until it is theirs.
    """

    def __init__(self) -> None:
        self._passing = 0
        """Those that go on in the next turn, and those that have come since before the first of them did."""
        self._turn = 0
        """Counted up when the first of them does."""
        self._behind: deque[trio.lowlevel.Task] = deque()
        """At most one for each call in flight: each waits at one place at a time."""
        self._leads: trio.lowlevel.Task | None = None
        """The first of those behind. It counts the turns, and takes the next of them with it."""

    @trio.lowlevel.enable_ki_protection
    async def together(self) -> None:
        """Never cancelled, and not interrupted by Ctrl-C: it takes turns, and no time, and others may wait behind."""
        if self._leads is None and self._passing < GROUP:
            self._passing += 1
            turn = self._turn
            await trio.lowlevel.cancel_shielded_checkpoint()
            if turn == self._turn:
                self._turn, self._passing = turn + 1, 0
            return
        task = trio.lowlevel.current_task()
        if self._leads is None:
            self._leads = task
        else:
            self._behind.append(task)
            await trio.lowlevel.wait_task_rescheduled(_stays)
        if self._leads is task:
            await self._lead()

    async def _lead(self) -> None:
        for _ in range(TURNS):
            await trio.lowlevel.cancel_shielded_checkpoint()
        behind = self._behind
        for _ in range(min(GROUP - 1, len(behind))):
            trio.lowlevel.reschedule(behind.popleft())
        self._leads = behind.popleft() if behind else None
        if self._leads is not None:
            trio.lowlevel.reschedule(self._leads)


def _stays(_raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED
