"""What is sent to an actor, and where an asker waits for the answer."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import trio
from msgspec import Struct

__all__ = ["Envelope", "Flush", "Reply", "Request"]

R = TypeVar("R")


class Request(Struct, Generic[R], frozen=True):
    """A message whose reply is an `R`: the parameter exists for the type checker alone."""


class Flush(Request[None], frozen=True):
    """Answered by the mailbox itself, when everything sent before it was handled."""


class Reply(Generic[R]):
    """Where one asker waits for one answer. An answer to a caller that left is dropped."""

    __slots__ = ("_error", "_task", "_value", "abandoned", "settled")

    def __init__(self) -> None:
        self._value: Any = None
        self._error: Exception | None = None
        self._task: trio.lowlevel.Task | None = None
        self.abandoned = False
        self.settled = False
        """True once it was answered or abandoned: whoever holds it may forget it."""

    async def wait(self) -> R:
        """The answer. Cancelled, it marks itself abandoned: the actor then drops the request unhandled."""
        if not self.settled:
            await self.parked()
        return self.outcome()

    @property
    def failed(self) -> bool:
        """It was answered, and with an error."""
        return self._error is not None

    def parked(self) -> Awaitable[object]:
        """Sleeps until it is answered, which it is not yet. Of `wait` the part that is awaited."""
        self._task = trio.lowlevel.current_task()
        return trio.lowlevel.wait_task_rescheduled(self._abandon)  # noqa: ASYNC105 - whoever asks awaits it

    def outcome(self) -> R:
        """Once it is answered."""
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame: together they would wait for the collector
        value: R = self._value
        return value

    def answer(self, value: R) -> None:
        """Wakes the asker with a value."""
        if self.settled:
            return
        self._value, self.settled = value, True
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)

    def fail(self, error: Exception) -> None:
        """Wakes the asker with an error."""
        if self.settled:
            return
        self._error, self.settled = error, True
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)

    def _abandon(self, _raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        self.abandoned = self.settled = True
        return trio.lowlevel.Abort.SUCCEEDED


class Envelope(Struct, frozen=True, eq=False, gc=False):
    """One message with what the actor needs to handle it."""

    message: Any
    reply: Reply[Any] | None = None
    deadline: float = math.inf
    """After it (monotonic) the asker has given up: the request is dropped unhandled."""
    context: object = None
    """The caller's trace context."""
    frees_slot: bool = False
