"""Whole chunks beside h11 against h11 alone: the same body, the same end, the same mistakes, however it is split."""

from __future__ import annotations

from itertools import pairwise

import h11
from hypothesis import example, given
from hypothesis import strategies as st

from penstock._transport.whole_chunks import WholeChunks

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
LAST = (
    b"0\r\n\r\n",
    b"0\r\nserver-timing: x\r\n\r\n",
    b"00;a=b\r\n\r\n",
    b"",
    b"0\r\n",
    b"0\r\n\r\nHTTP/1.1 200 OK\r\n",
)
ODD = (
    b"5;x=y\r\nhello\r\n",
    b"5 \r\nhello\r\n",
    b"zz\r\n",
    b"5\r\nhelloxx",
    b"\r\n",
    b"-1\r\n",
    b"0x5\r\nhello\r\n",
    b"5\n",
)


def chunk(data: bytes, *, upper: bool = False, zeros: int = 0) -> bytes:
    """One HTTP chunk, its size in a form that servers use."""
    size = b"%X" % len(data) if upper else b"%x" % len(data)
    return b"0" * zeros + size + b"\r\n" + data + b"\r\n"


chunks = st.builds(chunk, st.binary(min_size=1, max_size=40), upper=st.booleans(), zeros=st.integers(0, 3))


def joined(parts: list[bytes], last: bytes) -> bytes:
    return b"".join(parts) + last


bodies = st.builds(
    joined, st.lists(st.one_of(chunks, chunks, chunks, st.sampled_from(ODD)), max_size=8), st.sampled_from(LAST)
)


def pieces(body: bytes, cuts: list[int]) -> list[bytes]:
    """The body, cut there."""
    at = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    return [body[start:end] for start, end in pairwise(at)]


class Reader:
    """h11, and what it read."""

    def __init__(self) -> None:
        self.http = h11.Connection(h11.CLIENT)
        self.http.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
        self.http.send(h11.EndOfMessage())
        self.body = b""
        self.outcome = "unfinished"

    def read(self) -> None:
        while self.outcome == "unfinished":
            try:
                event = self.http.next_event()
            except h11.RemoteProtocolError:
                self.outcome = "broken"
                return
            if isinstance(event, h11.Data):
                self.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.outcome = "ended"
            elif not isinstance(event, h11.Response):
                return

    def give(self, data: bytes) -> None:
        if self.outcome == "unfinished":
            self.http.receive_data(data)
            self.read()


def by_h11_alone(first: bytes, reads: list[bytes]) -> Reader:
    reader = Reader()
    for data in (HEAD + first, *reads):
        if data:
            reader.give(data)
    reader.give(b"")
    return reader


def by_both(first: bytes, reads: list[bytes]) -> Reader:
    reader = Reader()
    reader.give(HEAD + first)
    whole = WholeChunks(first)
    for data in (*filter(None, reads), b""):
        before, taken, after = whole.take(data)
        if before:
            reader.give(before)
        if reader.outcome == "unfinished":
            reader.body += b"".join(taken)
        if after:
            reader.give(after)
    reader.give(b"")
    return reader


@given(bodies, st.lists(st.integers(0, 400), max_size=12))
@example(chunk(b"one") + chunk(b"two") + LAST[0], [0, 1, 9])
@example(chunk(b"one") + b"5\r\nhelloxx" + LAST[0], [0])
def test_the_body_its_end_and_its_mistakes_are_those_that_h11_alone_reads(body: bytes, cuts: list[int]) -> None:
    first, *reads = pieces(body, cuts)
    alone, both = by_h11_alone(first, reads), by_both(first, reads)
    assert (both.body, both.outcome) == (alone.body, alone.outcome)
    if alone.outcome == "ended":
        assert both.http.trailing_data == alone.http.trailing_data


def test_a_body_of_whole_chunks_is_read_alike_where_it_is_split_at_any_byte() -> None:
    body = b"".join(chunk(b"data: %d\n\n" % number) for number in range(3)) + LAST[1]
    for cut in range(len(body) + 1):
        for begin in (0, cut):
            reader = by_both(body[:begin], [body[begin:cut], body[cut:]])
            assert (reader.body, reader.outcome) == (b"data: 0\n\ndata: 1\n\ndata: 2\n\n", "ended")


def test_h11_sees_nothing_of_chunks_that_come_whole() -> None:
    whole = WholeChunks(b"")
    assert whole.take(chunk(b"one") + chunk(b"two")) == (b"", [b"one", b"two"], b"")


def test_half_a_size_line_is_kept_for_the_next_read() -> None:
    whole = WholeChunks(chunk(b"one"))
    assert whole.take(chunk(b"two") + b"3\r") == (b"", [b"two"], b"")
    assert whole.take(b"\nsix\r\n") == (b"", [b"six"], b"")


def test_a_line_that_is_no_size_is_left_to_h11_at_once() -> None:
    assert WholeChunks(b"").take(b"zz\r\n") == (b"", [], b"zz\r\n")
