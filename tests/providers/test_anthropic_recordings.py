"""The Anthropic codec on recorded exchanges: against the vendor's own SDK, however the bytes are cut, and damaged."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import Recording, recordings

from penstock.errors import (
    AuthenticationError,
    InvalidRequestError,
    MalformedResponseError,
    ModelNotFoundError,
    PenstockError,
    ProviderError,
    StreamBrokenError,
)
from penstock.types import (
    Chunk,
    Completion,
    Part,
    ProviderPart,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    UsageUpdate,
    WireResponse,
)
from penstock_providers.anthropic_messages import AnthropicMessages

CODEC = AnthropicMessages()
ALL = recordings("anthropic-messages", "vertex-anthropic")
ANSWERS = [recording for recording in ALL if recording.response.status == 200]
STREAMS = [recording for recording in ANSWERS if recording.streamed]
WHOLE = [recording for recording in ANSWERS if not recording.streamed]
ERRORS = [recording for recording in ALL if recording.response.status != 200]

SDK_ERRORS: dict[str, type[ProviderError]] = {
    "BadRequestError": InvalidRequestError,
    "AuthenticationError": AuthenticationError,
    "NotFoundError": ModelNotFoundError,
}
FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "refusal": "refusal",
}
# Where this codec says something else than the SDK, and why.
CUT_ARGUMENTS = {
    # max_tokens cut the arguments in the middle of their JSON. The SDK closes what is open and shows the result as if
    # the model had written it; here the call has no arguments, is `malformed`, and keeps what came.
    "anthropic-sdk-python--streaming-incomplete_partial_json_response.txt--0",
}
BILLED_APART = {
    # The SDK shows the top level of the usage, which leaves out passes that are billed all the same: here another
    # model's (2,543 in, 18 out) ...
    "pydantic-ai--test_anthropic-test_anthropic_advisor_tool_stream--0": (2_543, 18),
    # ... and here the summary of the conversation.
    "ruby_llm--nnet-4-6_compacts_a_long_conversation_and_bills_the_summarization_pass--0": (99_195, 81),
}


def name_of(recording: Recording) -> str:
    return recording.name


def read(recording: Recording) -> Completion:
    if not recording.streamed:
        return CODEC.decode(recording.whole())
    return streamed(recording, recording.body_bytes())[1]


def streamed(recording: Recording, *pieces: bytes) -> tuple[list[Chunk], Completion]:
    decoder = CODEC.decoder(recording.head())
    chunks = [chunk for piece in pieces for chunk in decoder.feed(piece)]
    decoder.close()
    return chunks, decoder.completion


def as_the_sdk_shows(part: Part) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Thinking(redacted=str(data)):
            return {"type": "redacted_thinking", "data": data}
        case Thinking():
            return {"type": "thinking", "thinking": part.text, "signature": part.signature}
        case ToolCall():
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": part.arguments}
        case ProviderPart():
            shown = ("type", "id", "name", "input", "tool_use_id", "content", "text")
            return {name: value for name, value in part.data.items() if name in shown}
        case _:
            raise AssertionError(part)


def without_nulls(value: Any) -> Any:
    """The SDK fills in fields that were not sent."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {name: without_nulls(item) for name, item in fields.items() if item is not None}
    return list(map(without_nulls, cast("Sequence[Any]", value))) if isinstance(value, list) else value


@pytest.mark.parametrize("recording", ANSWERS, ids=name_of)
def test_what_the_sdk_reads_is_what_the_codec_reads(recording: Recording) -> None:
    expected = recording.expected()
    got = read(recording)
    blocks = [as_the_sdk_shows(part) for part in got.message.content]
    if recording.name in CUT_ARGUMENTS:
        assert got.message.tool_calls[-1].malformed
        blocks[-1]["input"] = expected["blocks"][-1]["input"]
    assert without_nulls(blocks) == without_nulls(expected["blocks"])
    assert got.message.text == expected["text"]
    assert got.finish_reason == FINISH[expected["stop_reason"]]
    assert (got.model, got.id, got.request_id) == (expected["model"], expected["id"], expected["request_id"])
    texts = [part for part in got.message.content if isinstance(part, Text)]
    assert sum(len(text.citations) for text in texts) == expected["citations"]


@pytest.mark.parametrize("recording", ANSWERS, ids=name_of)
def test_usage_is_what_the_sdk_reports_with_the_cache_and_every_pass_counted(recording: Recording) -> None:
    told = recording.expected()["usage"]
    read_tokens, written = told.get("cache_read_input_tokens") or 0, told.get("cache_creation_input_tokens") or 0
    more_in, more_out = BILLED_APART.get(recording.name, (0, 0))
    creation: dict[str, int] = told.get("cache_creation") or {}
    details: dict[str, int] = told.get("output_tokens_details") or {}
    usage = read(recording).usage
    assert usage is not None
    assert usage.input_tokens == told["input_tokens"] + read_tokens + written + more_in
    assert usage.output_tokens == told["output_tokens"] + more_out
    assert (usage.cached_input_tokens, usage.cache_write_tokens) == (read_tokens, written)
    assert usage.cache_write_1h_tokens == (creation.get("ephemeral_1h_input_tokens") or 0)
    assert usage.reasoning_tokens == (details.get("thinking_tokens") or 0)
    assert not usage.estimated


