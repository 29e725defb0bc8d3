"""Mailboxes: how callers reach an actor, and how an actor takes what they sent.

Three kinds of mail. An *ask* takes one of a fixed number of slots and waits for its reply. An *owed* tell is the one
message that every ask with a slot must be followed by (settle, permit return, flight end); its slot is freed when the
actor takes it, so there is always room for it. An *observation* takes no slot: it is merged into a bounded
accumulator, which the actor drains when it is woken.

No more than two messages a slot ever wait: the ask, even one whose caller left, and its owed tell (a top-up comes when
its ask was taken). So the queue is bounded without a bound of its own, and sending never finds it full. It is a plain
deque beside one parked task: a memory channel costs twice as much, and this is most of what a hop costs.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

import trio
from msgspec import Struct

from penstock.errors import (
    ActorFailedError,
    DeadlineExceededError,
    KernelClosedError,
    KernelError,
    OverloadedLocallyError,
)

__all__ = ["Address", "Envelope", "Inbox", "MailStatistics", "Reply", "Request", "open_mailbox"]

R = TypeVar("R")


class Request(Struct, Generic[R], frozen=True):
    """A message whose reply is an `R`: the parameter exists for the type checker alone."""


class _Flush(Request[None], frozen=True):
    """Answered by the mailbox itself, when everything sent before it was handled."""


class Reply(Generic[R]):
    """Where one asker waits for one answer. An answer to a caller that left is dropped."""

    __slots__ = ("_error", "_task", "_value", "abandoned", "settled")

    def __init__(self) -> None:
        self._value: R | None = None
        self._error: Exception | None = None
        self._task: trio.lowlevel.Task | None = None
        self.abandoned = False
        self.settled = False
        """True once it was answered or abandoned: whoever holds it may forget it."""

    async def wait(self) -> R:
        """The answer. Cancelled, it marks itself abandoned: the actor then drops the request unhandled."""
        if not self.settled:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abandon)
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame: together they would wait for the collector
        return cast("R", self._value)

    def answer(self, value: R) -> None:
        """Wakes the asker with a value."""
        self._settle(value, None)

    def fail(self, error: Exception) -> None:
        """Wakes the asker with an error."""
        self._settle(None, error)

    def _settle(self, value: R | None, error: Exception | None) -> None:
        if self.settled:
            return
        self._value, self._error, self.settled = value, error, True
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)

    def _abandon(self, _raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        self.abandoned = self.settled = True
        return trio.lowlevel.Abort.SUCCEEDED


class Envelope(Struct, frozen=True, eq=False):
    """One message with what the actor needs to handle it."""

    message: Any
    reply: Reply[Any] | None = None
    deadline: float = math.inf
    """After it (monotonic) the asker has given up: the request is dropped unhandled."""
    context: object = None
    """The caller's trace context."""
    frees_slot: bool = False


class MailStatistics(Struct, frozen=True, kw_only=True):
    """One mailbox at one moment. Counters begin at the start of the kernel."""

    name: str
    slots: int
    slots_in_use: int
    waiting_for_slot: int
    queued: int
    handled: int
    dropped: int
    """Asks whose caller had left or whose deadline had passed."""
    lost: int
    """Tells to an actor that was closed or dead."""
    stray: int
    """Owed tells that nobody owed: a second settle, or one without its ask."""
    observations: int
    merged: int
    """Observations that were added to one still waiting for the actor."""
    restarts: int


class _Mailbox:
    """What the two ends share."""

    def __init__(self, name: str, slots: int, observation_keys: int) -> None:
        self.name = name
        self.slots = slots
        self.free = trio.Semaphore(slots, max_value=slots)
        self.owing: set[str] = set()
        self.observation_keys = observation_keys
        self.observations: dict[Any, Any] = {}
        self.queue: deque[Envelope] = deque()
        self.aside: list[Envelope] = []
        """Requests that take no slot: handled after the queue, and flushes, answered after everything."""
        self.asleep: trio.lowlevel.Task | None = None
        """The actor, while it waits for mail."""
        self.woken = False
        """Observations or requests aside wait, and the actor has not come to them yet."""
        self.closed = False
        self.dead: ActorFailedError | None = None
        self.over = False
        """Closed or dead: nobody takes new mail any more."""
        self.handled = self.dropped = self.lost = self.stray = self.observed = self.merged = self.restarts = 0

    def send(self, envelope: Envelope) -> None:
        self.queue.append(envelope)
        self.rouse()

    def wake(self) -> None:
        self.woken = True
        self.rouse()

    def rouse(self) -> None:
        if self.asleep is not None:
            trio.lowlevel.reschedule(self.asleep)
            self.asleep = None


