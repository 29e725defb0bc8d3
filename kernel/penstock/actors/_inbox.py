"""The actor's end of a mailbox, and the way from one to the other."""

from __future__ import annotations

import contextvars
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import trio

from penstock.actors._address import Address
from penstock.actors._mail import Envelope, Flush, Reply
from penstock.actors._mailbox import Mailbox
from penstock.errors import ActorFailedError, DeadlineExceededError, KernelClosedError, KernelError

__all__ = ["FEW", "Inbox", "open_mailbox"]


FEW = 2
"""Slots in use up to which an ask of an actor that batches is answered in the asker's own task, where it may: its own,
and that of the call before it, whose settle waits. More are worth a turn of the actor's own (`benchmarks`: calls)."""


class Commit(Protocol):
    """Carries out what was handled."""

    async def __call__(self, *, at_once: bool) -> None: ...


class Inbox:
    """The actor's end. The supervisor owns it; an actor borrows it, so that a crash loses only the message in hand."""

    def __init__(self, box: Mailbox) -> None:
        self._box = box
        self._in_hand: Envelope | None = None
        self._crash: Exception | None = None
        """Of a message that was handled at once."""
        self._flushes: list[Reply[None]] = []
        self._at_rest = False
        """The actor is in nothing, even where it has been roused: somebody else may handle its mail."""
        self._wakes = math.inf
        """When it wakes without mail."""
        self._context = contextvars.Context()
        """The actor's, once it serves."""

    async def serve(
        self,
        handle: Callable[[Envelope], None],
        observe: Callable[[dict[Any, Any]], None],
        drained: Callable[[], None],
        wake_at: Callable[[], float | None],
        commit: Commit | None = None,
        *,
        commit_now: Callable[[], None] | None = None,
        at_once: bool = False,
    ) -> None:
        """Handles mail until every address is closed: drains the mailbox whole before it sleeps again.

        `observe` takes the merged observations before each drain, `drained` runs after it, and at `wake_at` (monotonic)
        both run without mail. `commit` is awaited after `drained`: what comes meanwhile waits for the next round; it is
        told whether somebody waits until everything is carried out. `commit_now` does the same without waiting, where
        that can be done: an ask that finds hardly anybody else is then answered in the asker's own task.
        With `at_once`, for actors that have none of these, mail to one that sleeps is handled as it is sent.
        """
        box = self._box
        self._context = contextvars.copy_context()
        box.at_once = partial(self._take_at_once, handle) if at_once else None
        if commit is None or commit_now is not None:
            box.catch_up = partial(self._catch_up, handle, observe, drained, wake_at, commit_now)
        box.few = 0 if commit_now is None else FEW
        while True:
            # Mail that a crash left behind, in the queue or aside, rouses nobody any more.
            if not (box.queue or box.woken or box.aside or self._flushes):
                if box.closed:
                    break
                await self._sleep(wake_at())
            box.woken = False
            self._drain(handle, observe, drained, aside=True)
            if commit is not None:
                await commit(at_once=bool(self._flushes))
            if self._flushes:
                self._answer_flushes()
        self._observe(observe)
        self._fail_aside(KernelClosedError(f"{box.name} is closed: the kernel has been shut down"))

    async def _sleep(self, wake_at: float | None) -> None:
        """Until there is mail, or it is time. Raises what a message that was handled meanwhile crashed with."""
        self._box.asleep = trio.lowlevel.current_task()
        self._wakes = math.inf if wake_at is None else wake_at
        self._at_rest = True
        try:
            if wake_at is None:
                await trio.lowlevel.wait_task_rescheduled(self._rise)
            else:
                with trio.move_on_at(wake_at):
                    await trio.lowlevel.wait_task_rescheduled(self._rise)
        finally:
            self._at_rest = False
        if self._crash is not None:
            crash, self._crash = self._crash, None
            raise crash

    def _rise(self, _raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        self._box.asleep = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _take_aside(self, handle: Callable[[Envelope], None], now: float) -> None:
        box = self._box
        while box.aside:
            envelope = box.aside.pop(0)
            if isinstance(envelope.message, Flush):
                assert envelope.reply is not None
                self._flushes.append(envelope.reply)
            else:
                self._take(envelope, handle, now)

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

    def _take(self, envelope: Envelope, handle: Callable[[Envelope], None], now: float) -> None:
        box = self._box
        if envelope.frees_slot:
            box.free.release()
        reply = envelope.reply
        if reply is not None and (reply.abandoned or envelope.deadline <= now):
            box.dropped += 1
            reply.fail(DeadlineExceededError(f"the call's time was up before {box.name} came to it"))
            return
        self._in_hand = envelope
        handle(envelope)
        self._in_hand = None
        box.handled += 1

    @trio.lowlevel.enable_ki_protection
    def _take_at_once(self, handle: Callable[[Envelope], None], envelope: Envelope) -> None:
        """In the sender's task. A crash is the actor's own all the same: it wakes to it, as if it had been at work."""
        try:
            # What is told has no deadline: no clock need be asked for it.
            self._take(envelope, handle, -math.inf if envelope.reply is None else trio.current_time())
        except Exception as crash:  # noqa: BLE001 - whatever a handler raises is a bug, and raised where bugs are dealt with
            self._crash = crash
            self._box.rouse()

    @trio.lowlevel.enable_ki_protection
    def _catch_up(
        self,
        handle: Callable[[Envelope], None],
        observe: Callable[[dict[Any, Any]], None],
        drained: Callable[[], None],
        wake_at: Callable[[], float | None],
        commit_now: Callable[[], None] | None,
    ) -> None:
        """All that waits, but requests aside, in the task of someone else. Of a crash as in `_take_at_once`.

        Not while the actor itself is at it (an event that it emits may lead back here), nor after a crash that it has
        not woken to yet. A Ctrl-C waits until it is done, and the context variables are the actor's: both are meant for
        the code of whoever's task this is.
        """
        box = self._box
        if not self._at_rest or self._crash is not None or not (box.queue or box.observations):
            return
        self._at_rest = False
        try:
            self._context.run(self._drain, handle, observe, drained, aside=False)
            if commit_now is not None:
                self._context.run(commit_now)
            # Others are roused in any case: they come to what was left for them without waking them, too.
            wakes = -math.inf if commit_now is None else wake_at()
        except Exception as crash:  # noqa: BLE001 - as above
            self._crash, wakes = crash, -math.inf
        self._at_rest = True
        if wakes is not None and wakes < self._wakes:
            box.rouse()

    def _drain(
        self,
        handle: Callable[[Envelope], None],
        observe: Callable[[dict[Any, Any]], None],
        drained: Callable[[], None],
        *,
        aside: bool,
    ) -> None:
        box = self._box
        # A message stays in the queue until it is its turn: a crash before that is not its fault.
        self._observe(observe)
        now = trio.current_time()
        while box.queue:
            self._take(box.queue.popleft(), handle, now)
        if aside and box.aside:
            self._take_aside(handle, now)
        self._observe(observe)
        drained()

    def _observe(self, observe: Callable[[dict[Any, Any]], None]) -> None:
        if self._box.observations:
            observations, self._box.observations = self._box.observations, {}
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
    box = Mailbox(name, slots, observation_keys)
    return Address(box), Inbox(box)
