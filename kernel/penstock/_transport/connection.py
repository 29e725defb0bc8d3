"""One connection: HTTP/1.1 over a stream, one exchange after another.

Not here: what is said (`conversation`), and whose turn it is (`pool`). Errors are httpx's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import httpx
import trio

from penstock._transport.conversation import Conversation
from penstock._transport.failures import GivenUp, PeerClosed, ReusedConnectionClosed
from penstock._transport.plain import Asked, Head
from penstock._transport.timeouts import Timeouts
from penstock._transport.wire import MAX_READ, PLAIN_READ, Wire
from penstock._ungrouped import ungrouped

__all__ = ["Connection"]

SENT_AT_ONCE = 65_536
"""A body up to this size goes out with its head in one write; a larger one is written beside a reader."""


class Connection:
    """`stream` is what HTTP goes through, `wire` the socket below it; without TLS they are the same."""

    def __init__(self, stream: trio.abc.Stream, wire: Wire, *, max_header_bytes: int) -> None:
        self._stream = stream
        self._wire = wire
        self._read_at_once = PLAIN_READ if stream is wire else MAX_READ
        self._http = Conversation(max_header_bytes=max_header_bytes)
        self._served = 0
        self._heard = False

    @property
    def ended(self) -> bool:
        """Whether the body was read to its end."""
        return self._http.ended

    def is_usable(self) -> bool:
        """Between exchanges a server is silent. A session ticket of TLS is not worth telling from a close."""
        return self._wire.is_silent

    def close(self) -> None:
        """Closes the socket at once. Idempotent."""
        self._wire.close()

    def give_up(self) -> None:
        """An exchange that waits on it ends in GivenUp, as does one that comes to wait."""
        self._wire.give_up()

    async def ask(self, asked: Asked, timeouts: Timeouts) -> Head:
        """Sends a request; the head of the final response. After an error or a cancellation: close."""
        self._wire.send_timeout = timeouts.write
        if len(asked.body) > SENT_AT_ONCE:
            return await self._send_beside_reader(self._http.ask(asked), timeouts)
        # Nothing of it is kept here: what is sent is held once as long as the answer is waited for, not twice.
        if self._stream is self._wire:
            await trio.lowlevel.checkpoint_if_cancelled()
            rest = self._sent_at_once(b"".join(self._http.ask(asked)))
            if rest:  # the server does not read on: it may have answered, and be waiting for that to be read
                return await self._send_beside_reader([rest], timeouts)
        else:
            # TLS takes all of it in any case; what the socket below does not take at once is sent beside a reader, too.
            self._wire.puts_off = True
            await self._send(b"".join(self._http.ask(asked)))
            self._wire.puts_off = False
            if self._wire.put_off is not None:
                return await self._send_beside_reader((), timeouts)
        return await (self._read_head() if math.isinf(timeouts.read) else self._head_within(timeouts.read))

    async def body(self, read_timeout: float) -> bytes:
        """What the next read brings of the body; empty at its end."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not (data := self._http.body()) and not self._http.ended:
            if math.isinf(read_timeout):
                await self._receive()
                continue
            with trio.CancelScope(deadline=trio.current_time() + read_timeout) as scope:
                await self._receive()
            if scope.cancelled_caught:
                raise httpx.ReadTimeout(f"the server sent nothing for {read_timeout:g} s")
        return data

    def rest(self, most: int) -> bytes | None:
        """The rest of the body, where it is here to its last byte and no longer than that. None: read on."""
        at_hand = self._http.at_hand
        return None if at_hand is None or at_hand > most else self._http.body()

    def skip_buffered_body(self) -> bool:
        """Whether the body ends within what is already here. Drops it."""
        try:
            self._http.body()
        except httpx.TransportError:
            return False
        return self._http.ended

    def end_exchange(self) -> bool:
        """Whether another exchange may follow: both sides are done, willing, and nothing is left unread."""
        wire = self._wire
        if wire.has_unread or wire.is_given_up or wire.failure is not None or not self._http.end():
            return False
        self._served += 1
        self._heard = False
        return True

    def _sent_at_once(self, data: bytes) -> bytes:
        """Sends what goes at once; the rest."""
        return data[self._wire.send_at_once(data) :]

    async def _send(self, data: bytes | memoryview) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._wire.stop_sending()

    async def _send_beside_reader(self, pieces: Sequence[bytes], timeouts: Timeouts) -> Head:
        """A server may refuse a large body before it has read it. An answer that is no success, or is here to its last
        byte, ends the sending.
        """
        reading = trio.CancelScope()
        head: Head | None = None
        failure: httpx.TransportError | None = None
        with ungrouped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_pieces, pieces, reading, timeouts.read)
                with reading:
                    # Kept, not raised: that the server took nothing in time may be what to tell.
                    try:
                        head = await self._read_head()
                    except httpx.TransportError as error:
                        failure = error
                is_whole = nursery.child_tasks and self._http.at_hand is not None
                if head is None or not 200 <= head.status_code < 300 or is_whole:
                    self._wire.stop_sending()
        if head is None and isinstance(self._wire.failure, httpx.WriteTimeout):
            raise self._wire.failure
        if failure is not None:
            raise failure
        if head is None:
            raise _silent(timeouts.read)
        return head

    @trio.lowlevel.enable_ki_protection
    async def _send_pieces(self, pieces: Iterable[bytes], reading: trio.CancelScope, read_timeout: float) -> None:
        if self._wire.put_off is not None:
            await self._wire.send_put_off()
        for part in _parts(pieces):
            await self._send(part)
            if self._wire.failure is not None:
                break
        if isinstance(self._wire.failure, httpx.WriteTimeout):
            reading.cancel()
        else:
            # Only now is it the server's turn; while it was reading, its silence was no news.
            reading.deadline = trio.current_time() + read_timeout

    async def _head_within(self, read_timeout: float) -> Head:
        with trio.CancelScope(deadline=trio.current_time() + read_timeout):
            return await self._read_head()
        raise _silent(read_timeout)

    async def _read_head(self) -> Head:
        while True:
            # Nothing of it can be here yet: a connection on which something is left is not used again.
            await self._receive()
            head = self._http.head()
            if head is not None:
                return head

    async def _receive(self) -> None:
        try:
            data = await self._stream.receive_some(self._read_at_once)
        except trio.BrokenResourceError as error:
            raise self._lost(httpx.ReadError("the connection was reset or broken")) from error
        except trio.ClosedResourceError as error:
            if self._wire.is_given_up:
                raise GivenUp("the answer was given up") from error
            raise httpx.ReadError("the transport was closed") from error
        if not data and self._http.is_unanswered:
            raise self._lost(PeerClosed("server closed connection before it answered"))
        self._heard = self._heard or bool(data)
        self._http.receive(bytes(data))

    def _lost(self, failure: httpx.TransportError) -> httpx.TransportError:
        """What to say of a connection that ended."""
        if self._served and not self._heard:
            return ReusedConnectionClosed("server closed connection while it was idle")
        if not self._heard and self._wire.failure is not None:
            return self._wire.failure
        return failure


def _silent(read_timeout: float) -> httpx.ReadTimeout:
    return httpx.ReadTimeout(f"the server did not answer within {read_timeout:g} s")


def _parts(pieces: Iterable[bytes]) -> Iterator[memoryview]:
    """In parts of at most 64 KiB, so that the write timeout measures progress and not the size of the body."""
    for piece in pieces:
        view = memoryview(piece)
        for start in range(0, len(view), SENT_AT_ONCE):
            yield view[start : start + SENT_AT_ONCE]
