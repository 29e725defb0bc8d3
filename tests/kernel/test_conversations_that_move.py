"""A conversation with tools, images and thinking that began at one provider goes on at the other.

What was said at the first is taken from recorded exchanges; what the second is sent is read by hand, not by a codec.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from recorded import Recording, recordings
from worlds import GPT, SONNET, anthropic_body, config, good, model_of, openai_body, run

import penstock
from penstock import ChatRequest, Image, Message, Text, Thinking, Tool, ToolCall, ToolResult
from penstock._events import ParametersDropped, PartsLeftOut, RequestAdapted
from penstock.testing import Reply, ScriptedTransport

ANTHROPICS_IDS = re.compile(r"[a-zA-Z0-9_-]+")
PICTURE = Image(data=b"\x89PNG", media_type="image/png")
TOOLS = [Tool("get_weather", "finds the weather"), Tool("get_population")]


def recording(provider: str, name: str) -> Recording:
    (found,) = [each for each in recordings(provider) if each.name == name]
    return found


def blocks_of(each: Recording) -> list[dict[str, Any]]:
    """The content of a recorded answer, as the wire has it."""
    body: dict[str, Any] = msgspec.json.decode(each.body_bytes())
    return list(body["content"])


def replayed(each: Recording) -> Reply:
    return Reply(body=each.body_bytes(), headers=[("content-type", "application/json")])


def sent(upstream: ScriptedTransport, model: str) -> dict[str, Any]:
    """The last body that a model was sent."""
    (*_, request) = [each for each in upstream.requests if model_of(each) == model]
    body: dict[str, Any] = msgspec.json.decode(request.content)
    return body


def pairs_up(calls: list[str], results: list[str]) -> bool:
    return calls == results and len(set(calls)) == len(calls)


MCP = recording("anthropic-messages", "pydantic-ai--test_anthropic-test_anthropic_mcp_servers--0")
FETCH = recording("anthropic-messages", "ellmer--_vcr-anthropic-web-fetch--0")
TWO_CALLS = recording("openai-chat", "openinference--test_tool_calls-test_tool_calls--0")


def test_what_began_at_anthropic_goes_on_at_openai() -> None:
    """Signed thinking, server tools, a tool that answered with an image: then Anthropic is down."""
    call = {"type": "tool_use", "id": "toolu_01A", "name": "get_weather", "input": {"city": "Oslo"}}
    thought = next(block for block in blocks_of(MCP) if block["type"] == "thinking")
    asks: dict[str, Any] = {
        **msgspec.json.decode(MCP.body_bytes()),
        "content": [thought, call],
        "stop_reason": "tool_use",
    }
    answers: Iterator[Reply] = iter([replayed(MCP), replayed(FETCH), Reply(json=asks)])

    def answer(request: httpx.Request) -> Reply:
        return next(answers, Reply(529, json={})) if "claude" in model_of(request) else good(request)

    async def main() -> None:
        upstream = ScriptedTransport(answer)
        cascade = [{"target": SONNET, "attempts": 1}, {"target": GPT, "attempts": 1}]
        messages: list[Message | ToolResult] = [Message.user([Text("What is this?"), PICTURE])]
        async with penstock.open_kernel(config(routes={"default": {"cascade": cascade}}), transport=upstream) as kernel:
            with kernel.events() as events:
                for question in ("And the page?", "And the weather?"):
                    response = await kernel.complete(messages, tools=TOOLS, thinking="low", max_tokens=4_000)
                    messages += [response.message, Message.user(question)]
                response = await kernel.complete(messages, tools=TOOLS, thinking="low", max_tokens=4_000)
                assert (response.target, [each.id for each in response.tool_calls]) == (SONNET, ["toolu_01A"])
                messages += [response.message, ToolResult("toolu_01A", [Text("Look:"), PICTURE])]
                assert not [event for event in events.take() if isinstance(event, PartsLeftOut)]
                response = await kernel.complete(messages, tools=TOOLS, thinking="low", max_tokens=4_000)
                assert response.target == GPT
                told = [event for event in events.take() if isinstance(event, PartsLeftOut | ParametersDropped)]
        whole = [block["type"] for block in (*blocks_of(MCP), *blocks_of(FETCH), *asks["content"])]
        bound = [kind for kind in whole if kind not in {"text", "tool_use"}]
        dropped, left_out = told
        assert isinstance(dropped, ParametersDropped)
        assert (dropped.target, dropped.parameters) == (GPT, ("thinking",))
        assert isinstance(left_out, PartsLeftOut)
        assert (left_out.target, left_out.kinds) == (GPT, ("thinking", "provider_part"))
        assert left_out.parts == len(bound) == 6

        body = sent(upstream, "gpt-4o")
        roles = [message["role"] for message in body["messages"]]
        assert roles == ["user", "assistant", "user", "assistant", "user", "assistant", "tool", "user"]
        picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}}
        assert picture in body["messages"][0]["content"]
        assert picture in body["messages"][7]["content"]
        texts = [block["text"] for block in blocks_of(MCP) if block["type"] == "text"]
        assert body["messages"][1]["content"] == texts[0]
        (asked,) = body["messages"][5]["tool_calls"]
        assert msgspec.json.decode(asked["function"]["arguments"]) == {"city": "Oslo"}
        assert asked["id"] == body["messages"][6]["tool_call_id"] == "toolu_01A"
        assert body["messages"][6]["content"] == "Look:"
        assert not re.search(r"signature|mcp_|server_tool_use|web_fetch|thinking|reasoning", str(body))

    run(main)


def test_what_began_at_openai_and_its_like_goes_on_at_anthropic() -> None:
    """Reasoning of an open model, ids that Anthropic's wire refuses: then the call asks for Claude, with thinking."""
    calls = msgspec.json.decode(TWO_CALLS.body_bytes())
    for at, each in enumerate(calls["choices"][0]["message"]["tool_calls"]):
        each["id"] = f"functions.get:{at}"  # as Moonshot's models name them
    calls["choices"][0]["message"]["reasoning_content"] = "I should look."

    def answer(request: httpx.Request) -> Reply:
        return Reply(json=calls) if model_of(request) == "kimi" else good(request)

    async def main() -> None:
        upstream = ScriptedTransport(answer)
        local = {"kind": "openai", "base_url": "http://127.0.0.1:8080/v1"}
        messages: list[Message | ToolResult] = [Message.user([Text("Where is this, and how is it there?"), PICTURE])]
        async with penstock.open_kernel(config(providers={"local": local}), transport=upstream) as kernel:
            response = await kernel.complete(messages, model="local/kimi", tools=TOOLS)
            results = [ToolResult(each.id, [Text("fine"), PICTURE]) for each in response.tool_calls]
            messages += [response.message, *results]
            with kernel.events() as events:
                request = ChatRequest(messages, model=SONNET, tools=TOOLS, thinking="low", seed=7)
                assert (await kernel.complete(request)).target == SONNET
                told = [event for event in events.take() if isinstance(event, PartsLeftOut | ParametersDropped)]
            first = sent(upstream, "claude-sonnet-4-20250514")
            await kernel.complete(request)
            back = await kernel.complete(messages, model="local/kimi", tools=TOOLS)
            assert back.tool_calls
        # Within a turn that another model began, the wire takes no thinking.
        dropped, left_out = told
        assert isinstance(dropped, ParametersDropped)
        assert dropped.parameters == ("thinking", "seed")
        assert isinstance(left_out, PartsLeftOut)
        assert (left_out.kinds, left_out.parts) == (("thinking",), 1)

        picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}}
        assert [turn["role"] for turn in first["messages"]] == ["user", "assistant", "user"]
        assert picture in first["messages"][0]["content"]
        blocks, answered = first["messages"][1]["content"], first["messages"][2]["content"]
        assert [block["type"] for block in blocks] == ["tool_use", "tool_use"]
        assert pairs_up([block["id"] for block in blocks], [block["tool_use_id"] for block in answered])
        assert all(ANTHROPICS_IDS.fullmatch(block["id"]) for block in blocks)
        assert all(picture in block["content"] for block in answered)
        assert not first.keys() & {"thinking", "seed"}
        assert sent(upstream, "claude-sonnet-4-20250514") == first
        # Where it came from it goes back unchanged: ids, reasoning and all.
        home = sent(upstream, "kimi")["messages"]
        assert home[1]["reasoning_content"] == "I should look."
        assert [each["id"] for each in home[1]["tool_calls"]] == ["functions.get:0", "functions.get:1"]

    run(main)


