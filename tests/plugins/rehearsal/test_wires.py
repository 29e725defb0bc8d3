"""What the rehearsal writes has the shape of what the providers wrote, and penstock's codecs can read it.

The shapes come from the recordings: our fields must be among those ever recorded, and those recorded every time
must be among ours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from typing import Any, cast

import msgspec
import pytest
from recorded import recordings
from rehearsing import Anthropic, OpenAI, Wire, ask, faulty

from penstock.abc import Provider
from penstock.errors import ProviderError
from penstock.types import ChatRequest, Completion, Message, Target, Tool, WireHead, WireRequest, WireResponse
from penstock_plugins.rehearsal import Exchange, Fault, Upstream, faults
from penstock_plugins.rehearsal.plan import Data, Head
from penstock_providers.anthropic_messages import AnthropicMessages
from penstock_providers.openai_chat import OpenAIChat

wires = pytest.mark.parametrize("wire", [OpenAI(), Anthropic()], ids=["openai", "anthropic"])
codecs = pytest.mark.parametrize(
    ("codec", "model"), [(OpenAIChat(), "gpt-4o"), (AnthropicMessages(), "claude-sonnet-4-20250514")]
)
WEATHER = Tool("weather", "Tells it", {"type": "object", "properties": {"city": {"type": "string"}}})


def paths(value: Any, path: str = "") -> Iterator[str]:
    """The names of all fields, but of what a tool is given and of why a model refused: recorded in few places."""
    if isinstance(value, dict):
        for name, inner in cast("dict[str, Any]", value).items():
            yield f"{path}.{name}"
            yield from paths(inner, f"{path}.{name}") if name not in ("input", "stop_details") else ()
    elif isinstance(value, list):
        for inner in cast("list[object]", value):
            yield from paths(inner, f"{path}[]")


@cache
def shapes(provider: str) -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    """For each kind of object the fields recorded always, and those recorded ever."""
    always: dict[str, frozenset[str]] = {}
    ever: defaultdict[str, frozenset[str]] = defaultdict(frozenset)
    for recording in recordings(provider):
        response = recording.response
        for value in [response.body] if response.sse is None else events(response.sse):
            if isinstance(value, dict):
                written = frozenset(paths(value))
                name = kind(cast("dict[str, Any]", value))
                always[name] = always.get(name, written) & written
                ever[name] |= written
    return {name: (always[name], ever[name]) for name in always}


def events(text: str) -> list[Any]:
    data = [line.strip().removeprefix("data: ") for line in text.splitlines() if line.strip().startswith("data: {")]
    return [msgspec.json.decode(line) for line in data]


def kind(value: dict[str, Any]) -> str:
    return "error" if "error" in value else str(value.get("type") or value["object"])


@wires
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", ["text", "tool", "thinking", "length", "filtered"])
def test_answers_have_the_recorded_shape(wire: Wire, case: str, *, stream: bool) -> None:
    more: dict[str, Any] = {}
    if case == "tool" and wire.name == "openai":
        more = {"tools": [{"type": "function", "function": {"name": "weather"}}], "tool_choice": "required"}
    elif case == "tool":
        more = {"tools": [{"name": "weather", "input_schema": {}}], "tool_choice": {"type": "any"}}
    elif case == "thinking":
        more = (
            {"reasoning_effort": "high"} if wire.name == "openai" else {"thinking": {"type": "enabled", "budget": 1024}}
        )
    elif case == "length":
        more = {"max_tokens": 3}
    upstream = faulty(faults.FilteredAnswer()) if case == "filtered" else Upstream()
    heard = ask("transport", upstream, wire, wire.body(stream=stream, **more))
    known = shapes("openai-chat" if wire.name == "openai" else "anthropic-messages")
    for value in heard.objects if stream else [heard.json]:
        always, ever = known[kind(value)]
        written = frozenset(paths(value))
        assert written <= ever
        assert always <= written


@wires
@pytest.mark.parametrize("fault", [faults.RateLimit(), faults.Overloaded(), faults.WrongKey(), faults.ContextLength()])
def test_errors_have_the_recorded_shape(wire: Wire, fault: Fault) -> None:
    heard = ask("transport", faulty(fault), wire, wire.body())
    always, ever = shapes("openai-chat" if wire.name == "openai" else "anthropic-messages")["error"]
    assert always <= frozenset(paths(heard.json)) <= ever


@wires
def test_events_come_in_the_recorded_order(wire: Wire) -> None:
    heard = ask("transport", Upstream(), wire, wire.body("[[words 3]]", stream=True))
    if wire.name == "openai":
        assert heard.events[-1] == "[DONE]"
        assert [bool(event["choices"]) for event in heard.objects] == [True] * 5 + [False]
        assert heard.objects[0]["choices"][0]["delta"]["role"] == "assistant"
        assert heard.objects[-2]["choices"][0]["finish_reason"] == "stop"
    else:
        block = ["content_block_start", "ping", *["content_block_delta"] * 3, "content_block_stop"]
        expected = ["message_start", *block, "message_delta", "message_stop"]
        assert [event["type"] for event in heard.objects] == expected
        assert [line for line in heard.body.decode().split("\n") if line.startswith("event: ")] == [
            f"event: {name}" for name in expected
        ]


def exchange_of(upstream: Upstream, codec: Provider, model: str, request: ChatRequest, *, stream: bool) -> Exchange:
    target = Target(name="t", provider=codec.family, model=model)
    wire = codec.authorize(codec.encode(request, target, stream=stream, now=0.0), "sk-canary", now=0.0)
    path = "/" + wire.url.partition("//")[2].partition("/")[2]
    received = WireRequest(wire.method, path, tuple((name.lower(), value) for name, value in wire.headers), wire.body)
    return upstream.receive(received, now=0.0, wall=1_760_000_000.0)


def played(exchange: Exchange) -> WireResponse:
    """Everything the exchange writes, at once."""
    head, body = WireHead(0), b""
    for step in exchange.steps:
        exchange.did(step)
        if isinstance(step, Head):
            head = WireHead(step.status, step.headers)
        elif isinstance(step, Data):
            body += step.data
    exchange.close()
    return WireResponse(head.status, head.headers, body)


def read_by(codec: Provider, response: WireResponse, *, stream: bool) -> Completion:
    if not stream:
        return codec.decode(response)
    decoder = codec.decoder(WireHead(response.status, response.headers))
    for start in range(0, len(response.body), 100):
        decoder.feed(response.body[start : start + 100])
    decoder.close()
    return decoder.completion


@codecs
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_penstocks_codec_asks_is_understood_and_reads_what_the_books_say(
    codec: Provider, model: str, *, stream: bool
) -> None:
    upstream = Upstream()
    request = ChatRequest([Message.user("Hello in größter Not")], max_tokens=300)
    response = played(exchange_of(upstream, codec, model, request, stream=stream))
    completion = read_by(codec, response, stream=stream)
    assert response.status == 200
    assert completion.finish_reason == "stop"
    assert completion.message.text
    served = upstream.statistics().served()
    assert completion.usage is not None
    assert (completion.usage.input_tokens, completion.usage.output_tokens) == (
        served.input_tokens,
        served.output_tokens,
    )


@codecs
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_penstocks_codec_reads_the_calls_of_tools(codec: Provider, model: str, *, stream: bool) -> None:
    request = ChatRequest([Message.user("[[call weather]] please")], max_tokens=300, tools=[WEATHER])
    response = played(exchange_of(Upstream(), codec, model, request, stream=stream))
    completion = read_by(codec, response, stream=stream)
    assert completion.finish_reason == "tool_calls"
    assert [(call.name, call.arguments) for call in completion.message.tool_calls] == [("weather", {"city": "wäter"})]


KINDS: list[tuple[Fault, str]] = [
    (faults.RateLimit(after_s=3), "RateLimitedError"),
    (faults.RateLimit(hint="milliseconds", after_s=3), "RateLimitedError"),
    (faults.RateLimit(hint="date", after_s=3), "RateLimitedError"),
    (faults.RateLimit(hint="reset", after_s=3), "RateLimitedError"),
    (faults.Quota(), "QuotaExhaustedError"),
    (faults.ServerFailure(), "ServerError"),
    (faults.Overloaded(), "OverloadedError"),
    (faults.WrongKey(), "AuthenticationError"),
    (faults.PermissionDenied(), "PermissionDeniedError"),
    (faults.ModelNotFound(), "ModelNotFoundError"),
    (faults.InvalidRequest(), "InvalidRequestError"),
    (faults.ContextLength(), "ContextLengthError"),
    (faults.FilteredRequest(), "ContentFilteredError"),
    (faults.Html(), "ServerError"),
]


@codecs
@pytest.mark.parametrize(("fault", "name"), KINDS)
def test_penstocks_codec_takes_each_refusal_for_what_it_is(
    codec: Provider, model: str, fault: Fault, name: str
) -> None:
    request = ChatRequest([Message.user("Hello")], max_tokens=300)
    response = played(exchange_of(faulty(fault), codec, model, request, stream=False))
    error = codec.classify(response, now=1_760_000_000.0)
    assert isinstance(error, ProviderError)
    assert type(error).__name__ == name
    if isinstance(fault, faults.RateLimit):
        assert error.retry_after == pytest.approx(3)