@pytest.mark.parametrize("recording", ERRORS, ids=name_of)
def test_recorded_errors_are_classified_as_the_sdk_does(recording: Recording) -> None:
    expected = recording.expected()
    error = CODEC.classify(recording.whole(), now=0)
    assert type(error) is SDK_ERRORS[expected["error"]]
    assert (error.status, error.code) == (expected["status"], expected["type"])
    assert error.request_id == expected["request_id"] or expected["request_id"] is None
    assert expected["message"] in str(error)
    told = recording.response.headers.get("x-should-retry")
    assert error.should_retry is (None if told is None else told == "true")
    assert error.retry_after is None


@pytest.mark.parametrize("recording", WHOLE, ids=name_of)
def test_white_space_around_an_answer_changes_nothing(recording: Recording) -> None:
    padded = WireResponse(200, recording.headers(), b"\n\n  " + recording.body_bytes() + b"  \r\n")
    assert CODEC.decode(padded) == CODEC.decode(recording.whole())


@pytest.mark.parametrize("recording", STREAMS, ids=name_of)
def test_bytes_one_by_one_say_the_same(recording: Recording) -> None:
    data = recording.body_bytes()
    assert streamed(recording, *(data[at : at + 1] for at in range(len(data)))) == streamed(recording, data)


@pytest.mark.slow
@pytest.mark.parametrize("recording", STREAMS, ids=name_of)
def test_a_stream_split_anywhere_says_the_same(recording: Recording) -> None:
    data = recording.body_bytes()
    whole = streamed(recording, data)
    for at in range(len(data)):
        assert streamed(recording, data[:at], data[at:]) == whole, f"split before byte {at}"


def whole_from(sse: str) -> int:
    """Where the last event ends without which the answer is not whole: read off the text, not off the codec."""
    # It tells the reason to stop: a block that is still open then was cut by it, and nothing more of it will come.
    found = re.search(r"^event: message_delta\ndata: (.*\S)", sse, re.MULTILINE)
    assert found is not None
    return len(sse[: found.end()].encode())


@pytest.mark.slow
@pytest.mark.parametrize("recording", STREAMS, ids=name_of)
def test_a_cut_stream_never_looks_complete(recording: Recording) -> None:
    data = recording.body_bytes()
    whole = streamed(recording, data)[1]
    enough = whole_from(data.decode())
    for at in range(len(data)):
        decoder = CODEC.decoder(recording.head())
        decoder.feed(data[:at])
        if at >= enough:
            decoder.close()
            assert decoder.completion == whole
            continue
        with pytest.raises(StreamBrokenError) as broken:
            decoder.close()
        assert whole.message.text.startswith(broken.value.partial)


@pytest.mark.parametrize("recording", STREAMS, ids=name_of)
def test_the_chunks_of_a_stream_add_up_to_its_message(recording: Recording) -> None:
    chunks, completion = streamed(recording, recording.body_bytes())
    text, thinking, calls = "", "", dict[int, list[str]]()
    for chunk in chunks:
        match chunk:
            case TextDelta():
                text += chunk.text
            case ThinkingDelta():
                thinking += chunk.text
            case ToolCallDelta():
                calls.setdefault(chunk.index, []).append(chunk.arguments)
            case _:
                assert isinstance(chunk, UsageUpdate)
    assert text == completion.message.text
    shown = [part.text for part in completion.message.content if isinstance(part, Thinking)]
    assert thinking == "".join(shown)
    assert ["".join(calls[at]) for at in sorted(calls)] == [
        call.raw_arguments for call in completion.message.tool_calls
    ]


damage = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["cut", "drop", "put", "swap", "double"]), st.binary(max_size=12)),
    min_size=1,
    max_size=6,
)


def damaged(data: bytes, blows: list[tuple[float, str, bytes]]) -> bytes:
    for place, kind, extra in blows:
        at = int(place * len(data))
        match kind:
            case "cut":
                data = data[:at]
            case "drop":
                data = data[:at] + data[at + 1 + len(extra) :]
            case "put":
                data = data[:at] + extra + data[at:]
            case "swap":
                data = data[:at] + extra + data[at + len(extra) :]
            case _:
                data = data[:at] + data[at : at + 400] + data[at:]
    return data


@given(st.sampled_from(ALL), damage)
def test_whatever_comes_only_errors_of_ours_come_out(
    recording: Recording, blows: list[tuple[float, str, bytes]]
) -> None:
    data = damaged(recording.body_bytes(), blows)
    assert isinstance(CODEC.classify(WireResponse(500, recording.headers(), data), now=0), ProviderError)
    with contextlib.suppress(PenstockError):
        CODEC.decode(WireResponse(200, recording.headers(), data))
    decoder = CODEC.decoder(recording.head())
    with contextlib.suppress(ProviderError, MalformedResponseError, StreamBrokenError):
        decoder.feed(data)
        decoder.close()
    assert decoder.completion.message.role == "assistant"


@given(st.binary(max_size=300))
def test_garbage_is_neither_an_answer_nor_a_crash(data: bytes) -> None:
    error = CODEC.classify(WireResponse(503, (), data), now=0)
    assert error.status == 503
    with pytest.raises(PenstockError):
        CODEC.decode(WireResponse(200, (), data))
