"""Answers in every dialect of Chat Completions, whole and streamed; and what is no answer."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from recorded import Recording, recordings

from penstock.abc import StreamDecoder
from penstock.errors import (
    CallError,
    GenerationFailedError,
    InvalidRequestError,
    MalformedResponseError,
    OverloadedError,
    ProviderError,
    RateLimitedError,
    ServerError,
    StreamBrokenError,
)
from penstock.policy.money import cost
from penstock.types import (
    ChatRequest,
    Chunk,
    Completion,
    Message,
    Price,
    ProviderPart,
    Refusal,
    Target,
    Text,
    TextDelta,
    Thinking,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
    UsageUpdate,
    WireHead,
    WireResponse,
)
from penstock_providers.openai_chat import OpenAIChat, OpenAIChatOptions

CODEC = OpenAIChat()
HEAD = WireHead(200, (("x-request-id", "req_1"),))


def answer(message: dict[str, Any], finish_reason: str | None = "stop", **rest: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "model": "m-1", "choices": [choice], **rest}


def decoded(payload: Any) -> Completion:
    raw = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
    return CODEC.decode(WireResponse(200, HEAD.headers, raw))


def chunk(delta: dict[str, Any] | None = None, finish_reason: str | None = None, **rest: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "model": "m-1", "choices": [choice], **rest}


def sse(*events: Any) -> bytes:
    texts = [event if isinstance(event, str) else msgspec.json.encode(event).decode() for event in events]
    return "".join(f"data: {text}\n\n" for text in texts).encode()


def streamed(raw: bytes) -> tuple[list[Chunk], Completion]:
    """Both at once and byte by byte; an error must come out the same either way, after the same chunks."""
    outcomes: list[tuple[list[Chunk], Completion, type[CallError] | None, str]] = []
    failure: CallError | None = None
    for size in (len(raw) or 1, 1):
        decoder = CODEC.decoder(HEAD)
        chunks: list[Chunk] = []
        failure = None
        try:
            for at in range(0, len(raw), size):
                chunks += decoder.feed(raw[at : at + size])
            chunks += decoder.close() or []
        except CallError as error:
            failure = error
        outcomes.append((chunks, decoder.completion, type(failure) if failure else None, str(failure)))
    assert outcomes[0] == outcomes[1]
    if failure is not None:
        raise failure
    return outcomes[0][0], outcomes[0][1]


def feed_all(decoder: StreamDecoder, pieces: list[bytes]) -> None:
    for piece_of_body in pieces:
        decoder.feed(piece_of_body)


def text_of(chunks: list[Chunk]) -> str:
    return "".join(item.text for item in chunks if isinstance(item, TextDelta))


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("end_turn", "stop"),
        ("COMPLETE", "stop"),
        ("length", "length"),
        ("model_length", "length"),
        ("MAX_TOKENS", "length"),
        ("content_filter", "content_filter"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("refusal", "refusal"),
        ("pause_turn", "pause"),
        ("a_word_of_tomorrow", "a_word_of_tomorrow"),
    ],
)
def test_every_finish_reason_is_told_in_one_language(told: str, meant: str) -> None:
    assert decoded(answer({"content": "a"}, told)).finish_reason == meant
    assert streamed(sse(chunk({"content": "a"}, told)))[1].finish_reason == meant


@pytest.mark.parametrize(
    ("told", "meant"), [("stop", "tool_calls"), ("length", "length"), ("content_filter", "content_filter")]
)
def test_a_call_is_a_call_whatever_the_reason_says_but_a_cut_call_is_cut(told: str, meant: str) -> None:
    assert decoded(answer({"content": None, "tool_calls": [CALL]}, told)).finish_reason == meant
    assert streamed(sse(chunk({"tool_calls": [{"index": 0, **CALL}]}, told)))[1].finish_reason == meant


def test_a_refusal_is_told_as_one() -> None:
    whole = decoded(answer({"content": None, "refusal": "I won't."}))
    chunks, completion = streamed(sse(chunk({"refusal": "I "}), chunk({"refusal": "won't."}), chunk({}, "stop")))
    assert chunks == [TextDelta("I ", refusal=True), TextDelta("won't.", refusal=True)]
    for told in (whole, completion):
        assert told.message.content == (Refusal("I won't."),)
        assert told.finish_reason == "refusal"


def test_calls_of_every_kind_are_read_whole() -> None:
    custom = {"id": "c2", "type": "custom", "custom": {"name": "shell", "input": "ls"}}
    empty = {"id": "c3", "type": "function", "function": {"name": "g", "arguments": ""}}
    as_object = {"id": "c4", "type": "function", "function": {"name": "h", "arguments": {"y": [1]}}}
    calls = decoded(answer({"tool_calls": [CALL, custom, empty, as_object]}, "tool_calls")).message.tool_calls
    assert calls == (
        ToolCall("c1", "f", {"x": 1}, '{"x":1}'),
        ToolCall("c2", "shell", {}, "ls", "custom"),
        ToolCall("c3", "g"),
        ToolCall("c4", "h", {"y": [1]}, '{"y":[1]}'),
    )


def test_a_legacy_function_call_is_a_call_too() -> None:
    function = {"name": "f", "arguments": '{"x":1}'}
    expected = (ToolCall("call_0", "f", {"x": 1}, '{"x":1}'),)
    assert decoded(answer({"function_call": function}, "function_call")).message.tool_calls == expected
    events = sse(
        chunk({"function_call": {"name": "f", "arguments": ""}}),
        chunk({"function_call": {"arguments": '{"x":'}}),
        chunk({"function_call": {"arguments": "1}"}}, "function_call"),
    )
    chunks, completion = streamed(events)
    assert completion.message.tool_calls == expected
    assert chunks == [
        ToolCallDelta(0, "call_0", "f", ""),
        ToolCallDelta(0, None, None, '{"x":'),
        ToolCallDelta(0, None, None, "1}"),
    ]


def piece(arguments: str = "", index: int | None = 0, **rest: Any) -> dict[str, Any]:
    name = rest.pop("name", None)
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return {"tool_calls": [{"function": function, **({} if index is None else {"index": index}), **rest}]}


def calls_of(*deltas: dict[str, Any]) -> list[tuple[str, str, str]]:
    _, completion = streamed(sse(*(chunk(delta) for delta in deltas), chunk({}, "tool_calls")))
    return [(call.id, call.name, call.raw_arguments) for call in completion.message.tool_calls]


def test_pieces_of_parallel_calls_do_not_mix() -> None:
    interleaved = [
        piece(index=0, id="a", name="f"),
        piece("1", index=0),
        piece(index=1, id="b", name="g"),
        piece("2", index=1),
        piece("3", index=0),
    ]
    assert calls_of(*interleaved) == [("a", "f", "13"), ("b", "g", "2")]


def test_servers_that_number_badly_still_give_two_calls() -> None:
    assert calls_of(piece("1", id="a", name="f"), piece("2", id="b", name="g")) == [("a", "f", "1"), ("b", "g", "2")]
    whole = [
        {"id": "a", "function": {"name": "f", "arguments": "1"}},
        {"id": "b", "function": {"name": "g", "arguments": "2"}},
    ]
    assert calls_of({"tool_calls": whole}) == [("a", "f", "1"), ("b", "g", "2")]
    repeated = [piece("1", id="a", name="f"), piece("2", id="a"), piece("3", id="a", name="f")]
    assert calls_of(*repeated) == [("a", "f", "123")]
    changing = [piece("1", id="a", name="f"), piece("2", id="another")]
    assert [arguments for _, _, arguments in calls_of(*changing)] == ["12"]


def test_calls_without_ids_get_names_their_results_can_use() -> None:
    assert calls_of(piece("1", 0, name="f"), piece("2", 1, name="g")) == [("call_0", "f", "1"), ("call_1", "g", "2")]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_shown_reasoning_is_read_and_goes_back_in_its_own_spelling(field: str) -> None:
    chunks, completion = streamed(sse(chunk({field: "let "}), chunk({field: "me"}), chunk({"content": "4"}, "stop")))
    whole = decoded(answer({field: "let me", "content": "4"}))
    assert whole.message == completion.message
    assert len(chunks) == 3
    thinking, text = completion.message.content
    assert isinstance(thinking, Thinking)
    assert (thinking.text, thinking.family, text) == ("let me", "openai-chat", Text("4"))
    assert again(completion.message) == {"role": "assistant", field: "let me", "content": "4"}


def again(message: Message) -> dict[str, Any]:
    """The message as a compatible server gets it back."""
    codec = OpenAIChat(OpenAIChatOptions(base_url="http://localhost/v1"))
    request = ChatRequest([Message.user("-"), message])
    wire = codec.encode(request, Target(name="t", provider="p", model="m"), stream=False, now=0.0)
    body: dict[str, Any] = msgspec.json.decode(wire.body)
    sent: dict[str, Any] = body["messages"][1]
    return sent


def test_reasoning_details_are_put_together_and_go_back_whole() -> None:
    def detail(**fields: Any) -> dict[str, Any]:
        return {
            "reasoning": fields.get("text"),
            "reasoning_details": [{"type": "reasoning.text", "index": 0, **fields}],
        }

    encrypted = {"type": "reasoning.encrypted", "index": 1, "data": "xyz", "id": "r1"}
    _, completion = streamed(
        sse(
            chunk(detail(text="let ", format="f")),
            chunk(detail(text="me")),
            chunk(detail(signature="s")),
            chunk({"reasoning_details": [encrypted]}),
            chunk({"content": "4"}, "stop"),
        )
    )
    details = [
        {"type": "reasoning.text", "index": 0, "format": "f", "text": "let me", "signature": "s"},
        encrypted,
    ]
    assert [part.text for part in completion.message.content if isinstance(part, Thinking)] == ["let me"]
    assert again(completion.message) == {"role": "assistant", "content": "4", "reasoning_details": details}
    alone = decoded(answer({"content": "4", "reasoning_details": [encrypted]}))
    assert again(alone.message) == {"role": "assistant", "content": "4", "reasoning_details": [encrypted]}
    told = decoded(answer({"content": "4", "reasoning_details": [{"type": "reasoning.summary", "summary": "short"}]}))
    assert [part.text for part in told.message.content if isinstance(part, Thinking)] == ["short"]


def test_mistrals_lists_of_content_are_text_and_thinking() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    kept = {"type": "reference", "reference_ids": [1]}
    listed = [thought, {"type": "text", "text": "4"}, kept]
    _, completion = streamed(
        sse(chunk({"content": [thought]}), chunk({"content": "4"}), chunk({"content": [kept]}, "stop"))
    )
    whole = decoded(answer({"content": listed}))
    assert whole.message == completion.message
    assert whole.message.content == (
        Thinking("hm", family="openai-chat", details=({"field": "content"},)),
        Text("4"),
        ProviderPart("openai-chat", kept),
    )
    assert again(whole.message) == {"role": "assistant", "content": listed}
    plain = decoded(answer({"content": listed[:2]}))
    assert again(plain.message) == {"role": "assistant", "content": listed[:2]}


def test_sources_are_kept_with_the_text() -> None:
    note = {"type": "url_citation", "url_citation": {"url": "https://a"}}
    _, completion = streamed(sse(chunk({"content": "a"}), chunk({"annotations": [note]}, "stop")))
    assert completion.message.content == (Text("a", citations=(note,)),)
    assert decoded(answer({"content": "a", "annotations": [note]})).message == completion.message
    perplexity = [chunk({"content": "a"}, citations=["https://a"]), chunk({}, "stop", citations=["https://a"])]
    assert streamed(sse(*perplexity))[1].message.content == (Text("a", citations=({"url": "https://a"},)),)


def test_perplexitys_double_spelling_is_read_once() -> None:
    first = {"index": 0, "delta": {"content": "a"}, "message": {"content": "a"}}
    last = {"index": 0, "delta": {"content": "b"}, "message": {"content": "ab"}, "finish_reason": "stop"}
    assert text_of(streamed(sse({"choices": [first]}, {"choices": [last]}))[0]) == "ab"
    both = answer({"content": "ab"})
    both["choices"][0]["delta"] = {"role": "assistant", "content": ""}
    assert decoded(both).message.text == "ab"


def test_spoken_audio_goes_back_by_its_id() -> None:
    pieces = [{"id": "audio_1", "transcript": "Hel"}, {"data": "QQ=="}, {"transcript": "lo", "expires_at": 7}]
    _, completion = streamed(sse(*(chunk({"audio": audio}) for audio in pieces), chunk({}, "stop")))
    audio = {"id": "audio_1", "transcript": "Hello", "data": "QQ==", "expires_at": 7}
    assert completion.message.content == (ProviderPart("openai-chat", {"audio": audio}),)
    assert again(completion.message) == {"role": "assistant", "content": "", "audio": {"id": "audio_1"}}


def test_the_first_choice_is_the_answer_and_raw_keeps_them_all() -> None:
    payload = answer({"content": "a"})
    payload["choices"].append({"index": 1, "message": {"content": "b"}, "finish_reason": "length"})
    completion = decoded(payload)
    assert (completion.message.text, completion.finish_reason, completion.raw) == ("a", "stop", payload)
    messages = [{"message": {"content": said}, "finish_reason": "stop"} for said in "ab"]
    unnumbered = {"choices": messages}
    assert decoded(unnumbered).message.text == "a"
    second = {"index": 1, "delta": {"content": "b"}, "finish_reason": "stop"}
    chunks, streamed_completion = streamed(sse(chunk({"content": "a"}), {"choices": [second]}, chunk({}, "length")))
    assert (text_of(chunks), streamed_completion.finish_reason) == ("a", "length")


def test_a_message_can_be_appended_to_the_next_request_as_it_is() -> None:
    message = decoded(answer({"content": "x", "tool_calls": [CALL]}, "tool_calls")).message
    request = ChatRequest([Message.user("-"), message, ToolResult("c1", "1")])
    wire = CODEC.encode(request, Target(name="t", provider="p", model="m"), stream=False, now=0.0)
    sent = msgspec.json.decode(wire.body)["messages"][1]
    assert sent == {"role": "assistant", "content": "x", "tool_calls": [CALL]}


USAGES: list[tuple[str, dict[str, Any], Usage | None]] = [
    (
        "OpenAI",
        {
            "prompt_tokens": 20,
            "completion_tokens": 9,
            "total_tokens": 29,
            "prompt_tokens_details": {"cached_tokens": 7, "cache_write_tokens": 5},
            "completion_tokens_details": {"reasoning_tokens": 4},
        },
        Usage(input_tokens=20, cached_input_tokens=7, cache_write_tokens=5, output_tokens=9, reasoning_tokens=4),
    ),
    (
        "audio",
        {
            "prompt_tokens": 20,
            "completion_tokens": 9,
            "prompt_tokens_details": {"audio_tokens": 12, "cached_tokens": 0},
            "completion_tokens_details": {"audio_tokens": 7, "image_tokens": 3},
        },
        Usage(input_tokens=20, output_tokens=9, kinds={"input_audio_tokens": 12, "output_audio_tokens": 7}),
    ),
    (
        "audio counts of no use",
        {
            "prompt_tokens": 20,
            "completion_tokens": 9,
            "prompt_tokens_details": {"audio_tokens": "some"},
            "completion_tokens_details": {"audio_tokens": {"left": 1}, "a_count_of_tomorrow": [3]},
        },
        Usage(input_tokens=20, output_tokens=9),
    ),
    (
        "xAI, which counts reasoning beside the answer",
        {
            "prompt_tokens": 436,
            "completion_tokens": 68,
            "total_tokens": 652,
            "completion_tokens_details": {"reasoning_tokens": 148},
        },
        Usage(input_tokens=436, output_tokens=216, reasoning_tokens=148),
    ),
    (
        "DeepSeek",
        {"prompt_tokens": 10, "completion_tokens": 2, "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 2},
        Usage(input_tokens=10, cached_input_tokens=8, output_tokens=2),
    ),
    (
        "null details",
        {"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": None},
        Usage(input_tokens=1, output_tokens=2),
    ),
    ("numbers as floats", {"prompt_tokens": 1.0, "completion_tokens": 2.0}, Usage(input_tokens=1, output_tokens=2)),
    ("half of it", {"prompt_tokens": 3}, Usage(input_tokens=3, estimated=True)),
    ("nothing", {}, None),
    ("strangers", {"input_tokens": 3}, None),
    ("words", {"prompt_tokens": "many", "completion_tokens": 2}, None),
    (
        "less than nothing, for the kernel to disbelieve",
        {"prompt_tokens": -3, "completion_tokens": 2},
        Usage(input_tokens=-3, output_tokens=2),
    ),
    (
        "a total that is more than what it is of",
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 5_000},
        Usage(input_tokens=10, output_tokens=4_990, kinds={"unnamed_tokens": 4_985}),
    ),
    (
        "a total that is less",
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 3},
        Usage(input_tokens=10, output_tokens=5),
    ),
    (
        "more cached than there is",
        {"prompt_tokens": 3, "completion_tokens": 2, "cached_tokens": 9},
        Usage(input_tokens=9, cached_input_tokens=9, output_tokens=2),
    ),
    (
        "more written to the cache than there is",
        {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cache_write_tokens": 9}},
        Usage(input_tokens=9, cache_write_tokens=9, output_tokens=2),
    ),
    (
        "more reasoning than there is",
        {"prompt_tokens": 3, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 9}},
        Usage(input_tokens=3, output_tokens=2, reasoning_tokens=2),
    ),
]


@pytest.mark.parametrize(("told", "meant"), [row[1:] for row in USAGES], ids=[row[0] for row in USAGES])
def test_usage_is_normalised_and_what_cannot_be_right_is_unknown(told: dict[str, Any], meant: Usage | None) -> None:
    assert decoded(answer({"content": "a"}, usage=told)).usage == meant
    _, completion = streamed(sse(chunk({"content": "a"}, "stop"), {"choices": [], "usage": told}, "[DONE]"))
    assert completion.usage == meant


VERCEL = {
    "claude-sonnet-4": Price(input=3_000_000_000, output=15_000_000_000),
    "gemini-2.5-flash": Price(input=300_000_000, output=2_500_000_000),
    "gemini-3-pro": Price(input=2_000_000_000, output=12_000_000_000),
    "gpt-5": Price(input=1_250_000_000, output=10_000_000_000),
}
"""Of the models in its recordings, in nano-USD for a million tokens."""


@pytest.mark.parametrize("recording", recordings("vercel-gateway-openai-compat"), ids=lambda each: each.name)
def test_an_answer_through_vercels_gateway_costs_what_the_gateway_says(recording: Recording) -> None:
    if recording.streamed:
        decoder = CODEC.decoder(recording.head())
        decoder.feed(recording.body_bytes())
        usage = decoder.completion.usage
    else:
        usage = CODEC.decode(recording.whole()).usage
    assert usage is not None
    told = Decimal(re.findall(rb'"cost":\s*([\d.e-]+)', recording.body_bytes())[-1].decode())
    price = next(price for model, price in VERCEL.items() if model in recording.name)
    assert cost(usage, price) == told * 10**9


def test_a_place_in_a_list_may_be_written_as_a_fraction() -> None:
    call = {"index": 0.0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    payload = answer({"content": "a", "tool_calls": [call]})
    payload["choices"][0]["index"] = 0.0
    message = decoded(payload).message
    assert message.text == "a"
    assert [each.name for each in message.tool_calls] == ["f"]


def test_repeated_usage_is_taken_last_and_never_added() -> None:
    def used(tokens: int) -> dict[str, int]:
        return {"prompt_tokens": 5, "completion_tokens": tokens}

    groq = chunk({}, "stop", x_groq={"id": "req_g", "usage": used(3)}, usage=used(3))
    events = sse(chunk({"content": "a"}, usage=used(1)), groq, {"choices": [], "usage": used(3)}, "[DONE]")
    chunks, completion = streamed(events)
    final = Usage(input_tokens=5, output_tokens=3)
    assert [item.usage for item in chunks if isinstance(item, UsageUpdate)] == [
        Usage(input_tokens=5, output_tokens=1),
        final,
    ]
    assert completion.usage == final
    moonshot = {"index": 0, "delta": {}, "finish_reason": "stop", "usage": used(3)}
    assert streamed(sse(chunk({"content": "a"}), {"choices": [moonshot]}))[1].usage == final


def test_names_of_the_exchange_are_kept() -> None:
    completion = decoded(answer({"content": "a"}))
    assert (completion.model, completion.id, completion.request_id) == ("m-1", "chatcmpl-1", "req_1")
    decoder = CODEC.decoder(WireHead(200))
    decoder.feed(sse(chunk({"content": "a"}, "stop", x_groq={"id": "req_g"})))
    assert decoder.completion.request_id == "req_g"


FOREIGN = [
    (b"", "not JSON"),
    (b"<html>200 OK</html>", "not JSON"),
    (b"\xff\xfe", "not JSON"),
    (b'{"choices": [{"message": {"con', "not JSON"),
    (b"[" * 100_000, "not JSON"),
    (b"null", "no Chat Completions answer"),
    (b"[]", "no Chat Completions answer"),
    (b'"error"', "no Chat Completions answer"),
    (b"{}", "no choices"),
    (b'{"choices": []}', "no choices"),
    (b'{"choices": null}', "no choices"),
    (b'{"choices": {}}', "no Chat Completions answer"),
    (b'{"choices": [{"message": {"content": 5}}]}', "no Chat Completions answer"),
    (b'{"choices": [{}]}', "no answer"),
    (b'{"choices": [{"index": 0, "message": {"content": ""}}]}', "no answer"),
    (b'{"choices": [{"index": 3, "message": {"content": "a"}, "finish_reason": "stop"}]}', "no answer"),
    (b'{"object": "list", "data": []}', "no choices"),
    (b'{"choices": [{"index": 0, "message": {}, "finish_reason": "stop"}]}', "no answer"),
    (b'{"choices": [{"index": 0, "message": {}, "finish_reason": "tool_calls"}]}', "no answer"),
    (b'{"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": null}]}', "no finish_reason"),
    (b'{"choices": [{"index": 0, "message": {"content": "a"}}]}', "no finish_reason"),
]


@pytest.mark.parametrize(("raw", "says"), FOREIGN)
def test_what_is_no_answer_is_malformed(raw: bytes, says: str) -> None:
    with pytest.raises(MalformedResponseError, match=says):
        decoded(raw)


def test_an_empty_answer_that_says_why_is_an_answer() -> None:
    assert decoded(answer({}, "stop")).message.content == ()  # Gemini's imitation leaves out what is empty
    assert decoded(answer({"content": None}, "length")).message.content == ()
    filtered = {"choices": [{"index": 0, "finish_reason": "content_filter"}]}
    assert decoded(filtered).finish_reason == "content_filter"


def test_blank_lines_before_the_body_are_overlooked() -> None:
    raw = b"\n\n         \n" + msgspec.json.encode(answer({"content": "a"}))
    assert decoded(raw).message.text == "a"
    assert decoded(b"\xef\xbb\xbf" + raw.strip()).message.text == "a"


def failed(message: str, **rest: Any) -> dict[str, Any]:
    return {"error": {"message": message, **rest}}


ERRORS: list[tuple[dict[str, Any], type[ProviderError], str]] = [
    (failed("Provider returned error", code=429, metadata={"raw": "1015"}), RateLimitedError, "429"),
    (failed("Slow", type="requests", code="rate_limit_exceeded"), RateLimitedError, "rate_limit_exceeded"),
    (failed("bad", type="invalid_request_error", code="tool_use_failed"), GenerationFailedError, "tool_use_failed"),
    (failed("bad", type="unheard_of", status_code=400), InvalidRequestError, "unheard_of"),
    (failed("oops", type="server_error", code=None), ServerError, "server_error"),
    (failed("The engine is overloaded", type="server_error"), OverloadedError, "server_error"),
    ({"error": "something broke"}, ServerError, ""),
    ({"object": "error", "message": "Bad gateway", "code": 502}, ServerError, "502"),
]


@pytest.mark.parametrize(("payload", "kind", "code"), ERRORS)
def test_an_error_under_a_200_is_an_error(payload: dict[str, Any], kind: type[ProviderError], code: str) -> None:
    with pytest.raises(ProviderError) as whole:
        decoded(payload)
    with pytest.raises(ProviderError) as event:
        streamed(sse(chunk({"content": "a"}), payload, "[DONE]"))
    with pytest.raises(ProviderError) as plain_body:
        streamed(msgspec.json.encode(payload))
    for caught in (whole, event, plain_body):
        assert type(caught.value) is kind
        assert (caught.value.code or "", caught.value.status, caught.value.request_id) == (code, 200, "req_1")


def test_an_error_beside_choices_is_an_error_even_if_done_follows() -> None:
    failing = chunk({"content": ""}, "error", error={"code": 502, "message": "Upstream died"})
    with pytest.raises(ServerError, match="Upstream died"):
        streamed(sse(chunk({"content": "a"}), failing, "[DONE]"))


@pytest.mark.parametrize("data", ['{"error":{"message":"gone","type":"server_error"}}', '{"message":"gone"}', "gone"])
def test_an_error_event_is_an_error_whatever_it_holds(data: str) -> None:
    with pytest.raises(ServerError, match="gone"):
        streamed(sse(chunk({"content": "a"})) + f"event: error\ndata: {data}\n\n".encode())


def test_a_hint_under_a_200_is_not_in_the_headers() -> None:
    head = WireHead(200, (("retry-after", "17"),))
    payload = {"error": {"message": "Slow down", "code": 429}}
    with pytest.raises(RateLimitedError) as caught:
        CODEC.decode(WireResponse(200, head.headers, msgspec.json.encode(payload)))
    assert caught.value.retry_after is None
    said = {"error": {"message": "Try again in 6m0s", "code": 429}}
    with pytest.raises(RateLimitedError) as caught:
        decoded(said)
    assert caught.value.retry_after == 360.0


def test_what_came_before_an_error_is_delivered() -> None:
    """In one read too: the error comes with the next call, and `done` says that there is nothing to wait for."""
    decoder = CODEC.decoder(HEAD)
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    raw = sse(chunk({"content": "a"}, usage=usage), {"error": {"message": "x", "code": 500}}, chunk({"content": "b"}))
    assert text_of(decoder.feed(raw)) == "a"
    assert decoder.done
    with pytest.raises(ServerError) as caught:
        decoder.close()
    assert caught.value.usage == Usage(input_tokens=1, output_tokens=2)
    assert decoder.completion.message.text == "a"


def test_a_stream_is_whole_with_its_finish_reason_alone() -> None:
    chunks, completion = streamed(sse(chunk({"content": "a"}), chunk({}, "stop")))
    assert (text_of(chunks), completion.finish_reason) == ("a", "stop")
    without_blank_line = sse(chunk({"content": "a"}), chunk({}, "stop")).rstrip()
    assert streamed(without_blank_line)[1].finish_reason == "stop"
    without_end = sse(chunk({"content": "a"}), chunk({}, "stop"), "[DONE]").rstrip()
    assert streamed(without_end)[1].finish_reason == "stop"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n\n",
        b": keep-alive\n\n",
        sse("[DONE]"),
        sse(chunk({"role": "assistant", "content": ""})),
        sse(chunk({"content": "a"})),
        sse(chunk({"content": "a"}), "[DONE]"),
        sse(chunk({"content": "a"})) + b'data: {"choices":[{"index":0,"delta":{},"finish_re',
        sse(chunk({"content": "a"}), {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}),
        sse({"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]}),
    ],
)
def test_a_stream_without_a_finish_reason_is_broken(raw: bytes) -> None:
    with pytest.raises(StreamBrokenError) as caught:
        streamed(raw)
    assert caught.value.partial == ("a" if b'"a"' in raw else "")
    assert caught.value.request_id == "req_1"


@pytest.mark.parametrize(
    "last", [(chunk({"content": "b"}, "stop"),), (chunk({}, "stop"), chunk({"content": "b"}))], ids=["with", "after"]
)
def test_a_last_piece_without_its_blank_line_is_given_with_the_finish_reason_or_after_it(
    last: tuple[dict[str, Any], ...],
) -> None:
    raw = sse(chunk({"content": "a"}), *last)
    assert streamed(raw.rstrip()) == streamed(raw)
    assert text_of(streamed(raw.rstrip())[0]) == "ab"


def test_a_last_piece_without_its_blank_line_is_no_part_of_what_came_of_a_cut_answer() -> None:
    with pytest.raises(StreamBrokenError) as caught:
        streamed(sse(chunk({"content": "a"}), chunk({"content": "b"})).rstrip())
    assert caught.value.partial == "a"


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({"finish_reason": "error"}, ServerError),
        ({"finish_reason": "insufficient_system_resource"}, OverloadedError),
        ({"finish_reason": "error", "error": {"code": 429, "message": "slow down"}}, RateLimitedError),
    ],
)
def test_an_answer_that_its_provider_broke_off_is_none(told: dict[str, Any], kind: type[ProviderError]) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    whole = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}, **told}], "usage": usage}
    last = {"choices": [{"index": 0, "delta": {"content": "b"}, **told}], "usage": usage}
    with pytest.raises(kind) as caught:
        decoded(whole)
    assert caught.value.usage == Usage(input_tokens=3, output_tokens=2)
    decoder = CODEC.decoder(HEAD)
    assert text_of(decoder.feed(sse(chunk({"content": "a"}), last, "[DONE]"))) == "ab"
    with pytest.raises(kind) as caught:
        decoder.close()
    assert caught.value.usage == Usage(input_tokens=3, output_tokens=2)
    assert caught.value.status == 200


IN_THE_PLACE_OF_THE_END: list[Any] = [
    {"error": {"message": "gone", "code": 500}},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]},
    {
        "choices": [],
        "error": {"message": "gone", "code": 500},
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    },
    "{",
    "[]",
]


@pytest.mark.parametrize("last", IN_THE_PLACE_OF_THE_END)
def test_what_comes_in_the_place_of_the_end_takes_nothing_back(last: Any) -> None:
    ended = chunk({}, "stop")
    decoder = CODEC.decoder(HEAD)
    decoder.feed(sse(chunk({"content": "a"}), ended, last))
    decoder.close()
    assert decoder.unread is not None
    _, completion = streamed(sse(chunk({"content": "a"}), ended, last, "[DONE]"))
    assert (completion.message.text, completion.finish_reason) == ("a", "stop")
    told = isinstance(last, dict) and "usage" in last
    assert completion.usage == (Usage(input_tokens=3, output_tokens=2) if told else None)


def test_an_error_after_the_finish_reason_of_a_recorded_stream_leaves_the_answer_whole() -> None:
    """OpenRouter's: the limit of tokens ended the answer, and the provider behind it calls that an error, too."""
    name = "openrouter/pydantic-ai--test_openrouter-test_openrouter_stream_error--0"
    (recording,) = [each for each in recordings("openrouter") if each.id == name]
    raw = (recording.response.sse or "").encode()
    _, completion = streamed(raw)
    assert completion.finish_reason == "length"
    assert completion.usage is not None
    assert (completion.usage.input_tokens, completion.usage.output_tokens) == (43, 10)


