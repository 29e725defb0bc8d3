"""The Chat Completions codec against every recorded exchange, judged by what OpenAI's own SDK reads from it."""

from __future__ import annotations

from typing import Any

import pytest
from recorded import Recording, recordings

from penstock.errors import (
    AuthenticationError,
    InvalidRequestError,
    ModelNotFoundError,
    ProviderError,
    RateLimitedError,
    StreamBrokenError,
)
from penstock.types import (
    Chunk,
    Completion,
    Refusal,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCallDelta,
    UsageUpdate,
)
from penstock_providers.openai_chat import OpenAIChat

CODEC = OpenAIChat()
EXCHANGES = recordings("openai-chat", "azure-openai-chat")
FAILED = [exchange for exchange in EXCHANGES if exchange.response.status >= 400]
ANSWERED = [exchange for exchange in EXCHANGES if exchange.response.status < 400]
STREAMED = [exchange for exchange in ANSWERED if exchange.streamed]

SDK_ERRORS: dict[str, type[ProviderError]] = {
    "AuthenticationError": AuthenticationError,
    "BadRequestError": InvalidRequestError,
    "NotFoundError": ModelNotFoundError,
    "RateLimitError": RateLimitedError,
}

NO_ID_IN_FIRST_CHUNK = "Azure's first chunk has empty names, which the SDK keeps; the codec takes the next chunk's"
LAST_USAGE = "the last chunk has no usage, and the SDK forgets the one before; the codec keeps the last that came"
CACHED_MORE_THAN_ALL = "the server reports more cached tokens than tokens; the codec says that all were cached"
DIFFERENCES: dict[tuple[str, str], str] = {
    ("azure-openai-chat/dd-trace-py--litellm-completion_azure_stream--0", "id"): NO_ID_IN_FIRST_CHUNK,
    ("azure-openai-chat/dd-trace-py--litellm-completion_azure_stream--0", "model"): NO_ID_IN_FIRST_CHUNK,
    ("openai-chat/dd-trace-py--v1-chat_completion_image_input--0", "finish_reason"): (
        "a preview model told it in finish_details, of which the SDK knows nothing"
    ),
    ("openai-chat/pydantic-ai--test_openai-test_openai_moderation_stream--0", "usage"): LAST_USAGE,
    (
        "azure-openai-chat/ruby_llm--can_use_tools_without_parameters_in_multi-turn_streaming_conversations--2",
        "usage",
    ): CACHED_MORE_THAN_ALL,
}
"""(recording, field): why the codec and the SDK read it differently. A difference that is gone fails, too."""


def ids(exchanges: list[Recording]) -> list[str]:
    return [exchange.id for exchange in exchanges]


def read(exchange: Recording) -> Completion:
    if not exchange.streamed:
        return CODEC.decode(exchange.whole())
    decoder = CODEC.decoder(exchange.head())
    decoder.feed(exchange.body_bytes())
    decoder.close()
    return decoder.completion


def read_in_pieces(exchange: Recording, *cuts: int) -> tuple[list[Chunk], Completion]:
    decoder = CODEC.decoder(exchange.head())
    body = exchange.body_bytes()
    chunks: list[Chunk] = []
    for start, end in zip((0, *cuts), (*cuts, len(body)), strict=True):
        chunks += decoder.feed(body[start:end])
    decoder.close()
    return chunks, decoder.completion


def told(completion: Completion) -> dict[str, Any]:
    """The completion in the words of the expected files."""
    parts = completion.message.content
    usage = completion.usage
    return {
        "text": completion.message.text,
        "refusal": "".join(part.text for part in parts if isinstance(part, Refusal)),
        "reasoning": "".join(part.text for part in parts if isinstance(part, Thinking)),
        "tool_calls": [
            {"id": call.id, "name": call.name, "arguments": call.raw_arguments}
            for call in completion.message.tool_calls
        ],
        "citations": [note for part in parts for note in getattr(part, "citations", ())],
        "finish_reason": completion.finish_reason,
        "usage": usage
        and {
            "input_tokens": usage.input_tokens,
            "cached_input_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "output_tokens": usage.output_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
            "total_tokens": usage.total_tokens,
        },
        "model": completion.model,
        "id": completion.id,
        "request_id": completion.request_id,
    }


def normalised(expected: dict[str, Any]) -> dict[str, Any]:
    """What the SDK read, with the normalisation that penstock promises applied by hand."""
    expected = {name: value for name, value in expected.items() if name != "sdk"}
    for name in ("text", "refusal", "reasoning"):
        expected[name] = expected[name] or ""
    if expected["usage"] is not None:
        expected["usage"] = {name: count or 0 for name, count in expected["usage"].items()}
    for call in expected["tool_calls"]:
        call["arguments"] = call["arguments"] or ""  # some servers spell no arguments null
    legacy = expected.pop("function_call")
    if legacy is not None:
        expected["tool_calls"] = [{"id": "call_0", **legacy}]
    if expected["refusal"]:
        expected["finish_reason"] = "refusal"
    elif expected["tool_calls"]:
        expected["finish_reason"] = "tool_calls"
    return expected


