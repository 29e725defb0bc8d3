"""LedgerStore: what keeps held and spent amounts. Part of `penstock.abc`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from penstock.policy.ledger_steps import ClockSetBack, HistoryRow, HoldRow, Landed, SpendRow, Step, WindowRow

__all__ = ["LedgerStore"]


class LedgerStore(ABC):
    """Where held and spent amounts are kept: one atomic step after the other, whoever asks.

    Laws, which `penstock.testing` checks:

    - *One thing.* A batch is carried out in order and as one: after `commit` has returned, all of it is kept, and
      survives what the store says it survives; where it raised, all of it or nothing was. Batches of several
      processes come one after the other.
    - *The limit.* After every step `limit - held - spent` is not below zero in any window, but for what was charged
      above its hold, for limits that were lowered, and for what was set by hand; while it is, nothing new is held.
    - *Two measures.* Every window counts by the bound or by the estimate (`WindowUse.by_estimate`): what a step asks by
      that is judged and held there, and charged where a lease ends. A settle puts the whole charge in the place of
      either. A window counts one hold in one way, as it did at first.
    - *All or nothing.* A reserve holds in every window of its step, or in none. One that is refused in a batch changes
      nothing for its neighbours, except that one which waits (`Reserve.waits`) keeps the room it lacks from later
      reserves of the batch.
    - *What cannot be kept.* A step whose figures or names the store cannot take (`commit` raises ValueError,
      OverflowError or ConfigError) changes nothing, nor do its neighbours; the next batch is carried out as if that one
      had not been. The kernel then sends the rest without it.
    - *Idempotent by id.* A batch may be sent again after it failed: what was carried out is answered, not repeated.
      A settle may come before its reserve, which then holds nothing.
    - *Time* is the store's own, the same for all who share it, and never goes back. What was reserved counts in its
      window until `WindowUse.end`, and is charged there. A step in windows that are over by that clock is `Stale`.
    - *Leases.* A hold that nobody renewed within its lease is charged in full, as an estimate, until it is settled,
      renewed or topped up: then the truth takes the place of the estimate. One that was released by hand is settled,
      and never held again.
    - *Waits for nothing* where `waits` says so.
    - *Cancelled* at any point, `commit` leaves the store usable; whether the batch was carried out is unknown then.

    Errors: LedgerUnavailableError where the store cannot be reached, does not work, or has lost some of what this
    process has seen in it (it would be spent once more); ConfigError where its content is of another version and cannot
    be migrated; of a step that cannot be kept as above. Nothing else.
    """

    shared: ClassVar[bool] = True
    """Others may hold and settle in it: room can come without a word to this process."""
    durable: ClassVar[bool] = True
    """What it keeps outlives the process."""
    waits: ClassVar[bool] = True
    """`commit` may come to a checkpoint. False: never, so that it can be carried out in the task of who asks. A class
    with a `commit` of its own says so itself; what it inherits of another's counts for nothing."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "commit" in vars(cls) and "waits" not in vars(cls):
            cls.waits = True

    @abstractmethod
    async def commit(self, steps: Sequence[Step]) -> Landed:
        """Carries out the steps. Never called again before it has returned. An empty batch tells the time."""

    @abstractmethod
    async def windows(self, keys: Sequence[str] | None = None) -> Sequence[WindowRow]:
        """These windows, or all in which anything is counted, held, or set by hand. Unknown keys are left out."""

    def peek(self) -> Sequence[WindowRow] | None:
        """What `windows` would return, from a store that need not wait for it. None: it must."""
        return None

    @abstractmethod
    async def holds(self) -> Sequence[HoldRow]:
        """Everything that is held, oldest first, lapsed holds included."""

    @abstractmethod
    async def history(self, *, since: float, until: float) -> Sequence[HistoryRow]:
        """What was done by hand in that time (Unix times), oldest first."""

    @abstractmethod
    async def spending(self, *, since: float, until: float) -> Sequence[SpendRow]:
        """What was spent in the quarters of an hour that begin in that time, by account and target."""

    async def set_clock_back(self, reason: str) -> ClockSetBack | None:
        """Takes the time of now for the store's own, where that ran ahead: done by hand, and kept in the history.

        What counts in windows counts in those of now; what is held is charged in full. Of what was spent before the
        clock ran ahead nothing may be known any more. Processes that have used the store refuse calls of accounts with
        limits until they are started anew. None: the store has no such remedy.
        """
        del reason
        return None
