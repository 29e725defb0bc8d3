"""A bug inside an actor, seen from calls: who fails, who goes on, and what leaving the kernel says."""

from __future__ import annotations

import logging
from collections.abc import Callable

import httpx
import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from worlds import ANSWER, GPT, SONNET, config, failing, good, run

import penstock
from penstock import errors
from penstock._events import ActorCrashed
from penstock.policy.breaker import Breakers
from penstock.policy.coalesce import Flights
from penstock.policy.hold_queue import HoldQueue
from penstock.policy.routing import Routing
from penstock.testing import Answer, Reply, ScriptedTransport, Silence

LIMITED = {"budget": {"limits": [{"per": "day", "tokens": 10**6}]}}
CACHED = {"cache": {"store": "memory", "when": "always"}}


class Fuse:
    """Breaks a method of a core as often as it is told to; then the method works as ever."""

    def __init__(self, patch: pytest.MonkeyPatch, core: type, method: str) -> None:
        self.left = 0
        usual: Callable[..., object] = getattr(core, method)

        def broken(*args: object, **kwargs: object) -> object:
            if self.left:
                self.left -= 1
                raise ZeroDivisionError("a planted bug")
            return usual(*args, **kwargs)

        patch.setattr(core, method, broken)


def slow(seconds: float) -> ScriptedTransport:
    return ScriptedTransport(lambda request: Reply(json=good(request).json, delay=seconds))


def test_a_crash_of_the_budget_keeper_ends_calls_in_flight_and_later_and_leaves_the_body_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fuse = Fuse(monkeypatch, HoldQueue, "ask")
    outcomes: dict[str, type[Exception] | str] = {}

    async def call(kernel: penstock.Kernel, name: str) -> None:
        try:
            outcomes[name] = (await kernel.complete(name)).text
        except errors.PenstockError as error:
            outcomes[name] = type(error)

    async def stream(kernel: penstock.Kernel) -> None:
        try:
            async with kernel.stream("streamed") as stream:
                async for _ in stream:
                    pass
        except errors.PenstockError as error:
            outcomes["streamed"] = type(error)

    async def main() -> None:
        body_was_cancelled = True
        with pytest.raises(
            errors.ActorFailedError, match=r"budget_keeper of the kernel broke \(ZeroDivisionError\)"
        ) as left:
            async with penstock.open_kernel(config(**LIMITED), transport=slow(60.0)) as kernel:
                events = kernel.events()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(call, kernel, "in flight")
                    nursery.start_soon(stream, kernel)
                    await wait_all_tasks_blocked()
                    fuse.left = 1
                    nursery.start_soon(call, kernel, "the one that broke it")
                assert trio.current_time() < 1.0, "calls in flight end at once"
                await call(kernel, "later")
                assert set(outcomes) == {"in flight", "streamed", "the one that broke it", "later"}
                assert set(outcomes.values()) == {errors.ActorFailedError}
                assert not kernel.health().ready
                assert "the budget_keeper is over" in kernel.health().problems
                assert ActorCrashed("budget_keeper", "ZeroDivisionError", restarted=False) in events.take()
                await trio.sleep(1)
                body_was_cancelled = False
        assert not body_was_cancelled
        assert isinstance(left.value.__cause__, ZeroDivisionError)

    with caplog.at_level(logging.ERROR):
        run(main)
    assert "actor budget_keeper crashed: ZeroDivisionError" in caplog.text
    assert "a planted bug" not in caplog.text


def test_the_bodys_own_exception_comes_before_that_of_a_dead_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    fuse = Fuse(monkeypatch, HoldQueue, "ask")

    async def main() -> None:
        mine = ValueError("mine")
        with pytest.raises(ValueError, match="mine") as caught:
            async with penstock.open_kernel(config(**LIMITED), transport=slow(1.0)) as kernel:
                fuse.left = 1
                with pytest.raises(errors.ActorFailedError):
                    await kernel.complete("hello")
                raise mine
        assert caught.value is mine

    run(main)


