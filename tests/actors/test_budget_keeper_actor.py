"""The budget keeper behind its Ref: reserve, top up, settle; waiting, leaving, closing, breaking."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, cast

import pytest
import trio
from supervised import Crashing, cancelled_everywhere, run, with_actor
from trio.testing import wait_all_tasks_blocked

from penstock._clock import Clock
from penstock.actors.budget_keeper import BudgetKeeper, open_budget_keeper
from penstock.actors.budget_ref import BudgetRef
from penstock.actors.store_standing import StoreChange
from penstock.errors import ActorFailedError, KernelClosedError, LedgerUnavailableError
from penstock.policy.accounts import AccountSpec, Limit
from penstock.policy.budget import Amount, BudgetEvent, Granted, Line, Overrun, Per, Refused
from penstock.policy.ledger_steps import Landed, Step
from penstock_plugins.ledgers.memory import MemoryLedger

LIMIT = 1_000
ROOT = AccountSpec(path="", limits=(Limit(per=Per.DAY, tokens=LIMIT),))
A_MINUTE = AccountSpec(path="", limits=(Limit(per=Per.MINUTE, tokens=LIMIT),))


class Unhurried(MemoryLedger):
    """It could have to wait: its keeper answers in a turn of its own, not in the asker's task."""

    async def commit(self, steps: Sequence[Step]) -> Landed:
        return await super().commit(steps)


class Hasty(MemoryLedger):
    """It waits, and says that it never does."""

    waits: ClassVar[bool] = False

    async def commit(self, steps: Sequence[Step]) -> Landed:
        await trio.lowlevel.checkpoint()
        return await super().commit(steps)


class World:
    """A keeper of one account with 1,000 tokens a day, and a store whose clock may be ahead."""

    def __init__(
        self,
        slots: int = 8,
        *,
        root: AccountSpec = ROOT,
        ahead: float = 0.0,
        ledger: type[MemoryLedger] = MemoryLedger,
    ) -> None:
        self.events: list[BudgetEvent] = []
        self.changes: list[StoreChange] = []
        clock = Clock()
        self.actor, self.inbox, self.ref = open_budget_keeper(
            [root],
            ledger(lambda: clock.wall() + ahead),
            clock,
            slots=slots,
            on_event=self.events.append,
            on_store=self.changes.append,
        )

    async def reserve(self, hold: str, tokens: int, *, wait: float = 0.0) -> Granted | Refused:
        line = Line(tokens, 0, 0, 0)
        return await self.ref.reserve(
            hold, "", [line], min_output=0, max_output=0, wait=wait, deadline=trio.current_time() + 600
        )

    def settle(self, hold: str, tokens: int = 0) -> None:
        self.ref.settle(hold, Amount(tokens), estimated=False)

    async def books(self) -> tuple[int, int, int]:
        """Held, spent and free tokens."""
        await self.ref.flush()
        (window,) = self.ref.accounts()[""].windows
        assert window.free_tokens is not None
        return window.held.tokens, window.spent.tokens, window.free_tokens

    async def clean(self) -> None:
        held, spent, free = await self.books()
        assert held == 0
        assert free == LIMIT - spent
        statistics = self.ref.statistics()
        assert (statistics.slots_in_use, statistics.lost, statistics.stray) == (0, 0, 0)


def with_world(
    talk: Any, *, slots: int = 8, ledgers: Sequence[type[MemoryLedger]] = (MemoryLedger, Unhurried), **options: Any
) -> None:
    """Twice: with a keeper that answers in the asker's task, and with one that does so in its own."""

    async def main(ledger: type[MemoryLedger]) -> None:
        world = World(slots, ledger=ledger, **options)
        await with_actor(world.actor, world.inbox, world.ref.close, lambda: talk(world))

    for ledger in ledgers:
        run(partial(main, ledger))


