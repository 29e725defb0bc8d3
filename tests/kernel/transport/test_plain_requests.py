"""Heads of requests without h11 against h11: what both write means the same, and what h11 refuses is refused."""

from __future__ import annotations

import h11
import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock._transport.conversation import Conversation
from penstock._transport.plain import Asked, Standing, plain_request

Fields = list[tuple[bytes, bytes]]

NAMES = st.sampled_from(
    [b"Host", b"host", b"Content-Length", b"content-type", b"authorization", b"x-a", b"Accept-Encoding"]
)
ODD_NAMES = st.sampled_from(
    [
        b"",
        b"a b",
        b"a:",
        b"a: b",
        b":a",
        b"host ",
        b"x\r\ny",
        b"x\x00",
        b"x\xe9",
        b"transfer-encoding",
        b"Connection",
        b"Expect",
        b"upgrade",
    ]
)
VALUES = st.sampled_from([b"localhost", b"5", b"0", b"application/json", b"Bearer k", b"a\tb", b"a  b"])
ODD_VALUES = st.sampled_from(
    [
        b"",
        b" a",
        b"a ",
        b"a\r\nx-evil: 1",
        b"a\r\n\r\nGET / HTTP/1.1\r\nhost: b",
        b"a\nb",
        b"a\rb",
        b"a\x00b",
        b"a\x7f",
        b"\xe9",
        b"chunked",
        b"close",
        b"+5",
        b"05",
        b"5,5",
        b"5, 6",
        b"100-continue",
    ]
)
TARGETS = st.sampled_from([b"/", b"/v1/chat?a=b%20c", b"*"])
ODD_TARGETS = st.sampled_from([b"", b"/a b", b"/\r\n", b"/ HTTP/1.1\r\nx: y", b"/\xe9", b"/\x00", b"/\x7f"])
METHODS = st.sampled_from(["POST", "GET", "PUT", "HEAD", "DELETE"])
ODD_METHODS = st.sampled_from(["", "P ST", "POST /", "post", "POST\r\n", "POST\n"])
BODIES = st.sampled_from([b"", b"hello", b"h"])


