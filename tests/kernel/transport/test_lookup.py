"""Names and addresses: one lookup per host at a time, shared and kept; several addresses tried side by side."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager

import attrs
import httpx
import pytest
import trio
import trio.testing
from loopback import SHORT, fetch, forever, loopback, open_sockets, post

from penstock._transport import Transport
from penstock._transport.dial import Race
from penstock._transport.lookup import Address, Lookup

HERE = (Address(socket.AF_INET, "127.0.0.1"),)


@attrs.define
class Book:
    """A resolver that answers from a book and keeps a tally. Each answer waits for `open`."""

    answer: Callable[[], tuple[Address, ...]] = lambda: HERE
    open: threading.Event = attrs.field(factory=threading.Event)
    asked: list[str] = attrs.field(factory=list[str])
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = attrs.field(factory=threading.Lock)

    def __call__(self, host: str) -> tuple[Address, ...]:
        with self.lock:
            self.asked.append(host)
            self.at_once += 1
            self.most_at_once = max(self.at_once, self.most_at_once)
        self.open.wait(5)
        with self.lock:
            self.at_once -= 1
        return self.answer()


LINUX = pytest.mark.skipif(
    sys.platform != "linux", reason="needs all of 127.0.0.0/8, and a full backlog that is silent"
)


def refuse() -> tuple[Address, ...]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def opened(answer: Callable[[], tuple[Address, ...]] = lambda: HERE) -> Book:
    book = Book(answer)
    book.open.set()
    return book


def test_many_that_ask_at_once_share_one_lookup_and_its_answer_is_kept() -> None:
    book = Book()

    async def main() -> None:
        lookup = Lookup(book)

        async def ask() -> None:
            assert await lookup.addresses("host") == HERE

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            book.open.set()
        assert await lookup.addresses("host") == HERE

    trio.run(main)
    assert book.asked == ["host"]


def test_an_answer_is_kept_for_five_seconds() -> None:
    book = opened()

    async def main() -> None:
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        lookup = Lookup(book)
        for seconds in (0.0, 4.9, 0.2):
            clock.jump(seconds)
            await lookup.addresses("host")

    trio.run(main, clock=trio.testing.MockClock())
    assert book.asked == ["host", "host"]


def test_a_failed_lookup_fails_all_that_share_it_and_is_not_kept() -> None:
    book = Book(refuse)

    async def main() -> None:
        lookup = Lookup(book)

        async def ask() -> None:
            with pytest.raises(OSError, match="Name or service not known"):
                await lookup.addresses("host")

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            book.open.set()
        await ask()

    trio.run(main)
    assert len(book.asked) == 2


def test_a_lookup_outlives_the_one_who_asked_and_serves_the_next() -> None:
    book = Book()

    async def main() -> None:
        lookup = Lookup(book)
        for _ in range(3):
            with trio.move_on_after(0.01):
                await lookup.addresses("host")
        with trio.fail_after(5):
            book.open.set()
            assert await lookup.addresses("host") == HERE

    trio.run(main)
    assert book.asked == ["host"]


def test_hung_lookups_take_a_bounded_number_of_threads() -> None:
    book = Book()

    async def main() -> None:
        lookup = Lookup(book)
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(lookup.addresses, f"host{number}")
            await trio.testing.wait_all_tasks_blocked()
            book.open.set()

    trio.run(main)
    assert len(book.asked) == 20
    assert book.most_at_once <= 8


def test_one_who_gives_up_in_the_queue_for_a_thread_leaves_the_lookup_to_another() -> None:
    book = Book()

    async def main() -> None:
        lookup = Lookup(book)
        scope = trio.CancelScope()

        async def impatient() -> None:
            with scope:
                await lookup.addresses("wanted")

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(lookup.addresses, f"host{number}")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(impatient)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(lookup.addresses, "wanted")
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
            book.open.set()

    trio.run(main)
    assert book.asked.count("wanted") == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_needs_no_lookup(host: str) -> None:
    book = opened()

    async def main() -> None:
        [address] = await Lookup(book).addresses(host)
        assert address.host == host

    trio.run(main)
    assert book.asked == []


def test_a_resolver_that_breaks_is_an_error_for_those_who_wait() -> None:
    async def main() -> None:
        with pytest.raises(OSError, match="UnicodeError"):
            await Lookup(lambda host: (_ for _ in ()).throw(UnicodeError(host))).addresses("x" * 70)
        with pytest.raises(OSError, match="no address"):
            await Lookup(lambda _host: ()).addresses("host")

    trio.run(main)


def test_an_unknown_name_is_a_connect_error_that_names_it() -> None:
    async def main() -> None:
        async with Transport(resolve=opened(refuse)) as transport:
            with pytest.raises(httpx.ConnectError, match=r"cannot resolve api\.example: Name or service not known"):
                await fetch(transport, post("http://api.example/"))
            assert transport.statistics().open == 0

    trio.run(main)


def test_a_hung_lookup_is_a_connect_timeout() -> None:
    book = Book()

    async def main() -> None:
        async with Transport(resolve=book) as transport:
            with pytest.raises(httpx.ConnectTimeout):
                await fetch(transport, post("http://api.example/", connect=SHORT))
        book.open.set()

    trio.run(main)


@LINUX
@pytest.mark.parametrize(
    "addresses",
    [
        ("127.0.0.1",),
        ("127.0.0.3", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.3"),
        ("::1", "127.0.0.3", "127.0.0.1"),
        ("127.0.0.3", "::1", "127.0.0.1", "127.0.0.1"),
    ],
)
def test_any_address_that_answers_will_do(addresses: tuple[str, ...]) -> None:
    found = tuple(Address(socket.AF_INET6 if ":" in host else socket.AF_INET, host) for host in addresses)

    async def main() -> None:
        async with loopback(forever) as server, Transport(resolve=lambda _host: found) as transport:
            url = server.url.replace("127.0.0.1", "api.example")
            with trio.fail_after(5):
                assert await fetch(transport, post(url)) == (200, b"ok")
            assert transport.statistics().open == 1

    trio.run(main)


@LINUX
def test_when_no_address_answers_it_is_a_connect_error() -> None:
    found = (Address(socket.AF_INET, "127.0.0.3"), Address(socket.AF_INET, "127.0.0.4"))

    async def main() -> None:
        async with loopback(forever) as server:
            url = server.url.replace("127.0.0.1", "api.example")
            async with Transport(resolve=lambda _host: found) as transport:
                with pytest.raises(httpx.ConnectError, match="refused"):
                    await fetch(transport, post(url))
                assert transport.statistics().open == 0

    trio.run(main)


@contextmanager
def black_hole(port: int) -> Generator[None]:
    """Something at 127.0.0.3 that never answers: its backlog is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.3", port))
        listener.listen(0)
        for _ in range(2):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.3", port))
        yield