def test_where_the_callers_time_ends_with_the_actor_it_is_still_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    fuse = Fuse(monkeypatch, HoldQueue, "ask")

    async def main() -> None:
        with pytest.raises(errors.ActorFailedError):
            async with penstock.open_kernel(config(**LIMITED), transport=ScriptedTransport([Silence()])) as kernel:
                async with trio.open_nursery() as nursery:

                    async def waits() -> None:
                        with trio.move_on_after(5) as scope:
                            await kernel.complete("in flight")
                        assert scope.cancelled_caught

                    nursery.start_soon(waits)
                    await trio.sleep(5)
                    fuse.left = 1
                    with pytest.raises(errors.ActorFailedError):
                        await kernel.complete("the one that broke it")

    run(main)


def test_a_crash_of_the_cache_fails_one_call_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    fuse = Fuse(monkeypatch, Flights, "lookup")

    async def main() -> None:
        upstream = slow(1.0)
        async with penstock.open_kernel(config(**CACHED), transport=upstream) as kernel:
            assert (await kernel.complete("kept")).cache == "miss"
            async with trio.open_nursery() as nursery:
                answers: list[str] = []

                async def call() -> None:
                    answers.append((await kernel.complete("shared")).text)

                for _ in range(3):
                    nursery.start_soon(call)
                await wait_all_tasks_blocked()
                fuse.left = 1
                with pytest.raises(errors.ActorFailedError, match="cache_actor"):
                    await kernel.complete("the one that broke it")
            assert answers == [ANSWER] * 3, "followers of a flight that is forgotten go alone"
            assert (await kernel.complete("kept")).cache == "miss", "a restart forgets"
            assert (await kernel.complete("kept")).cache == "hit"
            snapshot = await kernel.snapshot()
            assert snapshot.actors["cache_actor"].restarts == 1
            assert all(actor.slots_in_use == 0 for actor in snapshot.actors.values())
            assert kernel.health().ready

    run(main)


@pytest.mark.parametrize(("core", "method"), [(Breakers, "record_tally"), (Routing, "cool")])
def test_a_crash_over_an_observation_fails_no_call_at_all(
    core: type, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fuse = Fuse(monkeypatch, core, method)
    limited = Reply(429, json={"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}})
    boom = Reply(500, json={"type": "error", "error": {"type": "api_error", "message": "boom"}})
    script: list[Answer] = [limited, boom]

    def answer(_: httpx.Request) -> Answer:
        return script.pop(0) if script else boom

    async def main() -> None:
        async with penstock.open_kernel(config(), transport=failing(SONNET, answer=answer)) as kernel:
            fuse.left = 1
            assert (await kernel.complete("hello")).target == GPT
            assert (await kernel.complete("hello")).text == ANSWER
            snapshot = await kernel.snapshot()
            assert sum(actor.restarts for actor in snapshot.actors.values()) == 1
            assert kernel.health().ready

    run(main)


def test_a_crash_of_the_breakers_while_a_call_asks_fails_that_call_and_forgets_what_was_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fuse = Fuse(monkeypatch, Breakers, "admit")

    async def main() -> None:
        settings = config(breaker={"failures_in_a_row": 1, "min_calls_in_a_row": 1})
        boom = Reply(500, json={"type": "error", "error": {"type": "api_error", "message": "boom"}})
        async with penstock.open_kernel(settings, transport=failing(SONNET, answer=boom)) as kernel:
            await kernel.complete("opens it")
            await kernel.snapshot()
            await trio.sleep(5)
            fuse.left = 1
            with pytest.raises(errors.ActorFailedError, match="breaker_registry"):
                await kernel.complete("the one that broke it")
            assert kernel.snapshot().breakers == {}
            snapshot = await kernel.snapshot()
            assert all(actor.slots_in_use == 0 for actor in snapshot.actors.values())
            assert (await kernel.complete("hello")).text == ANSWER

    run(main)


def test_an_actor_that_crashes_again_and_again_is_given_up_and_the_kernel_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fuse = Fuse(monkeypatch, Flights, "lookup")

    async def main() -> None:
        with pytest.raises(errors.ActorFailedError, match="cache_actor"):
            async with penstock.open_kernel(config(**CACHED), transport=slow(1.0)) as kernel:
                fuse.left = 4
                for _ in range(4):
                    with pytest.raises(errors.ActorFailedError):
                        await kernel.complete("hello")
                with trio.fail_after(1), pytest.raises(errors.ActorFailedError):
                    await kernel.complete("hello")
                assert "the cache_actor is over" in kernel.health().problems

    run(main)
