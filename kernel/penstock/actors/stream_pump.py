"""StreamPump: the task that reads one streamed call, and the end from which its consumer takes chunks.

It runs in the kernel's nursery under a cancel scope of its own. It never raises: it leaves how the call ended in a
slot and closes the channel, and the consumer raises it bare.
"""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable, Sequence

import trio
from msgspec import Struct

from penstock.errors import KernelClosedError, KernelError
from penstock.types import ChatResponse, Chunk

__all__ = ["PumpStatistics", "StreamPump", "StreamRef", "open_stream_pump"]

Batch = Sequence[Chunk]
Send = Callable[[Batch], Awaitable[None]]
Run = Callable[[Send], Awaitable[ChatResponse]]

BATCHES = 2
"""Batches in the channel. One batch is what one socket read (at most 16 KiB) decoded to: with the one in the consumer's
hand and the one the pump holds, a stream keeps at most four reads in memory, and a slow consumer stops the reading."""


class PumpStatistics(Struct, frozen=True, kw_only=True):
    """One stream at one moment."""

    batches: int
    chunks: int
    queued: int


class _Outcome:
    """The slot between the two ends."""

    __slots__ = ("error", "response")

    def __init__(self) -> None:
        self.response: ChatResponse | None = None
        self.error: Exception | None = None


class StreamPump:
    """The pump's end."""

    def __init__(self, send: trio.MemorySendChannel[Batch], slot: _Outcome, finished: trio.Event) -> None:
        self._send = send
        self._slot = slot
        self._finished = finished
        # Shielded: whoever opened the stream ends it, by leaving it; a cancel from outside reaches that task first.
        self.scope = trio.CancelScope(shield=True)
        self.batches = 0
        self.chunks = 0

    async def run(self, call: Run) -> None:
        """Runs the call to its end. Whatever it raises is left for the consumer."""
        try:
            with self.scope:
                self._slot.response = await call(self._put)
        except Exception as error:  # noqa: BLE001 - the consumer decides: it is raised again, bare, by `__anext__`
            self._slot.error = error
        finally:
            self._send.close()
            self._finished.set()

    async def _put(self, batch: Batch) -> None:
        self.batches += 1
        self.chunks += len(batch)
        await self._send.send(batch)


class StreamRef:
    """The consumer's end."""

    def __init__(
        self, pump: StreamPump, receive: trio.MemoryReceiveChannel[Batch], slot: _Outcome, finished: trio.Event
    ) -> None:
        self._pump = pump
        self._receive = receive
        self._slot = slot
        self._finished = finished

    async def next_batch(self) -> Batch | None:
        """The next batch; None after the last. Raises what ended the call."""
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            if self._slot.error is not None:
                raise self._slot.error from self._slot.error.__cause__
            if self._slot.response is None:
                raise KernelClosedError("the stream was ended before its call was") from None
            return None
        except trio.ClosedResourceError:
            raise KernelError("the stream has been left: it is read inside its `async with` block") from None

    async def settled(self) -> None:
        """Waits until the call is over, after its last chunk has come."""
        await self._finished.wait()

    @property
    def response(self) -> ChatResponse | None:
        """The whole response once the call is over, None before and where it failed."""
        return self._slot.response

    async def close(self) -> None:
        """Cancels the pump and waits until it has let go of everything."""
        self._receive.close()
        if not self._finished.is_set():
            self._pump.scope.cancel()
            # Shielded: the pump is cancelled and ends at its next checkpoint; whoever leaves may count on it.
            with trio.CancelScope(shield=True):
                await self._finished.wait()

    def statistics(self) -> PumpStatistics:
        """The stream at this moment."""
        queued = self._receive.statistics().current_buffer_used
        return PumpStatistics(batches=self._pump.batches, chunks=self._pump.chunks, queued=queued)


def open_stream_pump(nursery: trio.Nursery, call: Run) -> tuple[StreamPump, StreamRef]:
    """Starts a pump for `call` in `nursery` and returns both ends."""
    send, receive = trio.open_memory_channel[Batch](BATCHES)
    slot, finished = _Outcome(), trio.Event()
    pump = StreamPump(send, slot, finished)
    # An empty context: what the caller holds in context variables (spans, request ids) is not the pump's to keep.
    contextvars.Context().run(nursery.start_soon, pump.run, call)
    return pump, StreamRef(pump, receive, slot, finished)
