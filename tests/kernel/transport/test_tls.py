"""TLS: certificates, closes without a goodbye, and records nobody asked for."""

from __future__ import annotations

import socket
import ssl
from functools import partial

import httpx
import pytest
import trio
import trustme
from loopback import OK, SHORT, Loopback, Peer, Script, fetch, forever, loopback, post, saying, server_context

from penstock._transport import Transport
from penstock._transport.dial import Dialer, Origin
from penstock._transport.lookup import Lookup
from penstock._transport.plain import Asked
from penstock._transport.timeouts import Timeouts
from penstock._transport.trust import trust


def over_tls(authority: trustme.CA, ca_file: str, script: Script, exchanges: int = 1) -> tuple[list[bytes], Loopback]:
    async def main() -> tuple[list[bytes], Loopback]:
        context = server_context(authority)
        async with loopback(script, tls=context) as server, Transport(ca_file=ca_file) as transport:
            bodies: list[bytes] = []
            for _ in range(exchanges):
                status, body = await fetch(transport, post(server.url, connect=5.0, read=5.0))
                assert status == 200
                bodies.append(body)
                await trio.sleep(0.01)
            return bodies, server

    return trio.run(main)


def test_a_connection_over_tls_is_used_again(authority: trustme.CA, ca_file: str) -> None:
    bodies, server = over_tls(authority, ca_file, forever, exchanges=5)
    assert bodies == [b"ok"] * 5
    assert server.connections == 1


def test_an_end_without_a_goodbye_is_an_end(authority: trustme.CA, ca_file: str) -> None:
    bodies, _ = over_tls(authority, ca_file, saying(b"HTTP/1.1 200 OK\r\n\r\nuntil the end"))
    assert bodies == [b"until the end"]


@pytest.mark.skipif(not hasattr(socket, "TCP_CORK"), reason="no way here to send two records at once")
def test_a_response_smuggled_into_the_next_record_answers_nobody(authority: trustme.CA, ca_file: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.say_in_records(OK, b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison")
        await peer.asked()

    bodies, server = over_tls(authority, ca_file, script, exchanges=2)
    assert bodies == [b"ok", b"ok"]
    assert server.connections == 2


def test_a_record_that_comes_while_idle_costs_the_connection_and_nothing_else(
    authority: trustme.CA, ca_file: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.say(OK)
        await peer.say(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
        await peer.asked()

    bodies, server = over_tls(authority, ca_file, script, exchanges=2)
    assert bodies == [b"ok", b"ok"]
    assert server.connections == 2


def test_many_small_records_come_whole(authority: trustme.CA, ca_file: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 1500\r\n\r\n")
        for number in range(300):
            await peer.say(b"%05d" % number)
        await peer.asked()

    [body], _ = over_tls(authority, ca_file, script)
    assert body == b"".join(b"%05d" % number for number in range(300))


def test_a_large_record_comes_whole(authority: trustme.CA, ca_file: str) -> None:
    [body], _ = over_tls(
        authority, ca_file, saying(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n" + b"x" * 1_000_000)
    )
    assert body == b"x" * 1_000_000


def failing(url_host: str, context: ssl.SSLContext, transport: Transport) -> httpx.ConnectError:
    async def main() -> httpx.ConnectError:
        async with loopback(forever, tls=context) as server, transport:
            with pytest.raises(httpx.ConnectError) as caught:
                await fetch(transport, post(server.url.replace("localhost", url_host), connect=5.0))
            assert transport.statistics().open == 0
            await server.all_closed()
            return caught.value

    return trio.run(main)


def test_a_certificate_nobody_vouches_for_is_a_connect_error(ca_file: str) -> None:
    stranger = server_context(trustme.CA())
    assert "certificate" in str(failing("localhost", stranger, Transport(ca_file=ca_file)))


def test_a_certificate_for_another_name_is_a_connect_error(authority: trustme.CA, ca_file: str) -> None:
    context = server_context(authority, "example.org")
    assert "certificate" in str(failing("localhost", context, Transport(ca_file=ca_file)))


def test_certificates_of_the_environment_are_trusted_unless_told_not_to(authority: trustme.CA, ca_file: str) -> None:
    environ = {"SSL_CERT_FILE": ca_file}

    async def main() -> None:
        transport = Transport(environ=environ)
        async with loopback(forever, tls=server_context(authority)) as server, transport:
            assert await fetch(transport, post(server.url)) == (200, b"ok")

    trio.run(main)
    failing("localhost", server_context(authority), Transport(environ=environ, trust_env=False))


def test_a_ca_file_that_is_not_there_is_a_connect_error(authority: trustme.CA) -> None:
    context = server_context(authority)
    assert "No such file" in str(failing("localhost", context, Transport(ca_file="/nowhere/ca.pem")))


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_a_server_that_speaks_no_tls_is_a_connect_error(greeting: bytes, ca_file: str) -> None:
    async def script(peer: Peer) -> None:
        if greeting:
            await peer.say(greeting)
            await trio.sleep_forever()

    async def main() -> None:
        async with loopback(script) as server, Transport(ca_file=ca_file) as transport:
            with pytest.raises(httpx.ConnectError):
                await fetch(transport, post(server.url.replace("http:", "https:"), connect=5.0))
            await server.all_closed() if not greeting else None
            assert transport.statistics().open == 0

    trio.run(main)


def test_a_handshake_that_hangs_is_a_connect_timeout(ca_file: str) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with Transport(ca_file=ca_file) as transport:
                with pytest.raises(httpx.ConnectTimeout):
                    await fetch(transport, post(f"https://127.0.0.1:{listener.getsockname()[1]}/", connect=SHORT))
                assert transport.statistics().open == 0

    trio.run(main)


def test_what_the_server_said_before_it_hung_up_is_read_after_sending_has_failed(
    authority: trustme.CA, ca_file: str
) -> None:
    async def script(peer: Peer) -> None:
        assert isinstance(peer.stream, trio.SSLStream)
        await peer.stream.do_handshake()
        await peer.say(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\n")
        await peer.say(b"no")
        await peer.reset()

    async def main() -> None:
        context = server_context(authority)
        dialer = Dialer(Lookup(), partial(trust, ca_file, {}), max_header_bytes=65_536)
        async with loopback(script, tls=context) as server:
            connection = await dialer.dial(Origin.of(httpx.URL(server.url)), 5.0)
            await server.all_closed()
            asked = Asked("POST", b"/", [(b"host", b"127.0.0.1"), (b"content-length", b"2")], b"{}")
            head = await connection.ask(asked, Timeouts(read=5.0))
            assert head.status_code == 401
            assert await connection.body(5.0) == b"no"
            assert connection.ended
            assert not connection.end_exchange()
            connection.close()

    trio.run(main)
