"""The watch over exchanges that have a time of their own: one task for all, where each would need a cancel scope.

A scope with a deadline costs as much as sending a request and reading its answer, and nearly none ever fires. Not here:
what it means to be given up (`_transport.wire`), and what is said of it then (`_exchange`).
"""

from __future__ import annotations

import math
from types import TracebackType
from typing import Protocol, Self

import trio

from penstock.errors import TotalTimeoutError

__all__ = ["Overdue", "Term"]


class Connection(Protocol):
    """What one exchange goes over."""

    def give_up(self) -> None:
        """Whoever waits on it does so no longer."""
        ...


class Term:
    """The time that one exchange has. A context that TotalTimeoutError ends, as Cancelled ends a scope with a deadline.

    It ends waiting, and nothing else: an answer that is here at its end is taken.
    """

    __slots__ = ("_connection", "_overdue", "at", "is_over")

    def __init__(self, overdue: Overdue, at: float) -> None:
        self.at = at
        """Monotonic."""
        self.is_over = False
        self._overdue = overdue
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        self._overdue.begin(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self._overdue.forget(self)
        self._connection = None
        return isinstance(error, TotalTimeoutError)

    def goes_over(self, connection: Connection) -> None:
        """There its answer is waited for from now on."""
        self._connection = connection
        if self.is_over:
            connection.give_up()

    def end(self) -> None:
        """Its time is up."""
        self.is_over = True
        if self._connection is not None:
            self._connection.give_up()


class Overdue:
    """All terms that run.

    Laws: a term that runs at its end is told so in the next turns of the loop; one that was left hears nothing.
    """

    def __init__(self) -> None:
        self._terms: set[Term] = set()
        self._next = math.inf
        """No term ends before. The one that would have ended then may have been left."""
        self._asleep = trio.CancelScope(shield=True)
        self._closed = False

    def begin(self, term: Term) -> None:
        """It runs from now on."""
        self._terms.add(term)
        if term.at < self._next:
            self._next = self._asleep.deadline = term.at

    def forget(self, term: Term) -> None:
        """It was left."""
        self._terms.discard(term)

    async def watch(self) -> None:
        """Ends what is overdue until `close`. Shielded: exchanges of a body that cleans up have their timeouts too."""
        while not self._closed:
            with self._asleep:
                await trio.sleep_forever()
            now = trio.current_time()
            for term in [term for term in self._terms if term.at <= now]:
                self._terms.discard(term)
                term.end()
            self._next = min((term.at for term in self._terms), default=math.inf)
            self._asleep = trio.CancelScope(deadline=self._next, shield=True)

    def close(self) -> None:
        """No exchange is under way any more."""
        self._closed = True
        self._asleep.cancel()
