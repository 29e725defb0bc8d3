"""A loopback server that speaks HTTP/2 over TLS, by h2: real sockets, real frames."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import attrs
import trio
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset

__all__ = ["Answer2", "Asked2", "Http2Loopback", "http2_loopback"]


@attrs.frozen
class Asked2:
    """A request as it came: pseudo-headers with the others."""

    headers: dict[str, str]
    body: bytes


@attrs.frozen
class Answer2:
    """A response; each piece is a frame of its own."""

    pieces: Sequence[bytes]
    status: int = 200
    kind: str = "application/json"
    headers: Sequence[tuple[str, str]] = ()
    cut: bool = False
    """The stream is reset in place of its end."""


Answering: TypeAlias = Callable[[Asked2], Answer2]


@attrs.define
class Http2Loopback:
    """A running server, and what it was asked."""

    url: str
    answer: Answering
    connections: int = 0
    asked: list[Asked2] = attrs.field(factory=list[Asked2])
    protocols: list[str | None] = attrs.field(factory=list[str | None])
    """What each connection agreed on."""
    meet: int = 1
    """So many requests must have come on a connection before the first is answered."""


@attrs.define
class _Connection:
    server: Http2Loopback
    stream: trio.SSLStream[trio.SocketStream]
    wire: H2Connection = attrs.field(factory=lambda: H2Connection(H2Configuration(client_side=False)))
    heads: dict[int, dict[str, str]] = attrs.field(factory=dict[int, dict[str, str]])
    bodies: dict[int, bytes] = attrs.field(factory=dict[int, bytes])
    waiting: list[int] = attrs.field(factory=list[int])

    async def serve(self) -> None:
        self.wire.initiate_connection()
        await self._flush()
        while data := await self.stream.receive_some(65_536):
            for event in self.wire.receive_data(bytes(data)):
                self._take(event)
            if len(self.waiting) >= self.server.meet:
                self.server.meet = 1
                for number in self.waiting:
                    self._answer(number)
                self.waiting.clear()
            await self._flush()

    def _take(self, event: Event) -> None:
        match event:
            case RequestReceived():
                self.heads[event.stream_id] = {name.decode(): value.decode() for name, value in event.headers}
                self.bodies[event.stream_id] = b""
            case DataReceived():
                self.bodies[event.stream_id] += event.data
                self.wire.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case StreamEnded():
                self.waiting.append(event.stream_id)
            case StreamReset() if event.stream_id in self.waiting:
                self.waiting.remove(event.stream_id)
            case _:
                pass

    def _answer(self, number: int) -> None:
        asked = Asked2(self.heads.pop(number), self.bodies.pop(number))
        self.server.asked.append(asked)
        answer = self.server.answer(asked)
        head = [(":status", str(answer.status)), ("content-type", answer.kind), *answer.headers]
        self.wire.send_headers(number, head)
        for piece in answer.pieces:
            self.wire.send_data(number, piece)
        if answer.cut:
            self.wire.reset_stream(number)
        else:
            self.wire.end_stream(number)

    async def _flush(self) -> None:
        if data := self.wire.data_to_send():
            await self.stream.send_all(data)


@asynccontextmanager
async def http2_loopback(answer: Answering, tls: ssl.SSLContext) -> AsyncGenerator[Http2Loopback]:
    """Serves until the block ends. `tls` is told to offer HTTP/2 alone."""
    tls.set_alpn_protocols(["h2"])
    listener = trio.socket.socket()
    await listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    server = Http2Loopback(f"https://localhost:{listener.getsockname()[1]}", answer)

    async def serve(accepted: trio.socket.SocketType) -> None:
        stream = trio.SSLStream(trio.SocketStream(accepted), tls, server_side=True, https_compatible=True)
        try:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await stream.do_handshake()
                server.protocols.append(stream.selected_alpn_protocol())
                await _Connection(server, stream).serve()
        finally:
            accepted.close()

    async def accept(nursery: trio.Nursery) -> None:
        while True:
            accepted, _ = await listener.accept()
            server.connections += 1
            nursery.start_soon(serve, accepted)

    with listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept, nursery)
            yield server
            nursery.cancel_scope.cancel()
