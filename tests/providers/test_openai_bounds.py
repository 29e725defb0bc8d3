"""What a request can cost at most, what is known of models, and how the provider is offered."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from penstock.abc import Provider
from penstock.hookspecs import PLUGIN_API, PluginTools
from penstock.types import ChatRequest, Image, Message, OutputSchema, Target, Text, Tool, ToolCall, ToolResult
from penstock_providers.anthropic_messages import AnthropicMessages
from penstock_providers.openai_chat import OpenAIChat, OpenAIChatOptions, penstock_providers

NO_ALLOWANCE = OpenAIChat(OpenAIChatOptions(hidden_tokens=0))
DEAREST = 2833 + 8 * 5667  # gpt-4o-mini: the dearest image of those that OpenAI publishes


def target(model: str = "unknown", **params: Any) -> Target:
    return Target(name="t", provider="openai", model=model, params=params)


def bound(request: ChatRequest, model: str = "unknown", **params: Any) -> int | None:
    return NO_ALLOWANCE.input_bound(request, target(model, **params))


def of(*extra_parts: dict[str, Any], **extra: Any) -> ChatRequest:
    if extra_parts:
        extra["messages"] = [{"role": "user", "content": list(extra_parts)}]
    return ChatRequest("-", extra={"openai": extra})


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5), st.text(max_size=40), st.text(max_size=40))
def test_the_bound_counts_every_byte_of_text_that_reaches_the_prompt(texts: list[str], system: str, tool: str) -> None:
    request = ChatRequest(
        [Message.user([Text(text) for text in texts])],
        system=system or "-",
        tools=[Tool("f", tool, {"type": "object", "description": tool})],
        output=OutputSchema({"type": "object", "description": tool}, "answer"),
    )
    least = sum(len(text.encode(errors="replace")) for text in [*texts, system, tool, tool, tool])
    told = bound(request)
    assert told is not None
    assert told >= least


def test_more_text_never_lowers_the_bound() -> None:
    bounds = [bound(ChatRequest("x" * size)) for size in (0, 1, 10, 100, 100_000)]
    assert bounds == sorted(bounds, key=lambda told: told or 0)
    assert len(set(bounds)) == 5


def test_calls_and_results_count() -> None:
    call = ToolCall("1", "f", {"x": "y" * 1000})
    turns: list[Message | ToolResult] = [Message.user("-"), Message.assistant([call]), ToolResult("1", "z" * 1000)]
    told = bound(ChatRequest(turns))
    assert told is not None
    assert told > 2000


def test_the_allowance_is_added_and_the_window_caps() -> None:
    request = ChatRequest("hello")
    without = bound(request)
    assert without is not None
    assert OpenAIChat().input_bound(request, target()) == without + 2048
    assert bound(ChatRequest("x" * 1_000_000), "gpt-4o") == 128_000
    assert bound(ChatRequest("x" * 1_000_000), "gpt-3.5-turbo-0613") == 4_096


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("gpt-4o", 1_445),
        ("gpt-4o-mini", 48_169),
        ("o3", 1_275),
        ("gpt-4.1-nano", 3_779),
        ("gpt-5-mini", 2_489),
        ("unknown", DEAREST),
    ],
)
def test_an_image_costs_the_published_maximum_whatever_its_size(model: str, tokens: int) -> None:
    def with_images(*images: Image) -> int:
        told = bound(ChatRequest([Message.user([Text("-"), *images])]), model)
        assert told is not None
        return told

    small = Image(data=b"x", media_type="image/png")
    large = Image(data=b"x" * 100_000, media_type="image/png")
    linked = Image(url="https://example.com/" + "y" * 1_000)
    assert with_images(small) == with_images(large) == with_images(linked)
    assert with_images(small, large) - with_images(small) == tokens


@pytest.mark.parametrize(
    "request_",
    [
        of(web_search_options={}),
        of(tools=[{"type": "web_search"}]),
        of(tools=[{"type": "mcp", "server_url": "https://x"}]),
        of(tools=[None]),
        of(previous_response_id="r"),
        of(service_tier="priority"),
        of(service_tier=["priority"]),
        of(max_tokens=None),
        of(tools=[{"name": "f"}]),
        of(plugins=[{"id": "web"}]),
        of(a_field_of_tomorrow=1),
        of({"type": "file", "file": {"file_data": "data:application/pdf;base64,QQ=="}}),
        of({"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}}),
        of({"type": "video_url", "video_url": {"url": "https://x"}}),
        of({"no": "type"}),
        of(messages=[{"role": "assistant", "audio": {"id": "a"}}]),
    ],
)
def test_what_has_no_bound_is_said_to_have_none(request_: ChatRequest) -> None:
    assert bound(request_) is None


@pytest.mark.parametrize(
    "request_",
    [
        of(service_tier="flex"),
        of(web_search_options=None, echo=None),
        of(random_seed=7, safe_prompt=True, provider={"order": ["OpenAI"]}),
        of(tools=[{"function": {"name": "f", "parameters": {}}}]),
    ],
)
def test_what_servers_are_known_to_take_as_plain_keeps_its_bound(request_: ChatRequest) -> None:
    assert bound(request_) is not None


@pytest.mark.parametrize("codec", [OpenAIChat(), AnthropicMessages()], ids=["openai", "anthropic"])
def test_what_another_model_costs_that_a_request_names_by_itself_is_not_known(codec: Provider) -> None:
    def asks(model: str) -> ChatRequest:
        return ChatRequest(
            "q", max_tokens=50, extra={"openai-chat": {"model": model}, "anthropic-messages": {"model": model}}
        )

    assert codec.input_bound(asks("gpt-4o-mini"), target("gpt-4o-mini")) is not None
    assert codec.input_bound(asks("gpt-4-32k"), target("gpt-4o-mini")) is None


def test_openrouter_gives_sixteen_tokens_where_fewer_are_asked_for() -> None:
    openrouter = OpenAIChat(OpenAIChatOptions(base_url="https://openrouter.ai/api/v1"))
    for codec, tokens in ((openrouter, 16), (OpenAIChat(), 1)):
        assert codec.output_bound(ChatRequest("-", max_tokens=1), target("gpt-4o")) == tokens
        assert codec.output_bound(ChatRequest("-", max_tokens=17), target("gpt-4o")) == 17


NO_PLAIN_FIGURES: list[object] = [0, -1, 5.0, "5", True, False, [5], {}]


@pytest.mark.parametrize("name", ["n", "max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("figure", NO_PLAIN_FIGURES)
@pytest.mark.parametrize("model", ["gpt-4o", "unknown"])
def test_a_figure_that_is_no_plain_number_is_what_a_server_makes_of_it_and_has_no_bound(
    name: str, figure: object, model: str
) -> None:
    codec = OpenAIChat()
    for request, to in (
        (ChatRequest("-", max_tokens=50, extra={"openai": {name: figure}}), target(model)),
        (ChatRequest("-", extra={"openai": {"max_tokens": 50, name: figure}}), target(model)),
        (ChatRequest("-"), target(model, **{"max_tokens": 50, name: figure})),
    ):
        assert codec.input_bound(request, to) is None
        assert codec.output_bound(request, to) is None
    assert codec.own_max_tokens(target(model, **{name: figure})) is None


def test_a_limit_that_is_taken_away_leaves_the_models_own() -> None:
    away = ChatRequest("-", max_tokens=50, extra={"openai": {"max_tokens": None, "max_completion_tokens": None}})
    assert bound(away) is None
    assert bound(away, "gpt-4o") is not None
    assert OpenAIChat().output_bound(away, target("gpt-4o")) == 16_384


def test_a_target_can_make_a_request_unbounded_too() -> None:
    assert bound(ChatRequest("-"), web_search_options={}) is None
    assert bound(ChatRequest("-"), "gpt-4o-search-preview") is None
    assert bound(ChatRequest("-"), "groq/compound") is None
    assert bound(ChatRequest("-"), "sonar-deep-research") is None


@pytest.mark.parametrize(
    ("request_", "model", "params", "tokens"),
    [
        (ChatRequest("-", max_tokens=50), "gpt-4o", {}, 50),
        (ChatRequest("-", max_tokens=50), "o3", {}, 50),
        (ChatRequest("-", max_tokens=50), "gpt-4o", {"n": 3}, 150),
        (ChatRequest("-", max_tokens=50), "gpt-4o", {"max_tokens": 9_000}, 50),
        (ChatRequest("-"), "gpt-4o", {"max_tokens": 9_000}, 9_000),
        (ChatRequest("-", extra={"openai": {"n": 4}}), "gpt-4o", {"max_tokens": 10}, 40),
        (ChatRequest("-", max_tokens=50, extra={"openai": {"max_tokens": 70}}), "gpt-4o", {}, 70),
        (ChatRequest("-", max_tokens=50, extra={"openai": {"max_completion_tokens": 70}}), "gpt-4o", {}, 70),
        (ChatRequest("-"), "gpt-4o", {}, 16_384),
        (ChatRequest("-"), "gpt-4o", {"n": 2}, 32_768),
        (ChatRequest("-"), "unknown", {}, None),
        (ChatRequest("-", extra={"openai": {"max_tokens": None}}), "unknown", {}, None),
    ],
)
def test_the_output_is_bounded_by_the_final_body(
    request_: ChatRequest, model: str, params: dict[str, Any], tokens: int | None
) -> None:
    assert OpenAIChat().output_bound(request_, target(model, **params)) == tokens


@pytest.mark.parametrize(
    ("model", "window", "output", "reasoning", "schema"),
    [
        ("gpt-4o-2024-11-20", 128_000, 16_384, False, True),
        ("gpt-4o-mini", 128_000, 16_384, False, True),
        ("gpt-4.1-nano-2025-04-14", 1_047_576, 32_768, False, True),
        ("gpt-4-turbo-2024-04-09", 128_000, 4_096, False, False),
        ("gpt-4-0613", 8_192, 8_192, False, False),
        ("gpt-4-32k-0613", 32_768, 32_768, False, False),
        ("gpt-3.5-turbo-0125", 16_385, 4_096, False, False),
        ("gpt-35-turbo", 16_385, 4_096, False, False),
        ("o1-2024-12-17", 200_000, 100_000, True, True),
        ("o3-mini", 200_000, 100_000, True, True),
        ("o4-mini-2025-04-16", 200_000, 100_000, True, True),
        ("gpt-5-2025-08-07", 400_000, 128_000, True, True),
        ("gpt-5-chat-latest", 128_000, 16_384, False, True),
        ("gpt-5.4-mini-2026-03-17", 400_000, 128_000, True, True),
        ("gpt-5.2_2025-12-11", 400_000, 128_000, True, True),
        ("ft:gpt-4o-mini-2024-07-18:org::abc", 128_000, 16_384, False, True),
        ("openai/gpt-4o", 128_000, 16_384, False, True),
        ("gpt-9.3", None, None, True, True),
        ("gpt-5.99", None, None, True, True),
        ("gpt-oss-120b", None, None, False, None),
        ("llama-3.3-70b", None, None, False, None),
        ("", None, None, False, None),
    ],
)
def test_models_are_known_by_their_names(
    model: str,
    window: int | None,
    output: int | None,
    reasoning: bool,  # noqa: FBT001 - a row of the table
    schema: bool | None,  # noqa: FBT001 - a row of the table
) -> None:
    told = OpenAIChat().capabilities(model)
    assert (told.context_window, told.max_output, told.reasoning, told.json_schema) == (
        window,
        output,
        reasoning,
        schema,
    )
    assert not told.prefill


def test_a_server_that_reports_no_usage_in_streams_is_known_for_it() -> None:
    assert OpenAIChat().capabilities("gpt-4o").stream_usage
    assert not OpenAIChat(OpenAIChatOptions(stream_usage=False)).capabilities("gpt-4o").stream_usage


@given(st.text(max_size=30))
def test_any_name_is_answered(model: str) -> None:
    OpenAIChat().capabilities(model)


def test_the_hook_offers_the_provider_with_its_variables() -> None:
    (spec,) = penstock_providers()
    assert (spec.name, spec.key_variable, spec.url_variable, spec.api_version) == (
        "openai",
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        PLUGIN_API,
    )
    assert spec.options is OpenAIChatOptions

    async def main() -> None:
        tools = PluginTools("local", lambda: 0.0, logging.getLogger("penstock"))
        async with spec.open(OpenAIChatOptions(base_url="http://localhost:8080/v1"), tools) as provider:
            wire = provider.encode(ChatRequest("-"), target("m"), stream=False, now=0.0)
            assert wire.url == "http://localhost:8080/v1/chat/completions"
            assert msgspec.json.decode(wire.body)["model"] == "m"

    trio.run(main)
