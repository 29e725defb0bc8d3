"""One exchange after another over real sockets: what is sent, what comes back, and when a connection is used again."""

from __future__ import annotations

from typing import cast

import httpx
import pytest
import trio
from loopback import OK, Asked, Loopback, Peer, chunked, fetch, forever, loopback, one_answer, post, read, saying

from penstock._transport import Transport


def test_the_request_arrives_as_it_was_given() -> None:
    seen: list[Asked | None] = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.asked())
        await peer.say(OK)

    async def main() -> None:
        async with loopback(script) as server, Transport() as transport:
            request = post(f"{server.url}/v1/chat?a=b%20c", b'{"x":1}', headers={"Authorization": "Bearer k"})
            assert await fetch(transport, request) == (200, b"ok")

    trio.run(main)
    [asked] = seen
    assert asked is not None
    assert asked.line == "POST /v1/chat?a=b%20c HTTP/1.1"
    assert asked.body == b'{"x":1}'
    assert asked.headers["authorization"] == "Bearer k"
    assert asked.headers["content-length"] == "7"
    assert "accept-encoding" not in asked.headers


def test_expect_and_upgrade_are_never_sent() -> None:
    seen: list[Asked | None] = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.asked())
        await peer.say(OK)

    async def main() -> None:
        async with loopback(script) as server, Transport() as transport:
            await fetch(transport, post(server.url, headers={"Expect": "100-continue", "Upgrade": "websocket"}))

    trio.run(main)
    [asked] = seen
    assert asked is not None
    assert not {"expect", "upgrade"} & set(asked.headers)


def test_a_connection_serves_one_exchange_after_another() -> None:
    async def main() -> Loopback:
        async with loopback(forever) as server, Transport() as transport:
            for _ in range(5):
                assert await fetch(transport, post(server.url)) == (200, b"ok")
                assert transport.statistics().idle == 1
            return server

    assert trio.run(main).connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok",
        OK + b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\npoison!",
        b"HTTP/1.1 200 OK\r\n\r\nok",
    ],
    ids=["connection-close", "http-1.0", "http-1.0-keep-alive", "more-than-asked", "ends-with-the-connection"],
)
def test_a_connection_that_may_not_be_used_again_is_closed(answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.say(answer)
        if b"content-length" in answer:
            await peer.asked()

    async def main() -> Loopback:
        async with loopback(script) as server, Transport() as transport:
            for _ in range(2):
                assert await fetch(transport, post(server.url)) == (200, b"ok")
                assert transport.statistics().open == 0
            await server.all_closed()
            return server

    assert trio.run(main).connections == 2


def test_a_body_left_early_costs_the_connection_and_never_looks_whole() -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
        await peer.asked()

    async def main() -> None:
        async with loopback(script) as server, Transport() as transport:
            response = await transport.handle_async_request(post(server.url))
            body = aiter(cast("httpx.AsyncByteStream", response.stream))
            assert await anext(body) == b"hello"
            await response.aclose()
            with pytest.raises(httpx.StreamClosed):
                await anext(body)
            assert transport.statistics().open == 0
            await server.all_closed()

    trio.run(main)


def test_an_unread_body_that_is_all_here_does_not_cost_the_connection() -> None:
    async def main() -> Loopback:
        async with loopback(forever) as server, Transport() as transport:
            for _ in range(3):
                response = await transport.handle_async_request(post(server.url))
                await response.aclose()
                await response.aclose()
            return server

    assert trio.run(main).connections == 1


def test_a_connection_is_free_with_the_last_byte_of_the_body() -> None:
    async def main() -> None:
        async with loopback(saying(chunked(b"one", b"two"))) as server, Transport() as transport:
            response = await transport.handle_async_request(post(server.url))
            body = aiter(cast("httpx.AsyncByteStream", response.stream))
            assert await anext(body) == b"onetwo"
            assert transport.statistics().in_use == 0
            with pytest.raises(StopAsyncIteration):
                await anext(body)

    trio.run(main)


def test_reads_bring_at_most_16_kib() -> None:
    async def main() -> list[int]:
        answer = b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n" + b"x" * 200_000
        async with loopback(saying(answer)) as server, Transport() as transport:
            response = await transport.handle_async_request(post(server.url))
            return [len(data) async for data in cast("httpx.AsyncByteStream", response.stream)]

    sizes = trio.run(main)
    assert sum(sizes) == 200_000
    assert max(sizes) <= 16_384


@pytest.mark.parametrize(
    ("answer", "method", "marked"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "POST", True),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "POST", False),
        (chunked(b"hello"), "POST", False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "POST", False),
        (b"HTTP/1.1 200 OK\r\n\r\n", "HEAD", False),
    ],
)
def test_a_body_that_only_the_connection_ends_is_marked(answer: bytes, method: str, *, marked: bool) -> None:
    async def main() -> None:
        async with loopback(saying(answer)) as server, Transport() as transport:
            response = await transport.handle_async_request(httpx.Request(method, server.url))
            assert response.extensions.get("penstock_eof_delimited", False) is marked
            assert await read(response) == (b"hello" if b"hello" in answer else b"")

    trio.run(main)


def test_redirects_are_not_followed() -> None:
    answer = b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
    assert one_answer(Transport(), answer) == (307, b"")


def test_a_body_that_comes_in_pieces_is_sent_whole() -> None:
    seen: list[Asked | None] = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.asked())
        await peer.say(OK)

    class Pieces(httpx.AsyncByteStream):
        def __init__(self) -> None:
            self.left = [b"one", b"two"]

        def __aiter__(self) -> Pieces:
            return self

        async def __anext__(self) -> bytes:
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop(0)

    async def main() -> None:
        async with loopback(script) as server, Transport() as transport:
            request = httpx.Request("POST", server.url, content=Pieces(), headers={"content-length": "6"})
            await fetch(transport, request)

    trio.run(main)
    [asked] = seen
    assert asked is not None
    assert asked.body == b"onetwo"
