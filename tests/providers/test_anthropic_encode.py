"""Requests as Anthropic takes them: hand-written ones equal recorded bodies; and what the wire demands beyond them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import Recording, recordings

from penstock.errors import UnsendableRequestError
from penstock.types import (
    ChatRequest,
    Image,
    Message,
    OutputSchema,
    ProviderPart,
    Refusal,
    Target,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from penstock_providers.anthropic_messages import AnthropicMessages, AnthropicOptions

CODEC = AnthropicMessages()
FAMILY = "anthropic-messages"
RECORDED = {recording.name: recording for recording in recordings("anthropic-messages", "vertex-anthropic")}


def recorded(name: str) -> Recording:
    found = [recording for key, recording in RECORDED.items() if key.startswith(name)]
    assert len(found) == 1, f"{name}: {len(found)} recordings"
    return found[0]


def target(model: str = "claude-sonnet-4-20250514", **more: Any) -> Target:
    return Target(name="t", provider=more.pop("provider", "anthropic"), model=model, **more)


def encoded(request: ChatRequest, to: Target | None = None, *, stream: bool = False) -> dict[str, Any]:
    wire = CODEC.encode(request, to or target(), stream=stream, now=0)
    return cast("dict[str, Any]", msgspec.json.decode(wire.body))


@pytest.mark.parametrize("said", [True, False, None])
@pytest.mark.parametrize("where", ["params", "extra"])
def test_whether_to_stream_is_for_the_call_alone_to_say(where: str, said: bool | None) -> None:  # noqa: FBT001 - a case
    fields = {"stream": said, "top_k": 3}
    request = ChatRequest("-", extra={"anthropic": fields} if where == "extra" else {})
    to = target(params=fields if where == "params" else {})
    assert encoded(request, to, stream=True)["stream"] is True
    whole = encoded(request, to)
    assert not whole.get("stream")
    assert whole["top_k"] == 3


@pytest.mark.parametrize(
    ("thinking", "thinks"),
    [
        ({"type": "enabled", "budget_tokens": 2_000}, True),
        ({"type": "adaptive", "display": "summarized"}, True),
        ({"type": "disabled"}, False),
        ({"type": "between_tools"}, None),
        ({}, None),
        ("enabled", None),
        (None, None),
    ],
)
def test_whether_a_targets_params_ask_to_think(thinking: object, thinks: bool | None) -> None:  # noqa: FBT001
    assert CODEC.own_thinking(target(params={"thinking": thinking})) is thinks
    assert CODEC.own_thinking(target(params={"max_tokens": 9})) is None


def plainly(value: Any, name: str = "") -> Any:
    """The same request where the wire offers several spellings of one thing.

    A single bare text block is its string; five minutes are what a cache mark means without a ttl; a null, an empty
    description, no tools, no error and no streaming are what a missing field means.
    """
    if isinstance(value, list):
        items: list[Any] = list(map(plainly, cast("Sequence[Any]", value)))
        match items:
            case [{"type": "text", "text": str(text), **rest}] if not rest and name in ("content", "system"):
                return text
            case _:
                return items
    if not isinstance(value, dict):
        return value
    defaults: dict[str, Any] = {"ttl": "5m", "description": "", "tools": [], "is_error": False, "stream": False}
    fields = cast("dict[str, Any]", value)
    kept = {key: item for key, item in fields.items() if item is not None and defaults.get(key, ...) != item}
    return {key: plainly(item, key) for key, item in kept.items()}


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def titled(kind: str, **names: str) -> dict[str, Any]:
    return {name: {"title": title, "type": kind} for name, title in names.items()}


def body_texts(name: str, *path: int | str) -> str:
    """A long text of the recording, for the request that has to hold the same."""
    value: Any = recorded(name).request
    assert value is not None
    value = value.body
    for step in path:
        value = value[step]
    assert isinstance(value, str)
    return value


WEATHER = Tool("get_weather", "Get the weather for a specific location", {
    "type": "object", "properties": {"location": {"type": "string"}},
})  # fmt: skip
VERTEX_WEATHER = Tool("weather", "Get weather information for a location", {
    "type": "object",
    "properties": {"location": {"description": "the city", "type": "string"}},
    "required": ["location"],
})  # fmt: skip
ADDITION = Tool(
    "customAdditionImplementation",
    "Perform computation on integers.",
    schema(**titled("integer", a="A", b="B")) | {"additionalProperties": False},
    strict=True,
    cache="5m",
)
ADDED = schema(**titled("integer", integer_a="Integer A", integer_b="Integer B", answer="Answer")) | {
    "description": "A simple response for testing.",
    "title": "IntegerAdditionResponse",
    "additionalProperties": False,
}
ADAPTIVE = {"type": "adaptive", "display": "summarized"}
CITY = schema(city={"type": "string"}) | {"additionalProperties": False}
RESULTS = "dd-trace-py--anthropic-anthropic_completion_tools_call_with_tool_result"
NOVEL = "openinference--test_instrumentor"
HOUR = "rig--response_identity_edge-caching_and_identity_share_the_wire_streaming"
STATIC = "rig--messages_thinking-static_prefix_ttl"
PICTURE = "ellmer--_vcr-anthropic-tool-image"
PAUSE = "pydantic-ai--test_anthropic-test_pause_turn"

SAME: dict[str, ChatRequest] = {
    "logfire--test_anthropic-test_async_beta_messages": ChatRequest(
        "What is four plus five?", system="You are a helpful assistant.", max_tokens=1000
    ),
    "dd-trace-js--anthropic-anthropic_v1_messages_beta": ChatRequest("Hello, world!", max_tokens=100, temperature=0.5),
    "dd-trace-py--anthropic-anthropic_completion_invalid_api_key": ChatRequest(
        [
            Message.system("Respond only in all caps."),
            Message.user(
                [Text("Hello, I am looking for information about some books!"), Text("What is the best selling book?")]
            ),
        ],
        max_tokens=15,
        temperature=0.8,
    ),
    "activeagent--native_format_test-test_agent_stop_sequences": ChatRequest(
        "Generate a JSON object representing a person with a name, email, and phone number .", max_tokens=1024, stop="}"
    ),
    "llm-anthropic--test_anthropic-test_prompt_with_prefill": ChatRequest(
        [Message.user("Very short function describing a pelican"), Message.assistant("```python")],
        max_tokens=8192,
        stop=["```"],
        temperature=1.0,
    ),
    "activeagent--messages-image": ChatRequest(
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What's in this image?"},
                    {
                        "type": "image_url",
                        "image_url": {
                            "url": "https://framerusercontent.com/images/oEx786EYW2ZVL4Xf9hparOVLjHI.png?scale-down-to=64"
                        },
                    },
                ],
            }
        ],
        max_tokens=4096,
    ),
    "activeagent--response_format_test": ChatRequest(
        "Return the three primary colors.",
        max_tokens=1024,
        output=schema(colors={"type": "array", "items": {"type": "string"}}) | {"additionalProperties": False},
    ),
    "llm-anthropic--test_anthropic-test_schema_prompt": ChatRequest(
        "Invent a good dog",
        max_tokens=8192,
        temperature=1.0,
        output=OutputSchema(
            schema(**titled("string", name="Name"), **titled("integer", age="Age"), **titled("string", bio="Bio"))
            | {"title": "Dog", "additionalProperties": False}
        ),
    ),
    "llm-anthropic--test_anthropic-test_tools": ChatRequest(
        "Two names for a pet pelican", max_tokens=8192, temperature=1.0, tools=[Tool("pelican_name_generator")]
    ),
    RESULTS: ChatRequest(
        [
            Message.user("What is the weather in San Francisco, CA?"),
            Message.assistant(
                [
                    Text(body_texts(RESULTS, "messages", 1, "content", 0, "text")),
                    ToolCall("toolu_01DYJo37oETVsCdLTTcCWcdq", "get_weather", {"location": "San Francisco, CA"}),
                ]
            ),
            ToolResult("toolu_01DYJo37oETVsCdLTTcCWcdq", "The weather is 73f"),
        ],
        max_tokens=500,
        tools=[WEATHER],
    ),
    "magentic--c_chat_model": ChatRequest(
        "Use the plus tool to sum 1 and 2. Use the minus tool to subtract 1 from 2. Use both tools at the same time.",
        max_tokens=1024,
        tools=[Tool(name, "", schema(**titled("integer", a="A", b="B"))) for name in ("plus", "minus")],
        tool_choice="required",
        parallel_tool_calls=True,
    ),
    "magentic--test_retry_chat_model": ChatRequest(
        [
            Message.user("Return a country."),
            Message.assistant([ToolCall("toolu_0128s5vBxDXfrAtT52UbHrMg", "return_country", {"name": "France"})]),
            Message.user(
                [
                    ToolResult(
                        "toolu_0128s5vBxDXfrAtT52UbHrMg",
                        body_texts("magentic--test_retry", "messages", 2, "content", 0, "content"),
                    )
                ]
            ),
        ],
        max_tokens=1024,
        tools=[Tool("return_country", "", schema(**titled("string", name="Name")))],
        tool_choice="return_country",
    ),
    "fantasy--claude-sonnet-4-multi_tool_streaming": ChatRequest(
        [Message.user([Text("Add and multiply the number 2 and 3", cache="5m")])],
        system=Message.system(
            [Text("You are a helpful assistant. Always use both add and multiply at the same time.", cache="5m")]
        ),
        max_tokens=4000,
        tools=[
            Tool(
                name,
                f"{name.capitalize()} two numbers",
                schema(
                    a={"description": "first number", "type": "integer"},
                    b={"description": "second number", "type": "integer"},
                ),
            )
            for name in ("add", "multiply")
        ],
        parallel_tool_calls=True,
    ),
    "mirascope--test_strict_mode_with_tools_streamed-anthropic_claude_sonnet_4_5--0": ChatRequest(
        "Answer this question: What is 2 + 3, using the custom addition tool?",
        max_tokens=16000,
        tools=[ADDITION],
        extra={"anthropic": {"output_format": {"type": "json_schema", "schema": ADDED}}},
    ),
    "mirascope--test_strict_mode_with_tools_streamed-anthropic_claude_sonnet_4_5--1": ChatRequest(
        [
            Message.user("Answer this question: What is 2 + 3, using the custom addition tool?"),
            Message.assistant(
                [ToolCall("toolu_01GWMYVRPdJWuP8ywu1XZDW8", "customAdditionImplementation", {"a": 2, "b": 3})]
            ),
            ToolResult("toolu_01GWMYVRPdJWuP8ywu1XZDW8", "13", cache="5m"),
        ],
        max_tokens=16000,
        tools=[ADDITION],
        extra={FAMILY: {"output_format": {"type": "json_schema", "schema": ADDED}}},
    ),
    "pydantic-ai--test_output-test_mixed_tools": ChatRequest(
        "Tell me about London including population and area",
        max_tokens=4096,
        tools=[
            Tool("get_population", "", CITY, strict=True),
            Tool("get_area", "", CITY),
            Tool(
                "final_result",
                "Information about a city.",
                schema(city={"type": "string"}, country={"type": "string"}, population={"type": "integer"}),
            ),
        ],
        tool_choice="required",
    ),
    NOVEL: ChatRequest(
        "Analyze the major themes in 'Pride and Prejudice'.",
        system=Message.system(
            [
                Text("You are an AI assistant tasked with analyzing literary works.\n"),
                Text(body_texts(NOVEL, "system", 1, "text"), cache="5m"),
            ]
        ),
        max_tokens=2048,
    ),
    HOUR: ChatRequest(
        [
            Message.system([Text(body_texts(HOUR, "system", 0, "text"), cache="1h")]),
            Message.user([Text("Reply with exactly: stream edge probe", cache="5m")]),
        ],
        max_tokens=16,
        temperature=0.0,
    ),
    STATIC: ChatRequest(
        [Message.user(body_texts(STATIC, "messages", 0, "content", 0, "text"))],
        system=Message.system([Text(body_texts(STATIC, "system", 0, "text"), cache="1h")]),
        max_tokens=4096,
        thinking=1024,
        extra={"anthropic": {"cache_control": {"type": "ephemeral"}}},
    ),
    "rig--reasoning_usage_matrix": ChatRequest(
        body_texts("rig--reasoning_usage_matrix", "messages", 0, "content", 0, "text"),
        max_tokens=2048,
        thinking=1024,
        temperature=0.2,  # beside thinking there is none
    ),
    "pydantic-ai--test_anthropic-test_anthropic_model_thinking_part_redacted": ChatRequest(
        body_texts("pydantic-ai--test_anthropic-test_anthropic_model_thinking", "messages", 0, "content", 0, "text"),
        max_tokens=4096,
        thinking="low",
    ),
    PICTURE: ChatRequest(
        [
            Message.user("Draw a picture of a cute animal"),
            Message.assistant(
                [
                    Text("I'll draw a cute animal for you!"),
                    ToolCall("toolu_013SoGG7WGX1WJNCBPBZaury", "draw_animal", {}),
                ]
            ),
            ToolResult(
                "toolu_013SoGG7WGX1WJNCBPBZaury",
                'See <tool-content call-id="toolu_013SoGG7WGX1WJNCBPBZaury"> below.',
            ),
            Message.user(
                [
                    Text('<tool-content call-id="toolu_013SoGG7WGX1WJNCBPBZaury">'),
                    Image(data=b"AAAA", media_type="image/jpeg"),
                    Text("</tool-content>"),
                ]
            ),
            Message.assistant(body_texts(PICTURE, "messages", 3, "content", 0, "text")),
            Message.user("What sort of animal is that?"),
            Message.assistant(body_texts(PICTURE, "messages", 5, "content", 0, "text")),
            Message.user([Text("What sort of animal is that?", cache="5m")]),
        ],
        max_tokens=4096,
        tools=[
            Tool(
                "draw_animal",
                "Draw a cute animal",
                {"type": "object", "description": "", "additionalProperties": False},
            )
        ],
    ),
    "ellmer--_vcr-anthropic-web-fetch": ChatRequest(
        [
            Message.user(
                [
                    Text(
                        "What's the first movie listed on https://rvest.tidyverse.org/articles/starwars.html?",
                        cache="5m",
                    )
                ]
            )
        ],
        max_tokens=4096,
        extra={
            "anthropic": {
                "tools": [{"name": "web_fetch", "type": "web_fetch_20250910", "citations": {"enabled": False}}]
            }
        },
    ),
    "dd-trace-py--anthropic-anthropic_completion_tools_server_tool_use": ChatRequest(
        "What is the weather in San Francisco, CA?",
        max_tokens=200,
        extra={
            "anthropic": {
                "tools": [
                    {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"},
                    {
                        "name": "get_weather",
                        "description": "Get the weather for a specific location",
                        "input_schema": WEATHER.parameters,
                        "defer_loading": True,
                    },
                ]
            }
        },
    ),
    PAUSE: ChatRequest(
        body_texts(PAUSE, "messages", 0, "content", 0, "text"),
        max_tokens=15000,
        thinking=4096,
        tool_choice="auto",
        extra={"anthropic": {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}},
    ),
    "pydantic-ai--test_anthropic-test_anthropic_mcp_servers--0": ChatRequest(
        "Can you tell me more about the pydantic/pydantic-ai repo? Keep your answer short",
        max_tokens=4096,
        thinking=3000,
        extra={
            "anthropic": {"mcp_servers": [{"name": "deepwiki", "type": "url", "url": "https://mcp.deepwiki.com/mcp"}]}
        },
    ),
    "pydantic-ai--test_anthropic-test_anthropic_task_budget": ChatRequest(
        "What is 2+2?",
        max_tokens=4096,
        temperature=0.5,  # this model takes none
        extra={"anthropic": {"output_config": {"effort": "high", "task_budget": {"total": 20000, "type": "tokens"}}}},
    ),
    "pydantic-ai--ic-test_anthropic_count_tokens": ChatRequest(
        "What is the capital of France?",
        max_tokens=4096,
        tools=[
            Tool(
                "final_result",
                "The final response which ends this conversation",
                schema(city={"type": "string"}, country={"type": "string"}),
            )
        ],
        tool_choice="required",
        extra={"anthropic": {"thinking": {"type": "adaptive"}}},
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_a_request_is_encoded_as_it_was_recorded(name: str) -> None:
    exchange = recorded(name)
    assert exchange.request is not None
    got = encoded(SAME[name], target(exchange.request.body["model"]), stream=exchange.streamed)
    assert plainly(got) == plainly(exchange.request.body)


@pytest.mark.parametrize("name", ["tool_streaming--0", "tool_streaming--1"])
def test_vertex_takes_the_same_body_with_its_own_version_in_it(name: str) -> None:
    exchange = recorded(f"fantasy--vertex-claude-3-7-sonnet-{name}")
    assert exchange.request is not None
    asked = Message.user("What's the weather in Florence,Italy?")
    answered: list[Message | ToolResult] = [
        Message.assistant(
            [
                Text(
                    "I'll help you check the weather in Florence, Italy. Let me get that information for you"
                    " right away."
                ),
                ToolCall("toolu_vrtx_01JhPy9eXqgjLWmUpoCiEkCs", "weather", {"location": "Florence,Italy"}),
            ]
        ),
        ToolResult("toolu_vrtx_01JhPy9eXqgjLWmUpoCiEkCs", "40 C"),
    ]
    request = ChatRequest(
        [asked, *(answered if name.endswith("1") else [])],
        system="You are a helpful assistant",
        max_tokens=4000,
        tools=[VERTEX_WEATHER],
        parallel_tool_calls=True,
    )
    to = target("claude-3-7-sonnet@20250219", params={"anthropic_version": "vertex-2023-10-16"})
    got = encoded(request, to, stream=True)
    assert got.pop("model") == "claude-3-7-sonnet@20250219"  # there it stands in the path
    assert plainly(got) == plainly(exchange.request.body)


def test_an_answer_goes_back_into_the_next_request_as_it_came() -> None:
    first, second = (recorded(f"pydantic-ai--test_anthropic-test_anthropic_mcp_servers--{at}") for at in (0, 1))
    assert second.request is not None
    answer = CODEC.decode(first.whole()).message
    question = second.request.body["messages"][-1]["content"][0]["text"]
    asked = SAME["pydantic-ai--test_anthropic-test_anthropic_mcp_servers--0"]
    request = msgspec.structs.replace(asked, messages=(*asked.messages, answer, Message.user(question)))
    assert plainly(encoded(request, target("claude-sonnet-4-0"))) == plainly(second.request.body)


def test_every_recorded_answer_can_be_sent_back_block_by_block() -> None:
    for exchange in RECORDED.values():
        if exchange.response.status != 200 or exchange.streamed:
            continue
        answer = CODEC.decode(exchange.whole()).message
        request = ChatRequest([Message.user("a"), answer, Message.user("b")])
        sent = encoded(request)["messages"][1]["content"]
        blocks = [dict(block) for block in exchange.response.body["content"]]
        for block in blocks:
            if block["type"] == "tool_use":
                block.pop("caller", None)
        assert plainly(sent, "content") == plainly(blocks, "content"), exchange.name


def test_the_head_of_a_request_names_version_and_betas_and_no_key() -> None:
    codec = AnthropicMessages(AnthropicOptions(beta=("a-1", "b-2")))
    to = target(headers=(("Anthropic-Beta", "b-2, c-3"), ("X-Team", "search")))
    wire = codec.encode(ChatRequest("q"), to, stream=True, now=0)
    assert (wire.method, wire.url) == ("POST", "https://api.anthropic.com/v1/messages")
    assert dict(wire.headers) == {
        "accept": "text/event-stream",
        "content-type": "application/json",
        "anthropic-version": "2023-06-01",
        "x-team": "search",
        "anthropic-beta": "a-1,b-2,c-3",
    }
    assert codec.significant_headers == {"anthropic-version", "anthropic-beta"}


@pytest.mark.parametrize("base", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"])
def test_a_base_url_may_end_in_v1(base: str) -> None:
    codec = AnthropicMessages(AnthropicOptions(base_url=base))
    assert codec.encode(ChatRequest("q"), target(), stream=False, now=0).url == "http://h:1/v1/messages"


def test_authorize_adds_the_key_and_nothing_else() -> None:
    wire = CODEC.encode(ChatRequest("q"), target(), stream=False, now=0)
    assert CODEC.authorize(wire, None, now=0) == wire
    signed = CODEC.authorize(wire, "sk-1", now=0)
    assert signed.headers == (*wire.headers, ("x-api-key", "sk-1"))
    assert (signed.url, signed.body) == (wire.url, wire.body)
    assert CODEC.authorize(signed, "sk-2", now=0).headers == (*wire.headers, ("x-api-key", "sk-2"))
    bearer = AnthropicMessages(AnthropicOptions(auth="bearer")).authorize(wire, "tok", now=0)
    assert bearer.headers[-1] == ("authorization", "Bearer tok")
    assert "sk-1" not in repr(signed)


def test_roles_alternate_and_tool_results_come_first() -> None:
    request = ChatRequest(
        [
            Message.user("a"),
            Message.user("b"),
            Message.assistant([ToolCall("1", "f"), ToolCall("2", "f")]),
            ToolResult("1", "x"),
            Message.user([Text("and then?"), ToolResult("2", [Text("y"), Text("z")], is_error=True)]),
            Message.assistant("c"),
            Message.assistant("d  \n"),
        ]
    )
    assert encoded(request)["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "1", "name": "f", "input": {}},
                {"type": "tool_use", "id": "2", "name": "f", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "1", "content": "x"},
                {
                    "type": "tool_result",
                    "tool_use_id": "2",
                    "content": [{"type": "text", "text": "y"}, {"type": "text", "text": "z"}],
                    "is_error": True,
                },
                {"type": "text", "text": "and then?"},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]},
    ]


def test_every_system_message_joins_the_system_prompt() -> None:
    request = ChatRequest([Message.system("b"), Message.user("q"), Message.system("c"), Message.user("r")], system="a")
    body = encoded(request)
    assert [block["text"] for block in body["system"]] == ["a", "b", "c"]
    assert [turn["role"] for turn in body["messages"]] == ["user"]
    with pytest.raises(UnsendableRequestError, match="text only"):
        encoded(ChatRequest([Message.system([Image(url="https://x/y.png")]), Message.user("q")]))


def test_what_is_bound_to_another_family_stays_out() -> None:
    request = ChatRequest(
        [
            Message.user("q"),
            Message.assistant(
                [
                    Thinking("theirs", "sig", family="openai-chat"),
                    ProviderPart("openai-chat", {"type": "web_search_call"}),
                    Thinking("ours", "sig", family=FAMILY),
                    Thinking("cut before its signature", family=FAMILY),
                    Thinking("", redacted="r", family=FAMILY),
                    ProviderPart(FAMILY, {"type": "server_tool_use", "id": "s"}),
                    Text("quoted", citations=({"type": "url_citation", "url": "https://x"},)),
                    Refusal("no"),
                ]
            ),
            Message.assistant([Thinking("only theirs", family="gemini")]),
            Message.user("r"),
        ]
    )
    turns = encoded(request)["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[1]["content"] == [
        {"type": "thinking", "thinking": "ours", "signature": "sig"},
        {"type": "redacted_thinking", "data": "r"},
        {"type": "server_tool_use", "id": "s"},
        {"type": "text", "text": "quoted"},
        {"type": "text", "text": "no"},
    ]


@given(st.lists(st.text(max_size=8), min_size=1, max_size=6, unique=True))
def test_call_ids_take_the_form_the_wire_demands_and_still_pair(ids: list[str]) -> None:
    calls = Message.assistant([ToolCall(id, "f") for id in ids])
    turns = encoded(ChatRequest([Message.user("q"), calls, *(ToolResult(id, "x") for id in ids)]))["messages"]
    sent = [block["id"] for block in turns[1]["content"]]
    assert [block["tool_use_id"] for block in turns[2]["content"]] == sent
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]+", id) for id in sent)
    fitting = [id for id in ids if re.fullmatch(r"[a-zA-Z0-9_-]+", id)]
    assert set(fitting) <= set(sent)


def test_calls_of_other_kinds_become_objects() -> None:
    calls = [ToolCall.parse("1", "sql", "select 1", "custom"), ToolCall.parse("2", "f", '{"a": tru')]
    request = ChatRequest([Message.user("q"), Message.assistant(calls), ToolResult("1"), ToolResult("2", "")])
    turns = encoded(request)["messages"]
    assert [block["input"] for block in turns[1]["content"]] == [{"input": "select 1"}, {}]
    assert turns[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "1"},
        {"type": "tool_result", "tool_use_id": "2"},
    ]


def test_a_request_has_at_most_four_cache_marks_and_the_last_stay() -> None:
    request = ChatRequest(
        [
            Message.user([Text("a", cache="5m")]),
            Message.assistant([ToolCall("1", "f", cache="5m")]),
            ToolResult("1", [Text("r", cache="1h")], cache="5m"),
            Message.user([Image(url="https://x/y.png", cache="5m")]),
        ],
        system=Message.system([Text("s", cache="1h")]),
        tools=[Tool("f", cache="5m")],
    )
    body = encoded(request)
    assert "cache_control" not in body["tools"][0]
    assert body["system"] == [{"type": "text", "text": "s"}] or body["system"] == "s"
    assert "cache_control" not in body["messages"][0]["content"][0]
    assert body["messages"][1]["content"][0]["cache_control"] == {"type": "ephemeral"}
    result, image = body["messages"][2]["content"]
    assert result["cache_control"] == {"type": "ephemeral"}
    assert result["content"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert image["cache_control"] == {"type": "ephemeral"}


@pytest.mark.parametrize(
    ("choice", "parallel", "sent"),
    [
        (None, None, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("auto", None, {"type": "auto"}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
        ("none", False, {"type": "none"}),
        ("get_weather", None, {"type": "tool", "name": "get_weather"}),
    ],
)
def test_tool_choice(choice: str | None, parallel: bool | None, sent: dict[str, Any] | None) -> None:  # noqa: FBT001 - a table's column
    request = ChatRequest("q", tools=[WEATHER], tool_choice=choice, parallel_tool_calls=parallel)
    assert encoded(request).get("tool_choice") == sent
    assert "tool_choice" not in encoded(msgspec.structs.replace(request, tools=()))


@pytest.mark.parametrize(
    ("model", "thinking", "max_tokens", "sent"),
    [
        # Budgets, by table or by number, inside a default that leaves room for the answer.
        (
            "claude-sonnet-4-20250514",
            "medium",
            None,
            (8_192 + 4_096, {"type": "enabled", "budget_tokens": 4_096}, None),
        ),
        ("claude-opus-4-1", 30_000, None, (32_000, {"type": "enabled", "budget_tokens": 30_000}, None)),
        # A max_tokens that is given is never raised: the budget gives way, and with it thinking where it must.
        ("claude-sonnet-4-5", "high", 8_000, (8_000, {"type": "enabled", "budget_tokens": 6_000}, None)),
        ("claude-sonnet-4-5", "low", 1_000, (1_000, None, None)),
        ("claude-3-haiku-20240307", "high", None, (4_096, None, None)),
        # Both ways, then only the adaptive one.
        ("claude-opus-4-6", "high", 4_096, (4_096, ADAPTIVE, "high")),
        ("claude-opus-4-6", 2_000, 4_096, (4_096, {"type": "enabled", "budget_tokens": 2_000}, None)),
        ("claude-opus-4-7", 2_000, None, (10_192, ADAPTIVE, "medium")),
        ("claude-sonnet-5", 90_000, None, (98_192, ADAPTIVE, "high")),
        # Off: said only where silence would mean on.
        ("claude-sonnet-4-5", "off", None, (8_192, None, None)),
        ("claude-sonnet-5", "off", None, (8_192, {"type": "disabled"}, None)),
        ("claude-sonnet-5-5", "off", None, (8_192, {"type": "between_tools"}, None)),
        ("claude-fable-5", "off", None, (8_192, None, None)),
        ("claude-3-opus-20240229", None, None, (4_096, None, None)),
    ],
)
def test_thinking_and_max_tokens(model: str, thinking: Any, max_tokens: int | None, sent: tuple[Any, ...]) -> None:
    body = encoded(ChatRequest("q", thinking=thinking, max_tokens=max_tokens), target(model))
    assert (body["max_tokens"], body.get("thinking"), body.get("output_config", {}).get("effort")) == sent


def test_a_budget_gives_way_where_the_provider_would_refuse_the_request() -> None:
    def thinking(*messages: Message | ToolResult, model: str = "claude-sonnet-4-5", choice: str | None = None) -> Any:
        asked = ChatRequest([Message.user("q"), *messages], thinking="low", tools=[WEATHER], tool_choice=choice)
        return encoded(asked, target(model)).get("thinking")

    budget = {"type": "enabled", "budget_tokens": 1_024}
    call, result = ToolCall("1", "get_weather"), ToolResult("1", "x")
    own, theirs = Thinking("t", "s", family=FAMILY), Thinking("t", family="openai-chat")
    assert thinking() == budget
    assert thinking(Message.assistant([own, call]), result) == budget
    assert thinking(Message.assistant([Thinking("", redacted="r", family=FAMILY), call]), result) == budget
    assert thinking(Message.assistant([theirs, call]), result) is None
    assert thinking(Message.assistant("said"), Message.user("r")) == budget
    assert thinking(Message.assistant("to go on from")) is None
    assert thinking(choice="required") is None
    assert thinking(choice="get_weather") is None
    assert thinking(choice="none") == budget
    # Adaptive thinking has no such rule.
    assert thinking(Message.assistant([theirs, call]), result, model="claude-opus-4-6") == ADAPTIVE


def test_a_level_beside_a_schema_shares_its_field() -> None:
    body = encoded(ChatRequest("q", thinking="low", output={"type": "object"}), target("claude-opus-4-8"))
    assert body["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}}


def test_sampling_goes_where_it_is_taken() -> None:
    request = ChatRequest("q", temperature=1.7, top_p=0.9, seed=4)
    body = encoded(request)
    assert (body["temperature"], body["top_p"]) == (1.0, 0.9)
    assert "seed" not in body
    for to, asked in (
        (target("claude-opus-4-7"), request),
        (target("claude-sonnet-5-20260630"), request),
        (target(), msgspec.structs.replace(request, thinking="low")),
        (target(params={"temperature": 0.1, "thinking": {"type": "enabled", "budget_tokens": 1024}}), request),
    ):
        assert not encoded(asked, to).keys() & {"temperature", "top_p"}
    insisted = msgspec.structs.replace(request, extra={"anthropic": {"temperature": 1}})
    assert encoded(insisted, target("claude-opus-4-7"))["temperature"] == 1


def test_params_lie_under_the_request_and_extra_over_it() -> None:
    to = target(
        provider="mine",
        params={"temperature": 0.2, "top_k": 5, "max_tokens": 77, "metadata": {"user_id": "u", "a": 1}},
    )
    request = ChatRequest(
        "q",
        temperature=0.4,
        tools=[WEATHER],
        extra={
            "anthropic": {"metadata": {"a": 2}, "tools": [{"type": "web_search_20250305", "name": "web_search"}]},
            "mine": {"top_k": 9},
            "openai": {"logprobs": True},
        },
    )
    body = encoded(request, to)
    assert body["temperature"] == 0.4
    assert (body["max_tokens"], body["top_k"]) == (77, 9)
    assert body["metadata"] == {"user_id": "u", "a": 2}
    assert [tool["name"] for tool in body["tools"]] == ["get_weather", "web_search"]
    assert "logprobs" not in body
    assert to.params["metadata"] == {"user_id": "u", "a": 1}


def test_thinking_from_elsewhere_gives_way_to_the_requests_and_finds_room() -> None:
    to = target(params={"thinking": {"type": "enabled", "budget_tokens": 20_000}})
    assert encoded(ChatRequest("q"), to)["max_tokens"] == 28_192
    assert "thinking" not in encoded(ChatRequest("q", thinking="off"), to)
    adaptive = ChatRequest("q", thinking=2_000, extra={"anthropic": {"thinking": {"type": "adaptive"}}})
    assert encoded(adaptive)["thinking"] == {"type": "adaptive"}


def test_default_max_tokens_of_the_target_is_what_the_answer_gets() -> None:
    to = target(default_max_tokens=2_000)
    assert encoded(ChatRequest("q"), to)["max_tokens"] == 2_000
    assert encoded(ChatRequest("q", thinking="low"), to)["max_tokens"] == 3_024
    assert encoded(ChatRequest("q", max_tokens=5), to)["max_tokens"] == 5
    unthinking = target("claude-3-haiku-20240307", default_max_tokens=1_000)
    assert encoded(ChatRequest("q", thinking="high"), unthinking)["max_tokens"] == 1_000


def test_what_the_wire_cannot_say_is_refused_here() -> None:
    for url in ("file-123", "gs://bucket/x.png"):
        with pytest.raises(UnsendableRequestError, match="https"):
            encoded(ChatRequest([Message.user([Image(url=url)])]))
    with pytest.raises(UnsendableRequestError, match="no images"):
        encoded(ChatRequest([Message.user("q"), Message.assistant([Image(url="https://x/y.png")])]))


def test_equal_requests_make_equal_bytes() -> None:
    for name, request in SAME.items():
        to = target(params={"metadata": {"b": 1, "a": 2}})
        assert CODEC.encode(request, to, stream=True, now=0) == CODEC.encode(request, to, stream=True, now=9), name


some_text = st.sampled_from(["", " ", "a", "b\n"])
own_thinking = st.builds(Thinking, some_text, st.none() | st.just("s"), family=st.sampled_from([FAMILY, "gemini", ""]))
assistant_parts = st.one_of(
    st.builds(Text, some_text, cache=st.none() | st.just("5m")),
    st.builds(Refusal, some_text),
    own_thinking,
    st.just(ToolCall("c.1", "f", cache="1h")),
    st.just(ProviderPart("openai-chat", {"type": "x"})),
)
user_parts = st.one_of(
    st.builds(Text, some_text, cache=st.none() | st.just("1h")),
    st.just(Image(url="https://x/y.png", cache="5m")),
    st.builds(ToolResult, st.just("c.1"), some_text),
)
conversations = st.lists(
    st.one_of(
        st.builds(Message.system, some_text),
        st.builds(Message.user, st.lists(user_parts, max_size=3)),
        st.builds(Message.assistant, st.lists(assistant_parts, max_size=3)),
    ),
    min_size=1,
    max_size=7,
)


@given(conversations)
def test_every_conversation_becomes_one_the_wire_takes(messages: list[Message]) -> None:
    body = encoded(ChatRequest(messages))
    turns = body["messages"]
    roles = [turn["role"] for turn in turns]
    assert all(one != other for one, other in pairwise(roles))
    for turn in turns:
        assert turn["content"], "an empty turn is refused"
        blocks = [{"type": "text", "text": turn["content"]}] if isinstance(turn["content"], str) else turn["content"]
        kinds = [block["type"] == "tool_result" for block in blocks]
        assert kinds == sorted(kinds, reverse=True)
        assert all(block.get("text", "x").strip() for block in blocks), "a blank text block is refused"
    if roles and roles[-1] == "assistant":
        content = turns[-1]["content"]
        last = content if isinstance(content, str) else content[-1].get("text", "")
        assert last == last.rstrip()
    assert msgspec.json.encode(body).count(b"cache_control") <= 4
    said = [
        part.text for message in messages for part in message.content if isinstance(part, Text) and part.text.strip()
    ]
    sent = msgspec.json.encode(body).decode()
    assert all(text.strip() in sent for text in said)


CALLED = (
    Message.user("q"),
    Message.assistant([ToolCall("c1", "look", {"at": 1}), ToolCall("c2", "look", {"at": 2})]),
    Message("tool", (ToolResult("c1", "x"), ToolResult("c2", "y"))),
)


def test_tools_that_were_used_are_defined_where_the_request_defines_none() -> None:
    target = Target(name="t", provider="anthropic", model="claude-sonnet-4-5")
    request = ChatRequest(CALLED)
    body = msgspec.json.decode(CODEC.encode(request, target, stream=False, now=0.0).body)
    assert body["tools"] == [{"name": "look", "input_schema": {"type": "object"}}]
    assert body["tool_choice"] == {"type": "none"}
    assert CODEC.adapted(request, target) == {"tools_declared"}


def test_tools_that_are_defined_anywhere_are_left_alone() -> None:
    server = [{"type": "web_search_20250305", "name": "web_search"}]
    plain = Target(name="t", provider="anthropic", model="claude-sonnet-4-5")
    for request, target in (
        (ChatRequest(CALLED, tools=[Tool("look")]), plain),
        (ChatRequest(CALLED, extra={"anthropic": {"tools": server}}), plain),
        (
            ChatRequest(CALLED),
            Target(name="t", provider="anthropic", model="claude-sonnet-4-5", params={"tools": server}),
        ),
        (ChatRequest("q"), plain),
    ):
        body = msgspec.json.decode(CODEC.encode(request, target, stream=False, now=0.0).body)
        assert len(body.get("tools", [])) == (1 if request.tools or request.extra or target.params else 0)
        assert "tool_choice" not in body
        assert CODEC.adapted(request, target) == frozenset()