def test_an_error_in_the_unfinished_last_event_is_told() -> None:
    with pytest.raises(OverloadedError):
        streamed(sse(chunk({"content": "a"}), {"error": {"message": "Overloaded", "code": 503}}).rstrip())


def test_a_cut_usage_after_the_finish_reason_costs_nothing_but_the_usage() -> None:
    raw = sse(chunk({"content": "a"}), chunk({}, "stop")) + b'data: {"choices":[],"usage":{"prompt_tok'
    _, completion = streamed(raw)
    assert (completion.finish_reason, completion.usage) == ("stop", None)


@pytest.mark.parametrize(
    "data", ["{", "nonsense", "[1,2]", "5", "null", '{"choices": 5}', '{"choices":[{"delta":[]}]}']
)
def test_a_chunk_that_is_none_is_malformed(data: str) -> None:
    with pytest.raises(MalformedResponseError, match="chunk 2 of the stream"):
        streamed(sse(chunk({"content": "a"}), data, chunk({}, "stop")))


def test_a_page_or_a_document_instead_of_a_stream_is_malformed() -> None:
    with pytest.raises(MalformedResponseError, match="HTML"):
        streamed(b"\n  <!doctype html><html></html>")
    with pytest.raises(MalformedResponseError, match="JSON document"):
        streamed(msgspec.json.encode(answer({"content": "a"})))
    with pytest.raises(MalformedResponseError, match="not JSON"):
        streamed(b'{"error": {"mess')
    decoder = CODEC.decoder(HEAD)
    decoder.feed(b"{")
    with pytest.raises(MalformedResponseError):
        feed_all(decoder, [b" " * 65_536] * 20)


