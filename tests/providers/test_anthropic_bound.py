"""What Anthropic's models can do, and how many tokens a request can cost at most."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import Recording, recordings

from penstock.types import ChatRequest, Image, Message, Target, Text, Tool, ToolCall, ToolResult
from penstock_providers.anthropic_messages import AnthropicMessages, AnthropicOptions

CODEC = AnthropicMessages()
ASKED = [
    recording
    for recording in recordings("anthropic-messages", "vertex-anthropic")
    if recording.response.status == 200 and recording.request_is_whole
]


def target(model: str, **more: Any) -> Target:
    return Target(name="t", provider="anthropic", model=model, **more)


def as_request(recording: Recording) -> tuple[ChatRequest, Target]:
    """A request whose body is the recorded one: all of it goes through `extra`, over what the codec would say."""
    assert recording.request is not None
    body = recording.request.body
    return ChatRequest("q", extra={"anthropic-messages": body}), target(body.get("model", recording.model))


def input_tokens(recording: Recording) -> int:
    if not recording.streamed:
        usage = CODEC.decode(recording.whole()).usage
    else:
        decoder = CODEC.decoder(recording.head())
        decoder.feed(recording.body_bytes())
        usage = decoder.completion.usage
    assert usage is not None
    return usage.input_tokens


def test_the_recordings_hold_a_measure_of_the_hidden_preamble() -> None:
    narrow = AnthropicMessages(AnthropicOptions(hidden_tokens=0))
    exceeded = 0
    for recording in ASKED:
        bound = narrow.input_bound(*as_request(recording))
        exceeded += bound is not None and bound < input_tokens(recording)
    assert exceeded >= 5, "without an allowance the bound would not hold: tools and schemas have preambles"


@given(st.text(max_size=200), st.text(max_size=50), st.text(max_size=50))
def test_every_byte_of_text_is_counted(said: str, system: str, described: str) -> None:
    said, system = f"<{said}", f"<{system}"  # blank text is not sent
    texts = [said, system, described]
    request = ChatRequest(
        [
            Message.user([Text("q"), Text(said)]),
            Message.assistant([ToolCall("1", "f", {"said": said})]),
            ToolResult("1", said),
        ],
        system=system,
        tools=[Tool("f", described)],
        output={"type": "object", "title": described},
    )
    bound = CODEC.input_bound(request, target("claude-sonnet-4-5"))
    assert bound is not None
    counted = 3 * len(said.encode()) + len(system.encode()) + 2 * len(described.encode())
    assert counted + 2_048 <= bound <= 2 * sum(6 * len(text) for text in texts) * 3 + 2_048 + 1_000


def test_an_image_counts_by_the_published_maximum_and_never_by_its_bytes() -> None:
    def bound(*images: Image, model: str = "claude-3-5-sonnet-20241022") -> int:
        found = CODEC.input_bound(ChatRequest([Message.user([Text("q"), Text("r"), *images])]), target(model))
        assert found is not None
        return found

    url, data = Image(url="https://x/" + "y" * 9_000), Image(data=b"z" * 500_000, media_type="image/png")
    assert bound(url) - bound() == bound(data) - bound() == 1_800
    assert bound(url, data) - bound(url) == 1_800
    assert bound(url, model="claude-opus-4-7") - bound(model="claude-opus-4-7") == 5_000
    assert bound(url, model="glm-5") - bound(model="glm-5") == 5_000
    inside = ChatRequest([Message.user("q"), Message.assistant([ToolCall("1", "f")]), ToolResult("1", [data])])
    with_image = CODEC.input_bound(inside, target("claude-3-haiku-20240307"))
    assert with_image is not None
    assert 1_800 < with_image < 1_800 + 2_048 + 500


def test_the_context_window_is_the_end_of_every_bound() -> None:
    long = ChatRequest("x" * 900_000)
    assert CODEC.input_bound(long, target("claude-sonnet-4-20250514")) == 200_000
    assert (CODEC.input_bound(long, target("claude-sonnet-4-6")) or 0) > 900_000
    million = target("claude-sonnet-4-20250514", headers=(("anthropic-beta", "context-1m-2025-08-07"),))
    assert (CODEC.input_bound(long, million) or 0) > 900_000
    assert (CODEC.input_bound(long, target("some-other-model")) or 0) > 900_000


@pytest.mark.parametrize(
    "extra",
    [
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"mcp_servers": [{"type": "url", "url": "https://x"}]},
        {"context_management": {"edits": []}},
        {"container": "c_1"},
        {"a_field_of_the_future": 1},
    ],
)
def test_what_runs_at_the_provider_has_no_bound_in_or_out(extra: dict[str, Any]) -> None:
    request = ChatRequest("q", extra={"anthropic": extra})
    assert CODEC.input_bound(request, target("claude-sonnet-4-5")) is None
    assert CODEC.output_bound(request, target("claude-sonnet-4-5")) is None


@pytest.mark.parametrize("figure", [0, -1, 5.0, "5", True, None, [5]])
def test_a_figure_that_is_no_plain_number_is_what_a_server_makes_of_it_and_has_no_bound(figure: object) -> None:
    request = ChatRequest("q", max_tokens=7, extra={"anthropic": {"max_tokens": figure}})
    assert CODEC.input_bound(request, target("claude-sonnet-4-5")) is None
    assert CODEC.output_bound(request, target("claude-sonnet-4-5")) is None


@pytest.mark.parametrize(
    ("source", "more", "bounded"),
    [
        ({"type": "base64", "media_type": "application/pdf", "data": "AAAA"}, {}, False),
        ({"type": "url", "url": "https://x/y.pdf"}, {}, False),
        ({"type": "file", "file_id": "f"}, {}, False),
        ({"type": "text", "media_type": "text/plain", "data": "facts"}, {"citations": {"enabled": True}}, False),
        ({"type": "text", "media_type": "text/plain", "data": "facts"}, {"citations": {"enabled": False}}, True),
    ],
)
def test_documents_have_a_bound_only_as_plain_text(source: Any, more: Any, bounded: bool) -> None:  # noqa: FBT001 - a table's column
    document = {"type": "document", "source": source, **more}
    request = ChatRequest("q", extra={"anthropic": {"messages": [{"role": "user", "content": [document]}]}})
    assert (CODEC.input_bound(request, target("claude-sonnet-4-5")) is not None) is bounded
    assert CODEC.output_bound(request, target("claude-sonnet-4-5")) == 8_192


@pytest.mark.parametrize(
    ("extra", "bounded"),
    [
        ({"speed": "fast"}, False),
        ({"speed": "standard"}, True),
        ({"inference_geo": "us"}, False),
        ({"inference_geo": ["us"]}, False),
        ({"inference_geo": "global", "speed": None}, True),
    ],
)
def test_what_makes_every_token_dearer_has_no_bound(extra: Any, bounded: bool) -> None:  # noqa: FBT001 - a table's column
    request = ChatRequest("q", max_tokens=7, extra={"anthropic": extra})
    assert (CODEC.input_bound(request, target("claude-opus-5")) is not None) is bounded
    assert CODEC.output_bound(request, target("claude-opus-5")) == 7


def test_the_output_bound_is_what_the_body_allows() -> None:
    to = target("claude-sonnet-4-5")
    assert CODEC.output_bound(ChatRequest("q", max_tokens=7), to) == 7
    assert CODEC.output_bound(ChatRequest("q", thinking=10_000), to) == 18_192
    assert CODEC.output_bound(ChatRequest("q", max_tokens=7, extra={"anthropic": {"max_tokens": 9}}), to) == 9
    assert CODEC.output_bound(ChatRequest("q"), target("claude-3-haiku-20240307")) == 4_096


@pytest.mark.parametrize(
    ("spellings", "window", "most", "prefill", "schema"),
    [
        (("claude-3-haiku-20240307", "claude-3-opus-latest", "claude-3-sonnet@20240229"), 200_000, 4_096, True, False),
        (("claude-3-5-haiku-20241022", "anthropic.claude-3-5-sonnet-20241022-v2:0"), 200_000, 8_192, True, False),
        (("claude-3-7-sonnet@20250219", "claude-sonnet-4-0", "claude-sonnet-4-20250514"), 200_000, 64_000, True, False),
        (("claude-opus-4-1", "us.anthropic.claude-opus-4-20250514-v1:0"), 200_000, 32_000, True, False),
        (("claude-haiku-4-5", "eu.anthropic.claude-haiku-4-5-20251001-v1:0"), 200_000, 64_000, True, True),
        (("claude-opus-4-6", "claude-sonnet-4-6", "anthropic/claude-opus-4-8"), 1_000_000, 128_000, False, True),
        (("claude-sonnet-5", "claude-fable-5", "claude-sonnet-5-5@20261001"), 1_000_000, 128_000, False, True),
        (("claude-sonnet-9", "claude-2.9"), None, None, False, True),
        (("glm-5", "my-gateway-model"), None, None, False, None),
    ],
)
def test_capabilities_by_model_however_it_is_spelled(
    spellings: tuple[str, ...],
    window: int | None,
    most: int | None,
    prefill: bool,  # noqa: FBT001 - a table's column
    schema: bool | None,  # noqa: FBT001 - a table's column
) -> None:
    for model in spellings:
        can = CODEC.capabilities(model)
        assert (can.context_window, can.max_output) == (window, most), model
        assert (can.prefill, can.json_schema) == (prefill, schema), model
        assert can.stream_usage
        assert can.tools
        assert not can.seed


def test_models_that_think_unasked_are_waited_for() -> None:
    assert CODEC.capabilities("claude-sonnet-5").reasoning
    assert not CODEC.capabilities("claude-sonnet-4-5").reasoning