def mostly(usual: st.SearchStrategy[bytes], odd: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.one_of(usual, usual, usual, usual, usual, odd)


plain_fields = st.permutations(
    [
        (b"host", b"localhost"),
        (b"content-type", b"application/json"),
        (b"Authorization", b"Bearer k"),
        (b"content-length", b"5"),
    ]
)
any_fields = st.lists(st.tuples(mostly(NAMES, ODD_NAMES), mostly(VALUES, ODD_VALUES)), max_size=5)


def with_more(fields: Fields, more: Fields) -> Fields:
    return [*fields, *more]


fields_of_requests = st.one_of(any_fields, plain_fields, st.builds(with_more, plain_fields, any_fields))


def written_by_h11(method: str, target: bytes, fields: Fields, body: bytes) -> bytes | None:
    http = h11.Connection(h11.CLIENT)
    try:
        written = http.send(h11.Request(method=method, target=target, headers=fields)) or b""
        if body:
            written += http.send(h11.Data(data=body)) or b""
        return written + (http.send(h11.EndOfMessage()) or b"")
    except h11.LocalProtocolError:
        return None


def read_by_a_server(written: bytes) -> tuple[object, ...]:
    """What a server of h11 makes of it, to the last byte."""
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=65_536)
    http.receive_data(written)
    request = http.next_event()
    assert isinstance(request, h11.Request)
    body = b""
    while isinstance(event := http.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    return request.method, request.target, list(request.headers), body, http.trailing_data


@given(st.one_of(METHODS, METHODS, ODD_METHODS), mostly(TARGETS, ODD_TARGETS), fields_of_requests, BODIES)
@example("POST", b"/", [(b"host", b"a"), (b"x", b"a\r\ncontent-length: 5")], b"hello")
@example("POST", b"/ HTTP/1.1\r\nx: y", [(b"host", b"a")], b"")
@example("POST", b"/", [(b"host", b"a"), (b"x: y", b"z")], b"")
@example("POST", b"/", [(b"host", b"a"), (b"content-length", b"4")], b"hello")
@example("POST", b"/", [(b"host", b"a"), (b"content-length", b"5"), (b"transfer-encoding", b"chunked")], b"hello")
def test_what_is_plain_is_what_h11_would_have_written(method: str, target: bytes, fields: Fields, body: bytes) -> None:
    written = written_by_h11(method, target, fields, body)
    head = plain_request(method, target, fields, len(body))
    if head is not None:
        assert written is not None
        assert head + body == written
        assert read_by_a_server(head + body) == read_by_a_server(written)


@given(METHODS, mostly(TARGETS, ODD_TARGETS), fields_of_requests, BODIES)
@example("POST", b"/", [(b"host", b"a"), (b"x", b"a\x00b")], b"")
@example("POST", b"/", [(b"x", b"a")], b"")
@example("POST", b"/", [(b"host", b"a"), (b"Host", b"b")], b"")
def test_a_request_goes_out_as_by_h11_or_not_at_all(method: str, target: bytes, fields: Fields, body: bytes) -> None:
    sendable = [field for field in fields if field[0].lower() not in (b"expect", b"upgrade")]
    written = written_by_h11(method, target, sendable, body)
    conversation = Conversation(max_header_bytes=65_536)
    if written is None:
        with pytest.raises(httpx.LocalProtocolError) as refused:
            conversation.ask(Asked(method, target, fields, body))
        assert "evil" not in str(refused.value)
    else:
        assert b"".join(conversation.ask(Asked(method, target, fields, body))) == written


@given(st.binary(max_size=12), st.binary(max_size=12), st.binary(max_size=12))
@example(b"x", b"a\r\nx-evil: 1", b"/")
@example(b"x\r\ny", b"a", b"/")
@example(b"x", b"a", b"/ HTTP/1.1\r\nx: y")
def test_no_byte_of_a_name_a_value_or_a_target_can_begin_another_line(name: bytes, value: bytes, target: bytes) -> None:
    head = plain_request("POST", target, [(b"host", b"a"), (name, value)], 0)
    if head is not None:
        assert (
            head == b"POST %b HTTP/1.1\r\nhost: a\r\n%b: %b\r\n\r\n" % (target, name, value) or name.lower() == b"host"
        )
        assert not {b"\r", b"\n", b"\x00"} & {bytes([byte]) for byte in name + value + target}


def test_the_requests_of_the_kernel_are_plain() -> None:
    fields = [
        (b"content-type", b"application/json"),
        (b"Authorization", b"Bearer k"),
        (b"accept-encoding", b"identity"),
        (b"host", b"localhost:80"),
        (b"content-length", b"2"),
    ]
    assert plain_request("POST", b"/v1/chat/completions", fields, 2) == (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost:80\r\ncontent-type: application/json\r\n"
        b"Authorization: Bearer k\r\naccept-encoding: identity\r\ncontent-length: 2\r\n\r\n"
    )


WORDS = st.from_regex(rb"[!-~]{1,12}", fullmatch=True)
OWN_NAMES = mostly(st.from_regex(rb"[A-Za-z%-]{1,8}", fullmatch=True), st.binary(max_size=8))
OWN_VALUES = mostly(WORDS, st.binary(max_size=12))
OWN = st.lists(st.tuples(OWN_NAMES, OWN_VALUES), max_size=3)


@given(METHODS, mostly(TARGETS, ODD_TARGETS), fields_of_requests, OWN, BODIES)
@example("POST", b"/", [(b"host", b"a")], [(b"x", b"a\r\ncontent-length: 5")], b"hello")
@example("POST", b"/", [(b"host", b"a")], [(b"x", b"a\r\ny: z")], b"")
@example("POST", b"/", [(b"host", b"a")], [(b"x", b"")], b"")
@example("POST", b"/%b%d", [(b"host", b"%b"), (b"%b", b"%d")], [(b"%d", b"%b")], b"")
@example("POST", b"/", [(b"host", b"a")], [(b"host", b"b")], b"")
@example("POST", b"/", [(b"x", b"a")], [(b"host", b"b")], b"")
@example("POST", b"/", [(b"host", b"a")], [(b"content-length", b"4")], b"hello")
@example("POST", b"/", [(b"host", b"a"), (b"content-length", b"4")], [], b"hello")
@example("POST", b"/", [(b"host", b"a"), (b"transfer-encoding", b"chunked")], [], b"hello")
@example("POST", b"/", [(b"host", b"a")], [(b"x: y", b"z")], b"")
def test_a_head_that_is_known_is_the_one_that_would_be_written(
    method: str, target: bytes, fields: Fields, own: Fields, body: bytes
) -> None:
    standing = Standing.of(method, target, fields, [name for name, _ in own])
    asked = standing.asked([value for _, value in own], body)
    assert list(asked.headers)[: len(fields) + len(own)] == [*fields, *own]
    if asked.head is not None:
        assert asked.head == plain_request(method, target, asked.headers, len(body))


def test_the_length_is_told_where_nothing_else_says_where_the_body_ends() -> None:
    says = Standing.of("POST", b"/", [(b"host", b"a"), (b"Content-Length", b"3")], [])
    assert says.asked([], b"abc").headers == [(b"host", b"a"), (b"Content-Length", b"3")]
    silent = Standing.of("POST", b"/", [(b"host", b"a")], [])
    assert silent.asked([], b"abc").headers == [(b"host", b"a"), (b"content-length", b"3")]


def test_the_heads_of_the_kernel_are_known() -> None:
    fields = [
        (b"host", b"localhost:80"),
        (b"content-type", b"application/json"),
        (b"authorization", b"Bearer k"),
        (b"user-agent", b"penstock"),
    ]
    standing = Standing.of("POST", b"/v1/chat/completions", fields, [b"idempotency-key", b"traceparent"])
    asked = standing.asked([b"0123456789abcdef", b"00-0af7651916cd43dd-b7ad6b71-01"], b"{}")
    assert asked.head == (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost:80\r\ncontent-type: application/json\r\n"
        b"authorization: Bearer k\r\nuser-agent: penstock\r\nidempotency-key: 0123456789abcdef\r\n"
        b"traceparent: 00-0af7651916cd43dd-b7ad6b71-01\r\ncontent-length: 2\r\n\r\n"
    )
    assert Conversation(max_header_bytes=65_536).ask(asked) == [asked.head, b"{}"]