def test_a_window_that_is_over_by_the_stores_clock_is_asked_for_anew_at_once() -> None:
    async def talk(world: World) -> None:
        with trio.fail_after(1):
            assert isinstance(await world.reserve("h", 300), Granted)
            # Its clock is known now: nothing needs to be asked twice.
            assert isinstance(await world.reserve("i", 300), Granted)
        world.settle("h", 300)
        world.settle("i", 300)
        await world.clean()

    with_world(talk, root=A_MINUTE, ahead=61.0)


def test_a_hold_is_reserved_topped_up_and_settled_by_what_was_charged() -> None:
    async def talk(world: World) -> None:
        assert isinstance(await world.reserve("h", 300), Granted)
        assert await world.books() == (300, 0, 700)
        more = await world.ref.top_up("h", Amount(200), deadline=trio.current_time() + 1)
        assert isinstance(more, Granted)
        assert more.amount == Amount(500)
        assert await world.books() == (500, 0, 500)
        world.settle("h", 120)
        world.settle("h", 999)
        assert await world.books() == (0, 120, 880)
        await world.clean()

    with_world(talk)


def test_a_top_up_that_does_not_fit_is_refused_and_the_hold_stays_as_it_is() -> None:
    async def talk(world: World) -> None:
        await world.reserve("h", 900)
        more = await world.ref.top_up("h", Amount(200), deadline=trio.current_time() + 1)
        assert isinstance(more, Refused)
        assert await world.books() == (900, 0, 100)
        world.settle("h")
        await world.clean()

    with_world(talk)


def test_a_top_up_without_a_hold_is_a_mistake_of_ours_that_is_told() -> None:
    async def talk(world: World) -> None:
        with pytest.raises(ActorFailedError, match="holds no slot"):
            await world.ref.top_up("nobody", Amount(1), deadline=trio.current_time() + 1)
        await world.clean()

    with_world(talk)


def test_who_does_not_fit_waits_and_is_let_in_by_a_settle() -> None:
    async def talk(world: World) -> None:
        await world.reserve("first", 800)
        async with trio.open_nursery() as nursery:
            answers: list[Granted | Refused] = []

            async def second() -> None:
                answers.append(await world.reserve("second", 800, wait=60))

            nursery.start_soon(second)
            await trio.sleep(10)
            assert answers == []
            world.settle("first", 0)
            await wait_all_tasks_blocked()
        assert isinstance(answers[0], Granted)
        assert await world.books() == (800, 0, 200)
        world.settle("second")
        await world.clean()

    with_world(talk)


def test_a_wait_ends_when_its_seconds_are_over_and_names_the_limit() -> None:
    async def talk(world: World) -> None:
        await world.reserve("first", 800)
        began = trio.current_time()
        answer = await world.reserve("second", 800, wait=5)
        assert isinstance(answer, Refused)
        assert trio.current_time() - began == pytest.approx(5)
        assert "1000 tokens per day" in answer.says
        world.settle("second")
        world.settle("first")
        await world.clean()

    with_world(talk)


def test_who_leaves_while_waiting_gives_way_to_the_next() -> None:
    async def talk(world: World) -> None:
        await world.reserve("first", 800)
        async with trio.open_nursery() as nursery:

            async def impatient() -> None:
                with trio.move_on_after(1):
                    await world.reserve("second", 900, wait=60)
                world.settle("second")

            async def patient() -> None:
                assert isinstance(await world.reserve("third", 150, wait=60), Granted)
                assert trio.current_time() == pytest.approx(1)
                world.settle("third")

            nursery.start_soon(impatient)
            await wait_all_tasks_blocked()
            nursery.start_soon(patient)
        world.settle("first")
        await world.clean()

    with_world(talk)


def test_cancelled_at_any_step_a_hold_is_gone_when_its_id_was_settled() -> None:
    async def talk(world: World) -> None:
        number = 0

        async def job() -> None:
            nonlocal number
            number += 1
            hold = f"h{number}"
            try:
                await world.reserve(hold, 100, wait=5)
                await world.ref.top_up(hold, Amount(50), deadline=trio.current_time() + 5)
            finally:
                world.settle(hold, 1)

        steps.append(await cancelled_everywhere(job, world.clean))

    steps: list[int] = []
    with_world(talk, slots=1)
    in_askers_task, in_its_own = steps
    assert in_its_own > in_askers_task > 1


