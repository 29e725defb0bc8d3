"""Whether the ledger's store answers, as the budget keeper knows it; who is told when that changes, and the log.

Not here: what becomes of calls meanwhile (`budget_keeper`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import trio
from msgspec import Struct

from penstock.actors.store_answers import WrongAnswerError
from penstock.errors import ConfigError, LedgerUnavailableError

__all__ = ["StoreChange", "StoreStanding", "in_time", "unavailable", "without_waiting"]

logger = logging.getLogger("penstock")

T = TypeVar("T")

RETRY = (0.1, 2.0)
"""Seconds until a store that did not answer is asked again, at first and at most; doubled in between."""
MOST_SAID = 10
"""Different troubles of a store that are logged until it is back."""


class StoreChange(Struct, frozen=True):
    """The store does not answer any more, or does again."""

    away: bool
    reason: str = ""
    booked: int = 0
    """Once it is back: charges that had waited for it."""


class StoreStanding:
    """Away since an error, or not. Times are monotonic seconds."""

    def __init__(self, on_change: Callable[[StoreChange], None], *, then: str) -> None:
        self._on_change = on_change
        self._then = then
        """What becomes of calls while it is away, for the log."""
        self.away: LedgerUnavailableError | None = None
        self.retry_at = -math.inf
        """Until then it is not asked again, while it is away."""
        self._retry_in = RETRY[0]
        self._said: set[str] = set()
        """What was logged since it is away: what is wrong with it may change meanwhile."""

    def lost(self, error: LedgerUnavailableError, now: float) -> None:
        """It did not answer, for the first time or once more."""
        says = str(error)
        if self.away is None:
            self._on_change(StoreChange(away=True, reason=says))
            logger.error("%s; calls of accounts with limits are %s", error, self._then)
        elif says not in self._said and len(self._said) < MOST_SAID:
            logger.error("%s", error)
        if len(self._said) < MOST_SAID:
            self._said.add(says)
        self.away = error
        self.retry_at = now + self._retry_in
        self._retry_in = min(2 * self._retry_in, RETRY[1])

    def found(self, booked: int) -> None:
        """It answered; so many charges had waited for it. Nothing where it was not away."""
        if self.away is None:
            return
        self.away = None
        self._said.clear()
        self._retry_in = RETRY[0]
        self._on_change(StoreChange(away=False, booked=booked))
        logger.warning("the ledger's store answers again; %d charges that waited for it are booked", booked)


async def in_time(answer: Awaitable[T], timeout: float) -> T:  # noqa: ASYNC109 - it is the store's, not a caller's
    """What the store answers within so many seconds. Raises LedgerUnavailableError."""
    with trio.move_on_after(timeout):
        return await answer
    raise LedgerUnavailableError(f"the ledger's store did not answer within {timeout:g} s")


def without_waiting(answer: Coroutine[Any, Any, T]) -> T:
    """What a store that never waits answers. Raises LedgerUnavailableError where it would wait all the same."""
    try:
        answer.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    answer.close()
    raise LedgerUnavailableError(
        "the ledger's store waits, and says that it never does; its class needs `waits = True`"
    )


def unavailable(error: BaseException) -> LedgerUnavailableError:
    """What a store raised, as our own error, with its words where they are ours. Foreign ones could hold anything."""
    if isinstance(error, LedgerUnavailableError):
        return error
    if isinstance(error, ConfigError):
        return LedgerUnavailableError(str(error))
    if isinstance(error, WrongAnswerError):
        return LedgerUnavailableError(f"the ledger's store broke: it answers {error}")
    return LedgerUnavailableError(f"the ledger's store broke: {type(error).__name__}")