@pytest.mark.parametrize("id", ["toolu_013SoGG7WGX1WJNCBPBZaury", "chatcmpl-tool-1b4c179a4d8c4d49b484d3a35f47ff3f"])
def test_mistral_is_given_ids_of_its_own_form(id: str) -> None:
    call = penstock.ToolCall(id, "get_weather", {"city": "Oslo"})
    messages: list[Message | ToolResult] = [Message.user("q"), Message.assistant([call]), ToolResult(id, "fine")]

    async def main() -> None:
        upstream = ScriptedTransport([Reply(json=openai_body())])
        mistral = {"kind": "openai", "base_url": "https://api.mistral.ai/v1", "api_key": "k"}
        async with penstock.open_kernel(config(providers={"mistral": mistral}), transport=upstream) as kernel:
            await kernel.complete(messages, model="mistral/mistral-large-latest", tools=TOOLS)
        _, asked, answered = sent(upstream, "mistral-large-latest")["messages"]
        assert asked["tool_calls"][0]["id"] == answered["tool_call_id"]
        assert re.fullmatch(r"[a-zA-Z0-9]{9}", answered["tool_call_id"])

    run(main)


DEEPSEEK, GROQ, MISTRAL = "deepseek/deepseek-reasoner", "groq/openai/gpt-oss-120b", "mistral/magistral-medium-latest"
IMITATORS = {
    "deepseek": {"kind": "openai", "base_url": "https://api.deepseek.com", "api_key": "k"},
    "groq": {"kind": "openai", "base_url": "https://api.groq.com/openai/v1", "api_key": "k"},
    "mistral": {"kind": "openai", "base_url": "https://api.mistral.ai/v1", "api_key": "k"},
    "openrouter": {"kind": "openai", "base_url": "https://openrouter.ai/api/v1", "api_key": "k"},
}
THOUGHT_CHUNK = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}