def test_an_event_without_end_does_not_fill_the_memory() -> None:
    decoder = CODEC.decoder(HEAD)
    with pytest.raises(MalformedResponseError, match="exceeds"):
        feed_all(decoder, [b"data: " + b"x" * 1_048_576] * 20)


def test_comments_pings_and_events_of_tomorrow_pass_without_harm() -> None:
    raw = (
        b": OPENROUTER PROCESSING\r\n\r\n"
        b'event: ping\r\ndata: {"type": "ping"}\r\n\r\n'
        b"event: tomorrow\r\ndata: [1, 2, 3]\r\n\r\n"
        b"id: 7\r\nretry: 100\r\n\r\n"
        + sse(
            {"type": "moderation", "results": [1]},
            chunk({"content": "a", "tomorrow": {"x": 1}}, obfuscation="xxxx", p="abc", service_tier=None),
            chunk({}, "stop", content_filter_results={"hate": {"filtered": False}}),
            "[DONE]",
            "after the end",
        )
    )
    chunks, completion = streamed(raw)
    assert (chunks, completion.finish_reason) == ([TextDelta("a")], "stop")


def test_done_is_told_only_after_the_wires_own_end() -> None:
    decoder = CODEC.decoder(HEAD)
    decoder.feed(sse(chunk({"content": "a"}, "stop")))
    assert not decoder.done
    decoder.feed(sse("[DONE]"))
    assert decoder.done
    assert decoder.feed(sse(chunk({"content": "late"}))) == []
    decoder.close()
    assert decoder.completion.message.text == "a"


