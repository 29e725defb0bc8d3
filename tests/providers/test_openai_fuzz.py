"""Chat Completions responses that nobody sent: only errors of penstock's may come of them, and never half an answer."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import Recording, recordings

from penstock.errors import CallError, MalformedResponseError, ProviderError, StreamBrokenError
from penstock.types import (
    Chunk,
    Refusal,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCallDelta,
    WireHead,
    WireResponse,
)
from penstock_providers.openai_chat import OpenAIChat

CODEC = OpenAIChat()
EXCHANGES = recordings("openai-chat", "azure-openai-chat")
STREAMS = [exchange.body_bytes() for exchange in EXCHANGES if exchange.streamed]
BODIES = [exchange.body_bytes() for exchange in EXCHANGES if not exchange.streamed]
FRAGMENTS = st.sampled_from(
    [
        b"",
        b"\x00",
        b"\xff",
        b"\r",
        b"\n",
        b"\n\n",
        b"data: ",
        b"{",
        b"}",
        b"[",
        b'"',
        b"null",
        b"1e999",
        b"-1",
        b"\\ud800",
    ]
)


@st.composite
def mutated(draw: st.DrawFn, bodies: list[bytes]) -> bytes:
    """A body with a few places cut out, doubled or overwritten."""
    body = draw(st.sampled_from(bodies))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        end = min(len(body), start + draw(st.integers(0, 40)))
        fragment = draw(FRAGMENTS | st.just(body[start:end] * 2) | st.binary(max_size=6))
        body = body[:start] + fragment + body[end:]
    return body


def read_stream(raw: bytes, cuts: list[int]) -> tuple[list[Chunk], CallError | None]:
    decoder = CODEC.decoder(WireHead(200))
    chunks: list[Chunk] = []
    edges = [0, *sorted(cut % (len(raw) + 1) for cut in cuts), len(raw)]
    try:
        for start, end in pairwise(edges):
            chunks += decoder.feed(raw[start:end])
        decoder.close()
    except CallError as error:
        return chunks, error
    assert decoder.completion.finish_reason
    text = "".join(chunk.text for chunk in chunks if isinstance(chunk, TextDelta) and not chunk.refusal)
    assert decoder.completion.message.text == text
    return chunks, None


@given(mutated(STREAMS), st.lists(st.integers(0, 20_000), max_size=4))
def test_a_mutated_stream_ends_in_an_answer_or_an_error_of_ours(raw: bytes, cuts: list[int]) -> None:
    chunks, error = read_stream(raw, [])
    assert error is None or isinstance(error, ProviderError | MalformedResponseError | StreamBrokenError)
    split_chunks, split_error = read_stream(raw, cuts)
    assert split_chunks == chunks
    assert type(split_error) is type(error)


@given(mutated(BODIES))
def test_a_mutated_body_ends_in_an_answer_or_an_error_of_ours(raw: bytes) -> None:
    try:
        completion = CODEC.decode(WireResponse(200, (), raw))
    except (ProviderError, MalformedResponseError):
        return
    assert completion.finish_reason
    assert completion.raw is not None


ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def paths_in(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [path]
    if isinstance(value, dict):
        for name, inner in value.items():  # pyright: ignore[reportUnknownVariableType] - foreign JSON
            found += paths_in(inner, (*path, str(name)))  # pyright: ignore[reportUnknownArgumentType] - foreign JSON
    elif isinstance(value, list):
        for at, inner in enumerate(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - foreign JSON
            found += paths_in(inner, (*path, at))
    return found


def replaced(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    if not path:
        return new
    copy: Any = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


PAYLOADS: list[Any] = [msgspec.json.decode(body) for body in BODIES]
CHUNKS: list[Any] = [
    msgspec.json.decode(line.removeprefix(b"data: "))
    for stream in STREAMS
    for line in stream.splitlines()
    if line.startswith(b"data: {")
]


@given(st.data())
def test_a_value_of_another_type_anywhere_ends_in_an_answer_or_an_error_of_ours(data: st.DataObject) -> None:
    payload = data.draw(st.sampled_from(PAYLOADS))
    raw = msgspec.json.encode(replaced(payload, data.draw(st.sampled_from(paths_in(payload))), data.draw(ANY_JSON)))
    with suppress(ProviderError, MalformedResponseError):
        CODEC.decode(WireResponse(200, (), raw))
    chunk = data.draw(st.sampled_from(CHUNKS))
    changed = replaced(chunk, data.draw(st.sampled_from(paths_in(chunk))), data.draw(ANY_JSON))
    _, error = read_stream(b"data: " + msgspec.json.encode(changed) + b"\n\n", [])
    assert error is None or isinstance(error, ProviderError | MalformedResponseError | StreamBrokenError)


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@st.composite
def told(draw: st.DrawFn) -> list[tuple[str, int, str]]:
    """What a model says, in order: text, reasoning, refusals, and pieces of three calls."""
    kinds = st.sampled_from(["content", "reasoning_content", "refusal", "call"])
    return draw(st.lists(st.tuples(kinds, st.integers(0, 2), WORDS), max_size=12))


def rendered(said: list[tuple[str, int, str]], newline: str) -> bytes:
    events: list[Any] = []
    called: set[int] = set()
    for kind, index, words in said:
        if kind != "call":
            events.append({"choices": [{"index": 0, "delta": {kind: words}, "finish_reason": None}]})
            continue
        first = {} if index in called else {"id": f"id{index}", "type": "function"}
        name = {} if index in called else {"name": f"f{index}"}
        called.add(index)
        call = {"index": index, **first, "function": {**name, "arguments": words}}
        events.append({"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]})
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    lines = [f"data: {msgspec.json.encode(event).decode()}{newline}{newline}" for event in events]
    return "".join([*lines, f"data: [DONE]{newline}{newline}"]).encode()


@given(told(), st.sampled_from(["\n", "\r\n", "\r"]), st.lists(st.integers(0, 5_000), max_size=6))
def test_any_stream_adds_up_to_what_was_said(said: list[tuple[str, int, str]], newline: str, cuts: list[int]) -> None:
    chunks, error = read_stream(rendered(said, newline), cuts)
    assert error is None
    spoken = {
        kind: "".join(words for k, _, words in said if k == kind)
        for kind in ("content", "reasoning_content", "refusal")
    }
    heard = {
        "content": "".join(c.text for c in chunks if isinstance(c, TextDelta) and not c.refusal),
        "reasoning_content": "".join(c.text for c in chunks if isinstance(c, ThinkingDelta)),
        "refusal": "".join(c.text for c in chunks if isinstance(c, TextDelta) and c.refusal),
    }
    assert heard == spoken
    order = list(dict.fromkeys(index for kind, index, _ in said if kind == "call"))
    arguments = {f"id{i}": "".join(words for kind, at, words in said if (kind, at) == ("call", i)) for i in order}
    decoder = CODEC.decoder(WireHead(200))
    decoder.feed(rendered(said, newline))
    decoder.close()
    message = decoder.completion.message
    assert {call.id: call.raw_arguments for call in message.tool_calls} == arguments
    assert [call.id for call in message.tool_calls] == list(arguments)
    assert "".join(part.text for part in message.content if isinstance(part, Thinking)) == spoken["reasoning_content"]
    assert "".join(part.text for part in message.content if isinstance(part, Refusal)) == spoken["refusal"]
    pieces = [chunk for chunk in chunks if isinstance(chunk, ToolCallDelta)]
    assert [(f"id{order[piece.index]}", piece.arguments) for piece in pieces] == [
        (f"id{index}", words) for kind, index, words in said if kind == "call"
    ]
    expected = "refusal" if spoken["refusal"] else "tool_calls" if order else "stop"
    assert decoder.completion.finish_reason == expected


@pytest.mark.parametrize("exchange", EXCHANGES, ids=[exchange.id for exchange in EXCHANGES])
def test_an_answer_read_as_an_error_is_no_bug(exchange: Recording) -> None:
    """Whatever a server puts under an error status."""
    for status in (400, 429, 500):
        assert isinstance(CODEC.classify(WireResponse(status, (), exchange.body_bytes()), now=0.0), ProviderError)
