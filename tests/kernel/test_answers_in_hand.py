"""An answer that came is not lost to a deadline that passes while it is handed over: under load, a loop is late."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import httpx
import pytest
import trio
from trio.testing import MockClock
from worlds import ANSWER, GPT, config, openai_chunks, run

import penstock

TIMEOUT = 5.0


class LateLoop(httpx.AsyncByteStream):
    """A body in memory. At each read the clock moves on by so many seconds without the loop having its turn."""

    def __init__(self, pieces: Sequence[tuple[float, bytes]], after: float) -> None:
        self._pieces = iter(pieces)
        self._after = after

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, MockClock)
        for seconds, piece in self._pieces:
            clock.jump(seconds)
            return piece
        clock.jump(self._after)
        await trio.lowlevel.checkpoint()
        raise StopAsyncIteration


class InMemory(httpx.AsyncBaseTransport):
    def __init__(self, pieces: Sequence[tuple[float, bytes]], after: float = 0.0) -> None:
        self._pieces = pieces
        self._after = after

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        headers = [("content-type", "text/event-stream")]
        return httpx.Response(200, headers=headers, stream=LateLoop(self._pieces, self._after), request=request)


CHUNKS = openai_chunks()
WHOLE = b"".join(CHUNKS)


@pytest.mark.parametrize(
    ("pieces", "after"),
    [
        ([(TIMEOUT + 1.0, WHOLE)], 0.0),
        ([(1.0, b"".join(CHUNKS[:3])), (TIMEOUT, b"".join(CHUNKS[3:]))], 0.0),
        ([(TIMEOUT - 0.05, WHOLE)], 0.1),
        ([(TIMEOUT - 0.05, b"".join(CHUNKS[:-1]))], 0.1),
    ],
    ids=[
        "all after the deadline",
        "its end after the deadline",
        "the deadline passes before the body has ended",
        "the deadline passes before the mark of the end",
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
def test_an_answer_that_came_whole_is_not_lost_to_a_late_loop(
    pieces: Sequence[tuple[float, bytes]],
    after: float,
    streamed: bool,  # noqa: FBT001
) -> None:
    async def main() -> None:
        settings = config(defaults={"upstream_stream": "always"})
        async with penstock.open_kernel(settings, transport=InMemory(pieces, after)) as kernel:
            if streamed:
                async with kernel.stream("hello", model=GPT, timeout=TIMEOUT) as stream:
                    assert "".join([text async for text in stream.text()]) == ANSWER
                    response = stream.response
            else:
                response = await kernel.complete("hello", model=GPT, timeout=TIMEOUT)
            assert response.text == ANSWER
            assert [attempt.outcome for attempt in response.attempts] == ["ok"]

    run(main)
