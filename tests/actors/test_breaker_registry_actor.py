"""The breaker registry behind its Ref: snapshots, permits, observations, and what a crash makes of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import trio
from supervised import Crashing, cancelled_everywhere, run, with_actor
from trio.testing import wait_all_tasks_blocked

from penstock._clock import Clock
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
        self.actor, self.inbox, self.ref = open_breaker_registry(
            lambda _: SETTINGS, Clock(), slots=8, on_change=self.changes.append
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
        for ask in (world.admit("later"), world.ref.isolate(TARGET), world.ref.flush()):
            with pytest.raises(KernelClosedError):
                await ask

    run(main)
