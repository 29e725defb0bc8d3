"""One client of the rehearsal server: requests are read, plans played, the connection kept where both sides want it.

Not here: accepting (`socket_front`), deciding (`upstream`). While a plan is played somebody listens for the client to
leave, so that a hang ends when nobody waits for it any more.
"""

from __future__ import annotations

import math
import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

import h11
import trio

from penstock.types import WireRequest
from penstock_plugins.rehearsal.plan import Close, Connect, Data, End, Hang, Head, Refuse, Reset, Step, Upload, Wait
from penstock_plugins.rehearsal.upstream import LARGEST_BODY, Exchange, Upstream

__all__ = ["SocketConnection", "reset"]

_READ = 65_536
_PATIENCE_S = 1.0
_Stream: TypeAlias = "trio.SocketStream | trio.SSLStream[trio.SocketStream]"


def reset(stream: trio.SocketStream) -> None:
    """Breaks the connection: the peer gets RST, and what was not delivered is lost. Nothing where it is closed."""
    if stream.socket.fileno() >= 0:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()


class SocketConnection:
    """Serves requests one after the other. The caller closes the socket."""

    def __init__(
        self,
        upstream: Upstream,
        stream: trio.SocketStream,
        wall: Callable[[], float],
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._upstream = upstream
        self._socket = stream
        self._stream: _Stream = stream
        if ssl_context is not None:
            self._stream = trio.SSLStream(stream, ssl_context, server_side=True, https_compatible=True)
        self._wall = wall
        self._http = h11.Connection(h11.SERVER)

    async def serve(self) -> None:
        """Until either side has enough. Raises BrokenResourceError where the client breaks off."""
        while True:
            try:
                request = await self._read_request()
            except h11.RemoteProtocolError as error:
                await self._refuse_request(error.error_status_hint)
                return
            if request is None:
                return
            exchange = self._upstream.receive(request, now=trio.current_time(), wall=self._wall())
            try:
                await self._play(exchange)
            finally:
                exchange.close()
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _read_request(self) -> WireRequest | None:
        """The next request, read whole; None where the client has gone."""
        head: h11.Request | None = None
        body = bytearray()
        while True:
            match self._http.next_event():
                case h11.Request() as head:
                    _check_length(head)
                case h11.Data(data=data):
                    body += data
                    if len(body) > LARGEST_BODY:
                        raise h11.RemoteProtocolError("the body is too large", error_status_hint=413)
                case h11.EndOfMessage():
                    assert head is not None, "a body follows its head"
                    return _value(head, bytes(body))
                case h11.NEED_DATA:
                    await self._welcome()
                    self._http.receive_data(bytes(await self._stream.receive_some(_READ)))
                case _:
                    return None

    async def _welcome(self) -> None:
        """Asks for a body that waits to be asked for."""
        if self._http.they_are_waiting_for_100_continue:
            await self._send(h11.InformationalResponse(status_code=100, headers=[]))

    async def _refuse_request(self, status: int) -> None:
        """What came is no request: one answer, and the end."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._send(
                h11.Response(status_code=status, headers=[("content-length", "0"), ("connection", "close")])
            )
            await self._send(h11.EndOfMessage())
            await self._hear_out()

    async def _hear_out(self) -> None:
        """Closing over unread bytes would reset the connection, and with it take back the answer."""
        with trio.move_on_after(_PATIENCE_S):
            await self._socket.send_eof()
            while await self._socket.receive_some(_READ):
                pass

    async def _play(self, exchange: Exchange) -> None:
        """The plan, until it is over or the client leaves."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, nursery.cancel_scope)
            # The client's leaving is no error, and must not come out of the nursery as a group of them.
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                for step in exchange.steps:
                    await self._do(step)
                    exchange.did(step)
            nursery.cancel_scope.cancel()

    async def _watch(self, scope: trio.CancelScope) -> None:
        """Ends the play when the client leaves; keeps what it sends ahead."""
        ahead = 0
        while ahead <= LARGEST_BODY:
            try:
                data = await self._stream.receive_some(_READ)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                scope.cancel()
                return
            self._http.receive_data(bytes(data))
            if not data:
                scope.cancel()
                return
            ahead += len(data)

    async def _do(self, step: Step) -> None:
        match step:
            case Head(status=status, headers=headers):
                await self._send(h11.Response(status_code=status, headers=list(headers)))
            case Data(data=data):
                await self._send(h11.Data(data=data))
            case Wait(seconds=seconds) | Connect(seconds=seconds) | Upload(seconds=seconds):
                await trio.sleep(math.inf if seconds is None else seconds)
            case Hang():
                await trio.sleep_forever()
            case End():
                await self._send(h11.EndOfMessage())
            case Reset() | Refuse():
                reset(self._socket)
            case Close():
                self._socket.socket.close()

    async def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            await self._stream.send_all(data)


def _check_length(head: h11.Request) -> None:
    """A body that is announced as too large need not be read to be refused."""
    length = next((value for name, value in head.headers if name == b"content-length"), b"0")
    if int(length) > LARGEST_BODY:
        raise h11.RemoteProtocolError("the body is too large", error_status_hint=413)


def _value(head: h11.Request, body: bytes) -> WireRequest:
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers)
    return WireRequest(head.method.decode("latin-1"), head.target.decode("latin-1"), headers, body)
