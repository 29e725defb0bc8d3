"""What a conversation and its wishes become in each dialect: reasoning that goes back, a wish to think, a beginning."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from dialect_exchanges import ASKED, BY_FOLDER, codec_of
from plain_reading import asked_body, objects
from recorded import Recording

from penstock.types import ChatRequest, Message, Target, Text, Thinking, Tool, ToolCall, ToolResult
from penstock_providers.openai_chat import DIALECTS, Dialect, OpenAIChat

TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
ROWS = tuple(DIALECTS.values())
TARGET = Target(name="t", provider="p", model="a-model")


def body(codec: OpenAIChat, request: ChatRequest) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(codec.encode(request, TARGET, stream=False, now=0.0).body)
    return made


def sent(row: Dialect, **fields: Any) -> dict[str, Any]:
    return body(codec_of(row), ChatRequest("q", **fields))


RECORDED_REASONING = [
    (exchange, message)
    for exchange in ASKED
    for message in objects(asked_body(exchange), "messages")
    if message["role"] == "assistant" and (message.get("reasoning_content") or message.get("reasoning"))
]


@pytest.mark.parametrize(
    ("exchange", "message"), RECORDED_REASONING, ids=[exchange.id for exchange, _ in RECORDED_REASONING]
)
def test_reasoning_goes_back_in_the_field_it_was_recorded_in(exchange: Recording, message: dict[str, Any]) -> None:
    row = BY_FOLDER[exchange.provider]
    text = message.get("reasoning_content") or message["reasoning"]
    said = Message.assistant([Thinking(text, family="openai-chat"), ToolCall("call_1", "look", {})])
    codec = codec_of(row)
    _, made, _ = body(codec, ChatRequest([Message.user("q"), said, ToolResult("call_1", "seen")]))["messages"]
    assert row.reasoning_back is not None
    assert made[row.reasoning_back] == message[row.reasoning_back] == text
    assert {"reasoning", "reasoning_content", "reasoning_details"} & made.keys() == {row.reasoning_back}


def test_mistral_takes_reasoning_back_as_a_part_of_what_was_said() -> None:
    """As its answers have it. A field of its own beside the content is refused with 422."""
    said = Message.assistant([Thinking("hm", family="openai-chat"), *Message.assistant("so").content])
    made = body(codec_of(DIALECTS["mistral"]), ChatRequest([Message.user("q"), said, Message.user("r")]))["messages"][1]
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    assert made == {"role": "assistant", "content": [thought, {"type": "text", "text": "so"}]}


@pytest.mark.parametrize(("model", "text"), [("zai-glm-4.7", "<think>hm</think>so"), ("gpt-oss-120b", "hmso")])
def test_cerebras_takes_reasoning_back_as_its_models_write_it(model: str, text: str) -> None:
    codec, target = codec_of(DIALECTS["cerebras"]), msgspec.structs.replace(TARGET, model=model)
    said = Message.assistant([Thinking("hm", family="openai-chat"), Text("so")])
    called = Message.assistant([Thinking("hm", family="openai-chat"), ToolCall("c", "look", {})])
    pictured = Message.assistant([Thinking("hm", family="openai-chat"), Text("s"), Text("o")])
    request = ChatRequest([Message.user("q"), said, Message.user("r"), called, ToolResult("c", "x"), pictured])
    messages = json.loads(codec.encode(request, target, stream=False, now=0.0).body)["messages"]
    assert [sorted(message) for message in messages if message["role"] == "assistant"] == [
        ["content", "role"],
        ["content", "role", "tool_calls"],
        ["content", "role"],
    ]
    assert messages[1]["content"] == text
    assert messages[3]["content"] == text.removesuffix("so")
    assert "".join(part["text"] for part in messages[5]["content"]) == text


@pytest.mark.parametrize(
    ("model", "choice", "sent", "unheard"),
    [
        ("kimi-k2.6", "required", {"tool_choice": "required", "thinking": {"type": "disabled"}}, {"thinking"}),
        ("kimi-k3", "required", {"tool_choice": "required"}, {"thinking"}),
        ("kimi-k3", "look", {}, {"thinking", "tool_choice"}),
        ("kimi-k2.7-code-highspeed", "required", {}, {"thinking", "tool_choice"}),
        ("kimi-k2.7-code", "auto", {"tool_choice": "auto"}, {"thinking"}),
    ],
)
def test_kimi_is_not_asked_to_call_a_tool_where_it_cannot_stop_thinking(
    model: str, choice: str, sent: dict[str, Any], unheard: set[str]
) -> None:
    """Kimi: 400, "tool_choice 'specified' is incompatible with thinking enabled"; and to switch it off is refused."""
    codec, target = codec_of(DIALECTS["moonshot"]), msgspec.structs.replace(TARGET, model=model)
    request = ChatRequest("q", tools=[Tool("look")], tool_choice=choice, thinking="high")
    made = json.loads(codec.encode(request, target, stream=False, now=0.0).body)
    assert {name: made[name] for name in ("tool_choice", "thinking", "reasoning_effort") if name in made} == sent
    assert codec.unsupported(request, target) == unheard


def test_azure_is_sent_no_reasoning() -> None:
    codec = codec_of(DIALECTS["azure"])
    said = Message.assistant([Thinking("hm", family="openai-chat", details=({"type": "reasoning.text"},))])
    made = body(codec, ChatRequest([Message.user("q"), said, Message.user("r")]))["messages"][1]
    assert made == {"role": "assistant", "content": ""}
    assert codec.capabilities("a-model").thinking_parts == "none"


def test_groq_is_sent_reasoning_in_the_one_field_it_takes() -> None:
    """Groq, by report: 400, property 'reasoning_content' is unsupported."""
    said = Message.assistant([Thinking("hm", family="openai-chat")])
    made = body(codec_of(DIALECTS["groq"]), ChatRequest([Message.user("q"), said, Message.user("r")]))["messages"][1]
    assert made == {"role": "assistant", "content": "", "reasoning": "hm"}


def test_structured_reasoning_of_a_gateway_goes_back_to_the_gateway_alone() -> None:
    details = ({"type": "reasoning.text", "text": "hm", "signature": "s"},)
    said = Message.assistant([Thinking("hm", family="openai-chat", details=details)])
    request = ChatRequest([Message.user("q"), said, Message.user("r")])
    assert body(codec_of(DIALECTS["openrouter"]), request)["messages"][1]["reasoning_details"] == list(details)
    elsewhere = body(codec_of(DIALECTS["deepseek"]), request)["messages"][1]
    assert elsewhere == {"role": "assistant", "content": "", "reasoning_content": "hm"}


@pytest.mark.parametrize(
    ("name", "thinking", "fields"),
    [
        ("groq", "low", {"reasoning_effort": "low"}),
        ("groq", "off", {}),
        ("deepseek", "high", {"thinking": {"type": "enabled"}, "reasoning_effort": "high"}),
        ("deepseek", "off", {"thinking": {"type": "disabled"}}),
        ("mistral", "low", {"reasoning_effort": "high"}),
        ("mistral", "off", {"reasoning_effort": "none"}),
        ("moonshot", "medium", {"thinking": {"type": "enabled"}}),
        ("openrouter", "medium", {"reasoning": {"effort": "medium"}}),
        ("openrouter", 2_000, {"reasoning": {"max_tokens": 2_000}}),
        ("openrouter", "off", {"reasoning": {"effort": "none"}}),
        ("alibaba", 1_000, {"enable_thinking": True, "thinking_budget": 1_000}),
        ("alibaba", "high", {"enable_thinking": True}),
        ("alibaba", "off", {"enable_thinking": False}),
        ("xai", 9_000, {"reasoning_effort": "high"}),
        ("llamacpp", "off", {"chat_template_kwargs": {"enable_thinking": False}}),
    ],
)
def test_a_wish_to_think_is_said_in_the_providers_words(name: str, thinking: Any, fields: dict[str, Any]) -> None:
    made = sent(DIALECTS[name], thinking=thinking)
    assert {field: value for field, value in made.items() if field not in ("model", "messages")} == fields
    codec = codec_of(DIALECTS[name])
    assert codec.unsupported(ChatRequest("q", thinking=thinking), TARGET) == (set() if fields else {"thinking"})


@pytest.mark.parametrize("name", ["deepseek", "moonshot"])
def test_who_demands_a_tool_of_them_does_without_thinking(name: str) -> None:
    """Recorded at DeepSeek: both at once is a 400. Its models think unasked, so they are told not to."""
    row = DIALECTS[name]
    for choice in ("required", "look"):
        made = sent(row, tools=TOOLS, tool_choice=choice)
        assert made["thinking"] == {"type": "disabled"}
        asked = ChatRequest("q", tools=TOOLS, tool_choice=choice, thinking="high")
        assert codec_of(row).unsupported(asked, TARGET) == {"thinking"}
        assert body(codec_of(row), asked)["thinking"] == {"type": "disabled"}
    assert "thinking" not in sent(row, tools=TOOLS, tool_choice="auto")
    assert codec_of(row).unsupported(ChatRequest("q", tools=TOOLS, thinking="off"), TARGET) == frozenset()


def test_a_beginning_to_go_on_from_is_marked_where_it_has_to_be() -> None:
    request = ChatRequest([Message.user("q"), Message.assistant("The ")])
    marks = {row.name: body(codec_of(row), request)["messages"][-1] for row in ROWS}
    assert {name for name in marks if codec_of(DIALECTS[name]).capabilities("m").prefill} == {
        "alibaba",
        "groq",
        "moonshot",
    }
    plain = {"role": "assistant", "content": "The "}
    assert marks.pop("moonshot") == marks.pop("alibaba") == {**plain, "partial": True}
    assert all(message == plain for message in marks.values())


def test_a_call_that_waits_for_its_result_is_no_beginning() -> None:
    request = ChatRequest([Message.user("q"), Message.assistant([ToolCall("c", "look", {})])])
    assert "partial" not in body(codec_of(DIALECTS["moonshot"]), request)["messages"][-1]


def test_what_a_provider_cannot_do_is_not_asked_of_it() -> None:
    can = {name: codec_of(row).capabilities("a-model") for name, row in DIALECTS.items()}
    assert {name for name in can if not can[name].tools} == {"perplexity"}
    assert {name for name in can if not can[name].vision} == {"deepseek"}
    assert {name for name in can if can[name].json_schema is False} == {"deepseek", "zai"}
    assert {name for name in can if can[name].json_schema} == {
        "llamacpp",
        "lmstudio",
        "mistral",
        "ollama",
        "perplexity",
        "vllm",
    }
    assert {name for name in can if can[name].json_object} == {"deepseek", "mistral", "zai"}
    assert codec_of(DIALECTS["openrouter"]).capabilities("openai/gpt-4o").json_object
    assert codec_of(DIALECTS["azure"]).capabilities("gpt-35-turbo").json_object
    assert codec_of(DIALECTS["openrouter"]).capabilities("openai/gpt-4o").json_schema is True
    assert codec_of(DIALECTS["azure"]).capabilities("gpt-35-turbo").json_schema is False
    assert all(each.stream_usage for each in can.values())


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_what_a_dialect_adds_of_its_own_takes_no_bound_away(row: Dialect) -> None:
    plain = codec_of(row).input_bound(ChatRequest([Message.user("q"), Message.assistant("The ")]), TARGET)
    assert plain is not None
    for wish in ("off", "low", 4_000):
        for choice in (None, "required"):
            asked = ChatRequest(
                [Message.user("q"), Message.assistant("The ")],
                thinking=wish,
                tools=TOOLS,
                tool_choice=choice,
                seed=1,
            )
            bound = codec_of(row).input_bound(asked, TARGET)
            assert bound is not None
            assert bound > plain
