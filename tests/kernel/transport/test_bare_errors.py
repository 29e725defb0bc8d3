"""Where a call needs tasks of its own, what comes out of them is one exception, as it is: no group of ours."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

import httpx
import msgspec
import pytest
import trio
import trustme
from loopback import LITTLE_ROOM, Peer, forever, loopback, open_sockets, post, server_context
from trio.testing import wait_all_tasks_blocked
from worlds import config

import penstock
from penstock._transport import Transport
from penstock._transport.dial import Race
from penstock._transport.lookup import Address
from penstock._ungrouped import ungrouped

LIMIT = 5.0
"""Seconds of real time within which every test must be over."""


class City(msgspec.Struct):
    name: str


async def completes(kernel: penstock.Kernel, prompt: str) -> None:
    await kernel.complete(prompt)


async def extracts(kernel: penstock.Kernel, prompt: str) -> None:
    await kernel.extract(City, prompt)


async def streams(kernel: penstock.Kernel, prompt: str) -> None:
    async with kernel.stream(prompt) as stream:
        async for _ in stream:
            pass


async def takes_nothing(peer: Peer) -> None:
    await peer.say(b"")  # over TLS the handshake
    await trio.sleep_forever()


async def cancelled_at_rest(ask: Callable[[], Awaitable[object]]) -> type[BaseException] | None:
    """What it ends in where it is cancelled as soon as nothing happens any more."""
    came: type[BaseException] | None = None
    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                nursery.start_soon(once_at_rest, scope.cancel)
                try:
                    await ask()
                except BaseException as error:
                    came = type(error)
                    raise
            assert scope.cancelled_caught
    return came


async def interrupted_at_rest(ask: Callable[[], Awaitable[object]]) -> type[BaseException] | None:
    """The same of Ctrl-C."""
    came: type[BaseException] | None = None
    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(once_at_rest, press)
            try:
                await ask()
            except BaseException as error:  # noqa: BLE001 - it is what is asked for
                came = type(error)
    return came


def press() -> None:
    signal.raise_signal(signal.SIGINT)


@trio.lowlevel.enable_ki_protection  # the signal is to find the main task
async def once_at_rest(act: Callable[[], object]) -> None:
    await wait_all_tasks_blocked(0.05)
    act()


ends = pytest.mark.parametrize(
    ("ended", "bare"), [(cancelled_at_rest, trio.Cancelled), (interrupted_at_rest, KeyboardInterrupt)]
)
Ended = Callable[[Callable[[], Awaitable[object]]], Awaitable[type[BaseException] | None]]


@ends
@pytest.mark.parametrize("size", [10, 60_000, 200_000])
@pytest.mark.parametrize("ask", [completes, extracts, streams])
def test_a_call_that_is_ended_while_its_request_is_sent_ends_bare(
    ask: Callable[[penstock.Kernel, str], Awaitable[None]], size: int, ended: Ended, bare: type[BaseException]
) -> None:
    async def main() -> None:
        async with loopback(takes_nothing, room=LITTLE_ROOM) as server:
            provider = {"api_key": "sk-of-nobody", "base_url": server.url}
            settings = config(
                providers={"openai": provider}, routes={"default": {"cascade": [{"target": "openai/gpt-4o"}]}}
            )
            async with penstock.open_kernel(settings) as kernel:
                assert await ended(lambda: ask(kernel, "x" * size)) is bare
                assert (await kernel.snapshot()).in_flight == 0

    trio.run(main)


@ends
@pytest.mark.parametrize("size", [60_000, 200_000])
def test_an_exchange_over_tls_that_is_ended_while_its_request_is_sent_ends_bare(
    size: int, ended: Ended, bare: type[BaseException], authority: trustme.CA, ca_file: str
) -> None:
    async def main() -> None:
        async with loopback(takes_nothing, tls=server_context(authority), room=LITTLE_ROOM) as server:
            async with Transport(ca_file=ca_file) as transport:
                assert await ended(lambda: transport.handle_async_request(post(server.url, b"x" * size))) is bare
                assert transport.statistics().open == 0

    trio.run(main)


class GroupsIt(httpx.AsyncBaseTransport):
    """Foreign code with a nursery of its own, as httpx's own is while it connects."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        del request
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(trio.sleep_forever)
        raise AssertionError("never reached")


