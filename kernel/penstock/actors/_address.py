"""The callers' end of a mailbox."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import trio

from penstock.actors._mail import Envelope, Flush, Reply, Request
from penstock.actors._mailbox import Mailbox, MailStatistics
from penstock.errors import ActorFailedError, KernelClosedError, OverloadedLocallyError

__all__ = ["Address"]

R = TypeVar("R")

MAX_ASIDE = 256
"""Onlookers (snapshots, breakers by hand) that may wait for one actor at once: people and dashboards, not calls."""


class Address:
    """The callers' end: kept inside a Ref, whose verbs are all that others see."""

    def __init__(self, box: Mailbox) -> None:
        self._box = box

    @trio.lowlevel.enable_ki_protection
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
        # As `reply.wait`, which would be one more to be resumed through.
        if not reply.settled:
            await reply.parked()
        elif reply.failed:
            await trio.lowlevel.checkpoint()  # whoever asks again and again does not keep the loop to itself
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
        return reply.outcome()

    def ask_at_once(self, message: Request[R]) -> R | None:
        """The reply of an actor whose turn it is: see `Mailbox.at_once`. None where it has something to do before.

        Takes no slot: nothing of it waits. For what the actor says without keeping anything.
        """
        reply = Reply[R]()
        if self._box.over or not self._box.taken_at_once(Envelope(message, reply)):
            return None
        return reply.outcome() if reply.settled else None

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

    def waiting(self, key: object) -> Any:
        """The observation that waits for the next drain under that key, for who adds to it in place; else None."""
        box = self._box
        before = None if box.over else box.observations.get(key)
        if before is not None:
            box.merged += 1
            box.observed += 1
        return before

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
        await self.ask_aside(Flush())

    def catch_up(self) -> None:
        """What was told before is handled and published now, without waiting for the actor's turn. Never raises."""
        if self._box.catch_up is not None:
            self._box.catch_up()

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