def differing(exchange: Recording) -> set[str]:
    expected, read_here = normalised(exchange.expected()), told(read(exchange))
    assert expected.keys() == read_here.keys()
    return {name for name, value in expected.items() if value != read_here[name]}


def test_the_recordings_hold_what_they_are_kept_for() -> None:
    kinds = {feature for exchange in EXCHANGES for feature in exchange.features}
    needed = {"plain", "stream", "tool-call", "parallel-tools", "refusal", "json-schema", "citations", "cached-tokens"}
    assert needed <= kinds
    assert (len(EXCHANGES), len(STREAMED), len(FAILED)) == (71, 21, 16)
    assert all(exchange.licence for exchange in EXCHANGES)


@pytest.mark.parametrize("exchange", ANSWERED, ids=ids(ANSWERED))
def test_an_answer_is_read_as_the_vendors_sdk_reads_it(exchange: Recording) -> None:
    listed = {field for name, field in DIFFERENCES if name == exchange.id}
    if "request_id" in (unequal := differing(exchange)):
        # The SDK knows one header; Azure's own name stands in another where that one is missing.
        assert exchange.expected()["request_id"] is None
        unequal.remove("request_id")
    assert unequal == listed


@pytest.mark.parametrize("exchange", FAILED, ids=ids(FAILED))
def test_an_error_is_of_the_kind_the_vendors_sdk_raises(exchange: Recording) -> None:
    expected = exchange.expected()
    error = CODEC.classify(exchange.whole(), now=0.0)
    assert type(error) is SDK_ERRORS[expected["error"]]
    assert error.status == expected["status"]
    assert error.code == (expected["code"] or expected["type"])
    assert error.request_id == expected["request_id"] or expected["request_id"] is None
    assert str(error)
    assert len(str(error)) <= 500


@pytest.mark.slow
@pytest.mark.parametrize("exchange", STREAMED, ids=ids(STREAMED))
def test_how_a_stream_is_split_changes_nothing(exchange: Recording) -> None:
    body = exchange.body_bytes()
    whole = read_in_pieces(exchange)
    assert read_in_pieces(exchange, *range(1, len(body))) == whole
    for cut in range(1, len(body)):
        assert read_in_pieces(exchange, cut) == whole


@pytest.mark.parametrize("exchange", STREAMED, ids=ids(STREAMED))
def test_the_deltas_of_a_stream_add_up_to_its_message(exchange: Recording) -> None:
    chunks, completion = read_in_pieces(exchange)
    expected = normalised(exchange.expected())
    assert "".join(c.text for c in chunks if isinstance(c, TextDelta) and not c.refusal) == expected["text"]
    assert "".join(c.text for c in chunks if isinstance(c, TextDelta) and c.refusal) == expected["refusal"]
    assert "".join(c.text for c in chunks if isinstance(c, ThinkingDelta)) == expected["reasoning"]
    calls: dict[int, dict[str, str]] = {}
    for chunk in chunks:
        if isinstance(chunk, ToolCallDelta):
            call = calls.setdefault(chunk.index, {"id": "", "name": "", "arguments": ""})
            call["id"] = chunk.id or call["id"]
            call["name"] = chunk.name or call["name"]
            call["arguments"] += chunk.arguments
    assert list(calls.values()) == expected["tool_calls"]
    assert sorted(calls) == list(range(len(calls)))
    updates = [chunk.usage for chunk in chunks if isinstance(chunk, UsageUpdate)]
    assert (updates[-1] if updates else None) == completion.usage
    assert completion.raw is None


@pytest.mark.parametrize("exchange", STREAMED, ids=ids(STREAMED))
def test_a_cut_stream_never_looks_complete(exchange: Recording) -> None:
    """Cut anywhere before the event with the finish reason is whole, it is broken; cut after it, it is the whole."""
    body = exchange.body_bytes()
    expected = normalised(exchange.expected())
    for cut in range(0, len(body), 1 if len(body) < 2_000 else 7):
        decoder = CODEC.decoder(exchange.head())
        text = "".join(c.text for c in decoder.feed(body[:cut]) if isinstance(c, TextDelta) and not c.refusal)
        broken: StreamBrokenError | None = None
        try:
            decoder.close()
        except StreamBrokenError as error:
            broken = error
        if broken is not None:
            assert broken.partial == text
            assert not decoder.completion.finish_reason
            continue
        calls = decoder.completion.message.tool_calls
        assert text == expected["text"]
        assert [call.raw_arguments for call in calls] == [call["arguments"] for call in expected["tool_calls"]]
        assert b'"finish_reason":"' in body[:cut].replace(b'": "', b'":"')
