"""No codec leaves out what a caller asked for in silence: what is not in the body was denied before."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.abc import Provider
from penstock.policy.fitting import Fitted, UnsupportedRules, fit
from penstock.types import ChatRequest, Message, Target, Text, Thinking, Tool, ToolCall, ToolResult
from penstock_providers.anthropic_messages import AnthropicMessages
from penstock_providers.openai_chat import OpenAIChat, OpenAIChatOptions

OPENAI, ANTHROPIC = OpenAIChat(), AnthropicMessages()
MODELS: dict[str, Provider] = {
    "gpt-3.5-turbo": OPENAI,
    "gpt-4": OPENAI,
    "gpt-4o": OPENAI,
    "gpt-4o-2024-05-13": OPENAI,
    "o1-preview": OPENAI,
    "o1": OPENAI,
    "o3-mini": OPENAI,
    "o4-mini": OPENAI,
    "gpt-5": OPENAI,
    "gpt-5-chat": OPENAI,
    "gpt-5.2": OPENAI,
    "gpt-9": OPENAI,
    "llama-3.3-70b": OPENAI,
    "claude-2.1": ANTHROPIC,
    "claude-3-haiku-20240307": ANTHROPIC,
    "claude-sonnet-4-20250514": ANTHROPIC,
    "claude-opus-4-1": ANTHROPIC,
    "claude-haiku-4-5": ANTHROPIC,
    "claude-opus-4-6": ANTHROPIC,
    "claude-opus-4-8": ANTHROPIC,
    "claude-sonnet-5": ANTHROPIC,
    "claude-sonnet-5-5": ANTHROPIC,
    "claude-opus-5-5": ANTHROPIC,
    "glm-5": ANTHROPIC,
}
CALL = ToolCall("toolu_1", "f", {"a": 1})
OURS, THEIRS = Thinking("hm", "sig", family="anthropic-messages"), Thinking("hm", family="openai-chat")
HISTORIES: list[list[Message | ToolResult]] = [
    [Message.user("q")],
    [Message.user("q"), Message.assistant([OURS, CALL]), ToolResult("toolu_1", "r")],
    [Message.user("q"), Message.assistant([THEIRS, CALL]), ToolResult("toolu_1", "r")],
    [Message.user("q"), Message.assistant([Text("said")]), Message.user("r")],
]
REQUESTS = st.builds(
    ChatRequest,
    st.sampled_from(HISTORIES),
    max_tokens=st.sampled_from([None, 1_000, 8_000]),
    temperature=st.sampled_from([None, 0.0, 0.7, 1.0, 1.5]),
    top_p=st.sampled_from([None, 0.5, 1.0]),
    stop=st.sampled_from([(), ("END",)]),
    seed=st.sampled_from([None, 7]),
    tools=st.sampled_from([(), (Tool("f"),)]),
    tool_choice=st.sampled_from([None, "auto", "none", "required"]),
    parallel_tool_calls=st.sampled_from([None, True, False]),
    thinking=st.sampled_from([None, "off", "low", "high", 500, 4_000]),
    output=st.sampled_from([None, {"type": "object"}]),
)
DROP = UnsupportedRules.all("drop")


def body_of(codec: Provider, request: ChatRequest, target: Target) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(codec.encode(request, target, stream=False, now=0.0).body)
    return body


def said(request: ChatRequest, body: dict[str, Any], model: str) -> dict[str, bool]:
    """Which of the parameters that mean anything stand in the body, read as the vendors document it."""
    effort = body.get("reasoning_effort", body.get("thinking", body.get("output_config", {}).get("effort")))
    choice = body.get("tool_choice")
    parallel = body.get("parallel_tool_calls", isinstance(choice, dict) and "disable_parallel_tool_use" in choice)
    told = {
        "temperature": body.get("temperature") == request.temperature,
        "top_p": body.get("top_p") == request.top_p,
        "stop": bool(body.get("stop") or body.get("stop_sequences")),
        "seed": "seed" in body,
        "tools": bool(body.get("tools")),
        "thinking": effort is not None,
        "schema": "response_format" in body or "format" in body.get("output_config", {}),
        "tool_choice": choice is not None,
        "parallel_tool_calls": parallel is not False or body.get("parallel_tool_calls") is False,
    }
    asked = {
        "temperature": request.temperature not in {None, 1},
        "top_p": request.top_p not in {None, 1},
        "stop": bool(request.stop),
        "seed": request.seed is not None,
        "tools": bool(request.tools),
        # Nothing need be said to a model that does not think by itself.
        "thinking": request.thinking not in {None, "off"},
        "schema": request.output is not None,
        # Without tools, and beside "none", there is nothing to choose.
        "tool_choice": request.tool_choice == "required" and (bool(request.tools) or "claude" in model),
        "parallel_tool_calls": request.parallel_tool_calls is not None
        and bool(request.tools)
        and request.tool_choice != "none",
    }
    return {name: told[name] for name, meant in asked.items() if meant}


@given(REQUESTS, st.sampled_from(sorted(MODELS)), st.sampled_from([{}, {"thinking": {"type": "enabled"}}]))
@example(ChatRequest("q", top_p=0.5, thinking=500), "claude-haiku-4-5", {"thinking": {"type": "enabled"}})
def test_what_was_not_dropped_stands_in_the_body(request: ChatRequest, model: str, params: dict[str, Any]) -> None:
    codec = MODELS[model]
    if codec is OPENAI:
        params = {}
    elif params and request.thinking is None:
        params = {"thinking": {"type": "enabled", "budget_tokens": 1_024}}
    target = Target(name="t", provider="p", model=model, params=params)
    made = fit(
        request,
        codec.capabilities(model),
        codec.family,
        "p",
        DROP,
        unsupported=lambda asked: codec.unsupported(asked, target),
    )
    if not isinstance(made, Fitted):
        return
    body = body_of(codec, made.request, target)
    assert all(said(made.request, body, model).values()), (said(made.request, body, model), made.dropped)
    # And it is as the codec alone would have sent it: what is told is what happens, nothing more.
    alone = said(request, body_of(codec, request, target), model)
    silent = {name for name, there in alone.items() if not there}
    assert silent <= {*made.dropped}


@given(REQUESTS, st.sampled_from(sorted(MODELS)))
def test_what_was_fitted_fits_its_codec_too(request: ChatRequest, model: str) -> None:
    codec = MODELS[model]
    target = Target(name="t", provider="p", model=model)
    made = fit(
        request,
        codec.capabilities(model),
        codec.family,
        "p",
        DROP,
        unsupported=lambda asked: codec.unsupported(asked, target),
    )
    if isinstance(made, Fitted):
        again = fit(
            made.request,
            codec.capabilities(model),
            codec.family,
            "p",
            DROP,
            unsupported=lambda asked: codec.unsupported(asked, target),
        )
        assert again == Fitted(made.request)


@pytest.mark.parametrize(
    ("model", "request_", "refused"),
    [
        ("gpt-5.2", ChatRequest("q", temperature=0.5, thinking="low"), {"temperature", "top_p"}),
        ("gpt-5.2", ChatRequest("q", temperature=0.5), set[str]()),
        ("o1-preview", ChatRequest("q", thinking="off"), {"temperature", "top_p", "thinking"}),
        ("gpt-4o", ChatRequest("q", thinking="off"), set[str]()),
        ("llama-3.3-70b", ChatRequest("q", thinking="off"), {"thinking"}),
        ("claude-sonnet-4-5", ChatRequest("q", temperature=0.5, top_p=0.9), {"top_p"}),
        ("claude-sonnet-4-20250514", ChatRequest("q", temperature=0.5, top_p=0.9), set[str]()),
        ("claude-sonnet-4-5", ChatRequest("q", thinking="low", temperature=0.5), {"temperature", "top_p"}),
        ("claude-sonnet-4-5", ChatRequest("q", thinking="low", max_tokens=1_000), {"thinking"}),
        ("claude-sonnet-4-5", ChatRequest(HISTORIES[2], thinking="low"), {"thinking"}),
        ("claude-sonnet-4-5", ChatRequest("q", thinking="low", tools=[Tool("f")], tool_choice="f"), {"thinking"}),
        ("claude-opus-5-5", ChatRequest("q", thinking="off"), {"thinking", "temperature", "top_p"}),
        ("claude-sonnet-5", ChatRequest("q", thinking="off"), {"temperature", "top_p"}),
        ("claude-sonnet-4-5", ChatRequest("q", tool_choice="required"), {"tool_choice"}),
        (
            "claude-sonnet-4-5",
            ChatRequest("q", tool_choice="required", extra={"anthropic": {"tools": [{"type": "x", "name": "y"}]}}),
            set[str](),
        ),
        (
            "claude-sonnet-4-5",
            ChatRequest("q", extra={"anthropic": {"thinking": {"type": "enabled", "budget_tokens": 2_000}}}),
            {"temperature", "top_p"},
        ),
    ],
)
def test_what_depends_on_the_rest_of_the_request_is_the_codecs_to_say(
    model: str, request_: ChatRequest, refused: set[str]
) -> None:
    codec = ANTHROPIC if "claude" in model else OPENAI
    assert codec.unsupported(request_, Target(name="t", provider="p", model=model)) == refused


@pytest.mark.parametrize(
    ("model", "denied"),
    [
        ("gpt-5", {"temperature", "top_p", "stop"}),
        ("o3", {"temperature", "top_p", "stop", "parallel_tool_calls"}),
        ("o1", {"temperature", "top_p", "parallel_tool_calls"}),
        ("gpt-4", {"vision", "json_schema", "seed", "thinking"}),
        ("gpt-4o", {"thinking"}),
        ("o1-preview", {"temperature", "top_p", "parallel_tool_calls", "tools", "vision", "json_schema"}),
        ("llama-3.3-70b", set[str]()),
        ("claude-sonnet-4-20250514", {"seed", "json_schema"}),
        ("claude-opus-4-8", {"seed", "temperature", "top_p"}),
        ("claude-2.1", {"seed", "json_schema", "tools", "vision", "thinking"}),
    ],
)
def test_what_a_model_never_takes_stands_in_its_capabilities(model: str, denied: set[str]) -> None:
    can = (ANTHROPIC if "claude" in model else OPENAI).capabilities(model)
    names = (
        "tools",
        "vision",
        "json_schema",
        "thinking",
        "parallel_tool_calls",
        "temperature",
        "top_p",
        "stop",
        "seed",
    )
    assert {name for name in names if getattr(can, name) is False} == denied


@pytest.mark.parametrize(
    ("model", "base_url", "strict"),
    [
        ("gpt-4o", "https://api.openai.com/v1", False),
        ("any-name", "https://api.mistral.ai/v1", True),
        ("mistralai/Mistral-Small-3.2", "https://openrouter.ai/api/v1", True),
        ("open-mixtral-8x22b", "http://127.0.0.1:8080/v1", True),
        ("mistralish", "http://127.0.0.1:8080/v1", False),
    ],
)
def test_mistrals_models_take_ids_of_nine_letters_and_digits_wherever_they_run(
    model: str,
    base_url: str,
    strict: bool,  # noqa: FBT001 - a row of the table
) -> None:
    form = OpenAIChat(OpenAIChatOptions(base_url=base_url)).capabilities(model).tool_call_id
    assert form is not None
    assert (form.shortest, form.longest, form.symbols) == ((9, 9, "") if strict else (1, 40, None))


def test_reasoning_goes_back_to_servers_that_show_it() -> None:
    local = OpenAIChat(OpenAIChatOptions(base_url="http://127.0.0.1:8080/v1"))
    assert local.capabilities("m").thinking_parts == "any"
    assert OPENAI.capabilities("m").thinking_parts == "none"
    assert ANTHROPIC.capabilities("m").thinking_parts == "signed"
