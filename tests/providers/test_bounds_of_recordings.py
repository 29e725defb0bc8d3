"""The bounds of every recorded exchange beside the usage that came back: by whatever server speaks one of our wires.

A request counts where its text was kept whole. The bytes of its images need not be there: they do not count anyway.
"""

from __future__ import annotations

from typing import Any

import pytest
from recorded import Recording, recordings

from penstock.abc import Provider
from penstock.types import ChatRequest, Target, Usage
from penstock_providers.anthropic_messages import AnthropicMessages
from penstock_providers.openai_chat import OpenAIChat, OpenAIChatOptions

ANTHROPIC = ("anthropic-messages", "vertex-anthropic", "bedrock-invoke-anthropic")
CHAT = (
    "openai-chat",
    "azure-openai-chat",
    "cerebras-openai-compat",
    "deepseek",
    "doubleword-openai-compat",
    "gemini-openai-compat",
    "groq",
    "huggingface-openai-compat",
    "llamacpp-openai-compat",
    "mistral",
    "mistralrs-openai-compat",
    "ollama-openai-compat",
    "openrouter",
    "perplexity-openai-compat",
    "together-openai-compat",
    "venice-openai-compat",
    "vercel-gateway-openai-compat",
    "xai",
    "zai-openai-compat",
)
# Where the codec knows something of the server by its address.
BASE_URLS = {"openrouter": "https://openrouter.ai/api/v1", "openai-chat": "https://api.openai.com/v1"}
ELSEWHERE = "https://server.example/v1"
WITHOUT_INPUT_BOUND = {
    "anthropic-messages/dd-trace-js--claude-agent-sdk-": "the server compacts the conversation",
    "anthropic-messages/dd-trace-py--anthropic-anthropic_completion_tools_server_tool_use": "a tool of the server",
    "anthropic-messages/ellmer--_vcr-anthropic-web-fetch": "a tool of the server",
    "anthropic-messages/pydantic-ai--test_anthropic-test_anthropic_advisor_tool": "a tool of the server",
    "anthropic-messages/pydantic-ai--test_anthropic-test_anthropic_mcp_servers": "tools of other servers",
    "anthropic-messages/pydantic-ai--test_anthropic-test_pause_turn": "a tool of the server",
    "anthropic-messages/rig--text_document-streaming_document_citations": "a document to be cited",
    "anthropic-messages/ruby_llm--chat_citations": "a document to be cited",
    "anthropic-messages/ruby_llm--ions_with_anthropic_claude-haiku-4-5_cites_text": "a document to be cited",
    "anthropic-messages/ruby_llm--_with_anthropic_claude-haiku-4-5_cites_pdf": "a PDF",
    "groq/pydantic-ai--test_groq-test_groq_model_web_search": "a model that searches",
    "groq/pydantic-ai--test_groq-test_groq_web_search": "a model that searches",
    "openai-chat/activeagent--native_format_test-test_agent_web_search": "a search",
    "openai-chat/dd-trace-js--openai-openai_chat_completions_post_781929fc": "audio",
    "openai-chat/ellmer--_vcr-openai-pdf": "a PDF",
    "openai-chat/ruby_llm--o-mini-search-preview": "a search",
    "openrouter/activeagent--native_format_test-test_agent_web_search": "a search",
    "openrouter/activeagent--open_router-pdf": "a PDF",
    "together-openai-compat/openllmetry--test_chat-test_together_chat_legacy": "a limit of the output taken away",
    "openrouter/pydantic-ai--test_openrouter-test_openrouter_file_annotation": "a PDF",
    "openrouter/pydantic-ai--test_openrouter-test_openrouter_web_search": "a search",
}
"""By design, and why: these are the kinds that the README names."""
BEYOND_MAX_TOKENS = {
    "doubleword-openai-compat/rig--conformance-tool_choice_modes--0": "the server counts no reasoning for max_tokens"
}
"""Nothing in the request tells: what such a server bills beyond is booked as overrun."""


