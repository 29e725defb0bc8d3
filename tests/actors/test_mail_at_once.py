"""Mail to an actor that sleeps and has nothing to do may be handled as it is sent: in order, and as safely as ever."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from penstock.actors._address import Address
from penstock.actors._inbox import open_mailbox
from penstock.actors._mail import Envelope, Request
from penstock.actors._supervisor import RESTART, Actor, supervise
from penstock.actors.breaker_registry import BreakerRegistry
from penstock.actors.budget_keeper import BudgetKeeper
from penstock.actors.cache_actor import CacheActor
from penstock.actors.router import Router
from penstock.errors import ActorFailedError


class Say(Request[int], frozen=True):
    word: str


class Listener(Actor):
    """Keeps what it heard, and in which task; breaks on `crash`."""

    name = "listener"
    at_once = True
    restart_policy = RESTART

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.tasks: list[str] = []

    def handle(self, envelope: Envelope) -> None:
        if envelope.message.word == "crash":
            raise ZeroDivisionError("a bug")
        self.heard.append(envelope.message.word)
        self.tasks.append(trio.lowlevel.current_task().name)
        if envelope.reply is not None:
            envelope.reply.answer(len(self.heard))

    def restart(self) -> None:
        self.heard.append("restarted")

    def stop(self, error: Exception) -> None:
        """Nobody waits."""


async def live(nursery: trio.Nursery) -> tuple[Listener, Address, list[str]]:
    """One that sleeps, its address, and what its supervisor hears of crashes."""
    address, inbox = open_mailbox("listener", slots=4)
    listener, crashes = Listener(), list[str]()

    def note(_name: str, crash: Exception, _again: bool) -> None:  # noqa: FBT001 - the supervisor's signature
        crashes.append(type(crash).__name__)

    nursery.start_soon(supervise, listener, inbox, note, name="the actor")
    await wait_all_tasks_blocked()
    return listener, address, crashes


def test_one_that_sleeps_answers_in_the_task_that_asks() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            listener, address, _ = await live(nursery)
            assert await address.ask(Say("a"), owes="a") == 1
            address.tell_owed("a", Say("b"))
            assert listener.heard == ["a", "b"]
            assert "the actor" not in listener.tasks
            assert address.statistics().slots_in_use == 0
            assert address.statistics().handled == 2
            address.close()

    trio.run(main)


def test_a_crash_fails_who_asked_and_the_actor_starts_again() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            listener, address, crashes = await live(nursery)
            with pytest.raises(ActorFailedError) as failed:
                await address.ask(Say("crash"))
            assert isinstance(failed.value.__cause__, ZeroDivisionError)
            assert crashes == ["ZeroDivisionError"]
            assert await address.ask(Say("a")) == 2
            assert listener.heard == ["restarted", "a"]
            address.close()

    trio.run(main)


def test_telling_never_raises_though_the_actor_breaks_over_it_and_what_comes_next_is_for_the_restarted_one() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            listener, address, crashes = await live(nursery)
            await address.ask(Say("a"), owes="a")
            await address.ask(Say("b"), owes="b")
            address.tell_owed("a", Say("crash"))
            address.tell_owed("b", Say("c"))
            assert listener.heard == ["a", "b"]
            await wait_all_tasks_blocked()
            assert (listener.heard, crashes) == (["a", "b", "restarted", "c"], ["ZeroDivisionError"])
            address.close()

    trio.run(main)


def test_only_an_actor_that_publishes_nothing_and_waits_for_no_moment_answers_at_once() -> None:
    for actor in (BudgetKeeper, BreakerRegistry, Router, CacheActor):
        plain = actor.drained is Actor.drained and actor.wake_at is Actor.wake_at and actor.observe is Actor.observe
        assert plain or not actor.at_once
        assert actor.run is Actor.run or not actor.at_once
    assert CacheActor.at_once
