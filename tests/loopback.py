"""A loopback server and a client for transport tests: real sockets, scripted byte by byte."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeAlias, cast

import attrs
import httpx
import trio
import trustme

__all__ = [
    "LITTLE_ROOM",
    "OK",
    "SHORT",
    "Asked",
    "Loopback",
    "Peer",
    "Script",
    "chunked",
    "fetch",
    "forever",
    "loopback",
    "one_answer",
    "open_sockets",
    "post",
    "read",
    "saying",
    "server_context",
]

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
LITTLE_ROOM = 2_048
"""Bytes: with so few of 60,000 that are sent many stay with the client as long as nobody reads them."""
SHORT = 0.05
"""Seconds: a timeout of a test that waits for it with the real clock."""


@attrs.frozen
class Asked:
    """A request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes


class Peer:
    """The server's side of one connection."""

    def __init__(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream], tcp: trio.SocketStream) -> None:
        self.stream = stream
        self._tcp = tcp
        self._buffer = b""

    @property
    def tcp_socket(self) -> int:
        """The file descriptor of the socket."""
        return self._tcp.socket.fileno()

    async def asked_head(self) -> Asked | None:
        """The head of the next request, without its body; None at the end of the connection."""
        while b"\r\n\r\n" not in self._buffer:
            if not await self._more():
                return None
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        pairs = (field.split(":", 1) for field in fields)
        return Asked(line, {name.lower(): value.strip() for name, value in pairs}, b"")

    async def asked(self) -> Asked | None:
        """The next request, whole."""
        head = await self.asked_head()
        if head is None:
            return None
        size = int(head.headers.get("content-length", "0"))
        while len(self._buffer) < size:
            if not await self._more():
                return None
        body, self._buffer = self._buffer[:size], self._buffer[size:]
        return attrs.evolve(head, body=body)

    async def drop(self, size: int) -> None:
        """Reads so many bytes of a body and forgets them."""
        size -= len(self._buffer)
        self._buffer = b""
        while size > 0 and (data := await self.stream.receive_some(1_000_000)):
            size -= len(data)

    async def say(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def say_in_records(self, *pieces: bytes) -> None:
        """Each piece in a TLS record of its own, and all of them in one write: the client reads them in one go."""
        tcp = self._tcp.socket
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        for piece in pieces:
            await self.say(piece)
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)

    async def reset(self) -> None:
        """Closes so that the client sees a reset and not an end."""
        self._tcp.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await self._tcp.aclose()

    async def _more(self) -> bool:
        data = await self.stream.receive_some(65_536)
        self._buffer += bytes(data)
        return bool(data)


Script: TypeAlias = Callable[[Peer], Awaitable[None]]


@attrs.define
class Loopback:
    """A running server."""

    url: str
    connections: int = 0
    open: int = 0
    changed: trio.Event = attrs.field(factory=trio.Event)

    async def all_closed(self) -> None:
        """Returns once the server has seen every connection end."""
        while self.open:
            self.changed = trio.Event()
            await self.changed.wait()


@asynccontextmanager
async def loopback(
    script: Script, *, tls: ssl.SSLContext | None = None, room: int | None = None
) -> AsyncGenerator[Loopback]:
    """Serves `script` once per connection; a script that returns hangs up. Of what is sent it takes `room` unread."""
    listener = trio.socket.socket()
    if room is not None:
        listener.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, room)
    await listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    scheme, host = ("https", "localhost") if tls else ("http", "127.0.0.1")
    server = Loopback(f"{scheme}://{host}:{listener.getsockname()[1]}")

    async def serve(accepted: trio.socket.SocketType) -> None:
        tcp = trio.SocketStream(accepted)
        stream = trio.SSLStream(tcp, tls, server_side=True, https_compatible=True) if tls else tcp
        try:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await script(Peer(stream, tcp))
        finally:
            accepted.close()
            server.open -= 1
            server.changed.set()

    async def accept(nursery: trio.Nursery) -> None:
        while True:
            accepted, _ = await listener.accept()
            server.connections += 1
            server.open += 1
            nursery.start_soon(serve, accepted)

    with listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept, nursery)
            yield server
            nursery.cancel_scope.cancel()


def server_context(ca: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(*(names or ("localhost", "127.0.0.1"))).configure_cert(context)  # pyright: ignore[reportUnknownMemberType] # its union names PyOpenSSL, which is not here
    return context


def saying(*answers: bytes) -> Script:
    """Answers each request of a connection with the next of these, then hangs up."""

    async def script(peer: Peer) -> None:
        for answer in answers:
            if await peer.asked() is None:
                return
            await peer.say(answer)

    return script


async def forever(peer: Peer) -> None:
    """Answers every request."""
    while await peer.asked() is not None:
        await peer.say(OK)


def post(url: str, body: bytes = b"{}", *, headers: dict[str, str] | None = None, **timeouts: float) -> httpx.Request:
    return httpx.Request("POST", url, content=body, headers=headers or {}, extensions={"timeout": timeouts})


async def read(response: httpx.Response) -> bytes:
    return b"".join([data async for data in cast("httpx.AsyncByteStream", response.stream)])


async def fetch(transport: httpx.AsyncBaseTransport, request: httpx.Request) -> tuple[int, bytes]:
    response = await transport.handle_async_request(request)
    try:
        return response.status_code, await read(response)
    finally:
        await response.aclose()


def one_answer(transport: httpx.AsyncBaseTransport, answer: bytes, *, method: str = "POST") -> tuple[int, bytes]:
    """What a client gets from a server that says this and hangs up. Errors come bare: no nursery wraps them."""

    async def main() -> tuple[int, bytes] | Exception:
        async with loopback(saying(answer)) as server, transport:
            try:
                return await fetch(transport, httpx.Request(method, server.url))
            except httpx.HTTPError as error:
                return error

    outcome = trio.run(main)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def chunked(*pieces: bytes) -> bytes:
    """A whole chunked response of these pieces."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"


def open_sockets() -> int:
    """Sockets this process holds, the event loop's own included. Where there is no /proc, none can be counted."""
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        return 0
    count = 0
    for descriptor in descriptors.iterdir():
        with suppress(OSError):
            count += str(descriptor.readlink()).startswith("socket:")
    return count
