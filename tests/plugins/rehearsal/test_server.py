"""The server as a server: connections kept and cut, TLS, and nothing left behind."""

from __future__ import annotations

import gc
import re
import socket
import ssl
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import trio
import trio.testing
import trustme
from rehearsing import Anthropic, OpenAI, client_of, encoded, faulty, listen, raw, talk

from penstock_plugins.rehearsal import RehearsalTransport, Upstream, faults, serve

WIRE = OpenAI()


def open_files() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted in /proc")


def test_it_binds_to_loopback_unless_told_otherwise() -> None:
    async def story() -> None:
        async with serve(Upstream()) as server:
            assert server.host == "127.0.0.1"
            assert server.url == f"http://127.0.0.1:{server.port}"

    trio.run(story)


def test_it_serves_on_ipv6_loopback() -> None:
    async def story() -> None:
        async with serve(Upstream(), host="::1") as server, httpx.AsyncClient(base_url=server.url) as client:
            assert (await listen(client, WIRE, WIRE.body())).status == 200

    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    trio.run(story)


def test_a_taken_port_is_told_at_once() -> None:
    async def story() -> None:
        async with serve(Upstream()) as server:
            with pytest.raises(OSError, match=r"[Aa]ddress"):
                async with serve(Upstream(), port=server.port):
                    pass

    trio.run(story)


def test_a_connection_is_kept_for_one_request_after_the_other() -> None:
    async def story() -> None:
        upstream = Upstream()
        async with (
            serve(upstream) as server,
            httpx.AsyncClient(base_url=server.url, trust_env=False) as client,
        ):
            for number in range(5):
                stream = number % 2 == 1
                assert (await listen(client, WIRE, WIRE.body(f"{number}", stream=stream))).status == 200
            assert (await listen(client, Anthropic(), {})).status == 400
            assert server.connections_accepted == 1
            assert server.connections_open == 1

    trio.run(story)


def test_a_connection_is_not_kept_where_the_client_does_not_want_it() -> None:
    async def story() -> None:
        async with serve(Upstream()) as server:
            heard = await talk(server.port, raw(headers="connection: close\r\n"))
            assert heard.startswith(b"HTTP/1.1 400 ")

    trio.run(story)


def test_requests_sent_ahead_are_answered_in_order() -> None:
    async def story() -> None:
        async with serve(Upstream()) as server:
            heard = await talk(server.port, raw() + raw(path="/nowhere") + raw(headers="connection: close\r\n"))
            assert re.findall(rb"HTTP/1.1 (\d+)", heard) == [b"400", b"404", b"400"]

    trio.run(story)


def test_a_body_that_waits_to_be_asked_for_is_asked_for() -> None:
    async def story() -> None:
        async with serve(Upstream()) as server:
            head = raw(b"", headers="expect: 100-continue\r\nconnection: close\r\n").replace(
                b"content-length: 0", b"content-length: 2"
            )
            async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
                await stream.send_all(head)
                with trio.fail_after(5):
                    assert (await stream.receive_some(1000)).startswith(b"HTTP/1.1 100 ")
                    await stream.send_all(b"{}")
                    assert (await stream.receive_some(1000)).startswith(b"HTTP/1.1 400 ")

    trio.run(story)


def test_tls_is_spoken_with_a_context() -> None:
    authority = trustme.CA()
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)  # pyright: ignore[reportUnknownMemberType] # names PyOpenSSL
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)  # pyright: ignore[reportUnknownMemberType] # names PyOpenSSL

    async def story() -> None:
        upstream = faulty(faults.CutStream(), first=2, last=2)
        async with (
            serve(upstream, ssl_context=server_side) as server,
            httpx.AsyncClient(base_url=server.url, verify=client_side, trust_env=False) as client,
        ):
            assert server.url.startswith("https://")
            assert (await listen(client, WIRE, WIRE.body("a"))).status == 200
            cut = await listen(client, WIRE, WIRE.body("b", stream=True))
            assert isinstance(cut.error, httpx.TransportError)
            assert (await listen(client, WIRE, WIRE.body("c", stream=True))).status == 200
            # One who speaks no TLS is no bug of the server.
            with suppress(trio.BrokenResourceError):
                await talk(server.port, raw())
            assert server.failures == []

    trio.run(story)