@LINUX
@pytest.mark.slow
def test_an_address_that_hangs_delays_the_next_one_but_a_little_and_its_socket_is_closed() -> None:
    hole, here = Address(socket.AF_INET, "127.0.0.3"), Address(socket.AF_INET, "127.0.0.1")

    async def main() -> None:
        async with loopback(forever) as server:
            port = httpx.URL(server.url).port or 0
            with black_hole(port):
                before = open_sockets()
                async with Transport(resolve=lambda _host: (hole, here, hole)) as transport:
                    with trio.fail_after(2):
                        assert await fetch(transport, post(f"http://api.example:{port}/")) == (200, b"ok")
                    assert open_sockets() == before + 2  # one connection, both ends here
                await server.all_closed()
                assert open_sockets() == before

    trio.run(main)


@LINUX
@pytest.mark.parametrize("times", [1, 3])
def test_addresses_that_hang_are_a_connect_timeout_and_leave_no_socket(times: int) -> None:
    hole = Address(socket.AF_INET, "127.0.0.3")

    async def main() -> None:
        async with loopback(forever) as server:
            port = httpx.URL(server.url).port or 0
            with black_hole(port):
                before = open_sockets()
                async with Transport(resolve=lambda _host: (hole,) * times) as transport:
                    with pytest.raises(httpx.ConnectTimeout):
                        await fetch(transport, post(f"http://api.example:{port}/", connect=SHORT))
                    assert open_sockets() == before

    trio.run(main)


def test_when_two_addresses_answer_at_once_one_connection_is_closed() -> None:
    async def main() -> None:
        async with loopback(forever) as server:
            before = open_sockets()
            race = Race(httpx.URL(server.url).port or 0)
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(race.run, HERE[0], trio.Event(), nursery.cancel_scope)
            assert race.winner is not None
            race.winner.close()
            while server.connections < 2:
                await trio.lowlevel.checkpoint()
            await server.all_closed()
            assert open_sockets() == before

    trio.run(main)
