"""Faults inside an answer: what is wrong with its bytes. Each on both fronts, both wires where they differ."""

from __future__ import annotations

import json
import zlib

import httpx
import pytest
import rehearsing
from rehearsing import Anthropic, Front, Heard, OpenAI, Wire, ask, faulty, tokens

from penstock_plugins.rehearsal import Fault, Upstream, faults

fronts = pytest.mark.parametrize("front", rehearsing.FRONTS)
wires = pytest.mark.parametrize("wire", [OpenAI(), Anthropic()], ids=["openai", "anthropic"])


def streamed(front: Front, wire: Wire, fault: Fault, prompt: str = "Why?") -> tuple[Heard, Upstream]:
    upstream = faulty(fault)
    return ask(front, upstream, wire, wire.body(prompt, stream=True)), upstream


def whole_text(wire: Wire, prompt: str = "Why?") -> str:
    return wire.text(ask("transport", Upstream(), wire, wire.body(prompt)).json)


def terminators(wire: Wire, heard: Heard) -> list[str]:
    """The marks of an end that came: of the reason, and of the stream."""
    found: list[str] = []
    for event in heard.events:
        if event == "[DONE]" or (wire.name == "anthropic" and event["type"] == "message_stop"):
            found.append("end")
        elif wire.name == "anthropic":
            found += ["reason"] if event["type"] == "message_delta" else []
        else:
            found += ["reason"] if any(choice["finish_reason"] for choice in event["choices"]) else []
    return found


@fronts
@wires
@pytest.mark.parametrize("after", [0, 1, 4])
def test_a_cut_stream_holds_so_many_chunks_and_no_end(front: Front, wire: Wire, after: int) -> None:
    heard, upstream = streamed(front, wire, faults.CutStream(after_chunks=after))
    assert isinstance(heard.error, httpx.RemoteProtocolError)
    words = wire.streamed_text(heard.objects).split()
    assert len(words) == after
    assert whole_text(wire).split()[:after] == words
    assert terminators(wire, heard) == []
    served = upstream.statistics().served()
    assert (served.input_tokens, served.output_tokens) == (1, tokens(wire.streamed_text(heard.objects)))
    assert served.completed == 0


@fronts
@wires
def test_a_cleanly_cut_stream_ends_as_http_wants_but_not_as_the_wire_wants(front: Front, wire: Wire) -> None:
    heard, _ = streamed(front, wire, faults.CutStream(after_chunks=2, clean=True))
    assert heard.error is None
    assert terminators(wire, heard) == []


@fronts
@wires
@pytest.mark.parametrize("told", [True, False])
def test_a_terminator_is_missing_with_or_without_the_reason(front: Front, wire: Wire, *, told: bool) -> None:
    heard, _ = streamed(front, wire, faults.MissingTerminator(finish_reason=told))
    assert heard.error is None
    assert wire.streamed_text(heard.objects) == whole_text(wire)
    assert terminators(wire, heard) == (["reason"] if told else [])


@fronts
@wires
def test_a_connection_is_reset_in_the_middle(front: Front, wire: Wire) -> None:
    heard, upstream = streamed(front, wire, faults.ResetConnection(at="mid_body", after_chunks=2))
    assert isinstance(heard.error, httpx.ReadError)
    assert heard.status == 200
    assert upstream.statistics().served().output_tokens > 0


@fronts
@wires
def test_one_chunk_is_no_json_and_the_rest_follows(front: Front, wire: Wire) -> None:
    heard, _ = streamed(front, wire, faults.MalformedChunk(after_chunks=2))
    assert heard.error is None
    data = [line for line in heard.body.decode().split("\n") if line.startswith("data: {")]
    broken = [line for line in data if not _is_json(line.removeprefix("data: "))]
    assert len(broken) == 1
    assert data.index(broken[0]) < len(data) - 1


@fronts
@wires
@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("overloaded", ("overloaded", "overloaded_error")),
        ("server", ("server_error", "api_error")),
        ("rate_limit", ("rate_limit_exceeded", "rate_limit_error")),
    ],
)
def test_an_error_stands_where_an_event_should_be(
    front: Front, wire: Wire, after: int, kind: str, words: tuple[str, str]
) -> None:
    fault = faults.ErrorEvent(after_chunks=after, kind=kind)  # type: ignore[arg-type]  # parametrize gives strings
    heard, _ = streamed(front, wire, fault)
    assert (heard.status, heard.error) == (200, None)
    assert len(wire.streamed_text([event for event in heard.objects if "error" not in event]).split()) == after
    last = heard.objects[-1]
    assert words[wire.name == "anthropic"] in json.dumps(last["error"])
    assert terminators(wire, Heard(body=heard.body.rpartition(b"data: ")[0])) == []
    if wire.name == "anthropic":
        assert b"event: error\n" in heard.body


@fronts
@wires
def test_an_error_can_be_the_body_of_a_success(front: Front, wire: Wire) -> None:
    heard = ask(front, faulty(faults.ErrorEvent()), wire, wire.body())
    assert heard.status == 200
    assert "error" in heard.json


