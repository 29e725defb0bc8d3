"""A whole answer that came with its head is taken at once; whatever did not is read as ever."""

from __future__ import annotations

import httpx
import pytest
import trio
from loopback import OK, Peer, chunked, loopback

from penstock._transport import Transport
from penstock._transport.body import Body
from penstock._transport.dial import Origin
from penstock._transport.plain import Asked
from penstock._transport.timeouts import Timeouts

PLENTY = 1_000


async def taken(answer: bytes, most: int = PLENTY) -> tuple[bytes | None, bytes, int]:
    """What is taken at once of the answer's body, what is read after that, and how many connections are left idle."""
    more = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.say(answer)
        await more.wait()
        await peer.say(b"later")
        await peer.asked()

    async with loopback(script) as server, Transport() as transport:
        asked = Asked("POST", b"/", [(b"host", b"127.0.0.1"), (b"content-length", b"2")], b"{}")
        origin = Origin.of(httpx.URL(server.url))
        _, _, body = await transport.exchange(origin, asked, Timeouts(read=5.0))
        assert isinstance(body, Body)
        rest = body.rest(most)
        more.set()
        read = b"".join([piece async for piece in body])
        assert body.rest(most) is None, "there is nothing left to take"
        return rest, read, transport.statistics().idle


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (OK, (b"ok", b"", 1)),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", (b"", b"", 1)),
        (OK + b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\npoison!", (b"ok", b"", 0)),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello", (None, b"hellolater", 1)),
        (chunked(b"ok"), (None, b"ok", 1)),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", (None, b"ok", 0)),
    ],
    ids=["whole", "empty", "more-than-asked", "in-part", "chunked", "for-h11-to-judge"],
)
def test_what_is_taken_at_once_is_whole_and_the_connection_is_as_good_as_after_reading(
    answer: bytes, expected: tuple[bytes | None, bytes, int]
) -> None:
    assert trio.run(taken, answer) == expected


def test_more_than_may_be_taken_at_once_is_left_to_be_read() -> None:
    assert trio.run(taken, OK, 1) == (None, b"ok", 1)
