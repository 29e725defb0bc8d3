"""Attempts that never had a connection: nothing can have been billed for them, however they ended, and no target is at
fault that was never asked. Real sockets: only the kernel's own transport can tell.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from loopback import SHORT, Peer, loopback
from worlds import KEY

import penstock
from penstock.errors import CallError

LIMIT = 1_000_000
"""Tokens of a day: nothing here comes near it."""


def config(url: str, timeouts: dict[str, float], **provider: Any) -> penstock.Config:
    return penstock.Config.from_dict(
        {
            "providers": {"live": {"kind": "openai", "api_key": KEY, "base_url": url, **provider}},
            "targets": {
                "m": {"provider": "live", "model": "gpt-4o", "timeouts": timeouts},
                "patient": {"provider": "live", "model": "gpt-4o-mini"},
            },
            "routes": {
                "default": {"cascade": [{"target": "m", "attempts": 1}]},
                "patient": {"cascade": ["patient"]},
            },
            "budget": {"limits": [{"per": "day", "tokens": LIMIT}]},
            "breaker": {"failures_in_a_row": 2, "min_calls_in_a_row": 2},
        },
        environ={},
    )


@asynccontextmanager
async def unreachable() -> AsyncGenerator[str]:
    """A listener whose backlog is full: connections to it do not come about."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            fills = stack.enter_context(socket.socket())
            fills.setblocking(False)
            fills.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


async def complete(kernel: penstock.Kernel, **words: Any) -> None:
    await kernel.complete("hello", max_tokens=1_000, **words)


async def stream(kernel: penstock.Kernel, **words: Any) -> None:
    async with kernel.stream("hello", max_tokens=1_000, **words) as chunks:
        async for _ in chunks:
            pass


Call = Callable[..., Awaitable[None]]


ENDS: list[tuple[Call, str]] = [
    *((call, how) for call in (complete, stream) for how in ("total", "deadline", "cancelled")),
    (stream, "first_token"),
]
"""An answer that comes whole has no first token."""


async def ended(kernel: penstock.Kernel, call: Call, how: str) -> None:
    """The call comes to its end in that way."""
    if how == "cancelled":
        with trio.move_on_after(SHORT) as scope:
            await call(kernel)
        assert scope.cancelled_caught
        return
    with pytest.raises(CallError):
        await call(kernel, timeout=SHORT if how == "deadline" else 30)


def spent(seen: penstock.KernelSnapshot) -> int:
    return seen.accounts[""].windows[0].spent.tokens


@pytest.mark.parametrize(("call", "how"), ENDS)
def test_an_attempt_that_was_never_connected_costs_nothing(how: str, call: Call) -> None:
    async def main() -> None:
        timeouts = {"connect": 20.0} | ({how: SHORT} if how in {"total", "first_token"} else {})
        async with unreachable() as url, penstock.open_kernel(config(url, timeouts)) as kernel:
            await ended(kernel, call, how)
            assert spent(await kernel.snapshot()) == 0

    with_time(main)


@pytest.mark.parametrize(("call", "how"), ENDS)
def test_to_wait_for_a_connection_costs_nothing_and_is_no_fault_of_the_target(how: str, call: Call) -> None:
    async def main() -> None:
        timeouts = {how: SHORT} if how in {"total", "first_token"} else {}
        asked = trio.Event()

        async def silent(peer: Peer) -> None:
            await peer.asked()
            assert not asked.is_set(), "there is one connection, and it is in use"
            asked.set()
            await peer.asked()

        async with loopback(silent) as server:
            settings = config(f"{server.url}/v1", timeouts, max_connections=1)
            async with penstock.open_kernel(settings) as kernel, trio.open_nursery() as nursery:
                nursery.start_soon(partial(kernel.complete, "hold the connection", route="patient", max_tokens=1_000))
                await asked.wait()
                for _ in range(4):
                    await ended(kernel, call, how)
                seen = await kernel.snapshot()
                assert spent(seen) == 0
                assert seen.breakers == {}
                nursery.cancel_scope.cancel()

    with_time(main)


def test_a_stream_that_is_left_before_anything_was_sent_is_not_drained() -> None:
    async def main() -> None:
        asked: list[bytes] = []
        begun, may_answer = trio.Event(), trio.Event()

        async def answers_late(peer: Peer) -> None:
            while (request := await peer.asked()) is not None:
                asked.append(request.body)
                begun.set()
                await may_answer.wait()
                await peer.say(b"HTTP/1.1 500 Sorry\r\ncontent-length: 2\r\n\r\n{}")

        async with loopback(answers_late) as server:
            settings = config(f"{server.url}/v1", {}, max_connections=1)
            async with penstock.open_kernel(settings) as kernel, trio.open_nursery() as nursery:
                nursery.start_soon(fails, kernel)
                await begun.wait()
                async with kernel.stream("hello", on_leave="drain", max_tokens=100):
                    await trio.sleep(SHORT)
                may_answer.set()
                await trio.sleep(SHORT)
                assert len(asked) == 1
                assert (await kernel.snapshot()).in_flight == 0

    async def fails(kernel: penstock.Kernel) -> None:
        with pytest.raises(CallError):
            await kernel.complete("the one connection is mine", max_tokens=1_000)

    with_time(main)


def with_time(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(10):
            await main()

    trio.run(bounded)