@pytest.mark.parametrize(
    ("began", "thinks"),
    [
        (DEEPSEEK, {"reasoning_content": "hm"}),
        (GROQ, {"reasoning": "hm"}),
        (MISTRAL, {"content": [THOUGHT_CHUNK]}),
        ("groq/qwen/qwen3-32b", {"reasoning": "hm"}),
    ],
)
@pytest.mark.parametrize("other", [DEEPSEEK, GROQ, MISTRAL, "openrouter/openai/gpt-oss-120b"])
def test_reasoning_goes_back_to_who_showed_it_and_not_to_others_that_speak_the_same_wire(
    began: str, thinks: dict[str, Any], other: str
) -> None:
    """Groq, Cerebras and Mistral answer 400 and 422 to each other's fields."""
    call = {"id": "abcdefghi", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    asks = openai_body()
    asks["choices"][0]["message"] = {"role": "assistant", "content": None, "tool_calls": [call], **thinks}

    async def main() -> None:
        upstream = ScriptedTransport([Reply(json=asks), Reply(json=openai_body()), Reply(json=openai_body())])
        messages: list[Message | ToolResult] = [Message.user("q")]
        async with penstock.open_kernel(config(providers=IMITATORS), transport=upstream) as kernel:
            response = await kernel.complete(messages, model=began, tools=TOOLS)
            messages += [response.message, ToolResult("abcdefghi", "fine")]
            with kernel.events() as events:
                await kernel.complete(messages, model=other, tools=TOOLS)
                told = [event.kinds for event in events.take() if isinstance(event, PartsLeftOut)]
            await kernel.complete(messages, model=began, tools=TOOLS)
        _, there, home = ([*msgspec.json.decode(each.content)["messages"]] for each in upstream.requests)
        assert told == ([] if other == began else [("thinking",)])
        assert {name: value for name, value in home[1].items() if name in thinks} == thinks
        if other != began:
            # DeepSeek refuses calls without any, so it is sent a blank.
            blank = {"reasoning_content": " "} if other == DEEPSEEK else {}
            assert there[1] == {"role": "assistant", "tool_calls": [call], **blank}

    run(main)


def test_the_signature_of_a_call_goes_back_to_gemini_and_to_nobody_else() -> None:
    signed = {"google": {"thought_signature": "c2ln"}}
    call = {"id": "a", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    asks = openai_body()
    asks["choices"][0]["message"] = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{**call, "extra_content": signed}],
    }
    url = "https://generativelanguage.googleapis.com/v1beta/openai"
    gemini = {"gemini": {"kind": "openai", "base_url": url, "api_key": "k"}}

    async def main() -> None:
        upstream = ScriptedTransport([Reply(json=asks), Reply(json=openai_body()), Reply(json=openai_body())])
        async with penstock.open_kernel(config(providers=gemini), transport=upstream) as kernel:
            first = await kernel.complete("q", model="gemini/gemini-3-pro", tools=TOOLS)
            messages: list[Message | ToolResult] = [Message.user("q"), first.message, ToolResult("a", "fine")]
            for model in ("gemini/gemini-3-pro", GPT):
                await kernel.complete(messages, model=model, tools=TOOLS)
        home, there = (msgspec.json.decode(each.content)["messages"][1] for each in upstream.requests[1:])
        assert home["tool_calls"] == [{**call, "extra_content": signed}]
        assert there["tool_calls"] == [call]

    run(main)


