"""The socket under a connection, bare or below TLS. It knows bytes, not HTTP.

Sending that fails is noted here and not raised: the peer may have answered first (413, 401), and what it said can still
be read. trio's SSLStream would refuse to read once a send of its own had failed or had been cancelled.
"""

from __future__ import annotations

import math
import select
import socket
from collections.abc import Callable
from functools import partial

import httpx
import trio

__all__ = ["MAX_READ", "PLAIN_READ", "TlsWire", "Wire"]

MAX_READ = 16_384
"""Bytes of one read below TLS: one record."""
PLAIN_READ = 8_192
"""The same without TLS: what a slow consumer makes us hold is a few reads, and the chunks in them take five times their
room."""

_TLS_HEADER = 5
_TLS_TYPES = frozenset({20, 21, 22, 23})  # change_cipher_spec, alert, handshake, application_data


class Wire(trio.abc.Stream):
    """One TCP stream. `failure` is set once sending has failed, timed out or was stopped; later sends do nothing.

    What nearly always goes at once (a request that fits the socket's buffer) goes without a turn of the loop, and what
    never does (the first bytes of an answer) is not tried before it is there: trio's own stream does both.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(connected))
        self._is_readable = _look(connected, self._stream)
        self._sending: trio.CancelScope | None = None
        self.is_given_up = False
        self.puts_off = False
        """Whether nothing is waited for: what does not go at once is left for `send_put_off`."""
        self.put_off: memoryview | None = None
        self._behind = trio.Event()
        """Of what was put off: set once it is gone. Whatever else is to be sent waits for that."""
        self.send_timeout = math.inf
        self.failure: httpx.WriteError | httpx.WriteTimeout | None = None

    @property
    def has_unread(self) -> bool:
        """Whether bytes lie here that nobody has asked for."""
        return False

    @property
    def is_silent(self) -> bool:
        """False if there is something to read: between exchanges that is the peer's close, or noise."""
        return self._socket.fileno() != -1 and not self._is_readable()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Sends all of it, or sets `failure`, or puts some of it off."""
        if self.put_off is not None:  # reading below TLS may have to send
            await self._behind.wait()
        if self.failure is not None:
            await trio.lowlevel.checkpoint()
            return
        await trio.lowlevel.checkpoint_if_cancelled()
        sent = self.send_at_once(data)
        if sent < len(data):
            rest = memoryview(data)[sent:]
            if self.puts_off:
                self.put_off, self._behind = rest, trio.Event()
            else:
                await self._send_rest(rest)

    async def send_put_off(self) -> None:
        """Sends what was put off, or sets `failure`."""
        try:
            if self.put_off is not None and self.failure is None:
                await self._send_rest(self.put_off)
        finally:
            self.put_off = None
            self._behind.set()

    def send_at_once(self, data: bytes | bytearray | memoryview) -> int:
        """Sends what the socket takes now, and tells how many bytes; all of them where there is no use in more."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self._failed()
            return len(data)

    async def _send_rest(self, data: memoryview) -> None:
        """As fast as the peer takes it."""
        with trio.CancelScope(deadline=trio.current_time() + self.send_timeout) as self._sending:
            try:
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._failed()
        if self._sending.cancelled_caught and self.failure is None:
            self.failure = httpx.WriteTimeout("the server did not take the request in time")
        self._sending = None

    def _failed(self) -> None:
        self.failure = httpx.WriteError("server closed connection while the request was being sent")

    def stop_sending(self) -> None:
        """Sends no more: the peer has answered and does not want the rest."""
        if self.failure is None:
            self.failure = httpx.WriteError("the server answered before it had the whole request")
        if self._sending is not None:
            self._sending.cancel()

    async def wait_send_all_might_not_block(self) -> None:
        """As the socket does."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """As the socket does."""
        while True:
            self._check_open()
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return self._socket.recv(max_bytes or MAX_READ)
            except BlockingIOError:
                pass  # a false alarm
            except OSError as error:
                self._check_open()
                raise trio.BrokenResourceError(f"socket connection broken: {error}") from error

    def _check_open(self) -> None:
        if self.is_given_up or self._socket.fileno() == -1:
            raise trio.ClosedResourceError("this socket was already closed")

    def give_up(self) -> None:
        """Who waits on it gets ClosedResourceError, as at `close`, and so does who comes to wait. It stays open: what
        somebody has been woken for can still be read.
        """
        self.is_given_up = True
        trio.lowlevel.notify_closing(self._socket)

    def close(self) -> None:
        """Closes the socket at once, without a goodbye. Idempotent; who waits on it gets ClosedResourceError."""
        self._stream.socket.close()

    async def aclose(self) -> None:
        """As `close`."""
        self.close()
        await trio.lowlevel.checkpoint()


def _look(connected: socket.socket, stream: trio.SocketStream) -> Callable[[], object]:
    """Asks whether there is something to read; true where there is. trio's own would make a poll each time."""
    if not hasattr(select, "poll"):  # Windows
        return stream.socket.is_readable
    poll = select.poll()
    poll.register(connected, select.POLLIN)
    return partial(poll.poll, 0)


class TlsWire(Wire):
    """The socket below TLS: hands up one record at a time, so that no unread one hides in the TLS layer.

    A response smuggled in behind the one asked for would otherwise answer the next request on this connection.
    """

    def __init__(self, connected: socket.socket) -> None:
        super().__init__(connected)
        self._buffer = bytearray()

    @property
    def has_unread(self) -> bool:
        """Whether records lie here that have not been handed up."""
        return bool(self._buffer)

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:  # noqa: ARG002 - records stay whole
        """One record; at the end of the stream what there is of one."""
        while (size := self._record_size()) is None:
            data = await super().receive_some(MAX_READ)
            if not data:
                size = len(self._buffer)
                break
            self._buffer += data
        record = self._buffer[:size]
        del self._buffer[:size]
        return record

    def _record_size(self) -> int | None:
        """Bytes of the first record; None if it is not all here. What is not TLS goes up as it is."""
        if self._buffer and self._buffer[0] not in _TLS_TYPES:
            return len(self._buffer)
        if len(self._buffer) < _TLS_HEADER:
            return None
        size = _TLS_HEADER + int.from_bytes(self._buffer[3:5], "big")
        return size if len(self._buffer) >= size else None
