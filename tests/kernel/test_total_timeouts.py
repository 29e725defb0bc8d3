"""The total timeout of a whole answer, over real sockets and the kernel's own transport."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import pytest
import trio
import trio.testing
from loopback import Peer, Script, loopback, open_sockets
from trio.testing import MockClock
from worlds import ANSWER, KEY, openai_body

import penstock
from penstock import errors
from penstock._overdue import Overdue, Term

TOTAL = 0.2
"""Seconds: these tests wait for it, with the real clock."""
BODY = msgspec.json.encode(openai_body())
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)


def then_silence(begin: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.say(begin)
        await peer.asked()

    return script


async def drip(peer: Peer) -> None:
    """Never silent, never done."""
    await peer.asked()
    for byte in WHOLE:
        await peer.say(bytes([byte]))
        await trio.sleep(TOTAL / 10)


async def no_handshake(peer: Peer) -> None:
    await peer.drop(1_000_000)


def settings(url: str, attempts: int = 1) -> penstock.Config:
    return penstock.Config.from_dict(
        {
            "providers": {"live": {"kind": "openai", "api_key": KEY, "base_url": f"{url}/v1"}},
            "routes": {"default": {"cascade": [{"target": "live/gpt-4o", "attempts": attempts}]}},
            "defaults": {"upstream_stream": "never", "timeouts": {"total": TOTAL}},
        },
        environ={},
    )


def live(main: Callable[[], Awaitable[None]]) -> None:
    """Runs `main` with the real clock; afterwards no socket is left."""

    async def bounded() -> None:
        with trio.fail_after(5):
            await main()

    before = open_sockets()
    trio.run(bounded)
    assert open_sockets() <= before


SILENT: dict[str, Script] = {
    "nothing": then_silence(b""),
    "half a head": then_silence(WHOLE[:30]),
    "half a body": then_silence(WHOLE[:-9]),
    "a byte now and then": drip,
    "no handshake": no_handshake,
}


@pytest.mark.parametrize("name", SILENT)
def test_it_ends_an_attempt_in_its_words_wherever_that_is(name: str) -> None:
    async def main() -> None:
        async with loopback(SILENT[name]) as server:
            url = server.url if name != "no handshake" else server.url.replace("http:", "https:")
            async with penstock.open_kernel(settings(url)) as kernel:
                began = trio.current_time()
                with pytest.raises(errors.TotalTimeoutError) as caught:
                    await kernel.complete("hello")
                assert str(caught.value) == f"live/gpt-4o did not answer within {TOTAL} s (total)"
                assert caught.value.__cause__ is None
                assert [attempt.outcome for attempt in caught.value.attempts] == ["total_timeout"]
                assert TOTAL <= trio.current_time() - began < 10 * TOTAL
                await server.all_closed()
                assert (await kernel.snapshot()).in_flight == 0

    live(main)


def test_the_next_attempt_has_its_whole_time_and_others_under_way_do_not_notice() -> None:
    scripts = [then_silence(b"")]

    async def script(peer: Peer) -> None:
        if scripts:
            await scripts.pop()(peer)
            return
        while await peer.asked() is not None:
            await trio.sleep(TOTAL * 0.8)
            await peer.say(WHOLE)

    async def main() -> None:
        outcomes: list[list[str]] = []

        async def ask(kernel: penstock.Kernel) -> None:
            response = await kernel.complete("hello")
            assert response.text == ANSWER
            outcomes.append([attempt.outcome for attempt in response.attempts])

        async with loopback(script) as server, penstock.open_kernel(settings(server.url, attempts=2)) as kernel:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, kernel)
                await trio.sleep(TOTAL / 2)
                nursery.start_soon(ask, kernel)
            assert sorted(outcomes) == [["ok"], ["total_timeout", "ok"]]

    live(main)


def test_a_caller_that_leaves_before_it_closes_the_connection_at_once() -> None:
    async def main() -> None:
        async with loopback(then_silence(b"")) as server, penstock.open_kernel(settings(server.url)) as kernel:
            with trio.move_on_after(TOTAL / 4) as left:
                await kernel.complete("hello")
            assert left.cancelled_caught
            await server.all_closed()

    live(main)


def test_a_body_that_cleans_up_after_a_cancellation_has_it_too() -> None:
    async def main() -> None:
        async with loopback(then_silence(b"")) as server:
            with trio.CancelScope() as outer:
                async with penstock.open_kernel(settings(server.url)) as kernel:
                    outer.cancel()
                    with trio.CancelScope(shield=True), pytest.raises(errors.TotalTimeoutError):
                        await kernel.complete("hello")

    live(main)


class Line:
    """Instead of a connection."""

    def __init__(self, name: str, given_up: list[tuple[str, float]]) -> None:
        self.name, self.given_up = name, given_up

    def give_up(self) -> None:
        self.given_up.append((self.name, trio.current_time()))


def test_each_term_ends_at_its_moment_whatever_their_order_and_one_that_was_left_never() -> None:
    given_up: list[tuple[str, float]] = []
    overdue = Overdue()

    async def run(name: str, at: float, until: float = 100.0) -> None:
        with Term(overdue, at) as term:
            term.goes_over(Line(name, given_up))
            await trio.sleep_until(until)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, "before the watch", 7.0)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(overdue.watch)
            nursery.start_soon(run, "late", 30.0)
            nursery.start_soon(run, "left", 5.0, 4.0)
            nursery.start_soon(run, "early", 3.0)
            await trio.sleep_until(10.0)
            nursery.start_soon(run, "in between", 20.0)
            nursery.start_soon(run, "over when it began", 9.0)
            await trio.sleep_until(200.0)
            overdue.close()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    in_order = [("early", 3.0), ("before the watch", 7.0), ("over when it began", 10.0), ("in between", 20.0)]
    assert given_up == [*in_order, ("late", 30.0)]
