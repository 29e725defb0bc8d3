"""The router behind its Ref: what it is told and shows unasked, and the leave that it gives to those who ask."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import trio
from supervised import Crashing, cancelled_everywhere, run, with_actor
from trio.testing import wait_all_tasks_blocked

from penstock._clock import Clock
from penstock.actors._waiting_room import WaitingRoom
from penstock.actors.router import open_router
from penstock.errors import ActorFailedError, DeadlineExceededError, KernelClosedError
from penstock.policy.retry_budget import RetryBudgetSettings, Suppressed, Withdrawn
from penstock.policy.routing import Admitted, CoolDown, Denied, Learned

TARGET = "target:t"
BUDGETS = {
    "p": RetryBudgetSettings(floor=2, ratio=0.5),
    "capped": RetryBudgetSettings(floor=100, money_ratio=0.1),
}


class World:
    def __init__(self) -> None:
        self.told: list[CoolDown] = []
        self.room = WaitingRoom(Clock())
        self.actor, self.inbox, self.ref = open_router(
            Clock(),
            slots=4,
            on_cool_down=self.told.append,
            waiting=self.room,
            retry_budget_for=BUDGETS.__getitem__,
        )

    def left(self, scope: str = TARGET) -> float | None:
        """Seconds that a scope still cools."""
        cool = self.ref.snapshot.cooling.get(scope)
        return None if cool is None else cool.until - trio.current_time()

    async def admit(self, permit: str, *, lease: float = 60.0) -> bool:
        answer = await self.ref.admit(permit, [TARGET], lease=lease, deadline=trio.current_time() + 600)
        return isinstance(answer, Admitted)

    async def thaw(self) -> None:
        """The target's cool-down is just over."""
        self.ref.limited(TARGET, "rate_limited", 5.0)
        await self.ref.flush()
        await trio.sleep(5)

    async def granted(self, provider: str = "p") -> int:
        """How many retries there are, all of them taken."""
        count = 0
        while isinstance(await self.ref.withdraw(provider), Withdrawn):
            count += 1
        return count

    async def clean(self) -> None:
        await self.ref.flush()
        statistics = self.ref.statistics()
        assert (statistics.slots_in_use, statistics.lost, statistics.stray) == (0, 0, 0)


