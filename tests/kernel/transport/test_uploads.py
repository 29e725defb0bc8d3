"""Requests the server answers before it has them: the answer counts, over TLS too, and nothing hangs."""

from __future__ import annotations

import socket
import ssl

import httpx
import pytest
import trio
import trio.testing
import trustme
from loopback import LITTLE_ROOM, OK, SHORT, Loopback, Peer, Script, fetch, loopback, post, server_context

from penstock._transport import Transport
from penstock._transport.wire import Wire

LARGE = b"x" * 8_000_000
"""More than the sockets of both sides buffer."""
TOO_LARGE = (b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 4\r\n\r\n", b"more")
"""In two records, where it goes over TLS: the second must be readable after the sending has failed."""


@pytest.fixture(params=["http", "https"])
def tls(request: pytest.FixtureRequest, authority: trustme.CA) -> ssl.SSLContext | None:
    return server_context(authority) if request.param == "https" else None


def refusing(*answer: bytes, hang_up: bool) -> Script:
    """Answers after the head, and leaves the rest of the request unread."""

    async def script(peer: Peer) -> None:
        await peer.asked_head()
        for piece in answer:
            await peer.say(piece)
        if not hang_up:
            await trio.sleep_forever()

    return script


@pytest.mark.parametrize("hang_up", [False, True])
def test_a_refusal_is_read_although_the_body_was_not(
    tls: ssl.SSLContext | None, ca_file: str, *, hang_up: bool
) -> None:
    async def main() -> None:
        script = refusing(*TOO_LARGE, hang_up=hang_up)
        async with loopback(script, tls=tls) as server, Transport(ca_file=ca_file) as transport:
            with trio.fail_after(5):
                assert await fetch(transport, post(server.url, LARGE)) == (413, b"more")
            assert transport.statistics().open == 0

    trio.run(main)


def test_a_refusal_of_a_small_request_by_a_server_that_hangs_up_is_read() -> None:
    async def script(peer: Peer) -> None:
        await peer.say(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno")

    async def main() -> None:
        async with loopback(script) as server, Transport() as transport:
            for _ in range(3):
                assert await fetch(transport, post(server.url)) == (401, b"no")
                await server.all_closed()

    trio.run(main)


def test_a_large_body_arrives_whole_and_the_connection_is_used_again(tls: ssl.SSLContext | None, ca_file: str) -> None:
    sizes: list[int] = []

    async def script(peer: Peer) -> None:
        while (asked := await peer.asked()) is not None:
            assert asked.body == LARGE[: len(asked.body)]
            sizes.append(len(asked.body))
            await peer.say(OK)

    async def main() -> Loopback:
        async with loopback(script, tls=tls) as server, Transport(ca_file=ca_file) as transport:
            for size in (65_536, 65_537, 500_000, 10):
                assert await fetch(transport, post(server.url, LARGE[:size])) == (200, b"ok")
            return server

    assert trio.run(main).connections == 1
    assert sizes == [65_536, 65_537, 500_000, 10]


def test_a_success_before_the_body_is_read_does_not_end_the_sending() -> None:
    async def script(peer: Peer) -> None:
        await peer.asked_head()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
        await peer.drop(len(LARGE))
        await peer.say(b"ok")
        await peer.asked()

    async def main() -> None:
        async with loopback(script) as server, Transport() as transport:
            assert await fetch(transport, post(server.url, LARGE)) == (200, b"ok")
            assert transport.statistics().idle == 1

    trio.run(main)


@pytest.mark.parametrize("size", [60_000, len(LARGE)])
@pytest.mark.parametrize("status", ["200 OK", "413 Content Too Large"])
def test_an_answer_that_is_whole_is_read_although_the_server_takes_no_more(
    status: str, size: int, tls: ssl.SSLContext | None, ca_file: str
) -> None:
    async def answers(peer: Peer) -> None:
        await peer.say(f"HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\nearly".encode())
        await trio.sleep_forever()

    async def main() -> None:
        async with loopback(answers, tls=tls, room=LITTLE_ROOM) as server, Transport(ca_file=ca_file) as transport:
            with trio.fail_after(5):
                answer = await fetch(transport, post(server.url, LARGE[:size], write=60.0, read=5.0))
            assert answer == (int(status[:3]), b"early")
            assert transport.statistics().open == 0

    trio.run(main)


@pytest.mark.parametrize("size", [60_000, len(LARGE)])
def test_a_stream_that_begins_early_goes_on_when_the_server_has_taken_no_more_in_time(
    size: int, tls: ssl.SSLContext | None, ca_file: str
) -> None:
    async def answers(peer: Peer) -> None:
        await peer.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        await trio.sleep(2 * SHORT)
        await peer.say(b"3\r\ntwo\r\n0\r\n\r\n")
        await trio.sleep_forever()

    async def main() -> None:
        async with loopback(answers, tls=tls, room=LITTLE_ROOM) as server, Transport(ca_file=ca_file) as transport:
            with trio.fail_after(5):
                answer = await fetch(transport, post(server.url, LARGE[:size], write=SHORT, read=5.0))
            assert answer == (200, b"onetwo")
            assert transport.statistics().open == 0

    trio.run(main)


@pytest.mark.parametrize("size", [60_000, 500_000])
def test_a_request_that_is_taken_bit_by_bit_arrives_whole_and_the_connection_is_used_again(
    size: int, tls: ssl.SSLContext | None, ca_file: str
) -> None:
    bodies: list[bytes] = []

    async def answers(peer: Peer) -> None:
        while (asked := await peer.asked()) is not None:
            bodies.append(asked.body)
            await peer.say(OK)

    async def main() -> None:
        async with loopback(answers, tls=tls, room=LITTLE_ROOM) as server, Transport(ca_file=ca_file) as transport:
            with trio.fail_after(5):
                for _ in range(3):
                    assert await fetch(transport, post(server.url, LARGE[:size], write=5.0, read=5.0)) == (200, b"ok")
            assert transport.statistics().idle == 1

    trio.run(main)
    assert bodies == [LARGE[:size]] * 3


def test_what_is_sent_after_something_was_put_off_goes_behind_it() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        wire, peer = Wire(ours), trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
        wire.puts_off = True
        with trio.fail_after(5):
            await wire.send_all(LARGE)
            wire.puts_off = False
            async with trio.open_nursery() as nursery, peer:
                nursery.start_soon(wire.send_all, b"behind")
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(wire.send_put_off)
                came = b""
                while len(came) < len(LARGE) + len(b"behind"):
                    came += await peer.receive_some(1_000_000)
        assert came == LARGE + b"behind"
        wire.close()

    trio.run(main)


@pytest.mark.parametrize("size", [60_000, len(LARGE)])
def test_a_server_that_takes_nothing_is_a_write_timeout(size: int, tls: ssl.SSLContext | None, ca_file: str) -> None:
    async def script(peer: Peer) -> None:
        if tls is not None:
            await peer.say(b"")  # the handshake
        await trio.sleep_forever()

    async def main() -> None:
        async with loopback(script, tls=tls, room=LITTLE_ROOM) as server, Transport(ca_file=ca_file) as transport:
            with pytest.raises(httpx.WriteTimeout):
                await fetch(transport, post(server.url, LARGE[:size], write=SHORT, read=5.0))
            assert transport.statistics().open == 0

    trio.run(main)


def test_the_read_timeout_starts_when_the_request_was_sent() -> None:
    async def script(peer: Peer) -> None:
        await peer.asked_head()
        await trio.sleep(2 * SHORT)
        await peer.drop(len(LARGE))
        await peer.asked()

    async def main() -> None:
        async with loopback(script) as server, Transport() as transport:
            started = trio.current_time()
            with pytest.raises(httpx.ReadTimeout):
                await fetch(transport, post(server.url, LARGE, write=5.0, read=SHORT))
            assert trio.current_time() - started > 2 * SHORT

    trio.run(main)


def test_a_server_that_hangs_up_during_the_request_is_an_error() -> None:
    async def script(peer: Peer) -> None:
        await peer.asked_head()
        await peer.reset()

    async def main() -> None:
        async with loopback(script) as server, Transport() as transport:
            with pytest.raises((httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError)):
                await fetch(transport, post(server.url, LARGE))
            assert transport.statistics().open == 0

    trio.run(main)
