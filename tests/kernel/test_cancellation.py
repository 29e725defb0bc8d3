"""Every actor hop, every wait and every exchange of a call, cancelled at each checkpoint it has: nothing is left."""

from __future__ import annotations

import httpx
import pytest
import trio
from cancelled import cancelled_everywhere
from worlds import good

import penstock
from penstock.testing import Broken, Reply, ScriptedTransport


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


@pytest.mark.slow
def test_a_call_cancelled_at_any_point_leaves_nothing_behind() -> None:
    async def job(kernel: penstock.Kernel) -> None:
        await kernel.complete("what is the answer?")

    assert cancelled_everywhere(job, answers) > 10


@pytest.mark.slow
def test_a_stream_cancelled_at_any_point_leaves_nothing_behind() -> None:
    async def job(kernel: penstock.Kernel) -> None:
        async with kernel.stream("what is the answer?") as stream:
            async for _ in stream:
                pass

    assert cancelled_everywhere(job, answers) > 10


@pytest.mark.slow
def test_followers_and_leaders_cancelled_at_any_point_leave_nothing_behind() -> None:
    async def job(kernel: penstock.Kernel) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(kernel.complete, "the same question")

    assert cancelled_everywhere(job, answers) > 10
