"""Questions to a ledger's server leave at once where the socket has room, and in their order in any case."""

from __future__ import annotations

import pytest
import trio
from anyio import BrokenResourceError, connect_tcp
from redis_stores import opened, patiently
from valkey_process import Valkey

from penstock.errors import LedgerUnavailableError
from penstock_plugins.ledgers.redis import RedisLedger
from penstock_plugins.ledgers.redis_ledger.at_once import AT_ONCE, SocketOnlyStream, Writing
from penstock_plugins.ledgers.redis_ledger.link import Link

SIZES = (10, 8 * AT_ONCE, 20, AT_ONCE - 100, 100 * AT_ONCE, 30, 2 * AT_ONCE, 40)


def link_of(store: RedisLedger) -> Link:
    """What the store asks its server through."""
    return store._link  # pyright: ignore[reportPrivateUsage] - questions of any size are asked by nobody else


def test_each_question_gets_its_own_answer_whatever_was_too_large_for_the_socket(valkey: Valkey) -> None:
    async def main() -> None:
        async with opened(valkey.url, "in-order") as store, trio.open_nursery() as nursery:
            await store.commit(())
            link = link_of(store)
            connection = link._connection  # pyright: ignore[reportPrivateUsage] - whether coredis took what it was given
            assert connection is not None
            assert isinstance(connection._write_buffer_in, Writing), "coredis has changed"  # pyright: ignore[reportPrivateUsage]

            async def echoed(number: int) -> None:
                said = b"%d:" % number + b"x" * SIZES[number % len(SIZES)]
                assert await link.ask(b"ECHO", said) == said

            with trio.fail_after(20):
                for number in range(5 * len(SIZES)):
                    nursery.start_soon(echoed, number)
                    if number % 3 == 0:
                        await trio.lowlevel.checkpoint()

    trio.run(main)


def test_a_server_that_has_stopped_reading_is_waited_for_no_longer_than_any_other(valkey: Valkey) -> None:
    async def main() -> None:
        async with opened(valkey.url, "reads-nothing", timeout=0.5) as store:
            link = link_of(store)
            await store.commit(())
            valkey.say("CLIENT", "PAUSE", "1200", "ALL")
            with trio.fail_after(10):
                async with trio.open_nursery() as nursery:

                    async def refused() -> None:
                        with pytest.raises(LedgerUnavailableError):
                            await link.ask(b"ECHO", b"x" * 1_000_000)

                    for _ in range(20):
                        nursery.start_soon(refused)
            with trio.fail_after(20):
                await patiently(lambda: store.commit(()))

    trio.run(main)


def test_nothing_half_sent_is_ever_followed_by_something_else() -> None:
    async def main() -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener, await connect_tcp("127.0.0.1", listener.socket.getsockname()[1]) as over:
            stream = SocketOnlyStream(over)
            with pytest.raises((BrokenResourceError, BlockingIOError)):
                while True:
                    stream.send_nowait(b"x" * AT_ONCE)
            with pytest.raises(BlockingIOError):
                while True:
                    stream.send_nowait(b"x")

    trio.run(main)
