"""One connection: HTTP/1.1 by h11 over a stream, one exchange after another. Not here: whose turn it is (`pool`).

Errors are httpx's. What h11 quotes of headers and bodies never gets into them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import h11
import httpx
import trio

from penstock._transport.failures import ReusedConnectionClosed, sentence
from penstock._transport.timeouts import Timeouts
from penstock._transport.whole_chunks import WholeChunks
from penstock._transport.wire import MAX_READ, Wire

__all__ = ["Connection"]

SENT_AT_ONCE = 65_536
"""A body up to this size goes out with its head in one write; a larger one is written beside a reader."""
MAX_INFORMATIONAL = 8
"""1xx responses before the real one. More are a peer that plays for time."""
_NOT_SENT = frozenset({b"expect", b"upgrade"})
"""A wait for `100 Continue` costs a round trip, and servers that ignore it cost a timeout; and nothing is upgraded."""
_THE_END = h11.EndOfMessage()


class Connection:
    """`stream` is what HTTP goes through, `wire` the socket below it; without TLS they are the same."""

    def __init__(self, stream: trio.abc.Stream, wire: Wire, *, max_header_bytes: int) -> None:
        self._stream = stream
        self._wire = wire
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=max_header_bytes)
        self._served = 0
        self._heard = False
        self._ended = False
        self._failure: httpx.TransportError | None = None
        self._chunks: WholeChunks | None = None
        self._whole: list[bytes] = []
        """What whole chunks of the last read hold: it comes after what h11 was given, and before `_rest`."""
        self._rest = b""
        self._is_h11_ahead = True
        """h11 was given something that has not been asked for yet."""

    @property
    def ended(self) -> bool:
        """Whether the body was read to its end."""
        return self._ended

    def is_usable(self) -> bool:
        """Between exchanges a server is silent. A session ticket of TLS is not worth telling from a close."""
        return self._wire.is_silent

    def close(self) -> None:
        """Closes the socket at once. Idempotent."""
        self._wire.close()

    async def ask(self, request: httpx.Request, body: bytes, timeouts: Timeouts) -> h11.Response:
        """Sends a request; the head of the final response. After an error or a cancellation: close."""
        pieces = self._encoded(request, body)
        self._wire.send_timeout = timeouts.write
        if len(body) > SENT_AT_ONCE:
            head = await self._send_beside_reader(pieces, timeouts)
        else:
            await self._send(b"".join(pieces))
            if isinstance(self._wire.failure, httpx.WriteTimeout):
                raise self._wire.failure
            head = await self._head(timeouts.read)
        if any(name == b"transfer-encoding" for name, _ in head.headers):
            self._chunks = WholeChunks(self._http.trailing_data[0])
        return head

    async def body(self, read_timeout: float) -> bytes:
        """What the next read brings of the body; empty at its end."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not (data := self._buffered_body()) and not self._ended:
            if math.isinf(read_timeout):
                await self._receive()
                continue
            with trio.CancelScope(deadline=trio.current_time() + read_timeout) as scope:
                await self._receive()
            if scope.cancelled_caught:
                raise httpx.ReadTimeout(f"the server sent nothing for {read_timeout:g} s")
        return data

    def skip_buffered_body(self) -> bool:
        """Whether the body ends within what is already here. Drops it."""
        try:
            self._buffered_body()
        except httpx.TransportError:
            return False
        return self._ended

    def end_exchange(self) -> bool:
        """Whether another exchange may follow: both sides are done, willing, and nothing is left unread."""
        http = self._http
        done = http.our_state is h11.DONE and http.their_state is h11.DONE
        if not done or any(http.trailing_data) or self._wire.has_unread or self._wire.failure is not None:
            return False
        http.start_next_cycle()
        self._served += 1
        self._heard = self._ended = False
        self._chunks, self._is_h11_ahead = None, True
        return True

    def _encoded(self, request: httpx.Request, body: bytes) -> list[bytes]:
        if request.method == "CONNECT":
            raise httpx.LocalProtocolError("CONNECT is for proxies: it would end HTTP on this connection")
        head = [(name, value) for name, value in request.headers.raw if name.lower() not in _NOT_SENT]
        try:
            event = h11.Request(method=request.method, target=request.url.raw_path, headers=head)
            pieces = self._http.send_with_data_passthrough(event) or []
            if body:
                pieces += self._http.send_with_data_passthrough(h11.Data(data=body)) or []
            return pieces + (self._http.send_with_data_passthrough(_THE_END) or [])
        except h11.LocalProtocolError as error:
            problem = sentence(error)
        raise httpx.LocalProtocolError(f"the request cannot be said in HTTP/1.1: {problem}")

    async def _send(self, data: bytes | memoryview) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._wire.stop_sending()
        if self._wire.failure is not None:
            self._http.send_failed()

    async def _send_beside_reader(self, pieces: Sequence[bytes], timeouts: Timeouts) -> h11.Response:
        """A server may refuse a large body before it has read it. An answer that is no success ends the sending."""
        reading = trio.CancelScope()
        head: h11.Response | None = None
        failure: httpx.TransportError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_pieces, pieces, reading, timeouts.read)
            with reading:
                # Kept, not raised: a nursery would wrap it into a group.
                try:
                    head = await self._read_head()
                except httpx.TransportError as error:
                    failure = error
            if head is None or not 200 <= head.status_code < 300:
                self._wire.stop_sending()
        if isinstance(self._wire.failure, httpx.WriteTimeout):
            raise self._wire.failure
        if failure is not None:
            raise failure
        if head is None:
            raise _silent(timeouts.read)
        return head

    async def _send_pieces(self, pieces: Iterable[bytes], reading: trio.CancelScope, read_timeout: float) -> None:
        for part in _parts(pieces):
            await self._send(part)
            if self._wire.failure is not None:
                break
        if isinstance(self._wire.failure, httpx.WriteTimeout):
            reading.cancel()
        else:
            # Only now is it the server's turn; while it was reading, its silence was no news.
            reading.deadline = trio.current_time() + read_timeout

    async def _head(self, read_timeout: float) -> h11.Response:
        if math.isinf(read_timeout):
            return await self._read_head()
        with trio.CancelScope(deadline=trio.current_time() + read_timeout):
            return await self._read_head()
        raise _silent(read_timeout)

    async def _read_head(self) -> h11.Response:
        informational = 0
        await self._receive()  # nothing of it can be here: a connection on which something is left is not used again
        while True:
            match self._next_event():
                case h11.Response() as response:
                    return response
                case h11.InformationalResponse():
                    informational += 1
                    if informational > MAX_INFORMATIONAL:
                        raise httpx.RemoteProtocolError(f"more than {MAX_INFORMATIONAL} informational responses")
                case h11.NEED_DATA:
                    await self._receive()
                case _:
                    raise httpx.RemoteProtocolError("the server changed the protocol, which nobody had asked for")

    async def _receive(self) -> None:
        try:
            data = await self._stream.receive_some(MAX_READ)
        except trio.BrokenResourceError as error:
            raise self._lost(httpx.ReadError("the connection was reset or broken")) from error
        except trio.ClosedResourceError as error:
            raise httpx.ReadError("the transport was closed") from error
        if not data and self._http.their_state is h11.SEND_RESPONSE and not self._http.trailing_data[0]:
            raise self._lost(httpx.RemoteProtocolError("server closed connection before it answered"))
        self._heard = self._heard or bool(data)
        self._give(bytes(data))

    def _give(self, data: bytes) -> None:
        """To h11 what is for h11. Empty: the connection has ended."""
        if self._chunks is None:
            self._http.receive_data(data)
            return
        first, self._whole, self._rest = self._chunks.take(data)
        self._is_h11_ahead = bool(first) or not data
        if first:
            self._http.receive_data(first)
        if not data:
            if self._rest:
                self._http.receive_data(self._rest)
                self._rest = b""
            self._http.receive_data(b"")

    def _lost(self, failure: httpx.TransportError) -> httpx.TransportError:
        """What to say of a connection that ended."""
        if self._served and not self._heard:
            return ReusedConnectionClosed("server closed connection while it was idle")
        if not self._heard and self._wire.failure is not None:
            return self._wire.failure
        return failure

    def _next_event(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            problem = sentence(error)
        raise httpx.RemoteProtocolError(problem)

    def _buffered_body(self) -> bytes:
        """All that is here of the body: a read may hold many chunks, and the consumer wants them in one piece."""
        if self._failure is not None:
            raise self._failure
        pieces: list[bytes] = []
        try:
            if self._is_h11_ahead:
                self._read_from_h11(pieces)
            pieces += self._whole
            self._whole = []
            if self._rest:
                rest, self._rest = self._rest, b""
                self._http.receive_data(rest)
                self._read_from_h11(pieces)
        except httpx.RemoteProtocolError as error:
            if not pieces:
                raise
            # What came before the mistake is handed out first.
            self._failure = error
        return b"".join(pieces)

    def _read_from_h11(self, pieces: list[bytes]) -> None:
        while isinstance(event := self._next_event(), h11.Data):
            pieces.append(event.data)
        self._ended = isinstance(event, h11.EndOfMessage)


def _silent(read_timeout: float) -> httpx.ReadTimeout:
    return httpx.ReadTimeout(f"the server did not answer within {read_timeout:g} s")


def _parts(pieces: Iterable[bytes]) -> Iterator[memoryview]:
    """In parts of at most 64 KiB, so that the write timeout measures progress and not the size of the body."""
    for piece in pieces:
        view = memoryview(piece)
        for start in range(0, len(view), SENT_AT_ONCE):
            yield view[start : start + SENT_AT_ONCE]
