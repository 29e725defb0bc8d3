"""StreamPump: the task that reads one streamed call, and the end from which its consumer takes chunks.

It runs in the kernel's nursery under a cancel scope of its own. It never raises: it leaves how the call ended in a
slot and closes the channel, and the consumer raises it bare.
"""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import trio
from msgspec import Struct

from penstock._foreign import let_through
from penstock.errors import KernelClosedError, KernelError
from penstock.types import ChatResponse, Chunk

__all__ = ["Consumer", "PumpStatistics", "StreamPump", "StreamRef", "open_stream_pump"]

Batch = Sequence[Chunk]

BATCHES = 2
"""Batches in the channel. One batch is what one socket read (at most 16 KiB) decoded to: with the one in the consumer's
hand and the one the pump holds, a stream keeps at most four reads in memory, and a slow consumer stops the reading.
What comes with the end of the upstream's bytes may wait beside them: then there is no reading left to stop."""


class PumpStatistics(Struct, frozen=True, kw_only=True):
    """One stream at one moment."""

    batches: int
    chunks: int
    queued: int


class _Outcome:
    """The slot between the two ends."""

    __slots__ = ("error", "response", "rest")

    def __init__(self) -> None:
        self.response: ChatResponse | None = None
        self.error: BaseException | None = None
        self.rest: deque[Batch] = deque()
        """Batches that come after those in the channel, and found no room there."""


class Consumer:
    """The consumer of a stream as its call sees it."""

    def __init__(self, send: trio.MemorySendChannel[Batch], slot: _Outcome) -> None:
        self._send = send
        self._rest = slot.rest
        self.batches = 0
        self.chunks = 0
        self.left = False
        """It is gone, and wants what is under way upstream to come to its end for the sake of an exact bill."""
        self.attempting: Callable[[], bool] | None = None
        """Where exchanges are under way: whether anything of them has gone out, so that there is something to bring to
        an end. None: none is."""

    def offer(self, batch: Batch) -> bool:
        """Hands over a batch where there is room; into nothing, where the consumer is gone. False: it is to be `put`.

        No checkpoint: whoever reads the next batch from a socket waits its turn there.
        """
        try:
            if not (self.left or self._put_nowait(batch)):
                return False
        except trio.BrokenResourceError:
            return False  # which `put` finds out as well, and says
        self._count(batch)
        return True

    async def put(self, batch: Batch, *, before_waiting: Callable[[], None] | None = None) -> None:
        """The same, and waits until there is room."""
        if self.offer(batch):
            return
        self._count(batch)
        try:
            if before_waiting is not None:
                before_waiting()
            while self._rest:
                await self._send.send(self._rest[0])
                self._rest.popleft()
            await self._send.send(batch)
        except trio.BrokenResourceError:
            if not self.left:
                raise

    def hand_over(self, batch: Batch, *, is_new: bool = True) -> None:
        """The same for the last of an answer, which the consumer takes when it likes: whoever read it need not wait.

        Two batches of an attempt, at most, find no room in the channel: with the end of its bytes, and after it.
        `is_new` False: it was to be `put` before.
        """
        if is_new:
            self._count(batch)
        if self.left:
            return
        try:
            if not self._put_nowait(batch):
                self._rest.append(batch)
        except trio.BrokenResourceError:
            pass  # the consumer has left, and this call is about to be cancelled

    def _count(self, batch: Batch) -> None:
        self.batches += 1
        self.chunks += len(batch)

    def _put_nowait(self, batch: Batch) -> bool:
        if self._rest:
            return False
        try:
            self._send.send_nowait(batch)
        except trio.WouldBlock:
            return False
        return True


Run = Callable[[Consumer], Awaitable[ChatResponse]]


class StreamPump:
    """The pump's end."""

    def __init__(self, send: trio.MemorySendChannel[Batch], slot: _Outcome, finished: trio.Event) -> None:
        self._send = send
        self._slot = slot
        self._finished = finished
        self.consumer = Consumer(send, slot)
        # Shielded: whoever opened the stream ends it, by leaving it; a cancel from outside reaches that task first.
        self.scope = trio.CancelScope(shield=True)
        self.drains: trio.Semaphore | None = None
        """Where it holds one of the places for streams that go on without a consumer."""

    @trio.lowlevel.enable_ki_protection
    async def run(self, call: Run) -> None:
        """Runs the call to its end. Whatever it raises is left for the consumer."""
        try:
            with self.scope:
                self._slot.response = await call(self.consumer)
        except BaseException as error:  # noqa: BLE001 - the consumer decides: it is raised again, bare, by `__anext__`
            let_through(error)
            if not self.consumer.left:
                self._slot.error = error
        finally:
            self._send.close()
            self._finished.set()
            if self.drains is not None:
                self.drains.release()

    def drain(self, drains: trio.Semaphore, seconds: float) -> bool:
        """The consumer is gone: what is under way upstream may go on. False where nothing is, or there is no room."""
        if self.consumer.attempting is None or not self.consumer.attempting():
            return False
        try:
            drains.acquire_nowait()
        except trio.WouldBlock:
            return False
        self.drains, self.consumer.left = drains, True
        self.scope.deadline = trio.current_time() + seconds
        return True


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
            if self._slot.rest:
                return self._slot.rest.popleft()
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

    async def close(self, drains: trio.Semaphore | None = None, seconds: float = 0.0) -> None:
        """Leaves the stream: cancels the pump and waits until it has let go of everything.

        With `drains`, the places of streams that may go on without a consumer, an exchange that is under way goes on
        for `seconds` at most where one of them is free, and nobody waits for it.
        """
        drained = drains is not None and not self._finished.is_set() and self._pump.drain(drains, seconds)
        self._receive.close()
        if not drained and not self._finished.is_set():
            self._pump.scope.cancel()
            # Shielded: the pump is cancelled and ends at its next checkpoint; whoever leaves may count on it.
            with trio.CancelScope(shield=True):
                await self._finished.wait()
        # Its frames hold this end: whoever wants it has it, and nothing is left for the garbage collector.
        self._slot.error = None
        self._slot.rest.clear()

    def statistics(self) -> PumpStatistics:
        """The stream at this moment."""
        consumer = self._pump.consumer
        queued = self._receive.statistics().current_buffer_used + len(self._slot.rest)
        return PumpStatistics(batches=consumer.batches, chunks=consumer.chunks, queued=queued)


def open_stream_pump(nursery: trio.Nursery, call: Run) -> tuple[StreamPump, StreamRef]:
    """Starts a pump for `call` in `nursery` and returns both ends."""
    send, receive = trio.open_memory_channel[Batch](BATCHES)
    slot, finished = _Outcome(), trio.Event()
    pump = StreamPump(send, slot, finished)
    # An empty context: what the caller holds in context variables (spans, request ids) is not the pump's to keep.
    contextvars.Context().run(nursery.start_soon, pump.run, call)
    return pump, StreamRef(pump, receive, slot, finished)
