"""What is sent in each dialect: as the recorded requests have it, and where they are silent as the rows say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dialect_exchanges import ANSWERED, ASKED, BY_FOLDER, VERIFIED, codec_of, exchanges_of
from plain_reading import asked_body, objects, part_of
from recorded import Recording

from penstock.testing import check_provider
from penstock.types import ChatRequest, Message, OutputSchema, Target, Thinking
from penstock_providers.openai_chat import (
    DIALECTS,
    AzureOptions,
    Dialect,
    DialectOptions,
    OpenAIChat,
    OpenAIChatOptions,
    ThinkingForm,
)
from penstock_providers.openai_chat._options import options_of

TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
ROWS = tuple(DIALECTS.values())
NAMES = [row.name for row in ROWS]
COMPARED = (
    "max_completion_tokens",
    "max_tokens",
    "parallel_tool_calls",
    "random_seed",
    "reasoning",
    "reasoning_effort",
    "seed",
    "stream_options",
    "temperature",
    "thinking",
    "tool_choice",
    "top_p",
)
"""Fields in which dialects differ, or whose value a request of penstock can have."""
SENT_OTHERWISE = {
    ("openrouter/activeagent--tools_test-test_agent_common_format_tool_choice_required--0", "tool_choice"): (
        "any: OpenRouter takes both words"
    ),
    ("openrouter/pydantic-ai--test_cache-test_openrouter_cache_instructions_gemini_real_api--0", "max_tokens"): (
        "max_completion_tokens: OpenRouter takes both"
    ),
    ("openrouter/pydantic-ai--test_openrouter-test_openrouter_streaming_reasoning--0", "reasoning"): (
        "enabled without a level, which no request of penstock can say"
    ),
}
"""What the recorder's client sent where this codec sends something else, and why that is as good."""


def body_of(wire: bytes) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(wire)
    return made


def body(
    codec: OpenAIChat, request: ChatRequest, model: str = "a-model", *, stream: bool = False, provider: str = "p"
) -> dict[str, Any]:
    target = Target(name="t", provider=provider, model=model)
    return body_of(codec.encode(request, target, stream=stream, now=0.0).body)


def sent(row: Dialect, model: str = "a-model", *, stream: bool = False, **fields: Any) -> dict[str, Any]:
    return body(codec_of(row), ChatRequest("q", **fields), model, stream=stream)


def asked_of(recorded: dict[str, Any]) -> ChatRequest:
    """A request that asks for what the recorded body asks for, with another message: those have tests of their own."""
    fields: dict[str, Any] = {
        name: recorded[name]
        for name in ("temperature", "top_p", "parallel_tool_calls")
        if recorded.get(name) is not None
    }
    # Mistral's client leaves the type of a tool out; tools that OpenRouter runs itself have another.
    fields["tools"] = [{"type": "function", **tool} for tool in objects(recorded, "tools") if "function" in tool]
    fields["max_tokens"] = recorded.get("max_tokens") or recorded.get("max_completion_tokens")
    fields["seed"] = recorded.get("seed") or recorded.get("random_seed")
    choice: object = recorded.get("tool_choice")
    named: object = part_of(recorded, "tool_choice")["function"]["name"] if isinstance(choice, dict) else choice
    fields["tool_choice"] = "required" if named == "any" else named
    wanted = part_of(recorded, "response_format")
    if wanted.get("type") == "json_schema":
        schema = wanted["json_schema"]
        fields["output"] = OutputSchema(schema["schema"], strict=schema.get("strict", False))
    if wanted.get("type") == "json_object":
        fields["output"] = OutputSchema()
    thinking = part_of(recorded, "reasoning")
    wish = recorded.get("reasoning_effort") or thinking.get("effort") or thinking.get("max_tokens")
    if part_of(recorded, "thinking").get("type") == "disabled":
        wish = "off"
    return ChatRequest("q", thinking=wish, **fields)


@pytest.mark.parametrize("exchange", ASKED, ids=[exchange.id for exchange in ASKED])
def test_a_dialect_is_sent_what_was_recorded(exchange: Recording) -> None:
    recorded = {name: value for name, value in asked_body(exchange).items() if value is not None}
    row = BY_FOLDER[exchange.provider]
    made = body(codec_of(row), asked_of(recorded), recorded["model"], stream=bool(recorded.get("stream")))
    unequal: set[str] = set()
    for name in COMPARED:
        # More may be sent than a recorder's client did: usage is always asked for, and a switch goes with a level.
        if name in recorded and made.get(name) != recorded[name]:
            unequal.add(name)
        if name in made and name not in recorded and name not in ("stream_options", "thinking"):
            unequal.add(name)
    explained = {name for id, name in SENT_OTHERWISE if id == exchange.id}
    assert {"max_tokens" if name == "max_completion_tokens" else name for name in unequal} == explained
    assert made.get("response_format", {}).get("type") in (None, recorded.get("response_format", {}).get("type"))


