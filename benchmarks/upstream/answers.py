"""What the upstream sends: rendered once, before anything is measured.

The first part of a path says how the answer comes, the rest in which wire (`messages` at its end means Anthropic's,
anything else Chat Completions):

- `now`: an unstreamed answer of about 1 KB, at once;
- `slow`: the same, 500 ms after the request;
- `burst`: a stream of 5,000 chunks at once, in HTTP chunks of 16 KiB, as from a proxy that gathers what comes;
- `framed`: the same, each event in an HTTP chunk of its own, as servers send what they yield;
- `paced`: a stream of 250 events, one every 2 ms.
"""

from __future__ import annotations

import json
from typing import NamedTuple

TEXT = "word " * 150
SLOW_S = 0.5
PERIOD_S = 0.002
CHUNKS = {"burst": 5_000, "framed": 5_000, "paced": 250}
"""Deltas of text in a stream; the events around them are a handful."""
TEXTS = (" the", " sky", " is ", "blue", ", as", " ray", "leig", "h sa")
HTTP_CHUNK = 16_384
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


class Plan(NamedTuple):
    """How one request is answered."""

    pieces: tuple[bytes, ...]
    delay_s: float = 0.0
    """Before the first piece."""
    period_s: float = 0.0
    """Between two pieces."""


def whole(answer: object) -> bytes:
    """A response with a JSON body."""
    body = json.dumps(answer).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


OPENAI = whole(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1770067734,
        "model": "gpt-4o",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 200, "completion_tokens": 150, "total_tokens": 350},
    }
)
ANTHROPIC = whole(
    {
        "id": "msg_bench",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-20250514",
        "content": [{"type": "text", "text": TEXT}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 200, "output_tokens": 150},
    }
)


def openai_events(count: int) -> list[bytes]:
    """What OpenAI sends, with every field of its chunks."""

    def event(choices: list[object], usage: object = None) -> bytes:
        chunk = {
            "id": "chatcmpl-D4vlWEY1AkvT2vlwtQfjzxG9QCs7u",
            "object": "chat.completion.chunk",
            "created": 1770067734,
            "model": "gpt-4o-2024-08-06",
            "service_tier": "default",
            "system_fingerprint": "fp_fa7f5b168b",
            "choices": choices,
            "usage": usage,
            "obfuscation": "J3gTAjsTQV1SK",
        }
        return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"

    def delta(fields: dict[str, object], reason: str | None = None) -> list[object]:
        return [{"index": 0, "delta": fields, "logprobs": None, "finish_reason": reason}]

    usage = {"prompt_tokens": 20, "completion_tokens": count, "total_tokens": 20 + count}
    return [
        event(delta({"role": "assistant", "content": "", "refusal": None})),
        *(event(delta({"content": TEXTS[n % len(TEXTS)]})) for n in range(count)),
        event(delta({}, "stop")),
        event([], usage),
        b"data: [DONE]\n\n",
    ]


def anthropic_events(count: int) -> list[bytes]:
    """What Anthropic sends, with the blanks that pad its events."""

    def event(kind: str, **fields: object) -> bytes:
        said = json.dumps({"type": kind, **fields}, separators=(",", ":"))
        return f"event: {kind}\ndata: {said[:-1]}{' ' * 8}}}\n\n".encode()

    message: dict[str, object] = {
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-20250514",
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": 20, "output_tokens": 1},
    }
    return [
        event("message_start", message=message),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        event("ping"),
        *(
            event("content_block_delta", index=0, delta={"type": "text_delta", "text": TEXTS[n % len(TEXTS)]})
            for n in range(count)
        ),
        event("content_block_stop", index=0),
        event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": count}),
        event("message_stop"),
    ]


def framed(data: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def streamed(kind: str, events: list[bytes]) -> Plan:
    """A stream in the pieces in which it is written."""
    if kind == "paced":
        pieces = (STREAM_HEAD + framed(events[0]), *map(framed, events[1:-1]), framed(events[-1]) + LAST)
        return Plan(pieces, period_s=PERIOD_S)
    if kind == "framed":
        return Plan((STREAM_HEAD + b"".join(map(framed, events)) + LAST,))
    body = b"".join(events)
    gathered = (body[at : at + HTTP_CHUNK] for at in range(0, len(body), HTTP_CHUNK))
    return Plan((STREAM_HEAD + b"".join(map(framed, gathered)) + LAST,))


def plans() -> dict[tuple[str, bool], Plan]:
    """Every answer, by the first part of the path and by whether it is of Anthropic's wire."""
    made: dict[tuple[str, bool], Plan] = {}
    for is_anthropic, answer, events in ((False, OPENAI, openai_events), (True, ANTHROPIC, anthropic_events)):
        made["now", is_anthropic] = Plan((answer,))
        made["slow", is_anthropic] = Plan((answer,), delay_s=SLOW_S)
        for kind, count in CHUNKS.items():
            made[kind, is_anthropic] = streamed(kind, events(count))
    return made
