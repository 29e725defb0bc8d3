"""A budget keeper of one account over books in memory that can be in trouble, and answer what is no answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar, cast

import trio
from supervised import run, with_actor

from penstock._clock import Clock
from penstock.actors.budget_keeper import open_budget_keeper
from penstock.actors.store_standing import StoreChange
from penstock.policy.accounts import AccountSpec, Limit
from penstock.policy.budget import Amount, BudgetEvent, Line, Per
from penstock.policy.ledger_steps import Landed, Step
from penstock_plugins.ledgers.memory import MemoryLedger

LIMIT = 10_000
ROOT = AccountSpec(path="", limits=(Limit(per=Per.DAY, tokens=LIMIT),))
Answered = Callable[[Landed], object]


class Own(MemoryLedger):
    """Books in memory, of one process: what is held there has no lease."""

    waits: ClassVar[bool] = True

    def __init__(self, wall: Callable[[], float]) -> None:
        super().__init__(wall)
        self.trouble: Callable[[Sequence[Step]], Exception | None] = lambda _: None
        self.answered: Answered = lambda landed: landed

    async def commit(self, steps: Sequence[Step]) -> Landed:
        await trio.lowlevel.checkpoint()
        wrong = self.trouble(steps)
        if wrong is not None:
            raise wrong
        return cast("Landed", self.answered(await super().commit(steps)))

    def peek(self) -> None:  # type: ignore[override]
        """It has to be waited for."""


class Shared(Own):
    """The same of a server."""

    shared: ClassVar[bool] = True
    durable: ClassVar[bool] = True


class World:
    """A keeper of one account."""

    def __init__(self, kind: type[Own]) -> None:
        self.events: list[BudgetEvent] = []
        self.changes: list[StoreChange] = []
        clock = Clock()
        self.store = kind(clock.wall)
        self.actor, self.inbox, self.ref = open_budget_keeper(
            [ROOT], self.store, clock, slots=64, on_event=self.events.append, on_store=self.changes.append
        )

    async def reserve(self, hold: str, tokens: int = 100) -> object:
        line = Line(tokens, 0, 0, 0)
        later = trio.current_time() + 900
        return await self.ref.reserve(hold, "", [line], min_output=0, max_output=0, wait=0.0, deadline=later)

    def settle(self, hold: str, tokens: int = 40) -> None:
        self.ref.settle(hold, Amount(tokens), estimated=False, spent=())

    async def books(self) -> tuple[int, int]:
        """Held and spent."""
        await self.ref.flush()
        (row,) = await self.store.windows()
        return row.held.tokens, row.spent.tokens


def talk(kind: type[Own], job: Callable[[World], Awaitable[None]]) -> World:
    made: list[World] = []

    async def main() -> None:
        world = World(kind)
        made.append(world)
        await with_actor(world.actor, world.inbox, world.ref.close, lambda: job(world))

    run(main)
    return made[0]