def told(recording: Recording, table: dict[str, str]) -> str | None:
    return next((reason for name, reason in table.items() if recording.id.startswith(name)), None)


def codec_of(recording: Recording) -> Provider:
    if recording.provider in ANTHROPIC:
        return AnthropicMessages()
    return OpenAIChat(OpenAIChatOptions(base_url=BASE_URLS.get(recording.provider, ELSEWHERE)))


def usage_of(recording: Recording) -> Usage | None:
    codec = codec_of(recording)
    if not recording.streamed:
        return codec.decode(recording.whole()).usage
    decoder = codec.decoder(recording.head())
    decoder.feed(recording.body_bytes())
    return decoder.completion.usage


def is_asked_whole(recording: Recording) -> bool:
    asked = recording.request is not None and isinstance(recording.request.body, dict)
    return asked and not {"request-text-truncated", "body-only"} & recording.features


EXCHANGES = [
    (recording, usage)
    for recording in recordings(*ANTHROPIC, *CHAT)
    if recording.response.status == 200 and is_asked_whole(recording)
    if (usage := usage_of(recording)) is not None
]


def body_of(recording: Recording) -> dict[str, Any]:
    assert recording.request is not None
    body: dict[str, Any] = recording.request.body
    return body


def target_of(recording: Recording) -> Target:
    return Target(name="t", provider="p", model=body_of(recording).get("model") or recording.model)


@pytest.mark.parametrize(("recording", "usage"), EXCHANGES, ids=[recording.id for recording, _ in EXCHANGES])
def test_no_exchange_cost_more_than_its_bounds(recording: Recording, usage: Usage) -> None:
    codec = codec_of(recording)
    # All of the body goes through `extra`, over what the codec itself would say.
    request, target = ChatRequest("q", extra={codec.family: body_of(recording)}), target_of(recording)
    most_in, most_out = codec.input_bound(request, target), codec.output_bound(request, target)
    without = told(recording, WITHOUT_INPUT_BOUND)
    assert (most_in is None) == (without is not None), without
    assert most_in is None or most_in >= usage.input_tokens
    if told(recording, BEYOND_MAX_TOKENS):
        assert most_out is not None
        assert most_out < usage.output_tokens, "where it is within the bound it is no exception"
        return
    assert most_out is None or most_out >= usage.output_tokens


def is_plain_text(recording: Recording) -> bool:
    body = body_of(recording)
    turns: list[dict[str, Any]] = body.get("messages") or []
    return body.keys() <= {"model", "messages", "stream", "max_tokens", "temperature"} and all(
        isinstance(turn.get("content"), str) and turn.keys() == {"role", "content"} for turn in turns
    )


PLAIN = [(recording, usage) for recording, usage in EXCHANGES if is_plain_text(recording)]


@pytest.mark.parametrize(("recording", "usage"), PLAIN, ids=[recording.id for recording, _ in PLAIN])
def test_a_request_made_of_plain_text_has_a_bound_that_holds(recording: Recording, usage: Usage) -> None:
    bound = codec_of(recording).input_bound(ChatRequest(body_of(recording)["messages"]), target_of(recording))
    assert bound is not None
    assert bound >= usage.input_tokens


def test_every_exception_is_one_of_a_recording() -> None:
    for table in (WITHOUT_INPUT_BOUND, BEYOND_MAX_TOKENS):
        for name in table:
            assert any(recording.id.startswith(name) for recording, _ in EXCHANGES), name


def test_the_allowance_for_what_servers_add_unseen_is_needed_and_enough() -> None:
    added = 0
    for recording, usage in EXCHANGES:
        if recording.provider in ANTHROPIC:
            continue
        codec = OpenAIChat(OpenAIChatOptions(base_url=ELSEWHERE, hidden_tokens=0))
        request = ChatRequest("q", extra={codec.family: body_of(recording)})
        bound = codec.input_bound(request, target_of(recording))
        added = max(added, 0 if bound is None else usage.input_tokens - bound)
    assert added == 1_087, "Venice's preamble for tools is the longest; the allowance is 2,048"
