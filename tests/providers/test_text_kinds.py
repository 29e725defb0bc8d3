"""Of models that count text alike, as their codec says, every text has the same bound, but for their windows."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.abc import Provider
from penstock.policy.shape import shape_of
from penstock.types import ChatRequest, Message, Target
from penstock_providers.anthropic_messages import AnthropicMessages, AnthropicOptions
from penstock_providers.openai_chat import OpenAIChat, OpenAIChatOptions

MODELS = {
    "openai": ("gpt-4", "gpt-4o", "gpt-4.1", "o3", "gpt-5", "gpt-3.5-turbo", "gpt-4o-search-preview", "of-nobody"),
    "anthropic": ("claude-3-haiku-20240307", "claude-sonnet-4-20250514", "claude-opus-4-1", "claude-2.1", "of-nobody"),
}
CODECS: dict[str, Provider] = {
    "openai": OpenAIChat(OpenAIChatOptions(hidden_tokens=40)),
    "anthropic": AnthropicMessages(AnthropicOptions(hidden_tokens=40)),
}
TEXTS = st.text(max_size=60) | st.integers(1, 300_000).map("x".__mul__)


def named(provider: str, model: str, **more: object) -> Target:
    return Target(name="t", provider=provider, model=model, **more)  # type: ignore[arg-type]


@st.composite
def requests(draw: st.DrawFn) -> ChatRequest:
    return ChatRequest(
        [Message.user(draw(TEXTS)), *draw(st.sampled_from(([], [Message.assistant("a"), Message.user("b")])))],
        system=draw(st.none() | st.text(max_size=30)),
        max_tokens=draw(st.none() | st.integers(1, 100_000)),
        temperature=draw(st.none() | st.sampled_from((0, 0.5, 1, 1.5))),
        top_p=draw(st.none() | st.just(0.5)),
        seed=draw(st.none() | st.just(7)),
    )


@pytest.mark.parametrize("provider", CODECS)
@given(request=requests(), data=st.data())
def test_a_text_has_one_bound_at_all_models_whose_windows_do_not_cut_it_off(
    provider: str, request: ChatRequest, data: st.DataObject
) -> None:
    codec = CODECS[provider]
    one, other = [named(provider, data.draw(st.sampled_from(MODELS[provider]))) for _ in range(2)]
    assert shape_of(request) is not None
    if codec.text_kind(one) is None or codec.text_kind(one) != codec.text_kind(other):
        return
    most, also = codec.input_bound(request, one), codec.input_bound(request, other)
    assert most is not None
    assert also is not None
    if most < (codec.capabilities(one.model).context_window or math.inf):
        assert also <= most


@pytest.mark.parametrize("provider", CODECS)
def test_models_of_other_windows_and_prices_count_alike(provider: str) -> None:
    told = {CODECS[provider].text_kind(named(provider, model)) for model in MODELS[provider] if "search" not in model}
    assert len(told) == 1
    assert None not in told


def test_a_target_that_may_count_otherwise_tells_no_kind() -> None:
    openai, anthropic = CODECS["openai"], CODECS["anthropic"]
    assert openai.text_kind(named("openai", "gpt-4o-search-preview")) is None
    assert openai.text_kind(named("openai", "gpt-4o", params={"tools": [{"type": "function"}]})) is None
    assert openai.text_kind(named("openai", "gpt-4o", count_tokens=len)) is None
    assert anthropic.text_kind(named("anthropic", "claude-opus-4-1", params={"system": "Be brief."})) is None
    assert anthropic.text_kind(named("anthropic", "claude-opus-4-1", count_tokens=len)) is None
    wider = named("anthropic", "claude-sonnet-4-20250514", headers=(("anthropic-beta", "context-1m-2025-08-07"),))
    assert anthropic.text_kind(wider) is None
