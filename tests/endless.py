"""An upstream in a process of its own, for tests that weigh the client alone: pre-rendered Chat Completions answers.

    python endless.py CHUNKS

Prints its port, then serves. A stream has CHUNKS chunks; `GET /written` says how many chunks were taken by sockets so
far: it stands still while a slow client pushes back.
"""

from __future__ import annotations

import json
import sys

import trio

TEXT = "word! "


def _event(delta: dict[str, object], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "1", "model": "gpt-4o", "choices": [choice]}).encode() + b"\n\n"


CHUNK = _event({"content": TEXT})
END = (
    _event({}, "stop")
    + b'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 9}}\n\ndata: [DONE]\n\n'
)
MESSAGE = {"role": "assistant", "content": TEXT}
WHOLE = json.dumps(
    {
        "id": "1",
        "model": "gpt-4o",
        "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 9},
    }
).encode()
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\n%s\r\n\r\n"


class Upstream:
    """Counts the chunks that its sockets took."""

    def __init__(self, chunks: int) -> None:
        self.chunks = chunks
        self.written = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        buffer = b""
        try:
            while True:
                while b"\r\n\r\n" not in buffer:
                    data = await stream.receive_some(65_536)
                    if not data:
                        return
                    buffer += data
                head, _, rest = buffer.partition(b"\r\n\r\n")
                at = head.lower().find(b"content-length:")
                length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
                while len(rest) < length:
                    rest += await stream.receive_some(65_536)
                body, buffer = rest[:length], rest[length:]
                await self.answer(stream, head, body)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def answer(self, stream: trio.SocketStream, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET /written"):
            count = str(self.written).encode()
            await stream.send_all(HEAD % (b"text/plain", b"content-length: %d" % len(count)) + count)
        elif b'"stream":true' in body:
            await stream.send_all(HEAD % (b"text/event-stream", b"transfer-encoding: chunked"))
            for _ in range(self.chunks):
                await stream.send_all(b"%x\r\n%s\r\n" % (len(CHUNK), CHUNK))
                self.written += 1
            await stream.send_all(b"%x\r\n%s\r\n0\r\n\r\n" % (len(END), END))
        else:
            await stream.send_all(HEAD % (b"application/json", b"content-length: %d" % len(WHOLE)) + WHOLE)


async def main() -> None:
    upstream = Upstream(int(sys.argv[1]))
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(listeners[0].socket.getsockname()[1], flush=True)
    await trio.serve_listeners(upstream.serve, listeners)


if __name__ == "__main__":
    trio.run(main)
