"""An exchange that is given up ends at once, wherever it waits; what has come by then is not lost."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import httpx
import pytest
import trio
import trio.testing
import trustme
from loopback import OK, SHORT, Loopback, Peer, Script, forever, loopback, server_context

from penstock._transport import Asked, GivenUp, Transport
from penstock._transport.connection import Connection
from penstock._transport.dial import Origin
from penstock._transport.timeouts import Timeouts

LARGE = b"x" * 20_000_000


async def silent(peer: Peer) -> None:
    """Reads what is asked, and says nothing."""
    await peer.asked()
    await peer.asked()


async def half(peer: Peer) -> None:
    await peer.asked()
    await peer.say(OK[:-1])
    await peer.asked()


async def takes_nothing(peer: Peer) -> None:
    await peer.asked_head()
    await trio.sleep_forever()


def ask(url: str, body: bytes = b"{}") -> tuple[Origin, Asked]:
    fields = [(b"host", b"any"), (b"content-length", b"%d" % len(body))]
    return Origin.of(httpx.URL(url)), Asked("POST", b"/", fields, body)


async def whole(
    transport: Transport,
    url: str,
    connected: Callable[[Connection], object] | None = None,
    *,
    body: bytes = b"{}",
    until: float = math.inf,
) -> bytes:
    """One exchange to the end of its answer."""
    _, _, stream = await transport.exchange(*ask(url, body), Timeouts(), connected=connected, until=until)
    try:
        return b"".join([data async for data in stream])
    finally:
        await stream.aclose()


@asynccontextmanager
async def bounded(script: Script, transport: Transport, tls: trustme.CA | None = None) -> AsyncGenerator[Loopback]:
    with trio.fail_after(5):
        async with loopback(script, tls=None if tls is None else server_context(tls)) as server, transport:
            yield server


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(("script", "body"), [(silent, b"{}"), (half, b"{}"), (takes_nothing, LARGE)])
def test_it_ends_at_once_wherever_it_waits_and_its_connection_is_closed(
    script: Script, body: bytes, authority: trustme.CA, ca_file: str, *, tls: bool
) -> None:
    async def main() -> None:
        transport = Transport(ca_file=ca_file)
        async with bounded(script, transport, authority if tls else None) as server:
            gives, takes = trio.open_memory_channel[Connection](1)

            async def asked() -> None:
                with pytest.raises(GivenUp):
                    await whole(transport, server.url, gives.send_nowait, body=body)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(asked)
                connection = await takes.receive()
                await trio.testing.wait_all_tasks_blocked(SHORT)
                connection.give_up()
            assert transport.statistics().open == 0
            if script is not takes_nothing:
                await server.all_closed()

    trio.run(main)


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_one_that_is_given_up_before_it_waits_ends_when_it_comes_to_wait(
    authority: trustme.CA, ca_file: str, *, tls: bool
) -> None:
    async def main() -> None:
        transport = Transport(ca_file=ca_file)
        async with bounded(silent, transport, authority if tls else None) as server:
            with pytest.raises(GivenUp):
                await whole(transport, server.url, Connection.give_up)
            assert transport.statistics().open == 0

    trio.run(main)


@attrs.define(eq=False)
class GivesUpOnceItIsThere(trio.abc.Instrument):
    """Once the loop has woken the task for what has come, and before it can read that."""

    task: trio.lowlevel.Task
    connection: Connection | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        connection = self.connection
        if task is self.task and connection is not None:
            self.connection = None
            connection.give_up()

    def goes_over(self, connection: Connection) -> None:
        self.connection = connection


def test_an_answer_that_is_there_in_that_moment_is_read_and_the_connection_is_used_no_more() -> None:
    async def main() -> None:
        transport = Transport()
        async with bounded(forever, transport) as server:
            assert await whole(transport, server.url) == b"ok"
            instrument = GivesUpOnceItIsThere(trio.lowlevel.current_task())
            trio.lowlevel.add_instrument(instrument)
            assert await whole(transport, server.url, instrument.goes_over) == b"ok"
            trio.lowlevel.remove_instrument(instrument)
            assert instrument.connection is None
            assert transport.statistics().open == 0
            assert await whole(transport, server.url) == b"ok"
            assert server.connections == 2

    trio.run(main)


async def no_handshake(peer: Peer) -> None:
    await peer.drop(1_000_000)


async def dialing(transport: Transport, server: Loopback) -> None:
    await whole(transport, server.url.replace("http:", "https:"), until=trio.current_time() + SHORT)


async def waiting_for_a_place(transport: Transport, server: Loopback) -> None:
    _, _, held = await transport.exchange(*ask(server.url), Timeouts())
    try:
        await whole(transport, server.url, until=trio.current_time() + SHORT)
    finally:
        await held.aclose()


@pytest.mark.parametrize(("script", "waits"), [(no_handshake, dialing), (forever, waiting_for_a_place)])
def test_where_no_connection_is_there_in_time_it_is_given_up(
    script: Script, waits: Callable[[Transport, Loopback], Awaitable[None]]
) -> None:
    async def main() -> None:
        transport = Transport(max_connections=1)
        async with bounded(script, transport) as server:
            with pytest.raises(GivenUp):
                await waits(transport, server)
            statistics = transport.statistics()
            assert (statistics.in_use, statistics.waiting) == (0, 0)

    trio.run(main)