def test_every_explained_difference_is_one_of_a_recording() -> None:
    assert {id for id, _ in SENT_OTHERWISE} <= {exchange.id for exchange in ASKED}


@pytest.mark.parametrize("row", VERIFIED, ids=[row.name for row in VERIFIED])
def test_a_stream_is_asked_for_usage_exactly_where_the_provider_has_to_be_asked(row: Dialect) -> None:
    assert ("stream_options" in sent(row, stream=True)) is row.stream_options
    assert "stream_options" not in sent(row)
    for exchange in exchanges_of(row):
        assert row.stream_options or "stream_options" not in asked_body(exchange)


@pytest.mark.parametrize(
    ("options", "url"),
    [
        (
            AzureOptions(base_url="https://r.openai.azure.com/", api_version="2024-02-01"),
            "https://r.openai.azure.com/openai/deployments/gpt%20mine/chat/completions?api-version=2024-02-01",
        ),
        (
            AzureOptions(base_url="https://r.openai.azure.com"),
            "https://r.openai.azure.com/openai/v1/chat/completions",
        ),
        (
            AzureOptions(base_url="https://r.openai.azure.com/openai/v1"),
            "https://r.openai.azure.com/openai/v1/chat/completions",
        ),
        (
            AzureOptions(base_url="https://r.services.ai.azure.com/models", api_version="2024-05-01-preview"),
            "https://r.services.ai.azure.com/models/chat/completions?api-version=2024-05-01-preview",
        ),
    ],
)
def test_azure_is_spoken_to_at_each_of_its_addresses(options: AzureOptions, url: str) -> None:
    codec, target = OpenAIChat(options, DIALECTS["azure"]), Target(name="t", provider="azure", model="gpt mine")
    wire = codec.encode(ChatRequest("q"), target, stream=False, now=0.0)
    assert wire.url == url
    signed = codec.authorize(wire, "secret", now=0.0)
    assert ("api-key", "secret") in signed.headers
    assert "authorization" not in dict(signed.headers)


def test_azure_takes_entras_tokens_where_it_is_told_so() -> None:
    codec = codec_of(DIALECTS["azure"], auth="bearer")
    wire = codec.encode(ChatRequest("q"), Target(name="t", provider="p", model="m"), stream=False, now=0.0)
    assert ("authorization", "Bearer token") in codec.authorize(wire, "token", now=0.0).headers


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_a_dialect_is_spoken_at_its_address_with_its_key(row: Dialect) -> None:
    codec, target = codec_of(row), Target(name="t", provider="p", model="m")
    wire = codec.encode(ChatRequest("q"), target, stream=False, now=0.0)
    own = "https://server.example/openai/v1" if row.base_url is None else row.base_url
    assert wire.url == f"{own}/chat/completions"
    header, key = ("api-key", "secret") if row.name == "azure" else ("authorization", "Bearer secret")
    assert (header, key) in codec.authorize(wire, "secret", now=0.0).headers
    assert codec.authorize(wire, None, now=0.0) == wire


def test_the_kind_openai_speaks_the_dialect_of_whom_it_is_pointed_at() -> None:
    """Who configured `kind = "openai"` and an address before there were kinds for it is not worse off."""

    def made(base_url: str) -> dict[str, Any]:
        codec = OpenAIChat(OpenAIChatOptions(base_url=base_url))
        return body(codec, ChatRequest("q", seed=7, extra={"openai": {"user": "u"}, "mistral": {"safe_prompt": True}}))

    for base_url in ("https://api.mistral.ai/v1", "https://api.mistral.ai:443/v1/"):
        assert made(base_url)["random_seed"] == 7
    assert made("https://api.mistral.ai.example/v1")["seed"] == 7
    assert made("http://localhost:11434/v1")["seed"] == 7
    # `extra` goes by the kind that is configured.
    assert "safe_prompt" not in made("https://api.mistral.ai/v1")
    assert made("https://api.mistral.ai/v1")["user"] == "u"