@pytest.mark.slow
@needs_proc
def test_leaving_the_block_cuts_what_hangs_and_leaves_nothing_open() -> None:
    async def story() -> None:
        before = open_files()
        upstream = faulty(faults.SilentBeforeHead())
        async with serve(upstream) as server:
            streams = [await trio.open_tcp_stream("127.0.0.1", server.port) for _ in range(5)]
            for stream in streams:
                await stream.send_all(raw(encoded(WIRE.body())))
            while upstream.statistics().in_flight < 5:  # noqa: ASYNC110 - the server tells no one when it starts to hang
                await trio.sleep(0.005)
        assert upstream.statistics().in_flight == 0
        for stream in streams:
            with trio.fail_after(5), pytest.raises(trio.BrokenResourceError):
                await stream.receive_some(1)
            await stream.aclose()
        assert server.connections_open == 0
        assert open_files() == before

    trio.run(story)


def test_a_hang_ends_when_its_client_leaves() -> None:
    async def story() -> None:
        upstream = faulty(faults.Stall())
        async with serve(upstream) as server:
            await talk(server.port, raw(encoded(WIRE.body(stream=True))), enough=b'"content":" ')
            with trio.fail_after(5):
                while server.connections_open:  # noqa: ASYNC110 - the server tells no one when a client is gone
                    await trio.sleep(0.005)
            assert upstream.statistics().in_flight == 0

    trio.run(story)


def test_the_exception_of_a_block_comes_out_as_it_is() -> None:
    mine = KeyError("mine")

    async def story() -> None:
        async with serve(Upstream()):
            raise mine

    with pytest.raises(KeyError) as caught:
        trio.run(story)
    assert caught.value is mine


def test_a_cancelled_block_is_left_quietly() -> None:
    async def story() -> None:
        with trio.move_on_after(0.02) as scope:
            async with serve(faulty(faults.SilentBeforeHead())) as server:
                await talk(server.port, raw(encoded(WIRE.body())))
        assert scope.cancelled_caught

    trio.run(story)


def test_a_server_that_is_gone_comes_back_on_its_port() -> None:
    async def story() -> None:
        upstream = Upstream()
        async with serve(upstream) as server, httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
            assert (await listen(client, WIRE, WIRE.body())).status == 200
            server.refuse()
            server.refuse()
            # The first may still find the connection it had, and lose it.
            errors = [(await listen(client, WIRE, WIRE.body())).error for _ in range(3)]
            assert [isinstance(error, httpx.TransportError) for error in errors] == [True] * 3
            assert isinstance(errors[-1], httpx.ConnectError)
            server.accept()
            server.accept()
            assert (await listen(client, WIRE, WIRE.body())).status == 200
        assert upstream.statistics().served().requests == 2

    trio.run(story)


def test_one_upstream_keeps_its_books_behind_several_fronts() -> None:
    upstream = Upstream()

    async def story() -> None:
        async with serve(upstream) as one, serve(upstream) as other:
            for front in (one, other):
                async with httpx.AsyncClient(base_url=front.url, trust_env=False) as client:
                    await listen(client, WIRE, WIRE.body())
        async with client_of("transport", upstream) as client:
            await listen(client, WIRE, WIRE.body())

    trio.run(story)
    assert upstream.statistics().served().requests == 3


def test_a_closed_transport_takes_no_more_requests() -> None:
    async def story() -> None:
        transport = RehearsalTransport(Upstream())
        async with transport:
            pass
        with pytest.raises(RuntimeError, match="closed"):
            await transport.handle_async_request(httpx.Request("POST", "http://x"))

    trio.run(story)


def test_cancelling_anywhere_in_memory_leaves_nothing_open() -> None:
    """A cancel at each moment of an exchange that takes ten seconds."""

    async def story(after: float) -> None:
        upstream = faulty(faults.Trickle(bytes_per_s=500))
        async with client_of("transport", upstream) as client:
            await listen(client, WIRE, WIRE.body("[[words 3]]", stream=True), give_up_s=after)

    for tenths in range(0, 100, 7):
        trio.run(story, tenths / 10, clock=trio.testing.MockClock(autojump_threshold=0))
