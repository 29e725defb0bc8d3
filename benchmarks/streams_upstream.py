"""The upstream of the stream benchmarks: pre-rendered streams of both wires, as cheap as Python can.

Run alone: `python benchmarks/streams_upstream.py PORT_FILE`. It writes its port to the file and serves. The first part
of a path says how the stream comes:

- `burst`: 5,000 chunks at once, in HTTP chunks of 16 KiB, as from a proxy that gathers what comes;
- `framed`: the same, each event in an HTTP chunk of its own, as servers send what they yield;
- `paced`: 250 events, one every 2 ms.

The rest of the path says in which wire: `messages` at its end means Anthropic's, anything else Chat Completions.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

CHUNKS = {"burst": 5_000, "framed": 5_000, "paced": 250}
"""Deltas of text in a stream; the events around them are a handful."""
TEXTS = (" the", " sky", " is ", "blue", ", as", " ray", "leig", "h sa")
PERIOD_S = 0.002
HTTP_CHUNK = 16_384
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


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


def writes(kind: str, events: list[bytes]) -> list[bytes]:
    """The response in the pieces in which it is written."""
    if kind == "paced":
        return [HEAD + framed(events[0]), *map(framed, events[1:-1]), framed(events[-1]) + LAST]
    if kind == "framed":
        return [HEAD + b"".join(map(framed, events)) + LAST]
    body = b"".join(events)
    pieces = (body[at : at + HTTP_CHUNK] for at in range(0, len(body), HTTP_CHUNK))
    return [HEAD + b"".join(map(framed, pieces)) + LAST]


WRITES = {
    (kind, wire): writes(kind, events(count))
    for kind, count in CHUNKS.items()
    for wire, events in (("openai", openai_events), ("anthropic", anthropic_events))
}


class Upstream(asyncio.Protocol):
    """Answers every whole request with the stream that its path names."""

    def __init__(self) -> None:
        self.buffer = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self.buffer) < end + 4 + length:
            return
        self.buffer = self.buffer[end + 4 + length :]
        path = head.split(b" ", 2)[1].decode()
        wire = "anthropic" if path.endswith("messages") else "openai"
        self.answer(WRITES[path.split("/")[1], wire])

    def answer(self, pieces: list[bytes]) -> None:
        loop, began = asyncio.get_running_loop(), asyncio.get_running_loop().time()
        self.write(pieces[0])
        for number, piece in enumerate(pieces[1:], 1):
            loop.call_at(began + number * PERIOD_S, self.write, piece)

    def write(self, piece: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(piece)


async def main(port_file: Path) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0, backlog=1024)
    port_file.write_text(str(server.sockets[0].getsockname()[1]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
