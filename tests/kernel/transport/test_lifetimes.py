"""When exchanges and connections end: timeouts, closes, idleness."""

from __future__ import annotations

import httpx
import pytest
import trio
import trio.testing
from loopback import OK, SHORT, Loopback, Peer, fetch, forever, loopback, one_answer, post, saying

from penstock._transport import ReusedConnectionClosed, Transport


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