def test_extra_for_openai_reaches_no_other_dialect() -> None:
    request = ChatRequest("q", extra={"openai": {"store": True}, "groq": {"service_tier": "flex"}})
    assert body(codec_of(DIALECTS["groq"]), request).keys() >= {"service_tier"}
    assert "store" not in body(codec_of(DIALECTS["groq"]), request)


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_what_is_set_goes_before_what_the_row_says(row: Dialect) -> None:
    request = ChatRequest(
        [Message.user("q"), Message.assistant([Thinking("hm", family="openai-chat")]), Message.user("r")],
        max_tokens=5,
    )
    changed = codec_of(row, max_tokens_field="max_completion_tokens", stream_usage=False, send_reasoning=False)
    made = body(changed, request, stream=True)
    assert made["max_completion_tokens"] == 5
    assert "stream_options" not in made
    assert made["messages"][1] == {"role": "assistant", "content": ""}
    assert not changed.capabilities("m").stream_usage
    shown = body(codec_of(row, send_reasoning=True, stream_usage=True), request, stream=True)
    assert "hm" in str(shown["messages"][1])
    assert shown["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
@pytest.mark.parametrize("wish", ["low", "high", 3_000, "off"])
def test_params_that_say_what_a_request_would_say_of_thinking_are_understood(row: Dialect, wish: Any) -> None:
    codec = codec_of(row)
    plain, wishing = body(codec, ChatRequest("q")), body(codec, ChatRequest("q", thinking=wish))
    params = {name: value for name, value in wishing.items() if name not in plain}
    asks = codec.own_thinking(Target(name="t", provider="p", model="m", params=params))
    assert asks is ((wish != "off") if params else None)


@pytest.mark.parametrize("wish", ["high", 5_000])
def test_fields_that_go_with_every_wish_stay_beside_a_level_or_a_budget_in_the_same_object(wish: Any) -> None:
    on = {"thinking": {"type": "enabled", "shown": {"raw": True}}}
    form = ThinkingForm(level=("thinking", "shown", "effort"), budget=("thinking", "tokens"), on=on)
    row = Dialect(name="acme", title="Acme", thinking=form)
    sent = body(codec_of(row), ChatRequest("q", thinking=wish))["thinking"]
    if isinstance(wish, int):
        assert sent == {"type": "enabled", "shown": {"raw": True}, "tokens": wish}
    else:
        assert sent == {"type": "enabled", "shown": {"raw": True, "effort": wish}}
    assert on == {"thinking": {"type": "enabled", "shown": {"raw": True}}}


@pytest.mark.parametrize(
    ("params", "asks"),
    [
        ({"reasoning_effort": "medium"}, True),
        ({"reasoning_effort": "default"}, True),
        ({"reasoning_effort": "minimal"}, False),
        ({"reasoning_effort": "none"}, False),
        ({"reasoning_effort": None}, None),
        ({"reasoning": {"max_tokens": 2_000}}, True),
        ({"reasoning": {"effort": "none"}}, False),
        ({"chat_template_kwargs": {"enable_thinking": True}}, True),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False),
        ({"chat_template_kwargs": {"custom": 1}}, None),
        ({"enable_thinking": True}, True),
        ({"thinking_budget": 0}, False),
        ({"thinking": {"type": "enabled"}}, True),
        ({"thinking": None}, None),
        ({"thinking": "yes"}, None),
        ({"max_tokens": 9}, None),
        ({}, None),
    ],
)
def test_the_words_of_any_dialect_are_understood_at_a_server_that_is_not_known(
    params: dict[str, Any],
    asks: bool | None,  # noqa: FBT001 - a parameter
) -> None:
    assert OpenAIChat().own_thinking(Target(name="t", provider="p", model="m", params=params)) is asks


def test_a_gateway_that_gives_more_than_is_asked_for_is_bounded_by_what_it_gives() -> None:
    request, target = ChatRequest("q", max_tokens=1), Target(name="t", provider="p", model="m")
    bounds = {row.name: codec_of(row).output_bound(request, target) for row in ROWS}
    assert bounds.pop("openrouter") == 16
    assert set(bounds.values()) == {1}


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_the_options_of_a_row_are_those_it_can_use(row: Dialect) -> None:
    options = options_of(row)
    assert issubclass(options, AzureOptions if row.deployments else DialectOptions)
    assert not issubclass(options, OpenAIChatOptions)
    if row.base_url is not None:
        assert options().base_url == row.base_url  # type: ignore[call-arg]  # it has a default by now
    with pytest.raises(ValueError, match="base_url must"):
        options(base_url="ftp://server.example")


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
@pytest.mark.slow
def test_a_dialect_keeps_the_laws_of_providers(row: Dialect) -> None:
    answered = [exchange for exchange in ANSWERED if BY_FOLDER[exchange.provider] is row]
    check_provider(
        lambda: codec_of(row),
        target=Target(name="t", provider=row.name, model="a-model"),
        requests=[
            ChatRequest("hello"),
            ChatRequest("q", seed=1, max_tokens=9, thinking="high", tools=TOOLS, tool_choice="required"),
            ChatRequest([Message.user("q"), Message.assistant("The ")], thinking="off"),
        ],
        responses=[exchange.whole() for exchange in answered if not exchange.streamed][:3],
        # Every split of a stream is tried there, which takes its square.
        streams=[
            (exchange.head(), exchange.body_bytes())
            for exchange in answered
            if exchange.streamed and len(exchange.body_bytes()) < 900
        ][:1],
    )
