"""Exchanges whose plain parts go past h11 against h11 alone: the same heads, bodies, mistakes and ends."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import attrs
import h11
import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock._transport.conversation import MAX_INFORMATIONAL, Conversation
from penstock._transport.failures import sentence
from penstock._transport.plain import Asked, plain_head

LIMIT = 400
"""Bytes of a head: small, so that heads of the tests can be too long."""
FIELDS = [(b"host", b"localhost"), (b"content-length", b"5")]
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@attrs.define
class Outcome:
    """What came of one exchange."""

    head: tuple[int, bytes, list[tuple[bytes, bytes]], bytes] | None = None
    body: bytes = b""
    error: str | None = None
    ended: bool = False
    is_usable_again: bool = False


class Alone:
    """The reference: nothing but h11, asked as its documentation says."""

    def __init__(self, method: str) -> None:
        self.http = h11.Connection(h11.CLIENT, LIMIT)
        self.http.send(h11.Request(method=method, target="/", headers=FIELDS))
        self.http.send(h11.Data(data=b"hello"))
        self.http.send(h11.EndOfMessage())
        self.outcome = Outcome()
        self.informational = 0

    def give(self, data: bytes) -> None:
        """One read. After the end or a mistake nothing is given."""
        self.http.receive_data(data)
        try:
            while not self.outcome.ended and (event := self.http.next_event()) is not h11.NEED_DATA:
                self.note(event)
        except h11.RemoteProtocolError as error:
            self.outcome.error = sentence(error)
        except httpx.RemoteProtocolError as error:
            self.outcome.error = str(error)

    def note(self, event: object) -> None:
        outcome = self.outcome
        match event:
            case h11.Response():
                outcome.head = event.status_code, event.reason, event.headers.raw_items(), event.http_version
            case h11.InformationalResponse():
                self.informational += 1
                if self.informational > MAX_INFORMATIONAL:
                    raise httpx.RemoteProtocolError(f"more than {MAX_INFORMATIONAL} informational responses")
            case h11.Data():
                outcome.body += event.data
            case h11.EndOfMessage():
                outcome.ended = True
                done = self.http.our_state is h11.DONE and self.http.their_state is h11.DONE
                outcome.is_usable_again = done and self.http.trailing_data == (b"", False)
            case _:
                raise httpx.RemoteProtocolError("the server changed the protocol, which nobody had asked for")


def by_h11_alone(reads: list[bytes], method: str = "POST") -> Outcome:
    alone = Alone(method)
    for data in reads:
        if not alone.outcome.ended and alone.outcome.error is None:
            alone.give(data)
    return alone.outcome


def by_the_conversation(reads: list[bytes], method: str = "POST", conversation: Conversation | None = None) -> Outcome:
    """As `Connection` does: a read whenever what is here does not suffice."""
    conversation = Conversation(max_header_bytes=LIMIT) if conversation is None else conversation
    conversation.ask(Asked(method, b"/", FIELDS, b"hello"))
    outcome, left = Outcome(), iter(reads)
    try:
        while outcome.head is None:
            if (data := next(left, None)) is None:
                return outcome
            conversation.receive(data)
            if (head := conversation.head()) is not None:
                outcome.head = head.status_code, head.reason, list(head.headers), head.http_version
        while not conversation.ended:
            outcome.body += (piece := conversation.body())
            if piece or conversation.ended:
                continue
            if (data := next(left, None)) is None:
                return outcome
            conversation.receive(data)
    except httpx.RemoteProtocolError as error:
        outcome.error = str(error)
        return outcome
    outcome.ended = True
    outcome.is_usable_again = conversation.end()
    return outcome


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    at = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(at) if start < end]


LINES = (
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 404 Not Found\r\n",
    b"HTTP/1.1 503\r\n",
    b"HTTP/1.1 200 \r\n",
    b"HTTP/1.1 429 zu viel\xe9\r\n",
)
ODD_LINES = (
    b"HTTP/1.0 200 OK\r\n",
    b"HTTP/2.0 200 OK\r\n",
    b"HTTP/1.1 204 No Content\r\n",
    b"HTTP/1.1 304 Not Modified\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 9,
    b"HTTP/1.1 101 Switching Protocols\r\n",
    b"HTTP/1.1 200 OK\n",
    b"HTTP/1.1 200OK\r\n",
    b"HTTP/1.1  200 OK\r\n",
    b"http/1.1 200 OK\r\n",
    b"HTTP/1.1 20\r\n",
    b"HTTP/1.1 2000 OK\r\n",
    b"HTTP/1.1 600 Odd\r\n",
    b"HTTP/1.1 099 Odd\r\n",
    b"HTTP/1.1 200 O\x00K\r\n",
    b"HTTP/1.1 200 O\rK\r\n",
    b"HTTP/1.1 \xb2\xb0\xb0 OK\r\n",
    b"\r\nHTTP/1.1 200 OK\r\n",
    b"SSH-2.0-x\r\n",
    b"",
)
FRAMINGS = (
    b"content-length: 5\r\n",
    b"Content-Length:5\r\n",
    b"content-length: 5 \t\r\n",
    b"content-length: 0\r\n",
    b"content-length: 9\r\n",
    b"transfer-encoding: chunked\r\n",
    b"Transfer-Encoding: chunked \r\n",
)
ODD_FRAMINGS = (
    b"",
    b"content-length: 5\r\ncontent-length: 5\r\n",
    b"content-length: 5\r\nContent-Length: 6\r\n",
    b"content-length: 5, 5\r\n",
    b"content-length: 5,6\r\n",
    b"content-length: +5\r\n",
    b"content-length: -5\r\n",
    b"content-length: 5 5\r\n",
    b"content-length: 005\r\n",
    b"content-length: 00\r\n",
    b"content-length: 0x5\r\n",
    b"content-length: 5_0\r\n",
    b"content-length: \xb2\r\n",
    b"content-length: \xd9\xa5\r\n",
    b"content-length:\r\n",
    b"content-length: 5\x0b\r\n",
    b"content-length: 100000000000000000000000\r\n",
    b"content-length : 5\r\n",
    b" content-length: 5\r\n",
    b"content-length: 5\n",
    b"content-length: 5\r\n\ttail\r\n",
    b"content-length:\r\n 5\r\n",
    b"content-length: 5\r\ntransfer-encoding: chunked\r\n",
    b"transfer-encoding: chunked\r\ncontent-length: 5\r\n",
    b"transfer-encoding: Chunked\r\n",
    b"transfer-encoding: CHUNKED\r\n",
    b"transfer-encoding: gzip, chunked\r\n",
    b"transfer-encoding: chunked, chunked\r\n",
    b"transfer-encoding: identity\r\n",
    b"transfer-encoding: xchunked\r\n",
    b"transfer-encoding: \r\n",
    b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
    b"transfer-encoding : chunked\r\n",
    b"transfer-encoding:\x0bchunked\r\n",
    b"transfer_encoding: chunked\r\n",
)
OTHERS = (
    b"content-type: application/json\r\n",
    b"X-Request-Id: 1\r\n",
    b"Connection: keep-alive\r\n",
    b"connection: Keep-Alive\r\n",
    b"server:\r\n",
    b"x: \xe9 y\tz\r\n",
    b"x:a:b\r\n",
)
ODD_OTHERS = (
    b"connection: close\r\n",
    b"Connection: keep-alive, Close\r\n",
    b"connection: upgrade\r\n",
    b"upgrade: h2c\r\n",
    b"x: a\x00b\r\n",
    b"x: a\rb\r\n",
    b"x: a\x0bb\r\n",
    b"x: a\x01b\x7f\r\n",
    b"x: a\r\n b\r\n",
    b"x: a\n",
    b"x: a\r\r\n",
    b": a\r\n",
    b"x y: a\r\n",
    b"x\xe9: a\r\n",
    b"no colon\r\n",
    b"\n",
    b"x: " + b"a" * LIMIT + b"\r\n",
)
BODIES = (
    b"hello",
    b"",
    b"hell",
    b"hello!",
    b"hello" + PLAIN,
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n0\r\nx: y\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\r\n" + PLAIN,
    b"5\r\nhello\r\n0\r\n\r\n0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"5\r\nhelloxx0\r\n\r\n",
    b"5;a=b\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n00\r\n\r\n",
    b"zz\r\n",
)


def mostly(usual: tuple[bytes, ...], odd: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    return st.one_of(*[st.sampled_from(usual)] * 4, st.sampled_from(odd))


def response(start: tuple[bytes, list[bytes]], framing: bytes, after: list[bytes], end: bytes, body: bytes) -> bytes:
    line, before = start
    return line + b"".join(before) + framing + b"".join(after) + end + body


others = st.lists(mostly(OTHERS, ODD_OTHERS), max_size=2)
responses = st.builds(
    response,
    st.tuples(mostly(LINES, ODD_LINES), others),
    mostly(FRAMINGS, ODD_FRAMINGS),
    others,
    mostly((b"\r\n",), (b"\n", b"", b"\r", b" \r\n\r\n")),
    st.sampled_from(BODIES),
)


def mutated(data: bytes, at: int, byte: int, how: str) -> bytes:
    at %= len(data) + 1
    return data[:at] + (b"" if how == "lost" else bytes([byte])) + data[at + (how != "added") :]


BYTES = st.one_of(st.sampled_from(list(b"\x00\r\n\t :,\x0b\x7f\xff+05aZ")), st.integers(0, 255))
mutants = st.builds(mutated, responses, st.integers(0, 500), BYTES, st.sampled_from(["lost", "added", "changed"]))
odd_heads = [
    line + before + framing + b"\r\n" + body
    for body in (b"hello", b"5\r\nhello\r\n0\r\n\r\n")
    for line, before, framing in [
        *((line, b"", FRAMINGS[0]) for line in ODD_LINES),
        *((LINES[0], b"", framing) for framing in ODD_FRAMINGS),
        *((LINES[0], before, FRAMINGS[0]) for before in ODD_OTHERS),
    ]
]


def outcomes(reads: list[bytes], method: str = "POST") -> Iterator[tuple[Outcome, Outcome]]:
    """With the connection kept open after it, and with its end."""
    for last in ([], [b""]):
        yield by_the_conversation(reads + last, method), by_h11_alone(reads + last, method)


@given(
    st.one_of(responses, mutants), st.lists(st.integers(0, 500), max_size=3), st.sampled_from(["POST", "GET", "HEAD"])
)
@example(PLAIN + PLAIN, [], "POST")
@example(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n" + PLAIN, [], "POST")
@example(PLAIN, [], "HEAD")
def test_an_exchange_ends_as_with_h11_alone(data: bytes, cuts: list[int], method: str) -> None:
    for ours, alone in outcomes(split(data, cuts), method):
        assert ours == alone


@pytest.mark.parametrize("data", odd_heads)
def test_an_odd_response_is_what_h11_says_it_is_wherever_it_is_split(data: bytes) -> None:
    for cut in range(len(data)):
        for ours, alone in outcomes(split(data, [cut])):
            assert ours == alone


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_plain_head_with_any_body_is_read_alike_wherever_it_is_split(framing: bytes, body: bytes) -> None:
    data = LINES[0] + OTHERS[1] + framing + b"\r\n" + body
    for cut in range(len(data)):
        for ours, alone in outcomes(split(data, [cut])):
            assert ours == alone
    for ours, alone in outcomes([bytes([byte]) for byte in data]):
        assert ours == alone


@given(st.one_of(responses, mutants))
def test_a_head_is_plain_only_where_h11_reads_the_same_one(data: bytes) -> None:
    if (plain := plain_head(data, LIMIT)) is None:
        return
    head, length, begin = plain
    alone = by_h11_alone([data])
    assert (head.status_code, head.reason, list(head.headers), head.http_version) == alone.head
    names = [name.lower() for name, _ in head.headers]
    assert names.count(b"content-length") + names.count(b"transfer-encoding") == 1
    assert (length >= 0) == (b"content-length" in names)
    assert data[:begin].endswith(b"\r\n\r\n")


def test_exchanges_follow_one_another_with_h11_and_without() -> None:
    conversation = Conversation(max_header_bytes=LIMIT)
    odd = b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN
    in_chunks = CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"
    in_a_cut_chunk = [CHUNKED + b"5\r\nhe", b"llo\r\n0\r\n", b"\r\n"]
    for reads in ([PLAIN], [odd], [PLAIN], [in_chunks], in_a_cut_chunk, [PLAIN[:9], PLAIN[9:]], [in_chunks], [PLAIN]):
        outcome = by_the_conversation(reads, conversation=conversation)
        assert (outcome.body, outcome.is_usable_again) == (b"hello", True)


@pytest.mark.parametrize("before", [PLAIN, CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"], ids=["length", "chunks"])
def test_what_comes_behind_a_response_is_not_the_answer_to_the_next_request(before: bytes) -> None:
    outcome = by_the_conversation([before + PLAIN])
    assert (outcome.body, outcome.ended, outcome.is_usable_again) == (b"hello", True, False)


@pytest.mark.parametrize("data", [PLAIN, CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"], ids=["length", "chunks"])
def test_of_a_plain_response_h11_sees_nothing(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(*_: object) -> None:
        raise AssertionError("h11 was asked")

    monkeypatch.setattr(h11, "Connection", unexpected)
    assert by_the_conversation([data]).body == b"hello"


def test_nothing_of_a_response_is_here_until_its_first_byte() -> None:
    conversation = Conversation(max_header_bytes=LIMIT)
    conversation.ask(Asked("POST", b"/", FIELDS, b"hello"))
    assert conversation.is_unanswered
    conversation.receive(b"H")
    assert not conversation.is_unanswered
    assert conversation.head() is None
    assert not conversation.is_unanswered
    conversation.receive(PLAIN[1:])
    assert conversation.head() is not None
    assert not conversation.is_unanswered


def test_after_an_informational_response_alone_nothing_is_here_again() -> None:
    conversation = Conversation(max_header_bytes=LIMIT)
    conversation.ask(Asked("POST", b"/", FIELDS, b"hello"))
    conversation.receive(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert conversation.head() is None
    assert conversation.is_unanswered


def test_a_connection_that_ends_in_the_middle_of_a_body_hands_out_what_came_first() -> None:
    conversation = Conversation(max_header_bytes=LIMIT)
    conversation.ask(Asked("POST", b"/", FIELDS, b"hello"))
    conversation.receive(PLAIN[:-2])
    assert conversation.head() is not None
    conversation.receive(b"")
    assert conversation.body() == b"hel"
    with pytest.raises(httpx.RemoteProtocolError, match="received 3 bytes, expected 5"):
        conversation.body()
    assert not conversation.end()
