"""What the upstream says where nothing is wrong, on both wires and both fronts."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import rehearsing
from recorded import Recording, recordings
from rehearsing import Anthropic, Front, Heard, OpenAI, Wire, ask, tokens

from penstock_plugins.rehearsal import Replay, Rule, Script, Seen, Upstream, faults

fronts = pytest.mark.parametrize("front", rehearsing.FRONTS)
wires = pytest.mark.parametrize("wire", [OpenAI(), Anthropic()], ids=["openai", "anthropic"])


@fronts
@wires
def test_streamed_and_unstreamed_answers_say_the_same_and_count_it_by_the_stated_rule(front: Front, wire: Wire) -> None:
    prompt = "How deep is the lake in größter Not?"
    whole = ask(front, Upstream(), wire, wire.body(prompt))
    streamed = ask(front, Upstream(), wire, wire.body(prompt, stream=True))
    text = wire.text(whole.json)
    assert text
    assert wire.streamed_text(streamed.objects) == text
    expected = tokens(prompt), tokens(text)
    assert wire.usage(whole.json) == expected
    assert wire.streamed_usage(streamed.objects) == expected


@wires
def test_the_answer_stops_at_max_tokens_and_says_so(wire: Wire) -> None:
    limit: dict[str, Any] = {"max_tokens": 5}
    heard = ask("transport", Upstream(), wire, wire.body("[[words 500]]", **limit))
    assert wire.usage(heard.json)[1] == 5
    assert tokens(wire.text(heard.json)) == 5
    assert b'"length"' in heard.body or b'"max_tokens"' in heard.body


@wires
def test_an_answer_is_a_function_of_model_and_prompt(wire: Wire) -> None:
    def said(prompt: str, **more: Any) -> str:
        return wire.text(ask("transport", Upstream(), wire, {**wire.body(prompt), **more}).json)

    assert said("a") == said("a")
    assert said("a") != said("b")
    assert said("a") != said("a", model="another")


@wires
def test_every_answer_in_words_begins_with_a_character_of_several_bytes(wire: Wire) -> None:
    for number in range(20):
        text = wire.text(ask("transport", Upstream(), wire, wire.body(f"{number}")).json)
        assert not text[0].isascii()


@wires
def test_directives_choose_the_length_or_the_words(wire: Wire) -> None:
    assert len(wire.text(ask("transport", Upstream(), wire, wire.body("[[words 77]]")).json).split()) == 77
    assert (
        wire.text(ask("transport", Upstream(), wire, wire.body("Now [[say grüß Gott, all]]!")).json) == "grüß Gott, all"
    )


@wires
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_stop_sequence_ends_the_answer_before_itself(wire: Wire, *, stream: bool) -> None:
    stop = {"stop": ["drei"]} if wire.name == "openai" else {"stop_sequences": ["drei"]}
    heard = ask("transport", Upstream(), wire, wire.body("[[say eins zwei drei vier]]", stream=stream, **stop))
    assert (wire.streamed_text(heard.objects) if stream else wire.text(heard.json)) == "eins zwei "
    if wire.name == "anthropic":
        assert b'"stop_reason":"stop_sequence","stop_sequence":"drei"' in heard.body


SCHEMA: dict[str, Any] = {
    "type": "object",
    "$defs": {"Part": {"type": "object", "properties": {"size": {"type": "integer", "minimum": 3}}}},
    "properties": {
        "name": {"type": "string", "minLength": 8},
        "kind": {"enum": ["pump", "pipe"]},
        "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}},
        "note": {"anyOf": [{"type": "null"}, {"type": "string"}]},
        "open": {"type": ["boolean", "null"]},
    },
}
FULFILLED = {"name": "wäter~~~", "kind": "pump", "parts": [{"size": 3}], "note": None, "open": True}


@wires
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_schema_is_fulfilled(wire: Wire, *, stream: bool) -> None:
    wanted: dict[str, Any]
    if wire.name == "openai":
        wanted = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}
    else:
        wanted = {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
    heard = ask("transport", Upstream(), wire, wire.body(stream=stream, **wanted))
    text = wire.streamed_text(heard.objects) if stream else wire.text(heard.json)
    assert json.loads(text) == FULFILLED


def tools(wire: Wire, choice: str) -> dict[str, Any]:
    """Two tools, and `choice`: auto, any, none, or the name of one."""
    if wire.name == "openai":
        functions = [{"name": name, "parameters": SCHEMA} for name in ("first", "second")]
        offered = [{"type": "function", "function": function} for function in functions]
        words: dict[str, Any] = {"any": "required", "auto": "auto", "none": "none"}
        return {
            "tools": offered,
            "tool_choice": words.get(choice, {"type": "function", "function": {"name": choice}}),
        }
    offered = [{"name": name, "input_schema": SCHEMA} for name in ("first", "second")]
    known = choice in ("any", "auto", "none")
    return {"tools": offered, "tool_choice": {"type": choice} if known else {"type": "tool", "name": choice}}


def called(wire: Wire, heard: Heard) -> list[tuple[str, Any]]:
    if wire.name == "openai":
        calls = heard.json["choices"][0]["message"].get("tool_calls", [])
        return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]
    return [(block["name"], block["input"]) for block in heard.json["content"] if block["type"] == "tool_use"]


@wires
@pytest.mark.parametrize(
    ("prompt", "choice", "expected"),
    [
        ("hello", "auto", []),
        ("[[call second]]", "auto", ["second"]),
        ("[[call nowhere]]", "auto", []),
        ("hello", "any", ["first"]),
        ("hello", "second", ["second"]),
        ("[[call first]]", "none", []),
    ],
)
def test_a_tool_is_called_when_a_directive_or_the_choice_says_so(
    wire: Wire, prompt: str, choice: str, expected: list[str]
) -> None:
    heard = ask("transport", Upstream(), wire, wire.body(prompt, **tools(wire, choice)))
    assert called(wire, heard) == [(name, FULFILLED) for name in expected]
    if expected:
        arguments = json.dumps(FULFILLED, ensure_ascii=False, separators=(",", ":"))
        assert wire.usage(heard.json)[1] == tokens(expected[0] + arguments)


@wires
def test_the_result_of_a_tool_is_answered_in_words(wire: Wire) -> None:
    body = wire.body("[[call first]]", **tools(wire, "any"))
    first = ask("transport", Upstream(), wire, body).json
    if wire.name == "openai":
        message = first["choices"][0]["message"]
        result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "42"}
    else:
        message = {"role": "assistant", "content": first["content"]}
        block = {"type": "tool_result", "tool_use_id": first["content"][0]["id"], "content": "42"}
        result = {"role": "user", "content": [block]}
    heard = ask("transport", Upstream(), wire, {**body, "messages": [*body["messages"], message, result]})
    assert called(wire, heard) == []
    assert wire.text(heard.json)


@wires
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_thinking_is_billed_and_shown_only_where_the_wire_shows_it(wire: Wire, *, stream: bool) -> None:
    openai = wire.name == "openai"
    thinking: dict[str, Any] = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    if openai:
        thinking = {"reasoning_effort": "low"}
    upstream = Upstream()
    heard = ask("transport", upstream, wire, wire.body(stream=stream, **thinking))
    text = wire.streamed_text(heard.objects) if stream else wire.text(heard.json)
    usage = wire.streamed_usage(heard.objects) if stream else wire.usage(heard.json)
    assert usage is not None
    assert usage[1] > tokens(text)
    assert upstream.statistics().served().output_tokens == usage[1]
    assert (b"thinking_delta" in heard.body or b'"type":"thinking"' in heard.body) == (not openai)


@wires
def test_input_counts_everything_a_model_reads(wire: Wire) -> None:
    def input_tokens(**more: Any) -> int:
        return wire.usage(ask("transport", Upstream(), wire, {**wire.body("1234"), **more}).json)[0]

    image: dict[str, Any] = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 9000}}
    if wire.name == "anthropic":
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 9000}}
    assert input_tokens() == 1
    assert input_tokens(**tools(wire, "auto")) > 100
    parts = [{"type": "text", "text": "1234"}, image]
    assert input_tokens(messages=[{"role": "user", "content": parts}]) == 257
    system = {"role": "system", "content": "12345678"}
    if wire.name == "anthropic":
        assert input_tokens(system="12345678") == 3
    else:
        assert input_tokens(messages=[system, *wire.body("1234")["messages"]]) == 3


@wires
def test_models_can_be_limited_to_those_that_exist(wire: Wire) -> None:
    upstream = Upstream(models=["other"])
    heard = ask("transport", upstream, wire, wire.body())
    assert heard.status == 404
    assert upstream.statistics().served().refused == 1


@fronts
def test_an_observer_is_told_of_every_exchange_but_not_what_was_said(front: Front) -> None:
    seen: list[Seen] = []
    upstream = Upstream(observe=seen.append)
    wire = Anthropic()
    heard = ask(front, upstream, wire, wire.body("secret-prompt", stream=True))
    assert [(one.wire, one.status, one.completed, one.fault) for one in seen] == [("anthropic", 200, True, None)]
    assert seen[0].output_tokens == tokens(wire.streamed_text(heard.objects))
    assert "secret" not in repr(seen) + repr(upstream.statistics())
    assert "canary" not in repr(seen) + repr(upstream.statistics())


SSE = (
    b'event: message_start\r\ndata: {"type":"message_start","message":{}}\r\n\r\n'
    b'event: content_block_delta\r\ndata: {"type":"content_block_delta","delta":{"text":"a"}}\r\n\r\n'
    b'event: content_block_delta\r\ndata: {"type":"content_block_delta","delta":{"text":"b"}}\r\n\r\n'
    b'event: message_stop\r\ndata: {"type":"message_stop"}\r\n\r\n'
)
RECORDED = Replay(
    headers=(
        ("Content-Type", "text/event-stream"),
        ("Transfer-Encoding", "chunked"),
        ("request-id", "req_1"),
        ("Content-Encoding", "gzip"),
    ),
    body=SSE,
    model="claude-*",
    streamed=True,
    output_tokens=7,
)


@fronts
def test_a_recording_is_played_byte_for_byte_where_it_fits(front: Front) -> None:
    upstream = Upstream(replays=[RECORDED])
    wire = Anthropic()
    heard = ask(front, upstream, wire, wire.body(stream=True))
    assert heard.response is not None
    assert (heard.body, heard.response.headers["request-id"]) == (SSE, "req_1")
    assert "content-encoding" not in heard.response.headers, "the body was recorded unpacked"
    assert upstream.statistics().served().output_tokens == 7
    assert ask(front, upstream, wire, wire.body()).json["type"] == "message"


@fronts
def test_faults_strike_recordings_too(front: Front) -> None:
    upstream = Upstream(Script((Rule(fault=faults.CutStream(after_chunks=1)),)), replays=[RECORDED])
    heard = ask(front, upstream, Anthropic(), Anthropic().body(stream=True))
    assert isinstance(heard.error, httpx.RemoteProtocolError)
    assert heard.body == SSE[: SSE.index(b'"b"')].rpartition(b"event:")[0]
    assert upstream.statistics().served().output_tokens == 3


@fronts
def test_faults_strike_recordings_that_are_no_streams(front: Front) -> None:
    replay = Replay(headers=(("content-type", "application/json"),), body=b'{"id":"recorded","content":[]}')
    upstream = Upstream(Script((Rule(fault=faults.CutStream()),)), replays=[replay])
    heard = ask(front, upstream, Anthropic(), Anthropic().body())
    assert isinstance(heard.error, httpx.RemoteProtocolError)
    assert 0 < len(heard.body) < len(replay.body)


@pytest.mark.parametrize("recording", recordings("openai-chat", "anthropic-messages"), ids=lambda one: one.name)
def test_every_recorded_exchange_can_be_replayed(recording: Recording) -> None:
    wire = OpenAI() if recording.provider == "openai-chat" else Anthropic()
    whole = recording.whole()
    replay = Replay(status=whole.status, headers=whole.headers, body=whole.body)
    heard = ask("transport", Upstream(replays=[replay]), wire, wire.body(stream=recording.streamed))
    assert (heard.status, heard.body) == (whole.status, whole.body)
