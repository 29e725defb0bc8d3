"""Callers with hardly any stack left: that is their own trouble, and nobody else's."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import trio
from worlds import config, good, run

import penstock
from penstock.testing import ScriptedTransport

TABLES: dict[str, Any] = {
    "budget": {"limits": [{"per": "day", "usd": 100}]},
    "cache": {"store": "memory", "when": "always"},
}


async def from_so_deep(frames: int, kernel: penstock.Kernel, *, streamed: bool) -> None:
    """Calls from so many frames further down."""
    if frames:
        await from_so_deep(frames - 1, kernel, streamed=streamed)
    elif streamed:
        async with kernel.stream("hello", cache="no-store") as stream:
            async for _ in stream:
                pass
    else:
        await kernel.complete("hello", cache="no-store")


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_caller_without_stack_gets_an_error_of_its_own_and_harms_nobody_else(streamed: bool) -> None:  # noqa: FBT001 - a parameter of the test
    async def main() -> None:
        async with penstock.open_kernel(config(**TABLES), transport=ScriptedTransport(good)) as kernel:
            ended = {"well": 0, "in its own error": 0}
            for frames in range(sys.getrecursionlimit() - 400, sys.getrecursionlimit()):
                try:
                    await from_so_deep(frames, kernel, streamed=streamed)
                    ended["well"] += 1
                except RecursionError:
                    ended["in its own error"] += 1
                await trio.lowlevel.checkpoint()
            assert min(ended.values()) > 0
            seen = await kernel.snapshot()
            assert (seen.in_flight, kernel.health().problems) == (0, ())
            assert all(actor.restarts == 0 and actor.slots_in_use == 0 for actor in seen.actors.values())
            assert seen.accounts[""].windows[0].held.nano_usd == 0
            await kernel.complete("hello")

    run(main)


def test_the_error_says_what_is_the_matter() -> None:
    async def forever(kernel: penstock.Kernel) -> None:
        await kernel.complete("hello")
        await forever(kernel)

    async def main() -> None:
        async with penstock.open_kernel(config(**TABLES), transport=ScriptedTransport(good)) as kernel:
            with pytest.raises(RecursionError, match="does something call the kernel over and over from within itself"):
                await forever(kernel)

    run(main)
