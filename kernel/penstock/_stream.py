"""A streamed call as its consumer sees it: chunks, or text alone; the whole response after the last."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Literal, Self

import trio

from penstock._asked import Call
from penstock._call import run_call
from penstock._engine import Engine
from penstock.actors.stream_pump import PumpStatistics, StreamRef, open_stream_pump
from penstock.errors import KernelError
from penstock.types import ChatResponse, Chunk, Finished, TextDelta

__all__ = ["ChatStream", "OpenStream"]


DRAINING = 30.0
"""Seconds that a stream may go on upstream after its consumer has left: most answers are over by then."""


class ChatStream:
    """Async-iterates chunks, of which the last is `Finished`. Whatever ends the call is raised by the iteration, bare.

    A consumer that is slow slows the reading: a stream keeps at most four socket reads in memory.
    """

    def __init__(self, ref: StreamRef) -> None:
        self._ref = ref
        self._ready: deque[Chunk] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        if self._ready:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            batch = await self._ref.next_batch()
            if batch is None:
                raise StopAsyncIteration
            self._ready.extend(batch)
        if isinstance(self._ready[0], Finished):
            # Whoever has seen the last chunk may ask for the response: the pump is about to leave it.
            await self._ref.settled()
        return self._ready.popleft()

    def text(self) -> AsyncIterator[str]:
        """The text alone, as it comes. Thinking, tool calls and refusals are left out: they stand in `response`."""
        return _Texts(self)

    @property
    def response(self) -> ChatResponse:
        """The whole response. Raises KernelError before the last chunk was read, and where the call failed."""
        response = self._ref.response
        if response is None or self._ready:
            raise KernelError("the response is complete only after the last chunk of the stream was read")
        return response

    def statistics(self) -> PumpStatistics:
        """What the pump has read so far."""
        return self._ref.statistics()


class _Texts:
    """An iterator, never an async generator: those do not end where their consumer stops."""

    def __init__(self, stream: ChatStream) -> None:
        self._stream = stream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while True:
            chunk = await anext(self._stream)
            if isinstance(chunk, TextDelta) and not chunk.refusal:
                return chunk.text


class OpenStream:
    """What `Kernel.stream` returns: enter it to start the call, leave it to end it."""

    def __init__(self, engine: Engine, nursery: trio.Nursery, make: Callable[[], Call]) -> None:
        self._engine = engine
        self._nursery = nursery
        self._make = make
        self._ref: StreamRef | None = None
        self._drains: trio.Semaphore | None = None

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> ChatStream:
        if self._ref is not None:
            raise KernelError("a stream is entered once; call kernel.stream again")
        await trio.lowlevel.checkpoint_if_cancelled()  # nothing is begun for who does not wait for it any more
        engine, call = self._engine, self._make()
        self._drains = engine.drains if call.on_leave == "drain" else None
        _, self._ref = open_stream_pump(self._nursery, lambda consumer: run_call(engine, call, consumer))
        return ChatStream(self._ref)

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        if self._ref is not None:
            await self._ref.close(self._drains, DRAINING)
        return False
