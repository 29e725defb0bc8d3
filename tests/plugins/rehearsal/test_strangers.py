"""Whatever strangers send, there is an answer, and the upstream and its server live."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from rehearsing import Anthropic, OpenAI, encoded, raw, talk

from penstock.types import WireRequest
from penstock_plugins.rehearsal import Upstream, serve
from penstock_plugins.rehearsal.plan import Head

WIRE = OpenAI()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"hello there\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300), b"400"),
        (b"GET / HTTP/1.1\r\n" + b"x" * 100_000, b"431"),
        (b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999999\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: minus\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", b"404"),
        (b"HEAD /v1/messages HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", b"405"),
        (b"GET /v1/messages HTTP/1.0\r\n\r\n", b"405"),
        (b"CONNECT example.com:443 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", b"404"),
        (b"OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", b"404"),
        (b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nconnection: close\r\n\r\n", b"401"),
    ],
)
def test_strangers_get_an_answer_and_the_server_lives(sent: bytes, status: bytes) -> None:
    async def story() -> None:
        async with serve(Upstream()) as server:
            heard = await talk(server.port, sent)
            assert heard.startswith(b"HTTP/1.1 " + status)
            assert (await talk(server.port, raw(), enough=b"}")).startswith(b"HTTP/1.1 400")

    trio.run(story)


@given(st.lists(st.binary(max_size=200), max_size=3))
def test_no_bytes_break_the_server(pieces: list[bytes]) -> None:
    async def story() -> None:
        async with serve(Upstream()) as server:
            async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
                try:
                    for piece in pieces:
                        await stream.send_all(piece or b"\r\n")
                    await stream.send_eof()
                    with trio.fail_after(5):
                        while await stream.receive_some(65_536):
                            pass
                except trio.BrokenResourceError:
                    pass  # refused before all was sent
            assert server.failures == []

    trio.run(story)


FOREIGN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.dictionaries(
    st.sampled_from(
        [
            *("model", "messages", "stream", "max_tokens", "max_completion_tokens", "stop", "stop_sequences", "tools"),
            *("tool_choice", "thinking", "reasoning_effort", "system", "response_format", "output_config", "n"),
            *("output_format", "stream_options"),
        ]
    ),
    FOREIGN,
    max_size=6,
)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "tool", "assistant", ""]), "content": FOREIGN}), max_size=3
)
TOOLS = st.lists(
    st.fixed_dictionaries(
        {"name": st.text(max_size=3), "input_schema": FOREIGN, "function": FOREIGN, "type": st.just("function")}
    ),
    max_size=2,
)


def bodies(fields: dict[str, Any], messages: list[Any], tools: list[Any]) -> list[bytes]:
    """Nonsense, sense with nonsense in it, and sense with nonsense for tools."""
    plain = {"model": "m", "max_tokens": 5, "messages": messages or [{"role": "user", "content": "x"}]}
    return [encoded(fields), encoded({**plain, **fields}), encoded({**plain, "tools": tools})]


@pytest.mark.slow
@given(
    st.sampled_from([OpenAI(), Anthropic()]),
    st.builds(bodies, FIELDS, MESSAGES, TOOLS) | st.lists(st.binary(max_size=20), max_size=3),
    st.sampled_from(["POST", "POST", "GET", ""]),
)
def test_no_request_breaks_the_upstream(wire: OpenAI | Anthropic, sent: list[bytes], method: str) -> None:
    upstream = Upstream()
    for body in sent:
        request = WireRequest(method, wire.path, tuple(wire.headers.items()), body)
        exchange = upstream.receive(request, now=0.0, wall=0.0)
        heads = [step for step in exchange.steps if isinstance(step, Head)]
        assert [head.status in (200, 400, 405) for head in heads] == [True]
        exchange.close()


def test_who_has_no_key_is_told_so() -> None:
    for wire in (OpenAI(headers={}), Anthropic(headers={"anthropic-version": "2023-06-01"})):
        exchange = Upstream().receive(
            WireRequest("POST", wire.path, tuple(wire.headers.items()), encoded(wire.body())), now=0.0, wall=0.0
        )
        assert [step.status for step in exchange.steps if isinstance(step, Head)] == [401]


def test_an_error_never_repeats_what_was_asked() -> None:
    body = encoded({"model": "m", "messages": [{"role": "user", "content": {"secret-canary": 1}}]})
    exchange = Upstream().receive(WireRequest("POST", WIRE.path, tuple(WIRE.headers.items()), body), now=0.0, wall=0.0)
    assert "canary" not in "".join(str(getattr(step, "data", "")) for step in exchange.steps)
