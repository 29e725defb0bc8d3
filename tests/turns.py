"""A task that does nothing but come to its turn, for tests of what keeps the loop to itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

__all__ = ["Turns", "another_at_work"]


class Turns:
    """How often it came to its turn."""

    number = 0


@asynccontextmanager
async def another_at_work() -> AsyncGenerator[Turns]:
    """Runs it beside the body."""
    turns = Turns()

    async def other() -> None:
        while True:
            await trio.lowlevel.checkpoint()
            turns.number += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        yield turns
        nursery.cancel_scope.cancel()
