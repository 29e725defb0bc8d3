"""What servers do to streams: to their ends, their lines, their bytes; for a consumer and for a whole answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import httpx
import msgspec
import pytest
import trio
from breaking import LOST, Seen, cascade, cut, is_anthropic, scripted, watch
from soak import SOAK
from worlds import GPT, KEY, SONNET, anthropic_body, anthropic_chunks, is_stream, openai_body, openai_chunks, run

import penstock
from penstock import errors
from penstock._events import StreamEndLost
from penstock._transport import BrokenHttp
from penstock.policy.commit import COMMIT_NAMES
from penstock.testing import Answer, Reply, ScriptedTransport

WORDS = "Wie schön: “αβγ” 🌊!"
TARGETS = [SONNET, GPT]
Ask = Literal["stream", "complete"]
ASKS: tuple[Ask, ...] = ("stream", "complete")
EPSILON = 0.011
"""Seconds that a clock of a stream may be off."""
PATIENT = {"timeouts": {"first_token": 100, "idle": 25}}
LIMITED = {"limits": [{"per": "day", "tokens": 10**9}]}


def chunks_for(target: str, text: str = WORDS) -> list[bytes]:
    return anthropic_chunks(text) if target == SONNET else openai_chunks(text)


def ask(
    target: str,
    answer: Answer | Sequence[Answer],
    *,
    how: Ask,
    fallback: bool = False,
    timeout: float | None = None,
    commit: str | None = None,
    **tables: Any,
) -> tuple[Seen, ScriptedTransport]:
    """A call to one target, that falls back to another where it may; a whole answer is streamed upstream."""
    answers = list(answer) if isinstance(answer, Sequence) else [answer]
    name = "sonnet" if target == SONNET else "gpt"
    upstream = scripted(**{name: answers})
    stages = [(target, len(answers)), *([("anthropic/claude-3-haiku-20240307", 1)] if fallback else [])]
    settings = cascade(*stages, budget=LIMITED, **tables)

    async def main() -> Seen:
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            began, events = trio.current_time(), kernel.events()
            if how == "stream":
                seen = await watch(kernel, max_tokens=5_000, timeout=timeout, commit=commit)
            else:
                seen = Seen()
                try:
                    seen.response = await kernel.complete("hello", max_tokens=5_000, timeout=timeout, commit=commit)
                    seen.text = seen.response.text
                except errors.CallError as error:
                    seen.error = error
            seen.seconds = trio.current_time() - began
            seen.events = events.take()
            snapshot = await kernel.snapshot()
            assert all(window.held.tokens == 0 for window in snapshot.accounts[""].windows)
        assert upstream.open == 0
        assert is_stream(upstream.requests[0])
        return seen

    return run(main), upstream


def is_whole(seen: Seen, *, usage: bool = True) -> None:
    """Content and usage, and nothing that was not told."""
    assert seen.error is None
    assert seen.text == WORDS
    assert seen.response is not None
    assert seen.response.text == WORDS
    assert seen.response.finish_reason == "stop"
    assert [attempt.outcome for attempt in seen.response.attempts] == ["ok"]
    if usage:
        assert seen.response.usage == penstock.Usage(input_tokens=11, output_tokens=3)
    else:
        assert seen.response.usage.estimated
    if seen.chunks:
        assert seen.chunks[-1] == penstock.Finished("stop", seen.response.usage)


# Lines and bytes


def with_comments(chunks: list[bytes]) -> list[bytes]:
    return [b": PROCESSING\n\n" + chunk + b":\n\n" for chunk in chunks]


def with_crlf(chunks: list[bytes]) -> list[bytes]:
    return [chunk.replace(b"\n", b"\r\n") for chunk in chunks]


def byte_by_byte(chunks: list[bytes]) -> list[bytes]:
    return [bytes([byte]) for byte in b"".join(chunks)]


def in_one_piece(chunks: list[bytes]) -> list[bytes]:
    return [b"".join(chunks)]


def crlf_byte_by_byte(chunks: list[bytes]) -> list[bytes]:
    return byte_by_byte(with_crlf(chunks))


@pytest.mark.parametrize("dress", [with_comments, with_crlf, byte_by_byte, in_one_piece, crlf_byte_by_byte])
@pytest.mark.parametrize("how", ASKS)
@pytest.mark.parametrize("target", TARGETS)
def test_however_a_stream_is_dressed_and_split_it_is_the_same_answer(
    target: str, how: Ask, dress: Callable[[list[bytes]], list[bytes]]
) -> None:
    is_whole(ask(target, Reply(chunks=dress(chunks_for(target))), how=how)[0])


# Its end


def without_the_end(target: str) -> list[bytes]:
    """All but `message_stop`, or `[DONE]`."""
    return chunks_for(target)[:-1]


@pytest.mark.parametrize("ending", [[], [LOST], [httpx.ReadError("reset")], [b": ping\n\n", LOST]])
@pytest.mark.parametrize("how", ASKS)
@pytest.mark.parametrize("target", TARGETS)
def test_where_only_the_mark_of_the_end_is_missing_there_is_content_and_usage(
    target: str, how: Ask, ending: list[bytes | Exception]
) -> None:
    is_whole(ask(target, Reply(chunks=[*without_the_end(target), *ending]), how=how)[0])


IN_ITS_PLACE: dict[str, tuple[bytes | Exception, str]] = {
    "a protocol error of any words": (httpx.RemoteProtocolError("it is Tuesday"), "truncated"),
    "a chunk that is none": (httpx.RemoteProtocolError("illegal chunk header: bytearray(b'zz')"), "truncated"),
    "what our transport says of that": (BrokenHttp("illegal chunk header"), "malformed"),
    "a reset": (httpx.ReadError("reset"), "truncated"),
    "silence of a transport with a clock of its own": (httpx.ReadTimeout(""), "idle_timeout"),
    "what cannot be decompressed": (httpx.DecodingError("ends too early"), "malformed"),
    "a bug of the transport": (RuntimeError("a bug"), "truncated"),
    "half an event": (b'data: {"id": "c\n\n', "malformed"),
    "no JSON": (b"data: upstream hung up\n\n", "malformed"),
    "half an event with its name": (b'event: message\ndata: {"type": "mess\n\n', "malformed"),
    "JSON of another shape": (b'data: ["?"]\n\n', "malformed"),
    "a list of nothing for an answer's": (
        b'data: {"type":"message_delta","delta":5,"choices":[null]}\n\n',
        "malformed",
    ),
    "a figure for an answer's": (b'data: {"type":"message_delta","delta":5,"choices":5}\n\n', "malformed"),
    "a figure for words": (
        b'data: {"type":"message_delta","delta":5,"choices":[{"delta":{"role":"a","content":5}}]}\n\n',
        "malformed",
    ),
    "a line of junk, and a reset": (b"\x00\xff\x00{{{\n", ""),
}


WATCHED = COMMIT_NAMES if SOAK else ("first_content", "continue")


@pytest.mark.slow
@pytest.mark.parametrize(("how", "commit"), [("complete", None), *[("stream", name) for name in WATCHED]])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", IN_ITS_PLACE)
def test_whatever_comes_in_the_place_of_the_end_the_answer_is_whole_and_it_is_told(
    name: str, target: str, how: Ask, commit: str | None
) -> None:
    spoiled, reason = IN_ITS_PLACE[name]
    *before, last = without_the_end(target)
    replies = [Reply(chunks=[*before, last, spoiled])]
    if isinstance(spoiled, bytes):
        replies += [Reply(chunks=[*before, last + spoiled, LOST])]
        replies += [Reply(chunks=in_one_piece([*before, last, spoiled, *chunks_for(target)[-1:]]))]
    for reply in replies:
        seen, _ = ask(target, reply, how=how, commit=commit)
        is_whole(seen)
        told = [event for event in seen.events if isinstance(event, StreamEndLost)]
        assert all(event.target == target for event in told)
        assert len(told) == 1 if reason else len(told) <= 1
        assert {event.reason for event in told} <= {reason, "truncated"}


@pytest.mark.parametrize("how", ASKS)
@pytest.mark.parametrize("target", TARGETS)
def test_an_end_that_is_as_it_should_be_is_no_event(target: str, how: Ask) -> None:
    seen, _ = ask(target, Reply(chunks=chunks_for(target)), how=how)
    assert not any(isinstance(event, StreamEndLost) for event in seen.events)


HALF_AN_EVENT = b'data: {"id": "c\n\n'
ERRORS = {
    SONNET: (b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n', "overloaded"),
    GPT: (b'data: {"error":{"message":"gone","code":500}}\n\n', "server_error"),
}
"""In an answer, and the kind of it."""

MORE = {
    SONNET: [
        b'data: {"type":"content_block_delta","index":"x","delta":{}}\n\n',
        b'event: content_block_delta\ndata: {"type":"cont\n\n',
        b'data: {"\n\ndata: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":"more"}}\n\n',
    ],
    GPT: [
        b'data: {"choices": "more"}\n\n',
        b'data: {"choices": [{"index":"?","delta":{"content":[{"text":"more"}]}}]}\n\n',
        b'data: {"choices": [{"delta":{"tool_calls":[{"id":"a","function":5}]}}]}\n\n',
        b'data: {"\n\ndata: {"choices":[{"index":0,"delta":{"content":"more"}}]}\n\n',
    ],
}


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("how", ASKS)
@pytest.mark.parametrize(("target", "more"), [(target, more) for target in TARGETS for more in MORE[target]])
def test_what_can_be_seen_to_be_more_of_the_answer_is_not_dropped_in_silence(
    target: str,
    more: bytes,
    how: Ask,
    together: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    chunks = [*without_the_end(target), more, *chunks_for(target)[-1:]]
    seen, _ = ask(target, Reply(chunks=in_one_piece(chunks) if together else chunks), how=how)
    assert isinstance(seen.error, errors.TransportError)
    assert not any(isinstance(chunk, penstock.Finished) for chunk in seen.chunks)


@pytest.mark.parametrize("how", ASKS)
@pytest.mark.parametrize("target", TARGETS)
def test_an_event_that_cannot_be_read_before_the_finish_reason_fails_as_ever(target: str, how: Ask) -> None:
    spoiled = [*chunks_for(target)[:-3], HALF_AN_EVENT, *chunks_for(target)[-1:]]
    seen, _ = ask(target, Reply(chunks=spoiled), how=how)
    assert isinstance(seen.error, errors.TransportError)


def before_usage(target: str) -> list[bytes]:
    """All up to the finish reason, and nothing of usage after it."""
    if target == GPT:
        return openai_chunks(WORDS)[:-2]
    return [chunk.replace(b',"usage":{"output_tokens":3}', b"") for chunk in without_the_end(target)]


@pytest.mark.parametrize("spoiled", ["half an event", "an error"])
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(("how", "commit"), [("complete", "continue"), *[("stream", name) for name in COMMIT_NAMES]])
@pytest.mark.parametrize("target", TARGETS)
def test_what_comes_between_the_finish_reason_and_usage_takes_nothing_back(
    target: str,
    how: Ask,
    commit: str,
    together: bool,  # noqa: FBT001 - a parameter of the test
    spoiled: str,
) -> None:
    event = HALF_AN_EVENT if spoiled == "half an event" else ERRORS[target][0]
    chunks = [*before_usage(target), event, *chunks_for(target)[-1:]]
    seen, _ = ask(
        target, Reply(chunks=in_one_piece(chunks) if together else chunks), how=how, commit=commit, fallback=True
    )
    is_whole(seen, usage=False)
    (told,) = [event for event in seen.events if isinstance(event, StreamEndLost)]
    assert told.reason == ("malformed" if spoiled == "half an event" else ERRORS[target][1])


@pytest.mark.parametrize(("how", "commit"), [("complete", "continue"), *[("stream", name) for name in COMMIT_NAMES]])
@pytest.mark.parametrize("target", TARGETS)
def test_an_error_in_the_place_of_the_end_takes_nothing_back_and_is_told(target: str, how: Ask, commit: str) -> None:
    event, reason = ERRORS[target]
    for told in (event, event.rstrip()):
        seen, _ = ask(target, Reply(chunks=[*without_the_end(target), told]), how=how, commit=commit, fallback=True)
        is_whole(seen)
        assert [end.reason for end in seen.events if isinstance(end, StreamEndLost)] == [reason]


@pytest.mark.parametrize("how", ASKS)
def test_usage_that_comes_after_what_cannot_be_read_is_taken(how: Ask) -> None:
    *before, usage, end = openai_chunks(WORDS)
    is_whole(ask(GPT, Reply(chunks=[*before, HALF_AN_EVENT, usage, end]), how=how)[0])


@pytest.mark.parametrize("how", ASKS)
def test_a_last_piece_without_its_blank_line_is_shown_and_is_part_of_the_answer(how: Ask) -> None:
    *before, last, reason, _, _ = openai_chunks(WORDS)
    with_it = last.replace(b'"finish_reason":null', b'"finish_reason":"stop"')
    for end in ([reason, last.rstrip()], [with_it.rstrip()]):
        is_whole(ask(GPT, Reply(chunks=[*before, *end]), how=how)[0], usage=False)


@pytest.mark.parametrize("how", ASKS)
def test_an_anthropic_stream_that_never_stops_its_block_is_whole_with_its_stop_reason(how: Ask) -> None:
    without = [chunk for chunk in without_the_end(SONNET) if b'"content_block_stop"' not in chunk]
    assert len(without) == len(without_the_end(SONNET)) - 1
    is_whole(ask(SONNET, Reply(chunks=without), how=how)[0])


@pytest.mark.parametrize("how", ASKS)
@pytest.mark.parametrize(("word", "kind"), [("error", "server_error"), ("insufficient_system_resource", "overloaded")])
def test_a_finish_reason_that_tells_of_a_failure_is_one(word: str, kind: str, how: Ask) -> None:
    reason = openai_chunks(WORDS)[-3].replace(b'"stop"', f'"{word}"'.encode())
    seen, _ = ask(GPT, Reply(chunks=[openai_chunks(WORDS)[0], reason]), how=how, fallback=True)
    assert [outcome for _, outcome in seen.attempts] == [kind, "ok"]
    seen, _ = ask(GPT, Reply(chunks=[*openai_chunks(WORDS)[:-3], reason]), how="stream", fallback=True)
    assert isinstance(seen.error, errors.StreamBrokenError)
    assert seen.error.partial == seen.text == WORDS


@pytest.mark.parametrize("how", ASKS)
@pytest.mark.parametrize("target", TARGETS)
def test_where_the_mark_of_the_end_never_comes_and_the_connection_stays_open_the_answer_is_whole(
    target: str, how: Ask
) -> None:
    silent = Reply(chunks=[in_one_piece(without_the_end(target))[0], b": too late\n\n"], pause=40.0)
    is_whole(ask(target, silent, how=how, defaults=PATIENT)[0])


PINGS = [b": ping\n\n"] * 1_000


@pytest.mark.parametrize("left", [300.0, 20.0, 0.5])
@pytest.mark.parametrize("pause", [0.2, 20.0])
@pytest.mark.parametrize("how", ASKS)
@pytest.mark.parametrize("target", TARGETS)
def test_where_only_the_mark_of_the_end_is_missing_it_is_waited_for_a_moment_and_no_deadline_takes_the_answer_back(
    target: str, how: Ask, pause: float, left: float
) -> None:
    never_ends = Reply(chunks=[in_one_piece(without_the_end(target))[0], *PINGS], pause=pause)
    seen, _ = ask(target, never_ends, how=how, timeout=pause + left, defaults=PATIENT)
    is_whole(seen)
    assert seen.seconds <= pause + min(1.0, left / 2) + EPSILON


def test_the_usage_that_still_comes_is_not_lost_by_waiting_for_the_end_alone() -> None:
    *answer, usage, _ = openai_chunks(WORDS)
    late = Reply(chunks=[in_one_piece(answer)[0], usage, *PINGS], pause=4.0)
    seen, _ = ask(GPT, late, how="stream", timeout=30.0, defaults=PATIENT)
    is_whole(seen)
    assert seen.seconds == pytest.approx(8.0 + 1.0)


def test_a_count_that_came_along_with_a_part_of_the_answer_is_not_taken_for_its_usage() -> None:
    *answer, usage, _ = openai_chunks(WORDS)
    partly = usage.replace(b'"completion_tokens":3', b'"completion_tokens":1')
    late = Reply(chunks=[partly + in_one_piece(answer)[0], usage, *PINGS], pause=4.0)
    is_whole(ask(GPT, late, how="complete", timeout=30.0, defaults=PATIENT)[0])


@pytest.mark.parametrize("how", ASKS)
def test_an_answer_whose_usage_never_comes_is_not_taken_back_by_the_calls_deadline(how: Ask) -> None:
    never_ends = Reply(chunks=[in_one_piece(openai_chunks(WORDS)[:-2])[0], *PINGS], pause=0.4)
    seen, _ = ask(GPT, never_ends, how=how, timeout=5.0, defaults=PATIENT)
    is_whole(seen, usage=False)
    assert seen.seconds == pytest.approx(0.4 + 4.6 / 2)


@pytest.mark.parametrize("missing", ["usage", "the end"])
@pytest.mark.parametrize("how", ASKS)
@pytest.mark.parametrize("target", TARGETS)
def test_an_answer_whose_usage_or_end_never_comes_is_given_after_seconds_however_lively_its_connection_is(
    target: str, how: Ask, missing: str
) -> None:
    came = before_usage(target) if missing == "usage" else without_the_end(target)
    never_ends = Reply(chunks=[in_one_piece(came)[0], *PINGS], pause=0.4)
    seen, _ = ask(target, never_ends, how=how, defaults=PATIENT)
    is_whole(seen, usage=missing != "usage")
    assert seen.seconds == pytest.approx(0.4 + (5.0 if missing == "usage" else 1.0))
    assert [event.reason for event in seen.events if isinstance(event, StreamEndLost)] == ["idle_timeout"]


@pytest.mark.parametrize("how", ASKS)
def test_a_server_that_tells_the_finish_reason_with_every_chunk_is_waited_for_to_its_last(how: Ask) -> None:
    chunks = [chunk.replace(b'"finish_reason":null', b'"finish_reason":"stop"') for chunk in openai_chunks(WORDS)]
    is_whole(ask(GPT, Reply(chunks=chunks, pause=2.0), how=how, defaults=PATIENT)[0])


def test_usage_that_was_not_asked_for_is_waited_for_no_longer_than_the_end() -> None:
    never_ends = Reply(chunks=[in_one_piece(openai_chunks(WORDS)[:-2])[0], *PINGS], pause=0.4)
    options = {"openai": {"api_key": KEY, "stream_usage": False}, "anthropic": {"api_key": KEY}}
    seen, _ = ask(GPT, never_ends, how="stream", timeout=20.0, defaults=PATIENT, providers=options)
    is_whole(seen, usage=False)
    assert seen.seconds == pytest.approx(0.4 + 1.0)


@pytest.mark.parametrize("how", ASKS)
@pytest.mark.parametrize("target", TARGETS)
def test_a_stream_of_which_more_is_missing_ends_with_the_calls_deadline(target: str, how: Ask) -> None:
    unfinished = Reply(chunks=[in_one_piece(chunks_for(target)[:-3])[0], *PINGS], pause=0.4)
    seen, _ = ask(target, unfinished, how=how, timeout=20.0, defaults=PATIENT)
    assert isinstance(seen.error, errors.DeadlineExceededError)
    assert seen.seconds == pytest.approx(20.0)


@pytest.mark.parametrize("ending", [[], [LOST]])
@pytest.mark.parametrize("how", ASKS)
def test_a_stream_that_ends_before_its_usage_is_whole_and_its_usage_estimated(
    how: Ask, ending: list[bytes | Exception]
) -> None:
    is_whole(ask(GPT, Reply(chunks=[*openai_chunks(WORDS)[:-2], *ending]), how=how)[0], usage=False)


@pytest.mark.parametrize("ending", [[], [LOST], [b"data: [DONE]\n\n"]])
@pytest.mark.parametrize("target", TARGETS)
def test_a_stream_without_a_finish_reason_never_passes_for_whole(target: str, ending: list[bytes | Exception]) -> None:
    cut_off = chunks_for(target)[:-3]
    if target == SONNET and ending == [b"data: [DONE]\n\n"]:
        cut_off = chunks_for(target)[:-2]
    seen, _ = ask(target, Reply(chunks=[*cut_off, *ending]), how="stream")
    assert isinstance(seen.error, errors.StreamBrokenError)
    assert seen.error.partial == seen.text == WORDS
    assert [outcome for _, outcome in seen.attempts] == ["truncated"]
    assert not any(isinstance(chunk, penstock.Finished) for chunk in seen.chunks)


@pytest.mark.parametrize("commit", COMMIT_NAMES)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.slow
def test_whatever_the_policy_a_cut_never_becomes_a_finished_stream(target: str, commit: str) -> None:
    for pieces in range(1, 7):
        name = "sonnet" if target == SONNET else "gpt"
        upstream = scripted(**{name: [cut(pieces, clean=True)]})

        async def main(upstream: ScriptedTransport = upstream) -> Seen:
            async with penstock.open_kernel(cascade((target, 1)), transport=upstream) as kernel:
                return await watch(kernel, commit=commit)

        seen = run(main)
        assert isinstance(seen.error, errors.TransportError)
        assert not any(isinstance(chunk, penstock.Finished) for chunk in seen.chunks)


# Chunks that say nothing, or say it twice


def test_usage_and_empty_deltas_commit_nothing() -> None:
    empty: dict[str, Any] = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
    usage: dict[str, Any] = {"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 0, "total_tokens": 11}}
    lines = [
        b"data: " + msgspec.json.encode({"id": "c", "model": "gpt-4o", **event}) + b"\n\n" for event in (empty, usage)
    ]
    seen, _ = ask(GPT, Reply(chunks=[*lines, LOST]), how="stream", fallback=True)
    assert seen.error is None
    assert [outcome for _, outcome in seen.attempts] == ["truncated", "ok"]


@pytest.mark.parametrize("at", [-1, -2, -3, 0])
@pytest.mark.parametrize("how", ASKS)
def test_what_comes_twice_and_brings_nothing_new_changes_nothing(how: Ask, at: int) -> None:
    chunks = openai_chunks(WORDS)
    chunks.insert(at if at >= 0 else len(chunks) + at, chunks[at])
    is_whole(ask(GPT, Reply(chunks=chunks), how=how)[0])


@pytest.mark.parametrize("at", [-1, -2])
@pytest.mark.parametrize("how", ASKS)
def test_ends_that_come_twice_change_nothing_on_the_other_wire(how: Ask, at: int) -> None:
    chunks = anthropic_chunks(WORDS)
    chunks.insert(len(chunks) + at, chunks[at])
    is_whole(ask(SONNET, Reply(chunks=chunks), how=how)[0])


# Errors inside a 200

OVERLOADED = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
QUOTA = b'data: {"error":{"message":"no quota","type":"insufficient_quota","code":"insufficient_quota"}}\n\n'


@pytest.mark.parametrize("how", ASKS)
@pytest.mark.parametrize(
    ("target", "event", "outcome"), [(SONNET, OVERLOADED, "overloaded"), (GPT, QUOTA, "quota_exhausted")]
)
@pytest.mark.parametrize("before", [0, 1])
def test_an_error_event_before_content_falls_over_unseen(
    target: str, event: bytes, outcome: str, how: Ask, before: int
) -> None:
    seen, _ = ask(target, Reply(chunks=[*chunks_for(target)[:before], event]), how=how, fallback=True)
    assert seen.error is None
    assert [ended for _, ended in seen.attempts] == [outcome, "ok"]


@pytest.mark.parametrize(("target", "event"), [(SONNET, OVERLOADED), (GPT, QUOTA)])
@pytest.mark.parametrize("together", [False, True])
def test_an_error_event_after_content_breaks_the_stream_after_all_that_came_before_it(
    target: str,
    event: bytes,
    together: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    chunks = [*chunks_for(target)[:4], event]
    seen, _ = ask(target, Reply(chunks=in_one_piece(chunks) if together else chunks), how="stream", fallback=True)
    assert isinstance(seen.error, errors.StreamBrokenError)
    assert isinstance(seen.error.__cause__, errors.ProviderError)
    assert seen.error.partial == seen.text != ""


# What is no stream

HTML = [("content-type", "text/html")]
JSON = [("content-type", "application/json")]
NO_STREAMS = {
    "empty": Reply(),
    "empty and said to be JSON": Reply(headers=JSON),
    "blank": Reply(body=b"  \n\n", headers=JSON),
    "a page": Reply(body=b"<html><body>welcome</body></html>", headers=HTML),
    "a page said to be a stream": Reply(body=b"<!doctype html><p>hi", headers=[("content-type", "text/event-stream")]),
    "JSON that lacks what it must have": Reply(json={"id": "x", "type": "message", "object": "chat.completion"}),
    "JSON that is no object": Reply(json=[1, 2]),
    "JSON that is cut": Reply(body=b'{"id": "x", "choices": [', headers=JSON),
    "an error in JSON": Reply(json={"type": "error", "error": {"type": "api_error", "message": "boom"}}),
}


@pytest.mark.parametrize("how", ASKS)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", NO_STREAMS)
def test_a_200_that_is_no_answer_is_a_failure_that_cascades(name: str, target: str, how: Ask) -> None:
    seen, _ = ask(target, NO_STREAMS[name], how=how, fallback=True)
    assert seen.error is None
    first, second = seen.attempts
    assert first[1] in ("malformed", "truncated", "server_error")
    assert second[1] == "ok"


def whole_for(target: str) -> dict[str, Any]:
    return anthropic_body(WORDS) if target == SONNET else openai_body(WORDS)


@pytest.mark.parametrize("how", ASKS)
@pytest.mark.parametrize("target", TARGETS)
def test_a_server_that_ignores_the_wish_for_a_stream_is_understood(target: str, how: Ask) -> None:
    seen, upstream = ask(target, Reply(json=whole_for(target)), how=how)
    is_whole(seen)
    assert is_anthropic(upstream.requests[0]) == (target == SONNET)
    assert seen.response is not None
    assert seen.response.attempts[0].first_token is None, "an answer in one piece has none"


@pytest.mark.parametrize("how", ASKS)
@pytest.mark.parametrize("target", TARGETS)
def test_an_answer_in_one_piece_gets_the_time_of_one(target: str, how: Ask) -> None:
    body = msgspec.json.encode(whole_for(target))
    slow = Reply(chunks=[b" ", b"\n", *[bytes([byte]) for byte in body[:8]], body[8:]], headers=JSON, pause=9.0)
    is_whole(ask(target, slow, how=how, defaults={"timeouts": {"first_token": 20, "idle": 5, "total": 200}})[0])
    late = {"timeouts": {"first_token": 20, "idle": 5, "total": 50}}
    seen, _ = ask(target, slow, how=how, defaults=late)
    assert isinstance(seen.error, errors.TotalTimeoutError)
    assert seen.text == ""