def with_world(talk: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World()
        await with_actor(world.actor, world.inbox, world.ref.close, lambda: talk(world))

    run(main)


def test_of_many_limits_before_one_drain_the_longest_hint_counts() -> None:
    async def talk(world: World) -> None:
        for hint in (3.0, 20.0, None, 7.0):
            world.ref.limited(TARGET, "rate_limited", hint)
        await wait_all_tasks_blocked()
        assert world.left() == pytest.approx(20)
        assert [cool.until for cool in world.told] == [trio.current_time() + 20]
        assert world.ref.statistics().merged == 3

    with_world(talk)


def test_targets_and_keys_cool_each_for_itself() -> None:
    async def talk(world: World) -> None:
        world.ref.limited(TARGET, "rate_limited", 5.0)
        world.ref.limited("key:p/0", "quota_exhausted", None)
        await world.ref.flush()
        assert world.left() == pytest.approx(5)
        left = world.left("key:p/0")
        assert left is not None
        assert left >= 300
        assert world.ref.snapshot.cooling["key:p/0"].reason == "quota_exhausted"

    with_world(talk)


def test_a_snapshot_that_was_read_never_changes_and_is_replaced_only_when_something_did() -> None:
    async def talk(world: World) -> None:
        empty = world.ref.snapshot
        world.ref.first_attempt("p")
        await world.ref.flush()
        assert world.ref.snapshot is empty
        world.ref.limited(TARGET, "rate_limited", 5.0)
        await wait_all_tasks_blocked()
        assert empty.cooling == {}
        first = world.ref.snapshot
        world.ref.limited(TARGET, "rate_limited", 2.0)
        await wait_all_tasks_blocked()
        assert world.ref.snapshot is first, "shorter than what holds already"

    with_world(talk)


def test_a_crash_forgets_cool_downs_and_the_next_are_learned_again() -> None:
    async def talk(world: World) -> None:
        world.ref.limited(TARGET, "rate_limited", 60.0)
        await world.ref.flush()
        world.actor._core = cast("Any", Crashing())  # pyright: ignore[reportPrivateUsage] - planted
        world.ref.limited(TARGET, "rate_limited", 90.0)
        await world.ref.flush()
        assert world.left() is None
        assert world.ref.statistics().restarts == 1
        world.ref.limited(TARGET, "rate_limited", 5.0)
        await wait_all_tasks_blocked()
        assert world.left() == pytest.approx(5)

    with_world(talk)


def test_after_the_end_observations_are_counted_as_lost_and_nothing_is_raised() -> None:
    async def main() -> None:
        world = World()

        async def talk() -> None:
            world.ref.limited(TARGET, "rate_limited", 60.0)

        await with_actor(world.actor, world.inbox, world.ref.close, talk)
        assert world.left() == pytest.approx(60), "what was told before the end is taken"
        world.ref.limited(TARGET, "rate_limited", 5.0)
        world.ref.first_attempt("p")
        world.ref.settled("capped", 5)
        world.ref.first_token("t", 1.0)
        world.ref.give_back("never asked", "answered")
        assert world.ref.statistics().lost == 4
        for ask in (world.ref.flush(), world.admit("late"), world.ref.withdraw("p")):
            with pytest.raises(KernelClosedError):
                await ask
        assert world.ref.statistics().slots_in_use == 0

    run(main)


def test_a_flush_that_is_left_disturbs_nobody() -> None:
    async def talk(world: World) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await world.ref.flush()
        world.ref.limited(TARGET, "rate_limited", 5.0)
        await world.ref.flush()
        assert world.left() == pytest.approx(5)
        assert world.ref.statistics().slots_in_use == 0

    with_world(talk)


def test_after_a_cool_down_calls_are_let_in_one_two_four_at_a_time_and_then_all() -> None:
    async def talk(world: World) -> None:
        await world.thaw()
        assert world.ref.snapshot.cooling[TARGET].is_over(trio.current_time()), "callers see that they have to ask"
        for stage in (1, 2, 4):
            permits = [f"{stage}.{number}" for number in range(stage + 1)]
            assert [await world.admit(permit) for permit in permits] == [True] * stage + [False]
            for permit in permits:
                world.ref.give_back(permit, "answered")
            await world.ref.flush()
        assert world.ref.snapshot.cooling == {}
        await world.clean()

    with_world(talk)


def test_a_limit_told_before_its_permit_comes_back_cools_anew() -> None:
    async def talk(world: World) -> None:
        await world.thaw()
        assert await world.admit("a")
        world.ref.limited(TARGET, "rate_limited", 20.0)
        world.ref.give_back("a", "limited")
        answer = await world.ref.admit("b", [TARGET], lease=60.0)
        assert answer == Denied(TARGET, "cooling", trio.current_time() + 20)
        world.ref.give_back("b", "nothing")
        await world.clean()

    with_world(talk)


def test_a_permit_that_is_lost_comes_back_with_its_lease() -> None:
    async def talk(world: World) -> None:
        await world.thaw()
        assert await world.admit("lost", lease=30.0)
        assert not await world.admit("b")
        world.ref.give_back("b", "nothing")
        await trio.sleep(30)
        assert await world.admit("c")
        for permit in ("lost", "c"):
            world.ref.give_back(permit, "nothing")
        world.ref.give_back("c", "nothing")
        await world.clean()

    with_world(talk)


def test_what_was_told_before_an_ask_is_taken_in_before_it_is_answered() -> None:
    async def talk(world: World) -> None:
        assert await world.granted() == 2
        for _ in range(4):
            world.ref.first_attempt("p")
        await wait_all_tasks_blocked()
        told = world.ref.statistics()
        assert (told.observations, told.merged) == (4, 3), "and they woke nobody"
        assert await world.granted() == 2
        world.ref.settled("capped", 1_000)
        assert isinstance(await world.ref.withdraw("capped", nano_usd=100, hold_nano_usd=1), Withdrawn)
        assert isinstance(await world.ref.withdraw("capped", nano_usd=1, hold_nano_usd=1), Suppressed)
        await world.clean()

    with_world(talk)


def test_first_attempts_count_from_when_they_were_made_not_from_when_somebody_asked() -> None:
    async def talk(world: World) -> None:
        for _ in range(10):
            world.ref.first_attempt("p")
        await trio.sleep(11)
        assert await world.granted() == 2

    with_world(talk)


def test_a_suppressed_retry_says_why() -> None:
    async def talk(world: World) -> None:
        await world.granted()
        answer = await world.ref.withdraw("p", deadline=trio.current_time() + 5)
        assert isinstance(answer, Suppressed)
        assert answer.reason == "calls"
        assert "2 of 2 retries" in answer.says

    with_world(talk)


def test_a_fallback_is_asked_about_only_where_money_is_capped() -> None:
    async def talk(world: World) -> None:
        await world.ref.flush()
        handled = world.ref.statistics().handled
        assert isinstance(await world.ref.spend("p", nano_usd=10**12, hold_nano_usd=1), Withdrawn)
        assert world.ref.statistics().handled == handled
        receipt = await world.ref.spend("capped", nano_usd=10, hold_nano_usd=1)
        assert isinstance(receipt, Withdrawn)
        assert receipt.counted_nano_usd == 10
        assert isinstance(await world.ref.spend("capped", nano_usd=1, hold_nano_usd=1), Suppressed)
        world.ref.settled("capped", 4, receipt)
        assert isinstance(await world.ref.spend("capped", nano_usd=6, hold_nano_usd=1), Withdrawn)
        await world.clean()

    with_world(talk)


def test_cancelled_at_any_step_a_permit_is_back_and_a_withdrawal_leaves_nothing_behind() -> None:
    async def talk(world: World) -> None:
        await world.thaw()
        number = 0

        async def job() -> None:
            nonlocal number
            number += 1
            permit = f"p{number}"
            try:
                await world.admit(permit)
                await world.ref.withdraw("p", deadline=trio.current_time() + 5)
                await world.ref.spend("capped", nano_usd=1)
                await trio.lowlevel.checkpoint()
            finally:
                world.ref.first_token("t", 1.0)
                world.ref.settled("capped", 1)
                world.ref.first_attempt("p")
                world.ref.give_back(permit, "nothing")

        async def after() -> None:
            await world.clean()
            assert await world.admit("probe"), "the only permit is there for the next"
            world.ref.give_back("probe", "nothing")

        assert await cancelled_everywhere(job, after) > 6

    with_world(talk)


def test_an_ask_whose_time_was_up_is_dropped_and_withdraws_nothing() -> None:
    async def talk(world: World) -> None:
        for ask in (
            world.ref.withdraw("p", deadline=trio.current_time()),
            world.ref.spend("capped", nano_usd=1, deadline=trio.current_time()),
        ):
            with pytest.raises(DeadlineExceededError):
                await ask
        assert await world.granted() == 2
        await world.clean()

    with_world(talk)


def test_more_askers_than_slots_all_get_their_answer() -> None:
    async def talk(world: World) -> None:
        await world.thaw()
        let_in = list[str]()

        async def call(permit: str) -> None:
            try:
                if await world.admit(permit):
                    let_in.append(permit)
            finally:
                world.ref.give_back(permit, "nothing")

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(call, str(number))
        assert let_in
        await world.clean()

    with_world(talk)


def test_a_restart_forgets_permits_and_withdrawals_and_owes_nobody() -> None:
    async def talk(world: World) -> None:
        await world.thaw()
        assert await world.admit("before")
        assert await world.granted() == 2
        world.actor._core = cast("Any", Crashing())  # pyright: ignore[reportPrivateUsage] - planted
        with pytest.raises(ActorFailedError, match="router"):
            await world.admit("unlucky")
        world.ref.give_back("unlucky", "nothing")
        await world.ref.flush()
        assert world.ref.snapshot.cooling == {}
        assert world.ref.statistics().restarts == 1
        assert await world.granted() == 2, "a new bucket"
        world.ref.limited(TARGET, "rate_limited", 1.0)
        await world.ref.flush()
        await trio.sleep(1)
        world.ref.give_back("before", "answered")
        assert [await world.admit(permit) for permit in ("a", "b")] == [True, False]
        for permit in ("a", "b"):
            world.ref.give_back(permit, "nothing")
        await world.clean()

    with_world(talk)


def test_first_tokens_wake_nobody_one_by_one_and_are_shown_by_the_sixteenth() -> None:
    async def talk(world: World) -> None:
        for _ in range(15):
            world.ref.first_token("t", 2.0)
        await wait_all_tasks_blocked()
        assert world.ref.snapshot.learned == {}
        world.ref.first_token("t", 2.0)
        await wait_all_tasks_blocked()
        assert world.ref.snapshot.learned == {"t": Learned(first_token_p95=2.0)}
        shown = world.ref.snapshot
        for _ in range(32):
            world.ref.first_token("t", 2.1)
        await world.ref.flush()
        assert world.ref.snapshot is shown, "a twentieth more is not worth telling"

    with_world(talk)


def test_of_first_tokens_that_wait_the_last_hundred_are_kept() -> None:
    async def talk(world: World) -> None:
        for seconds in (9.0, 1.0):
            for _ in range(100):
                world.ref.first_token("t", seconds)
        await world.ref.flush()
        assert world.ref.snapshot.learned["t"].first_token_p95 == 1.0

    with_world(talk)
