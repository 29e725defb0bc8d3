"""Servers and callers that do not keep to HTTP: always an error, never a hang, and nothing quoted."""

from __future__ import annotations

from typing import cast

import httpx
import pytest
import trio
from loopback import OK, SHORT, Peer, fetch, forever, loopback, one_answer, post, saying

from penstock._transport import Transport


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ],
)
def test_a_cut_body_is_an_error_after_what_came(answer: bytes) -> None:
    async def main() -> bytes:
        async with loopback(saying(answer)) as server, Transport() as transport:
            response = await transport.handle_async_request(post(server.url))
            body = aiter(cast("httpx.AsyncByteStream", response.stream))
            came = await anext(body)
            with pytest.raises(httpx.RemoteProtocolError, match="closed connection"):
                await anext(body)
            with pytest.raises(httpx.StreamClosed):
                await anext(body)
            assert transport.statistics().open == 0
            return came

    assert trio.run(main) == b"hello"


def test_a_reset_in_the_body_is_a_read_error() -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
        await trio.sleep(SHORT)
        await peer.reset()

    async def main() -> None:
        async with loopback(script) as server, Transport() as transport:
            with pytest.raises(httpx.ReadError):
                await fetch(transport, post(server.url))

    trio.run(main)


def test_eight_informational_responses_are_skipped() -> None:
    assert one_answer(Transport(), b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 8 + OK) == (200, b"ok")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" * 9 + OK,
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        b"<html>hello</html>\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000,
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 30_000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;" + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n" + b"x: y\r\n" * 30_000,
        b"HTTP/1.1 200",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
        b"",
    ],
    ids=lambda answer: repr(answer[:60]),
)
def test_what_is_not_http_is_an_error_that_quotes_nothing(answer: bytes) -> None:
    with pytest.raises(httpx.RemoteProtocolError) as caught:
        one_answer(Transport(), answer)
    assert "hello" not in str(caught.value)
    assert "b'" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("framing", [b"content-length: 5000", b"x: y"])
def test_a_body_larger_than_allowed_is_an_error(framing: bytes) -> None:
    with pytest.raises(httpx.RemoteProtocolError, match="larger than is allowed"):
        one_answer(Transport(max_body_bytes=4999), b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + b"x" * 5000)


def test_the_size_of_headers_is_limited() -> None:
    answer = b"HTTP/1.1 200 OK\r\nx: " + b"y" * 40_000 + b"\r\ncontent-length: 2\r\n\r\nok"
    assert one_answer(Transport(), answer) == (200, b"ok")
    with pytest.raises(httpx.RemoteProtocolError):
        one_answer(Transport(max_header_bytes=10_000), answer)


@pytest.mark.parametrize("url", ["ftp://host/", "http:///path", "unix:socket"])
def test_other_schemes_are_refused(url: str) -> None:
    async def main() -> None:
        async with Transport() as transport:
            with pytest.raises(httpx.UnsupportedProtocol):
                await transport.handle_async_request(httpx.Request("GET", url))

    trio.run(main)


@pytest.mark.parametrize(
    "headers",
    [[(b"authorization", b"Bearer se\ncret")], [(b"host", b"a"), (b"host", b"secret")], [(b"se cret", b"x")]],
)
def test_a_header_that_http_cannot_carry_is_refused_without_being_shown(headers: list[tuple[bytes, bytes]]) -> None:
    async def main() -> None:
        async with loopback(forever) as server, Transport() as transport:
            with pytest.raises(httpx.LocalProtocolError) as caught:
                await transport.handle_async_request(httpx.Request("GET", server.url, headers=headers))
            assert "cret" not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
            assert transport.statistics().open == 0

    trio.run(main)


def test_connect_is_refused() -> None:
    with pytest.raises(httpx.LocalProtocolError):
        one_answer(Transport(), OK, method="CONNECT")