def test_a_choice_without_a_message_is_no_answer() -> None:
    body = msgspec.json.encode({"choices": [{"index": 0, "finish_reason": "stop"}]})
    with pytest.raises(MalformedResponseError, match="holds no answer"):
        CODEC.decode(WireResponse(200, HEAD.headers, body))


def test_what_gemini_puts_beside_a_call_goes_back_beside_it() -> None:
    """Gemini 3 answers 400 to a call without the signature of the thought that led to it."""
    signed = {"google": {"thought_signature": "c2ln"}}
    calls = [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": signed},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]
    whole = decoded(answer({"content": None, "tool_calls": calls}))
    pieces = [chunk({"tool_calls": [{"index": at, **call}]}) for at, call in enumerate(calls)]
    _, completion = streamed(sse(*pieces, chunk({}, "tool_calls")))
    assert whole.message == completion.message
    assert [call.id for call in whole.message.tool_calls] == ["a", "b"]
    assert again(whole.message)["tool_calls"] == calls
    plain = decoded(answer({"content": None, "tool_calls": calls[1:]}))
    assert len(plain.message.content) == 1


def test_what_comes_of_other_choices_is_told_aside_and_shown_to_nobody() -> None:
    def other(delta: dict[str, Any], number: int = 1) -> dict[str, Any]:
        return {"choices": [{"index": number, "delta": delta}]}

    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    decoder = CODEC.decoder(HEAD)
    said = decoder.feed(sse(chunk({"content": "a"}), other({"content": "b"}), other({"reasoning_content": "c"}, 2)))
    assert said == [TextDelta("a")]
    assert list(decoder.aside) == [(1, "b"), (2, "c")]
    assert decoder.feed(sse(other({"tool_calls": [call]}), other({"refusal": "no"}))) == []
    assert list(decoder.aside) == [(1, "{}"), (1, "no")]
    assert decoder.feed(sse(chunk({}, "stop"))) == []
    assert list(decoder.aside) == []
    decoder.close()
    assert decoder.completion.message.text == "a"