MAX_ASIDE = 256
"""Onlookers (snapshots, breakers by hand) that may wait for one actor at once: people and dashboards, not calls."""


class Address:
    """The callers' end: kept inside a Ref, whose verbs are all that others see."""

    def __init__(self, box: _Mailbox) -> None:
        self._box = box

    async def ask(
        self,
        message: Request[R],
        *,
        owes: str | None = None,
        rides_on: str | None = None,
        deadline: float = math.inf,
        context: object = None,
    ) -> R:
        """Sends and waits for the reply.

        With `owes` the slot stays taken until `tell_owed` of that id was taken by the actor; `rides_on` uses the slot
        of an id that is owed already. Raises ActorFailedError or KernelClosedError instead of waiting on a dead actor.
        """
        box = self._box
        if rides_on is not None and rides_on not in box.owing:
            raise ActorFailedError(f"{box.name}: {rides_on} holds no slot to ride on")
        if rides_on is None:
            try:
                box.free.acquire_nowait()
            except trio.WouldBlock:
                await box.free.acquire()
        if box.over:
            if rides_on is None:
                box.free.release()
            self._check_alive()
        if owes is not None:
            box.owing.add(owes)
        reply: Reply[R] = Reply()
        box.send(Envelope(message, reply, deadline, context, rides_on is None and owes is None))
        return await reply.wait()

    def tell_owed(self, owed: str, message: object, *, context: object = None) -> None:
        """The one message owed for an ask. Never raises; a second one, or one without its ask, is counted as stray."""
        box = self._box
        if owed not in box.owing:
            box.stray += 1
            return
        box.owing.discard(owed)
        if box.over:
            box.lost += 1
            box.free.release()
            return
        box.send(Envelope(message, None, math.inf, context, True))

    def waive(self, owed: str) -> None:
        """Nothing is owed after all: its ask was answered, and the actor keeps nothing of it. Its slot is free."""
        box = self._box
        if owed in box.owing:
            box.owing.discard(owed)
            box.free.release()

    def owes(self, owed: str) -> bool:
        """True while a tell of that id is owed."""
        return owed in self._box.owing

    def observe(self, key: object, fold: Callable[[Any], Any], *, wake: bool) -> None:
        """Leaves an observation for the next drain. Never raises.

        `fold` makes the new value from the one that still waits under the same key, None where there is none. With
        `wake` False the actor is left asleep: for what matters only beside the next thing that does.
        """
        box = self._box
        if box.over:
            box.lost += 1
            return
        before = box.observations.get(key)
        if before is not None:
            box.merged += 1
        elif len(box.observations) >= box.observation_keys:
            # Bounded: there are no more keys than targets, keys and providers. More is a bug, not load.
            box.lost += 1
            return
        box.observed += 1
        box.observations[key] = fold(before)
        if wake:
            box.wake()

    async def ask_aside(self, message: Request[R]) -> R:
        """An ask for people and for those who look on: it takes no slot, so that a full kernel can still be seen.

        At most `MAX_ASIDE` may wait at once; more raise OverloadedLocallyError.
        """
        self._check_alive()
        if len(self._box.aside) >= MAX_ASIDE:
            raise OverloadedLocallyError(f"{self._box.name}: {MAX_ASIDE} requests of onlookers wait already")
        reply = Reply[R]()
        self._box.aside.append(Envelope(message, reply))
        self._box.wake()
        return await reply.wait()

    async def flush(self) -> None:
        """Waits until the actor has handled everything sent before, and published it."""
        await self.ask_aside(_Flush())

    def close(self) -> None:
        """No more mail: the actor handles what is queued and ends."""
        self._box.closed = self._box.over = True
        self._box.rouse()

    def statistics(self) -> MailStatistics:
        """The mailbox at this moment."""
        box = self._box
        return MailStatistics(
            name=box.name,
            slots=box.slots,
            slots_in_use=box.slots - box.free.value,
            waiting_for_slot=box.free.statistics().tasks_waiting,
            queued=len(box.queue),
            handled=box.handled,
            dropped=box.dropped,
            lost=box.lost,
            stray=box.stray,
            observations=box.observed,
            merged=box.merged,
            restarts=box.restarts,
        )

    def _check_alive(self) -> None:
        if self._box.dead is not None:
            raise ActorFailedError(*self._box.dead.args) from self._box.dead.__cause__
        if self._box.closed:
            raise KernelClosedError(f"{self._box.name} is closed: the kernel has been shut down")


