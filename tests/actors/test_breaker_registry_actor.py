"""The breaker registry behind its Ref: snapshots, permits, observations, and what a crash makes of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import trio
from supervised import Crashing, cancelled_everywhere, run, with_actor
from trio.testing import wait_all_tasks_blocked

from penstock._clock import Clock
from penstock.actors._waiting_room import WaitingRoom
from penstock.actors.breaker_registry import open_breaker_registry
from penstock.errors import ActorFailedError, KernelClosedError
from penstock.policy.breaker import Admitted, BreakerChanged, BreakerSettings, BreakerState, Denied, Verdict

SCOPES = ("key:p/0", "target:t", "provider:p")
TARGET = SCOPES[1]
SETTINGS = BreakerSettings(failures_in_a_row=2, min_calls_in_a_row=1, open_for=5.0, open_cap=5.0)


class World:
    """A registry whose breakers open on two failures, for 4 to 5 seconds."""

    def __init__(self) -> None:
        self.changes: list[BreakerChanged] = []
        self.room = WaitingRoom(Clock())
        self.actor, self.inbox, self.ref = open_breaker_registry(
            lambda _: SETTINGS, Clock(), slots=8, on_change=self.changes.append, waiting=self.room
        )

    async def admit(self, permit: str, lease: float = 600.0) -> Admitted | Denied:
        return await self.ref.admit(permit, SCOPES, lease=lease, deadline=trio.current_time() + 600)

    async def open(self) -> None:
        for call in ("one", "two"):
            self.ref.record(TARGET, Verdict.FAILED, call_id=call)
        await self.ref.flush()
        assert self.state() is BreakerState.OPEN

    async def half_open(self) -> None:
        await self.open()
        await trio.sleep(5)

    def state(self) -> BreakerState | None:
        health = self.ref.snapshot.get(TARGET)
        return None if health is None else health.state

    async def clean(self) -> None:
        await self.ref.flush()
        statistics = self.ref.statistics()
        assert (statistics.slots_in_use, statistics.lost, statistics.stray) == (0, 0, 0)


def with_world(talk: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World()
        await with_actor(world.actor, world.inbox, world.ref.close, lambda: talk(world))

    run(main)


def test_a_success_alone_does_not_wake_the_registry_and_counts_all_the_same() -> None:
    async def talk(world: World) -> None:
        world.ref.record(TARGET, Verdict.FAILED, call_id="one")
        await wait_all_tasks_blocked()
        world.ref.record(TARGET, Verdict.OK, call_id="two")
        await wait_all_tasks_blocked()
        world.ref.record(TARGET, Verdict.FAILED, call_id="three")
        await world.ref.flush()
        assert world.state() is None, "the two failures were not in a row"
        assert world.ref.statistics().merged == 1

    with_world(talk)


def test_failures_of_many_calls_before_one_drain_are_judged_together() -> None:
    async def talk(world: World) -> None:
        for number in range(100):
            world.ref.record(TARGET, Verdict.FAILED, call_id=str(number))
        await wait_all_tasks_blocked()
        assert world.state() is BreakerState.OPEN
        assert world.ref.statistics().observations == 100
        assert world.ref.statistics().merged == 99
        assert len(world.changes) == 1

    with_world(talk)


def test_the_snapshot_a_call_has_read_never_changes() -> None:
    async def talk(world: World) -> None:
        await world.open()
        before = world.ref.snapshot
        health = before[TARGET]
        await world.ref.close_circuit(TARGET)
        await world.ref.flush()
        assert before == {TARGET: health}
        assert world.ref.snapshot == {}

    with_world(talk)


def test_one_probe_at_first_then_two_then_four_then_everybody() -> None:
    async def talk(world: World) -> None:
        await world.half_open()
        admitted = 0
        for stage in (1, 2, 4):
            permits = [f"{stage}.{number}" for number in range(stage + 1)]
            answers = [await world.admit(permit) for permit in permits]
            assert [isinstance(answer, Admitted) for answer in answers] == [True] * stage + [False]
            admitted += stage
            for permit in permits:
                world.ref.give_back(permit, dict.fromkeys(SCOPES, Verdict.OK))
            await world.ref.flush()
        assert world.state() is None
        await world.clean()

    with_world(talk)


def test_a_probe_that_fails_opens_again_and_a_probe_without_a_result_gives_its_permit_back() -> None:
    async def talk(world: World) -> None:
        await world.half_open()
        assert isinstance(await world.admit("left"), Admitted)
        world.ref.give_back("left", {})
        assert isinstance(await world.admit("fails"), Admitted)
        world.ref.give_back("fails", {TARGET: Verdict.FAILED}, retry_after=60.0)
        await world.ref.flush()
        assert world.ref.snapshot[TARGET].open_until - trio.current_time() == pytest.approx(60)
        await world.clean()

    with_world(talk)


def test_a_permit_that_never_comes_back_is_taken_back_when_its_lease_ends() -> None:
    async def talk(world: World) -> None:
        await world.half_open()
        assert isinstance(await world.admit("lost", lease=30.0), Admitted)
        await world.ref.flush()
        assert world.ref.snapshot[TARGET].permits_left == 0
        await trio.sleep(30.001)
        await wait_all_tasks_blocked()
        assert world.ref.snapshot[TARGET].permits_left == 1, "published without any mail"
        world.ref.give_back("lost", {})
        await world.clean()

    with_world(talk)


def test_cancelled_at_any_step_a_permit_is_back_when_it_was_given_back() -> None:
    async def talk(world: World) -> None:
        await world.half_open()
        number = 0

        async def job() -> None:
            nonlocal number
            number += 1
            try:
                await world.admit(f"p{number}")
                await trio.lowlevel.checkpoint()
            finally:
                world.ref.give_back(f"p{number}", {})

        async def after() -> None:
            await world.clean()
            assert world.ref.snapshot[TARGET].state is BreakerState.OPEN or world.ref.snapshot[TARGET].permits_left == 1

        assert await cancelled_everywhere(job, after) > 2

    with_world(talk)


def test_every_verb_cancelled_at_any_step_is_done_whole_or_not_at_all() -> None:
    async def talk(world: World) -> None:
        async def job() -> None:
            await world.ref.isolate(TARGET)
            told = await world.ref.states(["target:other"])
            assert told.keys() >= {TARGET, "target:other"}
            await world.ref.flush()
            await world.ref.close_circuit(TARGET)

        async def after() -> None:
            await world.clean()
            assert world.state() in (None, BreakerState.ISOLATED)
            assert ({TARGET} & world.ref.snapshot.keys()) == (
                {TARGET} if (await world.ref.states())[TARGET].state is BreakerState.ISOLATED else set()
            )
            await world.ref.close_circuit(TARGET)

        # Before the first run there is no such breaker yet: a cancel at the first step leaves it so.
        await world.ref.isolate(TARGET)
        await world.ref.close_circuit(TARGET)
        assert await cancelled_everywhere(job, after) > 4

    with_world(talk)


def test_a_wait_for_a_breaker_cancelled_at_any_step_leaves_nothing_and_takes_nobody_s_turn() -> None:
    async def talk(world: World) -> None:
        async def job() -> None:
            await world.ref.isolate(TARGET)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(world.room.sleep, SCOPES, trio.current_time() + 50)
                await wait_all_tasks_blocked()
                await world.ref.close_circuit(TARGET)

        async def after() -> None:
            await world.clean()
            assert len(world.room) == 0

        assert await cancelled_everywhere(job, after) > 4

    with_world(talk)


def test_who_waits_is_woken_by_a_close_by_hand_and_not_by_what_happens_elsewhere() -> None:
    async def talk(world: World) -> None:
        await world.ref.isolate(TARGET)
        await world.ref.isolate("target:other")
        woken: list[tuple[float, str | None]] = []

        async def wait() -> None:
            eased = await world.room.sleep(SCOPES, 30.0)
            woken.append((trio.current_time(), eased))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(1)
            await world.ref.close_circuit("target:other")
            await trio.sleep(1)
            await world.ref.close_circuit(TARGET)
            await wait_all_tasks_blocked()
            nursery.start_soon(wait)
        assert woken == [(2.0, TARGET), (30.0, None)]

    with_world(talk)


def test_as_many_are_woken_as_there_are_permits_and_in_the_order_of_coming() -> None:
    async def talk(world: World) -> None:
        await world.half_open()
        assert isinstance(await world.admit("first"), Admitted)
        woken: list[str] = []

        async def wait(name: str) -> None:
            if await world.room.sleep(SCOPES, trio.current_time() + 60):
                woken.append(name)

        async with trio.open_nursery() as nursery:
            for name in ("a", "b", "c", "d"):
                nursery.start_soon(wait, name)
                await wait_all_tasks_blocked()
            world.ref.give_back("first", dict.fromkeys(SCOPES, Verdict.OK))
            await wait_all_tasks_blocked()
            assert sorted(woken) == ["a", "b"]
            nursery.cancel_scope.cancel()
        await world.clean()

    with_world(talk)


def test_a_restart_wakes_everyone_who_waits() -> None:
    async def talk(world: World) -> None:
        await world.ref.isolate(TARGET)
        woken: list[str | None] = []

        async def wait() -> None:
            woken.append(await world.room.sleep(SCOPES, 30.0))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            world.actor._core = cast("Any", Crashing())  # pyright: ignore[reportPrivateUsage] - planted
            with pytest.raises(ActorFailedError):
                await world.admit("unlucky")
            world.ref.give_back("unlucky", {})
        assert woken == [TARGET]
        assert trio.current_time() < 30

    with_world(talk)


def test_results_of_attempts_that_began_before_the_breaker_closed_are_not_merged_with_those_of_now() -> None:
    async def talk(world: World) -> None:
        await world.open()
        await trio.sleep(1)
        await world.ref.close_circuit(TARGET)
        for number in range(10):
            world.ref.record(TARGET, Verdict.TIMED_OUT, call_id=str(number), began=0.5)
        world.ref.record(TARGET, Verdict.FAILED, call_id="new", began=trio.current_time())
        await world.ref.flush()
        assert world.state() is None
        world.ref.record(TARGET, Verdict.OK, call_id="old", began=0.5)
        world.ref.record(TARGET, Verdict.FAILED, call_id="newer", began=trio.current_time())
        await world.ref.flush()
        assert world.state() is BreakerState.OPEN

    with_world(talk)


def test_a_late_result_still_tells_an_open_breaker_when_the_server_wants_to_be_asked_again() -> None:
    async def talk(world: World) -> None:
        await trio.sleep(10)
        await world.open()
        world.ref.record(TARGET, Verdict.FAILED, call_id="late", began=1.0, retry_after=90.0)
        await world.ref.flush()
        assert world.ref.snapshot[TARGET].open_until == pytest.approx(100)

    with_world(talk)


def test_a_probe_of_a_scope_that_timed_out_is_told_to_be_hedged() -> None:
    async def talk(world: World) -> None:
        for call in ("one", "two"):
            world.ref.record(TARGET, Verdict.TIMED_OUT, call_id=call)
        await world.ref.flush()
        assert world.ref.snapshot[TARGET].silent
        await trio.sleep(5)
        assert await world.admit("p") == Admitted(probe=True, silent=True)
        world.ref.give_back("p", {TARGET: Verdict.SLOW})
        await world.ref.flush()
        assert world.state() is BreakerState.OPEN
        await world.clean()

    with_world(talk)


def test_a_refused_key_opens_for_a_minute_and_isolation_lasts_until_it_is_closed_by_hand() -> None:
    async def talk(world: World) -> None:
        world.ref.key_rejected(SCOPES[0])
        await world.ref.isolate(SCOPES[2])
        await world.ref.flush()
        assert 48 <= world.ref.snapshot[SCOPES[0]].open_until - trio.current_time() <= 60
        await trio.sleep(10_000 - 1_000)
        assert isinstance(await world.admit("p"), Denied)
        world.ref.give_back("p", {})
        await world.ref.close_circuit(SCOPES[2])
        assert isinstance(await world.admit("q"), Admitted)
        world.ref.give_back("q", {})
        await world.clean()

    with_world(talk)


def test_a_restart_forgets_every_breaker_and_permits_of_before_are_ignored() -> None:
    async def talk(world: World) -> None:
        await world.half_open()
        assert isinstance(await world.admit("before"), Admitted)
        world.actor._core = cast("Any", Crashing())  # pyright: ignore[reportPrivateUsage] - planted
        with pytest.raises(ActorFailedError, match="breaker_registry"):
            await world.admit("unlucky")
        world.ref.give_back("unlucky", {})
        await world.ref.flush()
        assert world.ref.snapshot == {}
        assert world.ref.statistics().restarts == 1
        world.ref.give_back("before", {TARGET: Verdict.FAILED})
        await world.ref.flush()
        assert world.ref.snapshot == {}
        await world.open()
        await world.clean()

    with_world(talk)


def test_after_the_end_asks_are_refused_and_observations_are_counted_as_lost() -> None:
    async def main() -> None:
        world = World()

        async def talk() -> None:
            await world.half_open()
            await world.admit("out")

        await with_actor(world.actor, world.inbox, world.ref.close, talk)
        world.ref.give_back("out", {TARGET: Verdict.OK})
        world.ref.record(TARGET, Verdict.FAILED, call_id="x")
        world.ref.key_rejected(SCOPES[0])
        assert world.ref.statistics().lost == 3
        asks = (world.admit("later"), world.ref.isolate(TARGET), world.ref.states(), world.ref.flush())
        for ask in asks:
            with pytest.raises(KernelClosedError):
                await ask

    run(main)


def test_a_crash_while_somebody_looks_on_is_the_registrys_own_and_it_starts_again() -> None:
    async def talk(world: World) -> None:
        await world.half_open()
        assert isinstance(await world.admit("probe"), Admitted)
        cast("Any", world.actor)._core = Crashing()
        world.ref.give_back("probe", {})
        world.ref.catch_up()
        world.ref.catch_up()
        await world.ref.flush()
        assert world.ref.statistics().restarts == 1
        assert world.state() is None
        await world.clean()

    with_world(talk)