@fronts
@wires
@pytest.mark.parametrize("kind", ["content", "finish", "end"])
def test_events_of_one_kind_come_twice_and_are_billed_once(front: Front, wire: Wire, kind: faults.EventKind) -> None:
    heard, upstream = streamed(front, wire, faults.DuplicateChunks(kind=kind))
    text = whole_text(wire)
    said = wire.streamed_text(heard.objects)
    assert len(said) == (2 * len(text) if kind == "content" else len(text))
    expected = {"content": ["reason", "end"], "finish": ["reason", "reason", "end"], "end": ["reason", "end", "end"]}
    assert terminators(wire, heard) == expected[kind]
    assert upstream.statistics().served().output_tokens == tokens(text)


@fronts
@wires
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_characters_are_cut_in_two_and_none_is_lost(front: Front, wire: Wire, *, stream: bool) -> None:
    heard = ask(front, faulty(faults.SplitUtf8()), wire, wire.body("Why?", stream=stream))
    assert any(not _is_utf8(piece) for _, piece in heard.pieces)
    text = wire.streamed_text(heard.objects) if stream else wire.text(heard.json)
    assert text == whole_text(wire)


@fronts
@wires
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_gzip_bomb_is_small_valid_and_huge(front: Front, wire: Wire, *, stream: bool) -> None:
    heard = ask(front, faulty(faults.GzipBomb(decompressed_bytes=3_000_000)), wire, wire.body(stream=stream))
    assert heard.response is not None
    assert heard.response.headers["content-encoding"] == "gzip"
    assert len(heard.body) < 10_000
    assert len(zlib.decompress(heard.body, wbits=31)) == 3 * 1024 * 1024


@fronts
@wires
def test_a_header_bomb_is_more_than_a_client_takes(front: Front, wire: Wire) -> None:
    heard = ask(front, faulty(faults.HeaderBomb()), wire, wire.body(stream=True))
    assert heard.response is None
    assert isinstance(heard.error, httpx.RemoteProtocolError)


@fronts
def test_a_small_header_bomb_is_only_a_nuisance(front: Front) -> None:
    heard = ask(front, faulty(faults.HeaderBomb(header_bytes=20_000)), OpenAI(), OpenAI().body())
    assert heard.response is not None
    assert sum(name.startswith("x-bomb") for name in heard.response.headers) == 19
    assert OpenAI().text(heard.json)


@fronts
@wires
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_wrong_json_lacks_what_an_answer_must_have(front: Front, wire: Wire, *, stream: bool) -> None:
    heard = ask(front, faulty(faults.WrongJson()), wire, wire.body(stream=stream))
    assert (heard.status, heard.error) == (200, None)
    found = heard.objects if stream else [heard.json]
    assert found
    assert not any({"choices", "content", "delta", "message"} & set(value) for value in found)


@fronts
@wires
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_empty_success_has_not_a_byte(front: Front, wire: Wire, *, stream: bool) -> None:
    heard = ask(front, faulty(faults.EmptyBody()), wire, wire.body(stream=stream))
    assert (heard.status, heard.body, heard.error) == (200, b"", None)


@fronts
@wires
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_answer_longer_than_allowed_is_billed_as_long_as_it_is(front: Front, wire: Wire, *, stream: bool) -> None:
    upstream = faulty(faults.IgnoreMaxTokens(extra_tokens=50))
    heard = ask(front, upstream, wire, wire.body(stream=stream, max_tokens=10))
    text = wire.streamed_text(heard.objects) if stream else wire.text(heard.json)
    usage = wire.streamed_usage(heard.objects) if stream else wire.usage(heard.json)
    assert tokens(text) == 60
    assert usage is not None
    assert usage[1] == 60
    assert upstream.statistics().served().output_tokens == 60


@fronts
@wires
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_filter_ends_an_answer_that_is_a_success(front: Front, wire: Wire, *, stream: bool) -> None:
    heard = ask(front, faulty(faults.FilteredAnswer(after_chunks=3)), wire, wire.body("Why?", stream=stream))
    text = wire.streamed_text(heard.objects) if stream else wire.text(heard.json)
    assert text.split() == whole_text(wire).split()[:3]
    assert (b'"content_filter"' if wire.name == "openai" else b'"refusal"') in heard.body


@fronts
@wires
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_answer_without_usage_is_counted_all_the_same(front: Front, wire: Wire, *, stream: bool) -> None:
    upstream = faulty(faults.NoUsage())
    heard = ask(front, upstream, wire, wire.body("Why?", stream=stream))
    assert b"_tokens" not in heard.body
    assert upstream.statistics().served().output_tokens == tokens(whole_text(wire))


@fronts
@wires
@pytest.mark.parametrize(
    "fault",
    [faults.CutStream(), faults.CutStream(clean=True), faults.MissingTerminator(), faults.MalformedChunk()],
    ids=["cut", "cut-cleanly", "missing-terminator", "malformed-chunk"],
)
def test_an_unstreamed_answer_suffers_what_comes_nearest(front: Front, wire: Wire, fault: Fault) -> None:
    heard = ask(front, faulty(fault), wire, wire.body())
    assert heard.status == 200
    assert not _is_json(heard.body.decode(errors="replace"))
    assert isinstance(heard.error, httpx.RemoteProtocolError) == (fault == faults.CutStream())


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
