"""Small worlds for kernel tests: a three-stage cascade over a scripted upstream that speaks both wires."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import httpx
import msgspec
import trio
from trio.testing import MockClock

from penstock import Config
from penstock.testing import Answer, Reply, ScriptedTransport

T = TypeVar("T")

KEY = "sk-canary-5f1c9f0e"
CASCADE = [
    {"target": "anthropic/claude-sonnet-4-20250514", "attempts": 3},
    {"target": "openai/gpt-4o", "attempts": 2},
    {"target": "anthropic/claude-3-haiku-20240307", "attempts": 5},
]
SONNET, GPT, HAIKU = (str(stage["target"]) for stage in CASCADE)
ANSWER = "forty-two"
USAGE = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}


def config(**tables: Any) -> Config:
    """The three-stage cascade, with other tables beside it."""
    mapping: dict[str, Any] = {
        "providers": {"anthropic": {"api_key": KEY}, "openai": {"api_key": KEY}},
        "routes": {"default": {"cascade": CASCADE}},
    }
    for name, table in tables.items():
        mapping[name] = {**mapping.get(name, {}), **table} if isinstance(table, Mapping) else table
    return Config.from_dict(mapping, environ={})


def run(main: Callable[[], Awaitable[T]], *, limit: float = 100_000.0) -> T:
    """Runs `main` under virtual time; nothing may take longer than `limit` virtual seconds."""

    async def bounded() -> T:
        with trio.fail_after(limit):
            return await main()

    return trio.run(bounded, clock=MockClock(autojump_threshold=0))


def model_of(request: httpx.Request) -> str:
    """Which target a request went to."""
    return str(msgspec.json.decode(request.content)["model"])


def is_stream(request: httpx.Request) -> bool:
    """Whether it asked for a stream."""
    return bool(msgspec.json.decode(request.content).get("stream"))


def good(request: httpx.Request, text: str = ANSWER, *, pause: float = 0.0) -> Reply:
    """A whole answer on the wire that was spoken to, in pieces where a stream was asked for."""
    anthropic = request.url.path.endswith("/messages")
    if is_stream(request):
        return Reply(chunks=anthropic_chunks(text) if anthropic else openai_chunks(text), pause=pause)
    return Reply(json=anthropic_body(text) if anthropic else openai_body(text))


def openai_body(text: str = ANSWER) -> dict[str, Any]:
    """A Chat Completions answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "gpt-4o",
        "choices": [choice],
        "usage": dict(USAGE),
    }


def anthropic_body(text: str = ANSWER) -> dict[str, Any]:
    """A Messages answer."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 11, "output_tokens": 3},
    }


def openai_chunks(text: str = ANSWER) -> list[bytes]:
    """The same as a stream, a piece a word."""
    events: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
    ]
    events += [
        {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]} for piece in pieces(text)
    ]
    events += [{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}]
    lines = [_data({"id": "chatcmpl-1", "model": "gpt-4o", **event}) for event in events]
    return [*lines, _data({"choices": [], "usage": USAGE}), b"data: [DONE]\n\n"]


def anthropic_chunks(text: str = ANSWER) -> list[bytes]:
    """The same on the other wire."""
    message: dict[str, Any] = {**anthropic_body(), "content": [], "usage": {"input_tokens": 11, "output_tokens": 1}}
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
        for piece in pieces(text)
    ]
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *deltas,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ]
    return [b"event: " + event["type"].encode() + b"\n" + _data(event) for event in events]


def pieces(text: str) -> list[str]:
    """A text in pieces of three characters."""
    return [text[at : at + 3] for at in range(0, len(text), 3)]


def _data(event: Mapping[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(event) + b"\n\n"


def failing(*targets: str, answer: Answer | Callable[[httpx.Request], Answer]) -> ScriptedTransport:
    """An upstream where some targets give one bad answer, always, and the others are healthy."""
    bad = {target.partition("/")[2] for target in targets}

    def answer_for(request: httpx.Request) -> Answer:
        if model_of(request) not in bad:
            return good(request)
        return answer(request) if callable(answer) else answer

    return ScriptedTransport(answer_for)
