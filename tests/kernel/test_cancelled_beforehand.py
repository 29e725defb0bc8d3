"""Calls whose caller has left before their first turn: nothing is sent, held or charged."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import httpx
import pytest
import trio
from worlds import config, good, run

import penstock
from penstock.testing import Reply, ScriptedTransport

Ask: TypeAlias = Callable[[penstock.Kernel], Awaitable[None]]


async def one_answer(kernel: penstock.Kernel) -> None:
    await kernel.complete("hello")


async def one_stream(kernel: penstock.Kernel) -> None:
    async with kernel.stream("hello") as stream:
        async for _ in stream.text():
            pass


@pytest.mark.parametrize("ask", [one_answer, one_stream])
@pytest.mark.parametrize("order", range(8))
def test_a_call_that_begins_under_a_cancelled_scope_sends_and_costs_nothing(ask: Ask, order: int) -> None:
    del order  # of tasks that are ready at once the loop takes now the first, now the last
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> Reply:
        sent.append(request)
        return good(request)

    async def main() -> None:
        limits = config(budget={"limits": [{"per": "day", "usd": 5_000}]})
        async with penstock.open_kernel(limits, transport=ScriptedTransport(answer)) as kernel:
            await trio.sleep(1)
            with trio.CancelScope() as scope:
                scope.cancel()
                await ask(kernel)
            assert scope.cancelled_caught
            await trio.sleep(1)
            (window,) = (await kernel.snapshot()).accounts[""].windows
            assert (window.held.tokens, window.spent.tokens) == (0, 0)
        assert not sent

    run(main)
