"""Streams that no recording holds: how they end, errors, the unknown; and that streaming changes nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.abc import StreamDecoder
from penstock.errors import (
    MalformedResponseError,
    OverloadedError,
    ProviderError,
    QuotaExhaustedError,
    RateLimitedError,
    ServerError,
    StreamBrokenError,
)
from penstock.types import (
    Chunk,
    ProviderPart,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    UsageUpdate,
    WireHead,
    WireResponse,
)
from penstock_providers.anthropic_messages import AnthropicMessages

CODEC = AnthropicMessages()
HEAD = WireHead(200, (("content-type", "text/event-stream"), ("request-id", "req_1")))
JSON = dict[str, Any]


def event(type: str, **fields: Any) -> bytes:
    return f"event: {type}\ndata: ".encode() + msgspec.json.encode({"type": type, **fields}) + b"\n\n"


def start(**usage: Any) -> bytes:
    return event("message_start", message={"id": "msg_1", "model": "claude-x", "usage": usage or {"input_tokens": 3}})


def block(index: int, content: JSON, *deltas: JSON) -> bytes:
    grown = b"".join(event("content_block_delta", index=index, delta=delta) for delta in deltas)
    return event("content_block_start", index=index, content_block=content) + grown + stop(index)


def stop(index: int) -> bytes:
    return event("content_block_stop", index=index)


def text(index: int, *pieces: str) -> bytes:
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": piece} for piece in pieces))


def delta(reason: str | None = "end_turn", **usage: Any) -> bytes:
    return event("message_delta", delta={"stop_reason": reason}, usage=usage or {"output_tokens": 2})


END = event("message_stop")


def fed(*pieces: bytes, head: WireHead = HEAD) -> tuple[list[Chunk], StreamDecoder]:
    decoder = CODEC.decoder(head)
    return decoder.feed(b"".join(pieces)), decoder


def closed(*pieces: bytes, head: WireHead = HEAD) -> StreamDecoder:
    decoder = fed(*pieces, head=head)[1]
    decoder.close()
    return decoder


def test_a_stream_becomes_chunks_and_then_a_completion() -> None:
    chunks, decoder = fed(
        start(input_tokens=3, output_tokens=1),
        block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "hm"},
            {"type": "signature_delta", "signature": "si"},
            {"type": "signature_delta", "signature": "g"},
        ),
        event("ping"),
        text(1, "a", "", "b"),
        block(
            2,
            {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
            {"type": "input_json_delta", "partial_json": ""},
            {"type": "input_json_delta", "partial_json": '{"x":'},
            {"type": "input_json_delta", "partial_json": "1}"},
        ),
        block(3, {"type": "tool_use", "id": "t2", "name": "g", "input": {}}),
        delta("tool_use", output_tokens=9),
    )
    assert not decoder.done
    decoder.feed(END)
    assert decoder.done
    decoder.close()
    assert chunks == [
        UsageUpdate(Usage(input_tokens=3, output_tokens=1)),
        ThinkingDelta("hm"),
        TextDelta("a"),
        TextDelta("b"),
        ToolCallDelta(0, "t1", "f"),
        ToolCallDelta(0, arguments='{"x":'),
        ToolCallDelta(0, arguments="1}"),
        ToolCallDelta(1, "t2", "g"),
        UsageUpdate(Usage(input_tokens=3, output_tokens=9)),
    ]
    got = decoder.completion
    assert got.message.content == (
        Thinking("hm", "sig", family="anthropic-messages"),
        Text("ab"),
        ToolCall("t1", "f", {"x": 1}, '{"x":1}'),
        ToolCall("t2", "g"),
    )
    assert (got.finish_reason, got.id, got.model, got.request_id) == ("tool_calls", "msg_1", "claude-x", "req_1")
    assert got.raw is None


def test_usage_told_again_replaces_what_was_told() -> None:
    chunks, decoder = fed(
        start(
            input_tokens=600,
            output_tokens=1,
            cache_read_input_tokens=50,
            cache_creation_input_tokens=40,
            cache_creation={"ephemeral_1h_input_tokens": 30, "ephemeral_5m_input_tokens": 10},
        ),
        text(0, "a"),
        delta(input_tokens=20, output_tokens=7, cache_read_input_tokens=None),
        delta(output_tokens=8, output_tokens_details={"thinking_tokens": 5}),
        END,
    )
    last = Usage(
        input_tokens=110,
        cached_input_tokens=50,
        cache_write_tokens=40,
        cache_write_1h_tokens=30,
        output_tokens=8,
        reasoning_tokens=5,
    )
    assert decoder.completion.usage == last
    assert [chunk for chunk in chunks if isinstance(chunk, UsageUpdate)][-1] == UsageUpdate(last)


def test_what_is_kept_for_an_hour_is_never_more_than_what_was_written() -> None:
    written = start(cache_creation_input_tokens=40, cache_creation={"ephemeral_1h_input_tokens": 30})
    usage = closed(written, text(0, "a"), delta(cache_creation_input_tokens=9), END).completion.usage
    assert usage is not None
    assert (usage.cache_write_tokens, usage.cache_write_1h_tokens) == (9, 9)


ODD: list[tuple[Any, Usage | None]] = [
    ({"input_tokens": 9.0, "output_tokens": 4.0}, Usage(input_tokens=9, output_tokens=4)),
    ("x", None),
    ({"input_tokens": 9, "output_tokens": 4, "cache_creation": []}, None),
]


@pytest.mark.parametrize(("told", "meant"), ODD, ids=["fractions", "a text", "a list in it"])
def test_usage_in_an_odd_shape_and_names_that_are_null_cost_nobody_an_answer(told: Any, meant: Usage | None) -> None:
    body = {"content": [{"type": "text", "text": "paid"}], "stop_reason": "end_turn", "model": None, "id": None}
    whole = CODEC.decode(WireResponse(200, HEAD.headers, msgspec.json.encode({**body, "usage": told})))
    decoder = CODEC.decoder(HEAD)
    begin = event("message_start", message={"id": None, "model": None, "usage": told})
    end = event("message_delta", delta={"stop_reason": "end_turn"}, usage=told) + event("message_stop")
    decoder.feed(begin + b"data:\n\n" + text(0, "paid") + b"data: \n\n" + end)
    decoder.close()
    for completion in (whole, decoder.completion):
        assert completion.message.text == "paid"
        assert completion.usage == meant


def test_usage_that_is_not_told_is_none_and_half_told_is_marked() -> None:
    bare = (
        event("message_start", message={"id": "m"})
        + text(0, "a")
        + event("message_delta", delta={"stop_reason": "end_turn"})
    )
    assert closed(bare, END).completion.usage is None
    half = closed(start(input_tokens=3), text(0, "a"), event("message_delta", delta={"stop_reason": "end_turn"}), END)
    assert half.completion.usage == Usage(input_tokens=3, estimated=True)


def test_a_whole_answer_without_its_message_stop_is_whole() -> None:
    assert closed(start(), text(0, "a"), delta()).completion.message.text == "a"
    assert closed(start(), text(0, "a"), delta().rstrip()).completion.finish_reason == "stop"


@pytest.mark.parametrize(
    "came",
    [
        b"",
        event("ping"),
        start(),
        start() + text(0, "a"),
        start() + text(0, "a") + delta(None),
        start() + text(0, "a") + b'event: message_stop\ndata: {"type":"mess',
        b": keep-alive\n\n",
        b"event: message_start\ndata: {",
    ],
)
def test_a_stream_that_ends_early_is_broken(came: bytes) -> None:
    decoder = fed(came)[1]
    with pytest.raises(StreamBrokenError) as broken:
        decoder.close()
    assert broken.value.partial == decoder.completion.message.text
    assert broken.value.usage == decoder.completion.usage
    assert broken.value.request_id == "req_1"
    assert decoder.completion.finish_reason == "error"


@pytest.mark.parametrize(
    ("type", "message", "kind"),
    [
        ("overloaded_error", "Overloaded", OverloadedError),
        ("api_error", "Overloaded", OverloadedError),
        ("api_error", "Internal server error", ServerError),
        ("rate_limit_error", "slow down", RateLimitedError),
        ("billing_error", "pay", QuotaExhaustedError),
        ("a_new_error", "what", ServerError),
    ],
)
def test_an_error_in_the_stream_is_raised_as_what_it_is(type: str, message: str, kind: type[ProviderError]) -> None:
    decoder = fed(start(), text(0, "a"))[1]
    with pytest.raises(ProviderError) as told:
        decoder.feed(event("error", error={"type": type, "message": message}, request_id="req_2"))
    assert (told.value.__class__, told.value.code, told.value.request_id) == (kind, type, "req_1")
    assert told.value.usage == Usage(input_tokens=3, estimated=True)
    assert decoder.completion.message.text == "a"


@pytest.mark.parametrize(
    "told",
    [
        b'data: {"error": {"type": "overloaded_error", "message": "m"}}\n\n',
        b'event: error\ndata: {"error": {"type": "overloaded_error", "message": "m"}}\n\n',
        b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": null}}\n\n',
        b'{"type": "error", "error": {"type": "overloaded_error", "message": "m"}}',
        b'\n\n {"error": {"type": "overloaded_error"}}\n',
    ],
)
def test_an_error_is_known_in_every_dress(told: bytes) -> None:
    with pytest.raises(OverloadedError):
        closed(told)


def test_an_error_event_that_is_no_json_is_an_error_all_the_same() -> None:
    with pytest.raises(ServerError, match="upstream gave up"):
        closed(start(), b"event: error\ndata: upstream gave up\n\n")


@pytest.mark.parametrize(
    "came",
    [
        b"<html><body>502</body></html>",
        b'{"id": "msg_1", "type": "message", "content": []}',
        b"[1, 2]",
        start() + b"data: {not json}\n\n",
        start() + b"data: 7\n\n",
        start() + b'data: {"type": 7}\n\n',
        start() + b'data: {"type": "content_block_start", "index": 0}\n\n',
        start() + b'data: {"type": "content_block_delta", "index": "x", "delta": {}}\n\n',
        start() + start(),
        text(0, "no message_start"),
        start() + stop(0),
        start() + text(0, "a") + text(0, "b"),
        start() + event("content_block_delta", index=0, delta={"type": "text_delta", "text": "a"}),
        start() + block(0, {"type": "text", "text": ""}, {"type": "text_delta"}),
        start() + block(0, {"type": "text", "text": ""}, {"type": "thinking_delta", "thinking": "a"}),
        start() + block(0, {"type": "tool_use", "id": "t"}),
        start() + block(0, {"no": "type"}),
        start() + text(0, "a") + END,
    ],
)
def test_a_stream_that_cannot_be_read_is_malformed(came: bytes) -> None:
    with pytest.raises(MalformedResponseError):
        closed(came)


def test_a_block_whose_stop_was_never_told_ends_with_the_bytes_or_with_the_message() -> None:
    use = {"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}}
    unstopped = start() + text(0, "a") + block(1, use).removesuffix(stop(1)) + delta("tool_use")
    for came in (unstopped, unstopped + END):
        chunks, decoder = fed(came)
        chunks += decoder.close() or []
        assert decoder.completion.message.content == (Text("a"), ToolCall("t", "f", {"x": 1}, '{"x":1}'))
        assert decoder.completion.finish_reason == "tool_calls"
        assert chunks[-1] == ToolCallDelta(0, arguments='{"x":1}')


def test_a_last_piece_without_its_blank_line_is_no_part_of_what_came_of_a_cut_answer() -> None:
    decoder = fed((start() + text(0, "a", "b").removesuffix(stop(0))).rstrip())[1]
    with pytest.raises(StreamBrokenError) as broken:
        decoder.close()
    assert broken.value.partial == decoder.completion.message.text == "a"


@pytest.mark.parametrize("usage", [{"output_tokens": 2}, {}])
@pytest.mark.parametrize(
    "last",
    [
        event("error", error={"type": "overloaded_error", "message": "m"}),
        b"event: error\ndata: gone\n\n",
        b"data: {\n\n",
        start(),
    ],
)
def test_what_comes_in_the_place_of_the_end_takes_nothing_back(last: bytes, usage: dict[str, int]) -> None:
    reason = event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage)
    decoder = closed(start() + text(0, "a") + reason + last)
    assert decoder.unread is not None
    assert (decoder.completion.message.text, decoder.completion.finish_reason) == ("a", "stop")
    assert decoder.missing == ("end" if usage else "usage")


def test_an_endless_event_is_given_up() -> None:
    decoder = fed(start())[1]
    for _ in range(15):
        decoder.feed(b"x" * 1_000_000)
    with pytest.raises(MalformedResponseError, match="exceeds"):
        decoder.feed(b"x" * 2_000_000)


def test_what_is_not_known_does_no_harm() -> None:
    decoder = closed(
        event("hello", of="the future", delta=3),
        start(),
        event("content_block_start", index=0, content_block={"type": "text", "text": "", "new": 1}),
        event("content_block_delta", index=0, delta={"type": "sparkle_delta", "sparkle": "*"}),
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": "a", "new": 1}),
        stop(0),
        block(1, {"type": "hologram", "text": "x", "rays": [1], "empty": None}, {"type": "hologram_delta"}),
        block(
            2,
            {"type": "compaction", "content": None},
            {"type": "compaction_delta", "content": "sum", "rays": [1]},
            {"type": "compaction_delta", "content": "mary", "rays": [2]},
        ),
        delta("a_new_reason"),
        b"data: [DONE]\n\n",
        END,
        b"data: {what follows the end is not read\n\n",
    )
    assert decoder.completion.message.content == (
        Text("a"),
        ProviderPart("anthropic-messages", {"type": "hologram", "text": "x", "rays": [1], "empty": None}),
        ProviderPart("anthropic-messages", {"type": "compaction", "content": "summary", "rays": [1, 2]}),
    )
    assert decoder.completion.finish_reason == "a_new_reason"


def test_the_input_of_a_server_tool_is_put_together() -> None:
    use: JSON = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    whole = block(0, use, {"type": "input_json_delta", "partial_json": '{"q": "x"}'})
    cut = block(1, use, {"type": "input_json_delta", "partial_json": '{"q": "'})
    parts = closed(start(), whole, cut, delta(), END).completion.message.content
    inputs = [part.data["input"] for part in parts if isinstance(part, ProviderPart)]
    assert inputs == [{"q": "x"}, {}]


def test_arguments_that_come_whole_with_the_start_are_taken() -> None:
    use = {"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}}
    chunks, decoder = fed(start(), block(0, use), delta("end_turn"), END)
    assert decoder.completion.message.tool_calls == (ToolCall("t", "f", {"x": 1}, '{"x":1}'),)
    assert ToolCallDelta(0, arguments='{"x":1}') in chunks
    assert decoder.completion.finish_reason == "tool_calls"  # though the wire said end_turn


def test_arguments_that_come_both_ways_are_taken_once() -> None:
    use = {"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}}
    twice = block(0, use, {"type": "input_json_delta", "partial_json": '{"x": 1}'})
    assert closed(start(), twice, delta("tool_use"), END).completion.message.tool_calls[0].raw_arguments == '{"x": 1}'


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("pause_turn", "pause"),
        ("refusal", "refusal"),
        ("model_context_window_exceeded", "model_context_window_exceeded"),
    ],
)
def test_stop_reasons_in_our_words_streamed_or_not(reason: str, finish: str) -> None:
    assert closed(start(), text(0, "a"), delta(reason), END).completion.finish_reason == finish
    body = {"content": [{"type": "text", "text": "a"}], "stop_reason": reason}
    assert CODEC.decode(WireResponse(200, (), msgspec.json.encode(body))).finish_reason == finish


words = st.text(max_size=6)
small_json = st.dictionaries(st.text(max_size=3), st.integers() | words | st.lists(words, max_size=2), max_size=3)


def shaped(type: str, **fields: Any) -> st.SearchStrategy[JSON]:
    """Blocks of a type: fields are strategies, or values."""
    drawn: dict[str, st.SearchStrategy[Any]] = {
        name: field if isinstance(field, st.SearchStrategy) else st.just(field) for name, field in fields.items()
    }
    return st.fixed_dictionaries({"type": st.just(type), **drawn})


blocks = st.lists(
    st.one_of(
        shaped("text", text=words),
        shaped("thinking", thinking=words, signature=words),
        shaped("redacted_thinking", data=st.text(min_size=1, max_size=6)),
        shaped("tool_use", id=words, name="f", input=small_json),
        shaped("server_tool_use", id=words, name="s", input=small_json),
        shaped("web_search_tool_result", tool_use_id="s", content=small_json),
    ),
    max_size=5,
)


def as_streamed(index: int, whole: JSON, cut: int) -> bytes:
    """The events by which the wire streams a block, its text in two pieces."""
    match whole:
        case {"type": "text", "text": str(said)}:
            return text(index, said[:cut], said[cut:])
        case {"type": "thinking", "thinking": str(said), "signature": signature}:
            pieces = [{"type": "thinking_delta", "thinking": piece} for piece in (said[:cut], said[cut:])]
            empty = {"type": "thinking", "thinking": "", "signature": ""}
            return block(index, empty, *pieces, {"type": "signature_delta", "signature": signature})
        case {"type": "tool_use" | "server_tool_use", "input": given}:
            said = msgspec.json.encode(given).decode() if given else ""
            pieces = [{"type": "input_json_delta", "partial_json": piece} for piece in (said[:cut], said[cut:])]
            return block(index, whole | {"input": {}}, *pieces)
        case _:
            return block(index, whole)


@given(blocks, st.integers(0, 8), st.sampled_from(["\n", "\r\n", "\r"]), st.integers(1, 40), st.booleans())
def test_a_streamed_answer_equals_the_same_answer_whole(
    content: list[JSON],
    cut: int,
    line_end: str,
    step: int,
    pinged: bool,  # noqa: FBT001 - drawn
) -> None:
    body = {"id": "m", "model": "x", "content": content, "stop_reason": "end_turn", "usage": {"output_tokens": 4}}
    whole = CODEC.decode(WireResponse(200, HEAD.headers, msgspec.json.encode(body)))
    between = event("ping") if pinged else b""
    grown = between.join(as_streamed(at, given, cut) for at, given in enumerate(content))
    first = event("message_start", message={"id": "m", "model": "x"})
    sent = (first + grown + delta(output_tokens=4) + END).replace(b"\n", line_end.encode())
    decoder = CODEC.decoder(HEAD)
    for at in range(0, len(sent), step):
        decoder.feed(sent[at : at + step])
    decoder.close()
    # Streams leave out parts that stayed empty: there is nothing in them to say or to send back.
    said = tuple(part for part in whole.message.content if part != Text("") and part not in EMPTY_THINKING)
    assert decoder.completion.message.content == said
    assert (decoder.completion.finish_reason, decoder.completion.usage) == (whole.finish_reason, whole.usage)


EMPTY_THINKING = (Thinking("", family="anthropic-messages"),)


def test_what_came_before_an_error_in_the_same_read_is_delivered_however_the_bytes_are_split() -> None:
    body = start() + block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "so far"})
    body += b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"x"}}\n\n'
    for at in (0, len(body) // 2, len(body)):
        decoder = CODEC.decoder(HEAD)
        text = "".join(
            chunk.text
            for piece in (body[:at], body[at:])
            if not decoder.done
            for chunk in decoder.feed(piece)
            if isinstance(chunk, TextDelta)
        )
        with pytest.raises(OverloadedError):
            decoder.close()
        assert text == "so far"