@ends
@pytest.mark.parametrize("ask", [completes, extracts, streams])
def test_a_call_that_is_ended_in_a_nursery_of_its_transport_ends_bare(
    ask: Callable[[penstock.Kernel, str], Awaitable[None]], ended: Ended, bare: type[BaseException]
) -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=GroupsIt()) as kernel:
            assert await ended(lambda: ask(kernel, "hello")) is bare

    trio.run(main)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a full backlog that is silent")
@ends
def test_a_connection_to_one_of_several_addresses_that_is_ended_ends_bare(
    ended: Ended, bare: type[BaseException]
) -> None:
    hole = Address(socket.AF_INET, "127.0.0.3")

    async def main() -> None:
        with socket.socket() as listener, socket.socket() as one, socket.socket() as other:
            listener.bind((hole.host, 0))
            listener.listen(0)
            for filler in (one, other):
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            before = open_sockets()
            url = f"http://api.example:{listener.getsockname()[1]}/"
            async with Transport(resolve=lambda _host: (hole,) * 3) as transport:
                assert await ended(lambda: transport.handle_async_request(post(url))) is bare
                assert open_sockets() == before

    trio.run(main)


class Press:
    """Presses Ctrl-C at one line of `Race.run`."""

    def __init__(self, line: int) -> None:
        self.left = line

    def called(self, frame: FrameType, _event: str, _: object) -> Any:
        return self.came_to if frame.f_code is Race.run.__code__ else None

    def came_to(self, _frame: FrameType, event: str, _: object) -> Any:
        if event == "line":
            self.left -= 1
            if not self.left:
                press()
        return self.came_to


def test_ctrl_c_at_any_line_of_a_race_for_a_connection_comes_bare_and_leaves_no_socket() -> None:
    here = Address(socket.AF_INET, "127.0.0.1")

    async def main(line: int) -> bool:
        """Whether there was such a line."""
        pressed = Press(line)
        async with loopback(forever) as server:
            before, tracing = open_sockets(), sys.gettrace()
            url = server.url.replace("127.0.0.1", "api.example")
            async with Transport(resolve=lambda _host: (here,) * 2) as transport:
                sys.settrace(pressed.called)
                try:
                    response = await transport.handle_async_request(post(url))
                    await response.aclose()
                    await trio.lowlevel.checkpoint()  # where it came too late to end the race
                except KeyboardInterrupt:
                    assert pressed.left <= 0
                else:
                    assert pressed.left > 0
                finally:
                    sys.settrace(tracing)
            with trio.fail_after(LIMIT):
                await server.all_closed()
            assert open_sockets() == before
        return pressed.left <= 0

    line = 1
    while trio.run(main, line):
        line += 1
    assert line > 3


async def broken(error: BaseException) -> None:
    try:
        raise OSError("what it comes of")
    except OSError as cause:
        raise error from cause


@pytest.mark.parametrize("gravest", [RuntimeError("mine"), KeyboardInterrupt("mine")])
def test_the_gravest_comes_out_as_it_is_with_its_own_cause(gravest: BaseException) -> None:
    async def main() -> None:
        with pytest.raises(type(gravest)) as caught, ungrouped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(broken, gravest)
                if isinstance(gravest, KeyboardInterrupt):
                    nursery.start_soon(broken, ValueError())
                nursery.start_soon(trio.sleep_forever)
        assert caught.value is gravest
        assert isinstance(gravest.__cause__, OSError)
        assert gravest.__context__ is gravest.__cause__

    trio.run(main)