class Inbox:
    """The actor's end. The supervisor owns it; an actor borrows it, so that a crash loses only the message in hand."""

    def __init__(self, box: _Mailbox) -> None:
        self._box = box
        self._in_hand: Envelope | None = None
        self._flushes: list[Reply[None]] = []

    async def serve(
        self,
        handle: Callable[[Envelope], None],
        observe: Callable[[dict[Any, Any]], None],
        drained: Callable[[], None],
        wake_at: Callable[[], float | None],
    ) -> None:
        """Handles mail until every address is closed: drains the mailbox whole before it sleeps again.

        `observe` takes the merged observations before each drain, `drained` runs after it, and at `wake_at` (monotonic)
        both run without mail.
        """
        box = self._box
        while True:
            # Mail that a crash left behind, in the queue or aside, rouses nobody any more.
            if not (box.queue or box.woken or box.aside or self._flushes):
                if box.closed:
                    break
                await self._sleep(wake_at())
            box.woken = False
            # A message stays in the queue until it is its turn: a crash before that is not its fault.
            if box.observations:
                self._observe(observe)
            while box.queue:
                self._take(box.queue.popleft(), handle)
            if box.aside:
                self._take_aside(handle)
            if box.observations:
                self._observe(observe)
            drained()
            if self._flushes:
                self._answer_flushes()
        self._observe(observe)
        self._fail_aside(KernelClosedError(f"{box.name} is closed: the kernel has been shut down"))

    async def _sleep(self, wake_at: float | None) -> None:
        """Until there is mail, or it is time."""
        self._box.asleep = trio.lowlevel.current_task()
        if wake_at is None:
            await trio.lowlevel.wait_task_rescheduled(self._rise)
            return
        with trio.move_on_at(wake_at):
            await trio.lowlevel.wait_task_rescheduled(self._rise)

    def _rise(self, _raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        self._box.asleep = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _take_aside(self, handle: Callable[[Envelope], None]) -> None:
        box = self._box
        while box.aside:
            envelope = box.aside.pop(0)
            if isinstance(envelope.message, _Flush):
                assert envelope.reply is not None
                self._flushes.append(envelope.reply)
            else:
                self._take(envelope, handle)

    def _answer_flushes(self) -> None:
        flushes, self._flushes = self._flushes, []
        for reply in flushes:
            reply.answer(None)

    def _fail_aside(self, error: KernelError) -> None:
        waiting = [*self._flushes, *(envelope.reply for envelope in self._box.aside if envelope.reply is not None)]
        self._flushes = []
        self._box.aside.clear()
        for reply in waiting:
            reply.fail(type(error)(*error.args))

    def _take(self, envelope: Envelope, handle: Callable[[Envelope], None]) -> None:
        box = self._box
        if envelope.frees_slot:
            box.free.release()
        reply = envelope.reply
        if reply is not None and (reply.abandoned or envelope.deadline <= trio.current_time()):
            box.dropped += 1
            reply.fail(DeadlineExceededError(f"the call's time was up before {box.name} came to it"))
            return
        self._in_hand = envelope
        handle(envelope)
        self._in_hand = None
        box.handled += 1

    def _observe(self, observe: Callable[[dict[Any, Any]], None]) -> None:
        observations, self._box.observations = self._box.observations, {}
        if observations:
            observe(observations)

    def fail_in_hand(self, error: ActorFailedError) -> None:
        """A crash fails only the message in hand; what is queued waits for the restarted actor."""
        envelope, self._in_hand = self._in_hand, None
        if envelope is not None and envelope.reply is not None:
            envelope.reply.fail(error)

    def count_restart(self) -> None:
        """For the statistics."""
        self._box.restarts += 1

    def die(self, error: ActorFailedError) -> None:
        """Nobody will handle mail any more: every asker, queued or later, gets the error."""
        self._box.dead, self._box.over = error, True
        while self._box.queue:
            envelope = self._box.queue.popleft()
            if envelope.frees_slot:
                self._box.free.release()
            if envelope.reply is not None:
                envelope.reply.fail(ActorFailedError(*error.args))
        self._fail_aside(error)
        self._release_owing()

    def _release_owing(self) -> None:
        # What is owed to a dead actor can no longer be taken by it: its slots go back at once.
        for _ in self._box.owing:
            self._box.free.release()
        self._box.lost += len(self._box.owing)
        self._box.owing.clear()


def open_mailbox(name: str, *, slots: int, observation_keys: int = 100_000) -> tuple[Address, Inbox]:
    """Both ends of a new mailbox, like `trio.open_memory_channel`."""
    box = _Mailbox(name, slots, observation_keys)
    return Address(box), Inbox(box)