def test_parts_of_one_imitator_are_not_sent_to_another() -> None:
    sources = {"type": "reference", "reference_ids": [1]}
    body = openai_body()
    body["choices"][0]["message"]["content"] = [{"type": "text", "text": "so it is"}, sources]

    async def main() -> None:
        upstream = ScriptedTransport([Reply(json=body), Reply(json=openai_body()), Reply(json=openai_body())])
        async with penstock.open_kernel(config(providers=IMITATORS), transport=upstream) as kernel:
            messages = [Message.user("q"), (await kernel.complete("q", model=MISTRAL)).message, Message.user("r")]
            for model in (MISTRAL, GPT):
                await kernel.complete(messages, model=model)
        home, there = (msgspec.json.decode(each.content)["messages"][1]["content"] for each in upstream.requests[1:])
        assert home == [{"type": "text", "text": "so it is"}, sources]
        assert there == "so it is"

    run(main)


def test_mistral_is_spoken_to_in_its_own_dialect() -> None:
    """It knows neither `seed`, `stream_options` nor names, and lets nobody but the assistant speak after a tool."""
    call = penstock.ToolCall("abcdefghi", "get_weather")
    messages = [
        Message.user("q", name="ann"),
        Message.assistant([call]),
        Message.user([ToolResult("abcdefghi", [Text("look"), PICTURE]), Text("well?")], name="ann"),
    ]

    async def main() -> None:
        upstream = ScriptedTransport(good)
        request = ChatRequest(messages, tools=TOOLS, seed=0)
        async with penstock.open_kernel(config(providers=IMITATORS), transport=upstream) as kernel:
            for model in (MISTRAL, "groq/mistral-saba-24b", GPT):
                async with kernel.stream(request, model=model) as stream:
                    assert [chunk async for chunk in stream]
        mistral, saba, gpt = (msgspec.json.decode(each.content) for each in upstream.requests)
        assert (mistral["random_seed"], saba["seed"], gpt["seed"]) == (0, 0, 0)
        assert "seed" not in mistral
        assert "stream_options" not in mistral
        assert gpt["stream_options"] == {"include_usage": True}
        for body in (mistral, saba):
            roles = [message["role"] for message in body["messages"]]
            assert roles == ["user", "assistant", "tool", "assistant", "user", "user"]
        assert [message["role"] for message in gpt["messages"]] == ["user", "assistant", "tool", "user", "user"]
        assert not any("name" in message for message in mistral["messages"])
        assert gpt["messages"][0]["name"] == "ann"

    run(main)


def test_a_conversation_that_moved_is_the_same_question_the_next_time() -> None:
    """New ids are made of the old ones alone: the cache key does not change from call to call."""
    call = penstock.ToolCall("functions.get:0", "get_weather", {"city": "Oslo"})
    thought = Thinking("hm", family="openai-chat")
    messages: list[Message | ToolResult] = [
        Message.user("q"),
        Message.assistant([thought, call]),
        ToolResult("functions.get:0", "fine"),
    ]

    async def main() -> None:
        settings = config(cache={"store": "memory", "when": "always"})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(good)) as kernel:
            asked = [await kernel.complete(messages, model=SONNET, tools=TOOLS) for _ in range(2)]
            assert [response.cache for response in asked] == ["miss", "hit"]

    run(main)


