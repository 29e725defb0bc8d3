"""Bytes over a trio socket: what the event loop and the kernel's sockets cost, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from benchmarks.rows.bodies import anthropic_stream, openai_call, openai_stream, path_of, port_of
from benchmarks.worker import Job, Jobs, Row, run

READ = 16_384
LAST = b"0\r\n\r\n"
CHUNKS = {"burst": 5_000, "framed": 5_000, "paced": 250}


@asynccontextmanager
async def opened(origin: str, kind: str) -> AsyncGenerator[Jobs]:
    idle: list[trio.SocketStream] = []

    async def taken() -> trio.SocketStream:
        return idle.pop() if idle else await trio.open_tcp_stream("127.0.0.1", port_of(origin))

    def request(wire: str, body: bytes) -> bytes:
        path = path_of(kind, wire).encode()
        return b"POST %b HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (path, len(body), body)

    async def call(number: int) -> int:
        stream = await taken()
        await stream.send_all(request("openai", openai_call(number)))
        # The answer is of known form: it is whole when its braces are closed and its length has come.
        answer = await stream.receive_some(READ)
        end = answer.index(b"\r\n\r\n") + 4
        length = int(answer[answer.index(b"content-length: ") + 16 : end - 4])
        while len(answer) < end + length:
            answer += await stream.receive_some(READ)
        idle.append(stream)
        return 1

    def reading(wire: str, body: bytes) -> Job:
        async def read(_: int) -> int:
            stream = await taken()
            await stream.send_all(request(wire, body))
            end = b""
            while not end.endswith(LAST):
                end = await stream.receive_some(READ)
            idle.append(stream)
            return CHUNKS[kind]

        return read

    yield {
        "call": call,
        "openai": reading("openai", openai_stream()),
        "anthropic": reading("anthropic", anthropic_stream()),
    }
    for stream in idle:
        await stream.aclose()


if __name__ == "__main__":
    does = "bytes over a trio socket: no HTTP, no JSON, nothing checked"
    run(Row(opened, "trio", ("trio",), does, ("call", "openai", "anthropic")))
