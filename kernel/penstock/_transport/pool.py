"""Who may hold which connection of one origin: a pure state machine of synchronous steps.

It neither dials nor waits: it hands out slots, queues waiters and says whom to wake. `now` is an argument. A failing or
slow origin cannot starve another one, because each has a pool of its own.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import attrs
from msgspec import Struct

__all__ = ["Pool", "PoolStatistics", "Poolable", "Slot", "Waiter"]


class Poolable(Protocol):
    """What can be pooled. Neither method waits."""

    def is_usable(self) -> bool:
        """False once the peer has closed it, or has said something nobody asked for."""
        ...

    def close(self) -> None:
        """Closes at once. Idempotent."""
        ...


_C = TypeVar("_C", bound=Poolable)


class Slot(Struct, Generic[_C], eq=False, gc=False):
    """The right to one connection. Without one, its holder makes one and fills the slot with it.

    Each holder has a slot of its own, so that giving one back twice can never take it from the next holder.
    """

    connection: _C | None = None


@attrs.define(eq=False)
class Waiter(Generic[_C]):
    """One who waits for a slot. `wake` is called once: then either `slot` is there, or the pool was closed."""

    wake: Callable[[], object]
    slot: Slot[_C] | None = None


@attrs.frozen
class PoolStatistics:
    """Connections of one origin now. Those being made count as in use."""

    origin: str
    in_use: int
    idle: int
    waiting: int

    @property
    def open(self) -> int:
        """In use or idle."""
        return self.in_use + self.idle


class Pool(Generic[_C]):
    """At most `max_connections` in use and idle together. The last one used goes first, the first waiter first.

    While anybody waits nothing is idle: whatever is given back goes to the oldest waiter.
    """

    def __init__(self, *, max_connections: int, idle_expiry: float) -> None:
        self._max_connections = max_connections
        self._idle_expiry = idle_expiry
        self._busy: set[Slot[_C]] = set()
        # The most recently used on the right, with the time it became idle: the left end expires first.
        self._idle: deque[tuple[_C, float]] = deque()
        # Ordered, because a waiter that leaves from the middle must not cost a walk along the queue.
        self._waiters: OrderedDict[Waiter[_C], None] = OrderedDict()
        self._closed = False

    @property
    def is_unused(self) -> bool:
        """Nothing here would be missed."""
        return not (self._busy or self._idle or self._waiters)

    def take(self, now: float) -> Slot[_C] | None:
        """A slot, with the idle connection that was used last if there is one. None: all are in use, so `wait`."""
        self.expire(now)
        while self._idle:
            connection, _ = self._idle.pop()
            if connection.is_usable():
                return self._issue(connection)
            connection.close()
        if len(self._busy) < self._max_connections:
            return self._issue(None)
        return None

    def wait(self, wake: Callable[[], object]) -> Waiter[_C]:
        """Queues up. Only after `take` returned None, with no await between; balance it by `leave` if given up."""
        waiter: Waiter[_C] = Waiter(wake)
        self._waiters[waiter] = None
        return waiter

    def leave(self, waiter: Waiter[_C], now: float) -> None:
        """The waiter was cancelled: what it may have been handed in the meantime goes to the next one."""
        if waiter.slot is None:
            self._waiters.pop(waiter, None)
            return
        self.give_back(waiter.slot, now, reusable=True)

    def fill(self, slot: Slot[_C], connection: _C) -> None:
        """The holder of an empty slot has made its connection."""
        slot.connection = connection
        if self._closed:
            connection.close()

    def give_back(self, slot: Slot[_C], now: float, *, reusable: bool) -> None:
        """Ends a holding. Idempotent. A connection that is not reusable is closed; its place is free again."""
        if slot not in self._busy:
            return
        self._busy.remove(slot)
        connection = slot.connection
        if connection is not None and (self._closed or not reusable):
            connection.close()
            connection = None
        if self._waiters:
            self._hand_on(connection)
        elif connection is not None:
            self._idle.append((connection, now))

    def expire(self, now: float) -> None:
        """Closes what has been idle for too long."""
        while self._idle and now - self._idle[0][1] >= self._idle_expiry:
            self._idle.popleft()[0].close()

    def forget_idle(self) -> None:
        """Closes everything idle: the connection used last was found dead, and these have been idle for longer."""
        while self._idle:
            self._idle.pop()[0].close()

    def close(self) -> None:
        """Closes every connection, those in use too, and wakes every waiter without a slot. Idempotent."""
        self._closed = True
        self.forget_idle()
        for slot in self._busy:
            if slot.connection is not None:
                slot.connection.close()
        while self._waiters:
            self._waiters.popitem(last=False)[0].wake()

    def statistics(self, origin: str) -> PoolStatistics:
        """The numbers now."""
        return PoolStatistics(origin, len(self._busy), len(self._idle), len(self._waiters))

    def _issue(self, connection: _C | None) -> Slot[_C]:
        slot = Slot(connection)
        self._busy.add(slot)
        return slot

    def _hand_on(self, connection: _C | None) -> None:
        if connection is not None and not connection.is_usable():
            connection.close()
            connection = None
        waiter, _ = self._waiters.popitem(last=False)
        waiter.slot = self._issue(connection)
        waiter.wake()
