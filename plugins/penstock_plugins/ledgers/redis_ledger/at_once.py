"""How questions leave by a connection of coredis, and answers come, without a turn for every other task in between.

coredis hands each question to a task of its own that writes, and anyio and trio let all others have a turn after each
send and look for bytes before they wait for them: a third of a round trip. A ledger asks one question at a time, which
the socket has room for, so that who asks can send it. Not here: the connection (`link`), which is anyio's and coredis'.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from socket import socket

import trio
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.streams.memory import MemoryObjectSendStream
from coredis.typing import RedisValueT

__all__ = ["Commands", "SocketOnlyStream", "Writing"]

Commands = list[tuple[bytes, tuple[RedisValueT, ...]]]
AT_ONCE = 16_384
"""Bytes for which a socket has room when nothing waits in it; more is for the task, which can wait."""


class SocketOnlyStream(ByteStream):
    """As the stream of anyio, which it closes. One task sends and one receives."""

    def __init__(self, over: SocketStream) -> None:
        self._over = over
        self._socket: socket = over.extra(SocketAttribute.raw_socket)  # noqa: S610 - of anyio
        self.passed_on = 0
        """How often something was left to the task that sends: it sends all of that together."""
        self._sent = 0
        """Of these, what it is through with."""

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """At least one byte. Raises EndOfStream, BrokenResourceError and ClosedResourceError."""
        while True:
            try:
                await trio.lowlevel.wait_readable(self._socket)
                data = self._socket.recv(max_bytes)
            except BlockingIOError:
                continue  # it was readable, and is not any more
            except (OSError, ValueError, trio.ClosedResourceError) as error:
                raise self._lost() from error
            if not data:
                raise EndOfStream
            return data

    async def send(self, item: bytes) -> None:
        """All of it. Raises BrokenResourceError and ClosedResourceError."""
        sends = self.passed_on
        await self._over.send(item)
        self._sent = sends

    @property
    def at_rest(self) -> bool:
        """Nothing waits to be sent."""
        return self._sent == self.passed_on

    def send_nowait(self, item: bytes) -> None:
        """All of it. Raises BrokenResourceError, ClosedResourceError, and BlockingIOError where nothing was sent."""
        try:
            sent = self._socket.send(item)
        except BlockingIOError:  # an OSError, too
            raise
        except OSError as error:
            raise self._lost() from error
        if sent < len(item):
            # The rest could only follow when there is room: nobody has read for as long as it takes to fill a socket.
            raise BrokenResourceError

    async def send_eof(self) -> None:
        """Nothing more is sent."""
        await self._over.send_eof()

    async def aclose(self) -> None:
        """Closes the connection."""
        await self._over.aclose()

    def _lost(self) -> Exception:
        return ClosedResourceError() if self._socket.fileno() < 0 else BrokenResourceError()


class Writing:
    """In the place of the channel to the task that writes: sends what there is room for, and passes on the rest.

    Law: what is given first leaves first. So nothing is sent at once while the task has something to send.
    """

    def __init__(self, stream: SocketOnlyStream, channel: MemoryObjectSendStream[Commands]) -> None:
        self._stream = stream
        self._channel = channel

    def send_nowait(self, commands: Commands) -> None:
        """Never waits. Raises as the stream does."""
        if not self._stream.at_rest:
            self._pass_on(commands)
            return
        data = b"".join([_packed((command, *arguments)) for command, arguments in commands])
        if len(data) > AT_ONCE:
            self._pass_on(commands)
            return
        try:
            self._stream.send_nowait(data)
        except BlockingIOError:
            self._pass_on(commands)

    def _pass_on(self, commands: Commands) -> None:
        self._stream.passed_on += 1
        self._channel.send_nowait(commands)


def _packed(words: Iterable[RedisValueT]) -> bytes:
    """One command as the server reads it."""
    every: Sequence[bytes] = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n%b" % (len(every), b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in every]))
