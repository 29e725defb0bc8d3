"""When exchanges and connections end: timeouts, closes, idleness."""

from __future__ import annotations

import os
from collections.abc import Callable

import attrs
import httpx
import pytest
import trio
import trio.testing
from loopback import OK, SHORT, Loopback, Peer, fetch, forever, loopback, one_answer, post, saying

from penstock._transport import Asked, ReusedConnectionClosed, Transport
from penstock._transport.dial import Origin
from penstock._transport.timeouts import Timeouts


def test_a_silent_server_is_a_read_timeout_before_and_after_the_head() -> None:
    async def script(peer: Peer) -> None:
        asked = await peer.asked()
        if asked is not None and "/head" in asked.line:
            await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
        await peer.asked()

    async def main() -> None:
        async with loopback(script) as server, Transport() as transport:
            for path in ("/silent", "/head"):
                with pytest.raises(httpx.ReadTimeout):
                    await fetch(transport, post(server.url + path, read=SHORT))
                assert transport.statistics().open == 0
            await server.all_closed()

    trio.run(main)


def test_a_full_pool_is_a_pool_timeout() -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.asked()

    async def main() -> None:
        transport = Transport(max_connections=1)
        async with loopback(script) as server, transport, trio.open_nursery() as nursery:
            nursery.start_soon(fetch, transport, post(server.url))
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(httpx.PoolTimeout):
                await fetch(transport, post(server.url, pool=SHORT))
            assert transport.statistics().waiting == 0
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_no_server_is_a_connect_error() -> None:
    async def main() -> None:
        async with loopback(forever) as server:
            url = server.url
        async with Transport() as transport:
            with pytest.raises(httpx.ConnectError, match="refused"):
                await fetch(transport, post(url))
            assert transport.statistics().open == 0

    trio.run(main)


def test_an_idle_connection_the_server_closed_is_replaced_unnoticed() -> None:
    async def main() -> Loopback:
        async with loopback(saying(OK)) as server, Transport() as transport:
            for _ in range(3):
                assert await fetch(transport, post(server.url)) == (200, b"ok")
                await server.all_closed()
            return server

    assert trio.run(main).connections == 3


@pytest.mark.parametrize("size", [2, 300_000])
def test_a_reused_connection_that_closes_before_any_byte_has_an_error_of_its_own(size: int) -> None:
    async def script(peer: Peer) -> None:
        for _ in range(2):
            await peer.asked()
            await peer.say(OK)
        await peer.asked_head()

    async def main() -> Loopback:
        async with loopback(script) as server, Transport() as transport:
            async with trio.open_nursery() as nursery:  # two connections, both idle in the end
                nursery.start_soon(fetch, transport, post(server.url))
                nursery.start_soon(fetch, transport, post(server.url))
            assert transport.statistics().idle == 2
            await fetch(transport, post(server.url))
            with pytest.raises(ReusedConnectionClosed):
                await fetch(transport, post(server.url, b"x" * size))
            assert transport.statistics().open == 0  # the other one has been idle for even longer
            assert await fetch(transport, post(server.url)) == (200, b"ok")
            return server

    assert trio.run(main).connections == 3


def test_a_fresh_connection_that_closes_before_any_byte_is_no_reused_one() -> None:
    with pytest.raises(httpx.RemoteProtocolError, match="closed connection") as caught:
        one_answer(Transport(), b"")
    assert not isinstance(caught.value, ReusedConnectionClosed)


def test_idle_connections_expire() -> None:
    async def main() -> Loopback:
        async with loopback(forever) as server, Transport(idle_expiry=0.0) as transport:
            for _ in range(2):
                await fetch(transport, post(server.url))
            return server

    assert trio.run(main).connections == 2


def test_closing_the_transport_ends_what_is_under_way() -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.asked()

    async def main() -> None:
        async with loopback(script) as server, trio.open_nursery() as nursery:
            transport = Transport(max_connections=1)
            ended: list[type[BaseException]] = []

            async def ask() -> None:
                with pytest.raises(httpx.TransportError) as caught:
                    await fetch(transport, post(server.url))
                ended.append(caught.type)

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            await transport.aclose()
            await transport.aclose()
            await server.all_closed()
            await trio.testing.wait_all_tasks_blocked()
            assert sorted(kind.__name__ for kind in ended) == ["ConnectError", "ReadError"]
            with pytest.raises(httpx.ConnectError):
                await fetch(transport, post(server.url))
            assert transport.statistics().open == 0

    trio.run(main)


def test_connections_to_an_origin_nobody_asks_any_more_are_closed() -> None:
    async def main() -> None:
        async with loopback(forever) as left, loopback(forever) as used, Transport(idle_expiry=0.0) as transport:
            await fetch(transport, post(left.url))
            await fetch(transport, post(used.url))
            assert [numbers.origin for numbers in transport.statistics().origins] == [used.url]
            await left.all_closed()

    trio.run(main)


@attrs.define(eq=False)
class Before(trio.abc.Instrument):
    """Does something right before a task goes on."""

    task: trio.lowlevel.Task
    do: Callable[[], object]

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.do()


async def ask(transport: Transport, url: str, *, fresh: bool = False) -> bytes:
    asked = Asked("POST", b"/", [(b"host", b"any"), (b"content-length", b"2")], b"{}")
    _, _, stream = await transport.exchange(Origin.of(httpx.URL(url)), asked, Timeouts(), fresh=fresh)
    try:
        return b"".join([data async for data in stream])
    finally:
        await stream.aclose()


def test_a_connection_that_is_handed_on_is_looked_at_again_before_it_is_used() -> None:
    async def script(peer: Peer) -> None:
        sockets.append(peer.tcp_socket)
        while await peer.asked() is not None:
            if len(sockets) == 1:
                await first_may_end.wait()
            await peer.say(OK)

    sockets: list[int] = []

    async def main() -> None:
        async with loopback(script) as server, Transport(max_connections=1) as transport:
            said = False

            def say_something_unasked() -> None:
                nonlocal said
                if not said and first_may_end.is_set():
                    said = True
                    os.write(sockets[0], b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nunasked")

            async def second() -> None:
                trio.lowlevel.add_instrument(Before(trio.lowlevel.current_task(), say_something_unasked))
                assert await ask(transport, server.url) == b"ok"

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, transport, server.url)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(second)
                await trio.testing.wait_all_tasks_blocked(0.01)
                first_may_end.set()
            assert said
            assert server.connections == 2

    first_may_end = trio.Event()
    trio.run(main)


def test_where_a_fresh_connection_is_wanted_no_kept_one_is_used() -> None:
    async def main() -> Loopback:
        async with loopback(forever) as server, Transport() as transport:
            assert await ask(transport, server.url) == b"ok"
            assert await ask(transport, server.url) == b"ok"
            assert server.connections == 1
            assert await ask(transport, server.url, fresh=True) == b"ok"
            assert transport.statistics().open == 1
            return server

    assert trio.run(main).connections == 2
