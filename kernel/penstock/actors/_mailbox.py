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

from collections import deque
from collections.abc import Callable
from typing import Any

import trio
from msgspec import Struct

from penstock.actors._mail import Envelope
from penstock.errors import ActorFailedError

__all__ = ["MailStatistics", "Mailbox"]


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


class Mailbox:
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
        self.at_once: Callable[[Envelope], None] | None = None
        """Handles one message in the sender's own task, while the actor sleeps and nothing waits for it: its turn has
        come all the same, and two switches between tasks are saved. Never raises. None: the actor must run itself."""
        self.catch_up: Callable[[], None] | None = None
        """Handles all that waits in the task of someone who looks on, or asks, and must not wait. Never raises. None:
        what comes of it has to be awaited."""
        self.few = 0
        """Slots in use up to which `catch_up` answers an ask: the actor takes batches, and this is none worth it."""
        self.woken = False
        """Observations or requests aside wait, and the actor has not come to them yet."""
        self.closed = False
        self.dead: ActorFailedError | None = None
        self.over = False
        """Closed or dead: nobody takes new mail any more."""
        self.handled = self.dropped = self.lost = self.stray = self.observed = self.merged = self.restarts = 0

    def taken_at_once(self, envelope: Envelope) -> bool:
        """Has it handled `at_once`, where the actor sleeps and nothing waits for it; False: nothing was done."""
        if self.at_once is None or self.asleep is None or self.queue or self.woken or self.aside:
            return False
        self.at_once(envelope)
        return True

    def send(self, envelope: Envelope) -> None:
        if self.taken_at_once(envelope):
            return
        self.queue.append(envelope)
        if self.catch_up is not None and envelope.reply is not None and self.slots - self.free.value <= self.few:
            self.catch_up()
        if self.queue:
            self.rouse()

    def wake(self) -> None:
        self.woken = True
        self.rouse()

    def rouse(self) -> None:
        if self.asleep is not None:
            trio.lowlevel.reschedule(self.asleep)
            self.asleep = None