def test_what_is_billed_beyond_its_hold_is_booked_whole_and_told() -> None:
    async def talk(world: World) -> None:
        await world.reserve("h", 100)
        world.settle("h", 5_000)
        assert await world.books() == (0, 5_000, -4_000)
        (event,) = world.events
        assert isinstance(event, Overrun)
        assert isinstance(await world.reserve("later", 1), Refused)
        world.settle("later")
        await world.clean()

    with_world(talk)


def test_after_the_end_asks_are_refused_and_tells_are_counted() -> None:
    async def main() -> None:
        world = World()

        async def talk() -> None:
            await world.reserve("h", 100)

        await with_actor(world.actor, world.inbox, world.ref.close, talk)
        world.settle("h", 7)
        assert world.ref.statistics().lost == 1
        assert world.ref.statistics().slots_in_use == 0
        with pytest.raises(KernelClosedError):
            await world.reserve("later", 1)
        assert world.ref.statistics().slots_in_use == 0

    run(main)


def test_who_waits_when_the_kernel_closes_is_told() -> None:
    async def main() -> None:
        world = World()
        told: list[type[Exception]] = []

        async def waits() -> None:
            try:
                await world.reserve("second", 800, wait=600)
            except ActorFailedError as error:
                told.append(type(error))
            finally:
                world.settle("second")

        async with trio.open_nursery() as nursery:

            async def talk() -> None:
                await world.reserve("first", 800)
                nursery.start_soon(waits)
                await wait_all_tasks_blocked()

            await with_actor(world.actor, world.inbox, world.ref.close, talk)
        assert told == [ActorFailedError]

    run(main)


def test_a_broken_ledger_ends_the_keeper_for_good_and_nobody_hangs() -> None:
    async def main() -> None:
        world = World()
        outcomes: list[str] = []

        async def waits() -> None:
            try:
                await world.reserve("waiting", 800, wait=600)
            except ActorFailedError:
                outcomes.append("waiting")

        async with trio.open_nursery() as nursery:

            async def talk() -> None:
                await world.reserve("held", 800)
                nursery.start_soon(waits)
                await wait_all_tasks_blocked()
                _break(world.actor)
                with pytest.raises(ActorFailedError, match="ZeroDivisionError"):
                    await world.reserve("unlucky", 1)
                with pytest.raises(ActorFailedError):
                    await world.reserve("later", 1)
                with pytest.raises(ActorFailedError):
                    await world.ref.flush()
                world.settle("held", 5)
                await wait_all_tasks_blocked()

            await with_actor(world.actor, world.inbox, world.ref.close, talk)
        assert outcomes == ["waiting"]
        statistics = world.ref.statistics()
        assert (statistics.slots_in_use, statistics.restarts) == (0, 0)

    run(main)


def _break(actor: BudgetKeeper) -> None:
    actor._queue = cast("Any", Crashing())  # pyright: ignore[reportPrivateUsage] - planted


def test_the_ref_shows_no_way_to_the_ledger() -> None:
    shown = {name for name in dir(BudgetRef) if not name.startswith("_")}
    assert shown == {
        "accounts",
        "close",
        "flush",
        "foresee",
        "look",
        "note",
        "reconfigure",
        "reserve",
        "route_instead",
        "see",
        "settle",
        "statistics",
        "top_up",
    }


def test_a_store_that_waits_and_says_it_never_does_is_one_that_cannot_be_used() -> None:
    async def talk(world: World) -> None:
        for _ in range(2):
            with pytest.raises(LedgerUnavailableError, match="its class needs `waits = True`"):
                await world.reserve("h", 100)
            world.settle("h")
        assert [change.away for change in world.changes] == [True]

    with_world(talk, ledgers=[Hasty])