def test_thinking_that_one_model_signed_is_not_sent_to_another_of_its_wire() -> None:
    async def main() -> None:
        upstream = ScriptedTransport([replayed(MCP), Reply(json=anthropic_body())])
        messages = [Message.user("q")]
        async with penstock.open_kernel(config(), transport=upstream) as kernel:
            response = await kernel.complete(messages, model=SONNET, thinking="low")
            messages += [response.message, Message.user("r")]
            with kernel.events() as events:
                await kernel.complete(messages, model=SONNET)
                assert not [event for event in events.take() if isinstance(event, PartsLeftOut)]
                await kernel.complete(messages, model="anthropic/claude-opus-4-5")
                (told,) = [event for event in events.take() if isinstance(event, PartsLeftOut)]
        assert (told.target, told.kinds, told.parts) == ("anthropic/claude-opus-4-5", ("thinking",), 1)
        kinds = [
            [block["type"] for block in sent(upstream, model)["messages"][1]["content"]]
            for model in ("claude-sonnet-4-20250514", "claude-opus-4-5")
        ]
        assert kinds == [
            ["thinking", "mcp_tool_use", "mcp_tool_result", "text"],
            ["mcp_tool_use", "mcp_tool_result", "text"],
        ]

    run(main)


def test_a_conversation_with_calls_goes_on_without_tools_wherever_it_is_sent() -> None:
    """Chat Completions takes it as it is. Anthropic answers 400 unless tools are defined, and that would be final."""
    refusal = {"type": "invalid_request_error", "message": "Requests which include `tool_use` [...] must define tools."}

    def answer(request: httpx.Request) -> Reply:
        body: dict[str, Any] = msgspec.json.decode(request.content)
        if body["model"] == "gpt-4o":
            return Reply(503, json={"error": {"message": "busy"}})
        return good(request) if body.get("tools") else Reply(400, json={"type": "error", "error": refusal})

    call, other = ToolCall("c1", "get_weather", {"city": "Oslo"}), ToolCall("c2", "get_population", {})
    messages: list[Message | ToolResult] = [
        Message.user("q"),
        Message.assistant([call, other]),
        ToolResult("c1", "rain"),
        ToolResult("c2", "many"),
        Message.user("sum up"),
    ]

    async def main() -> None:
        upstream = ScriptedTransport(answer)
        cascade = [{"target": GPT, "attempts": 1}, SONNET]
        async with penstock.open_kernel(config(routes={"default": {"cascade": cascade}}), transport=upstream) as kernel:
            with kernel.events() as events:
                assert (await kernel.complete(messages)).target == SONNET
                told = [event for event in events.take() if isinstance(event, RequestAdapted)]
        assert [(event.target, event.adaptations) for event in told] == [(SONNET, ("tools_declared",))]
        assert "tools" not in sent(upstream, "gpt-4o")
        body = sent(upstream, "claude-sonnet-4-20250514")
        assert [tool["name"] for tool in body["tools"]] == ["get_weather", "get_population"]
        assert body["tool_choice"] == {"type": "none"}, "nobody asked for a tool to be called"

    run(main)


def test_that_a_tool_failed_is_said_in_words_where_there_is_no_field_for_it() -> None:
    messages = [
        Message.user("q"),
        Message.assistant([ToolCall("c1", "f", {}), ToolCall("c2", "f", {})]),
        ToolResult("c1", "no such city", is_error=True),
        ToolResult("c2", "fine"),
    ]

    async def main() -> None:
        upstream = ScriptedTransport(
            lambda request: Reply(503, json={}) if "claude" in model_of(request) else good(request)
        )
        cascade = [{"target": SONNET, "attempts": 1}, GPT]
        async with penstock.open_kernel(config(routes={"default": {"cascade": cascade}}), transport=upstream) as kernel:
            with kernel.events() as events:
                await kernel.complete(messages, tools=[Tool("f")])
                told = [event for event in events.take() if isinstance(event, RequestAdapted)]
        assert [(event.target, event.adaptations) for event in told] == [(GPT, ("tool_errors_in_words",))]
        failed, fine = sent(upstream, "claude-sonnet-4-20250514")["messages"][-1]["content"]
        assert (failed["content"], failed["is_error"]) == ("no such city", True)
        assert "is_error" not in fine
        results = [message["content"] for message in sent(upstream, "gpt-4o")["messages"] if message["role"] == "tool"]
        assert results == ["Error: no such city", "fine"]

    run(main)
