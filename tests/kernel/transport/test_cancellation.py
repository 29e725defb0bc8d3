"""A call may be cancelled anywhere: nothing is left behind, and the next call finds all there was before."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeAlias, cast

import attrs
import httpx
import pytest
import trio
import trio.testing
import trustme
from loopback import OK, Peer, fetch, forever, loopback, open_sockets, post, read, server_context

from penstock._transport import Transport
from penstock._transport.lookup import Address

Story: TypeAlias = Callable[[Transport, str], Awaitable[None]]


@attrs.define(eq=False)
class CancelAt(trio.abc.Instrument):
    """Cancels `scope` when its task and the children of that have yielded so many times."""

    left: int
    scope: trio.CancelScope
    task: trio.lowlevel.Task

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.left and self._is_ours(task):
            self.left -= 1
            if not self.left:
                self.scope.cancel()

    def _is_ours(self, task: trio.lowlevel.Task | None) -> bool:
        while task is not None and task is not self.task:
            task = task.parent_nursery.parent_task if task.parent_nursery else None
        return task is not None


async def one_exchange(transport: Transport, url: str) -> None:
    assert await fetch(transport, post(url, read=5.0, write=5.0, connect=5.0)) == (200, b"ok")


async def two_exchanges(transport: Transport, url: str) -> None:
    await one_exchange(transport, url)
    await one_exchange(transport, url)


async def an_upload(transport: Transport, url: str) -> None:
    assert await fetch(transport, post(url, b"x" * 200_000)) == (200, b"ok")


async def a_stream(transport: Transport, url: str) -> None:
    response = await transport.handle_async_request(post(url + "/stream"))
    try:
        assert await read(response) == b"onetwothree"
    finally:
        await response.aclose()


async def a_name(transport: Transport, url: str) -> None:
    await one_exchange(transport, url.replace("127.0.0.1", "localhost"))


def two_addresses(_host: str) -> tuple[Address, ...]:
    """Nobody listens at the first one."""
    return Address(socket.AF_INET6, "::1"), Address(socket.AF_INET, "127.0.0.1")


async def script(peer: Peer) -> None:
    while (asked := await peer.asked()) is not None:
        if "/stream" not in asked.line:
            await peer.say(OK)
            continue
        await peer.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for piece in (b"3\r\none\r\n", b"3\r\ntwo\r\n", b"5\r\nthree\r\n0\r\n\r\n"):
            await trio.testing.wait_all_tasks_blocked()
            await peer.say(piece)


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("story", [one_exchange, two_exchanges, an_upload, a_stream, a_name])
def test_a_cancelled_call_leaves_nothing_behind(
    story: Story, authority: trustme.CA, ca_file: str, *, tls: bool
) -> None:
    async def cancelled_at(step: int, url: str) -> bool:
        """Whether the story was over before that step."""
        async with Transport(ca_file=ca_file, max_connections=1, resolve=two_addresses) as transport:
            scope = trio.CancelScope()
            instrument = CancelAt(step, scope, trio.lowlevel.current_task())
            trio.lowlevel.add_instrument(instrument)
            try:
                with scope:
                    await story(transport, url)
            finally:
                trio.lowlevel.remove_instrument(instrument)
            numbers = transport.statistics()
            assert (numbers.in_use, numbers.waiting) == (0, 0)
            await one_exchange(transport, url)  # the one slot there is came back, and in order
        return instrument.left > 0

    async def main() -> int:
        async with loopback(script, tls=context) as server:
            step = 1
            before = open_sockets()
            while not await cancelled_at(step, server.url):
                await server.all_closed()
                assert open_sockets() == before
                step += 1
            return step

    context: ssl.SSLContext | None = server_context(authority) if tls else None
    assert trio.run(main) > 3


def test_a_waiter_cancelled_while_it_is_handed_a_connection_passes_it_on() -> None:
    async def main() -> None:
        transport = Transport(max_connections=1)
        async with loopback(forever) as server, transport, trio.open_nursery() as nursery:
            response = await transport.handle_async_request(post(server.url))
            scope = trio.CancelScope()

            async def impatient() -> None:
                with scope:
                    await fetch(transport, post(server.url))

            async def patient() -> None:
                with trio.fail_after(5):
                    assert await fetch(transport, post(server.url)) == (200, b"ok")

            nursery.start_soon(impatient)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(patient)
            await trio.testing.wait_all_tasks_blocked()
            assert transport.statistics().waiting == 2
            scope.cancel()
            await response.aclose()
        assert transport.statistics().open == 0
        assert server.connections == 1

    trio.run(main)


def test_waiters_are_served_in_order() -> None:
    order: list[int] = []

    async def main() -> None:
        transport = Transport(max_connections=2)

        async def ask(number: int, url: str) -> None:
            await fetch(transport, post(url))
            order.append(number)

        async with loopback(forever) as server, transport:
            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(ask, number, server.url)
                    await trio.lowlevel.checkpoint()
            assert server.connections == 2
            assert transport.statistics().idle == 2

    trio.run(main)
    assert all(abs(position - number) <= 2 for position, number in enumerate(order))


def test_a_read_that_was_cancelled_ends_the_body_for_good() -> None:
    async def half(peer: Peer) -> None:
        await peer.asked()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
        await peer.asked()

    async def main() -> None:
        async with loopback(half) as server, Transport() as transport:
            response = await transport.handle_async_request(post(server.url))
            body = aiter(cast("httpx.AsyncByteStream", response.stream))
            assert await anext(body) == b"hello"
            with trio.move_on_after(0.01):
                await anext(body)
            with pytest.raises(httpx.StreamClosed):
                await anext(body)
            await response.aclose()
            assert transport.statistics().open == 0

    trio.run(main)
