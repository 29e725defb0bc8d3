"""The floor: h11 on a trio socket, and the JSON of request and answer. No guards; nothing of penstock is imported."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import h11
import trio

from benchmarks.rows.bodies import openai_call, path_of, port_of, stream_jobs
from benchmarks.worker import Jobs, Row, run

READ = 16_384
HEADERS = ((b"host", b"127.0.0.1"), (b"content-type", b"application/json"))


class Connections:
    """A stack of open ones."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.idle: list[tuple[trio.SocketStream, h11.Connection]] = []

    async def take(self) -> tuple[trio.SocketStream, h11.Connection]:
        if self.idle:
            return self.idle.pop()
        return await trio.open_tcp_stream("127.0.0.1", self.port), h11.Connection(h11.CLIENT)

    def give_back(self, stream: trio.SocketStream, http: h11.Connection) -> None:
        http.start_next_cycle()
        self.idle.append((stream, http))

    async def aclose(self) -> None:
        for stream, _ in self.idle:
            await stream.aclose()


def request(http: h11.Connection, path: bytes, body: bytes) -> bytes:
    """Its bytes."""
    headers = [*HEADERS, (b"content-length", b"%d" % len(body))]
    head = http.send(h11.Request(method=b"POST", target=path, headers=headers)) or b""
    return head + (http.send(h11.Data(data=body)) or b"") + (http.send(h11.EndOfMessage()) or b"")


async def read_answer(stream: trio.SocketStream, http: h11.Connection) -> bytes:
    """The body of an answer."""
    pieces: list[bytes] = []
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await stream.receive_some(READ))
        elif isinstance(event, h11.Data):
            pieces.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            return b"".join(pieces)


async def read_events(stream: trio.SocketStream, http: h11.Connection) -> int:
    """How many events of a stream carried JSON; each is parsed."""
    seen, rest = 0, b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await stream.receive_some(READ))
        elif isinstance(event, h11.Data):
            *lines, rest = (rest + event.data).split(b"\n")
            for line in lines:
                if line.startswith(b"data: {"):
                    json.loads(line[6:])
                    seen += 1
        elif isinstance(event, h11.EndOfMessage):
            return seen


@asynccontextmanager
async def opened(origin: str, kind: str) -> AsyncGenerator[Jobs]:
    connections = Connections(port_of(origin))

    async def call(number: int) -> int:
        stream, http = await connections.take()
        await stream.send_all(request(http, path_of(kind, "openai").encode(), openai_call(number)))
        json.loads(await read_answer(stream, http))
        connections.give_back(stream, http)
        return 1

    async def read(path: str, body: bytes) -> int:
        stream, http = await connections.take()
        await stream.send_all(request(http, path.encode(), body))
        seen = await read_events(stream, http)
        connections.give_back(stream, http)
        return seen

    yield {"call": call, **stream_jobs(kind, read)}
    await connections.aclose()


if __name__ == "__main__":
    does = "h11 on a trio socket, json.dumps and json.loads: no guards, no retries, no timeouts"
    run(Row(opened, "trio", ("h11", "trio"), does, ("call", "openai", "anthropic")))
