"""The parser of server-sent events, beside a naive one that reads the whole text as the HTML standard says."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.sse import EventTooLongError, SseEvent, SseParser

RECORDINGS = Path(__file__).parents[1] / "recordings"


def parse(pieces: Iterable[bytes], *, max_event: int = 1_000_000) -> list[SseEvent]:
    parser = SseParser(max_event=max_event)
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + parser.close()


def parse_naively(stream: bytes) -> list[SseEvent]:
    """HTML standard, 9.2.6 "Interpreting an event stream", on the whole text; `id` and `retry` are left out.

    One deviation, as `SseParser.close` says: the end of the bytes stands for the blank line that may be missing.
    """
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff") + "\n\n"
    events: list[SseEvent] = []
    data_buffer = event_type_buffer = ""
    for line in re.split("\r\n|\n|\r", text)[:-1]:
        if line == "":
            if data_buffer:
                events.append(SseEvent(event_type_buffer, re.sub(r"\n\Z", "", data_buffer)))
            data_buffer = event_type_buffer = ""
            continue
        if line.startswith(":"):
            continue
        colon = line.find(":")
        field = line if colon < 0 else line[:colon]
        value = "" if colon < 0 else re.sub(r"\A ", "", line[colon + 1 :])
        if field == "event":
            event_type_buffer = value
        if field == "data":
            data_buffer += value + "\n"
    return events


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    ends = sorted({place % (len(stream) + 1) for place in places} | {0, len(stream)})
    return [stream[start:end] for start, end in pairwise(ends)]


lines = st.sampled_from(
    [
        *[b"", b"data: x", b"data: 1", b"event: a", b"data:"] * 3,
        *[b"data:x", b"data:  x", b"data", b"data: ", b"data: [DONE]", b"event:b", b"event"],
        *[b": ping", b":", b"id: 7", b"retry: 10", b"Data: no", b"data : no", b" data: no", b"whatever", b" ", b"\0"],
        *["data: é€😀".encode(), "data: a\u2028b\x85c\x0bd\x1ce".encode(), b"data: \xff", b"\xe2\x82", b"\x80"],
        b"\xef\xbb\xbfdata: y",
    ]
)
ends = st.sampled_from([b"\n", b"\r", b"\r\n"])
ended_lines = st.tuples(lines, ends).map(b"".join)
marks = st.sampled_from([b"", b"", b"\xef\xbb\xbf", b"\xef\xbb"])
streams = st.tuples(marks, st.lists(ended_lines, max_size=12).map(b"".join), st.just(b"") | lines).map(b"".join)
places = st.lists(st.integers(0, 150), max_size=40)
"""Most streams are shorter: a place beyond the end is taken from the beginning again."""


@given(streams, places)
def test_it_reads_what_the_standard_reads_however_the_bytes_are_split(stream: bytes, at: list[int]) -> None:
    assert parse(cut(stream, at)) == parse_naively(stream)


@given(streams)
def test_it_reads_the_same_whole_and_byte_by_byte(stream: bytes) -> None:
    expected = parse_naively(stream)
    assert parse([stream]) == expected
    assert parse(stream[at : at + 1] for at in range(len(stream))) == expected


@given(streams, places, st.integers(0, 12))
def test_whether_an_event_is_too_long_does_not_depend_on_the_split(stream: bytes, at: list[int], limit: int) -> None:
    def outcome(pieces: Iterable[bytes]) -> list[SseEvent] | str:
        try:
            return parse(pieces, max_event=limit)
        except EventTooLongError:
            return "too long"

    assert outcome(cut(stream, at)) == outcome([stream])


@given(streams, places)
def test_an_event_comes_with_the_bytes_that_complete_it(stream: bytes, at: list[int]) -> None:
    parser, fed = SseParser(), b""
    come: list[SseEvent] = []
    for piece in cut(stream, at):
        fed += piece
        come += parser.feed(piece)
        lines = re.split(b"\r\n|\n|\r", fed.removeprefix(b"\xef\xbb\xbf"))
        ended = max((number for number, line in enumerate(lines[:-1]) if not line), default=-1)
        assert len(come) == len(parse_naively(b"\n".join(lines[: ended + 1])))


def test_every_kind_of_line_end_is_one() -> None:
    expected = [SseEvent("a", "1\n2"), SseEvent("", "3")]
    for end in (b"\n", b"\r", b"\r\n"):
        stream = end.join([b"event: a", b"data: 1", b"data: 2", b"", b"data: 3", b"", b""])
        for at in range(len(stream) + 1):
            assert parse([stream[:at], stream[at:]]) == expected


def test_a_crlf_in_two_reads_is_one_line_end() -> None:
    assert parse([b"data: 1\r", b"\ndata: 2\r", b"", b"\n\r", b"\n"]) == [SseEvent("", "1\n2")]


def test_a_byte_order_mark_is_skipped_once() -> None:
    mark = b"\xef\xbb\xbf"
    assert parse([mark[:1], mark[1:2], mark[2:] + b"data: 1\n\n"]) == [SseEvent("", "1")]
    assert parse([mark + mark + b"data: 1\n\n"]) == []


def test_characters_split_between_reads_are_whole() -> None:
    stream = "data: é€😀\n\n".encode()
    assert parse(bytes([byte]) for byte in stream) == [SseEvent("", "é€😀")]


def test_bytes_that_are_no_utf_8_become_replacement_characters() -> None:
    assert parse([b"data: \xff\xe2\x82\n\n"]) == [SseEvent("", "\ufffd\ufffd")]


def test_only_line_ends_of_the_standard_end_lines() -> None:
    text = "a\u2028b\x85c\x0bd\x0ce\x1cf"
    assert parse([f"data: {text}\n\n".encode()]) == [SseEvent("", text)]


def test_empty_data_is_an_event_and_no_data_is_none() -> None:
    assert parse([b"data\n\nevent: a\n\ndata:\ndata:\n\n"]) == [SseEvent("", ""), SseEvent("", "\n")]


def test_the_name_of_an_event_without_data_is_not_that_of_the_next() -> None:
    assert parse([b"event: error\n\ndata: 1\n\n"]) == [SseEvent("", "1")]


def test_the_last_event_counts_where_only_its_blank_line_is_missing() -> None:
    assert parse([b"data: 1\n\ndata: [DONE]"]) == [SseEvent("", "1"), SseEvent("", "[DONE]")]
    assert parse([b"data: [DONE]\r"]) == [SseEvent("", "[DONE]")]


@pytest.mark.parametrize(
    "line", [b"data: " + bytes(200), b": " + bytes(200), b"data: " + b"\ndata: ".join([bytes(9)] * 20), b"data\n" * 200]
)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_an_event_longer_than_the_limit_raises(line: bytes, size: int) -> None:
    stream = line + b"\n\ndata: next\n\n"
    with pytest.raises(EventTooLongError, match="exceeds 100"):
        parse((stream[at : at + size] for at in range(0, len(stream), size)), max_event=100)


def test_many_events_together_may_be_longer_than_the_limit() -> None:
    assert len(parse([b"data: 0123456789\n\n" * 1_000], max_event=100)) == 1_000


def test_time_is_linear_in_the_bytes_even_byte_by_byte() -> None:
    def seconds(size: int) -> float:
        stream = b"data: " + b"x" * size + b"\n\n"
        start = time.process_time()
        parse(stream[at : at + 1] for at in range(len(stream)))
        return time.process_time() - start

    # Quadratic would be 64 times as long; 8 is linear, and the rest is for a busy machine.
    assert min(seconds(40_000) for _ in range(3)) < 30 * min(seconds(5_000) for _ in range(5))


class Response(msgspec.Struct):
    sse: str | None = None


class Exchange(msgspec.Struct):
    response: Response


@pytest.mark.slow
def test_recorded_streams_read_the_same_in_socket_sized_pieces_and_whole() -> None:
    read = 0
    for path in sorted(RECORDINGS.glob("*/*.json")):
        if path.name.endswith(".expected.json"):
            continue
        recorded = msgspec.json.decode(path.read_bytes(), type=Exchange).response.sse
        if recorded is None:
            continue
        stream = recorded.encode()
        expected = parse_naively(stream)
        assert expected
        for size in (1, 1_460, 16_384):
            assert parse(stream[at : at + size] for at in range(0, len(stream), size)) == expected
        read += 1
    assert read > 0, f"no recorded stream under {RECORDINGS}"
