"""Mail that meets a crash or comes too late: nobody hangs, no slot is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from penstock.actors._address import Address
from penstock.actors._inbox import Inbox, open_mailbox
from penstock.actors._mail import Envelope, Request
from penstock.actors._supervisor import NEVER_RESTART, RESTART, Actor, RestartPolicy, supervise
from penstock.errors import ActorFailedError


class Ask(Request[str], frozen=True):
    word: str


class Fragile(Actor):
    """Answers every ask, and breaks on an observation as often as it is told to."""

    name = "fragile"

    def __init__(self, policy: RestartPolicy, *, breaks: int = 1) -> None:
        self.policy = policy
        self.breaks = breaks
        self.observed: list[object] = []

    @property
    def restart_policy(self) -> RestartPolicy:  # type: ignore[override]  # set by each test, not by the class
        return self.policy

    def handle(self, envelope: Envelope) -> None:
        if envelope.reply is not None:
            envelope.reply.answer("heard")

    def observe(self, observations: dict[str, object]) -> None:
        if self.breaks:
            self.breaks -= 1
            raise ZeroDivisionError("a bug")
        self.observed.append(observations)

    def restart(self) -> None:
        """Nothing to forget."""

    def stop(self, error: Exception) -> None:
        """Nobody waits."""


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(60):
            await main()

    trio.run(bounded, clock=MockClock(autojump_threshold=0))


def nobody_hears(_name: str, _crash: Exception, _again: bool) -> None:  # noqa: FBT001 - the supervisor's signature
    """A listener for tests that do not ask what was told."""


async def with_actor(actor: Fragile, talk: Callable[[Address], Awaitable[None]]) -> None:
    address, inbox = open_mailbox("fragile", slots=2)

    async def live(inbox: Inbox) -> None:
        await supervise(actor, inbox, nobody_hears)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(live, inbox)
        await talk(address)
        address.close()


def test_an_ask_that_comes_with_a_crashing_observation_is_answered_after_the_restart() -> None:
    async def talk(address: Address) -> None:
        address.observe("key", lambda _: "bad", wake=False)
        assert await address.ask(Ask("hello")) == "heard"
        assert address.statistics().restarts == 1
        assert address.statistics().slots_in_use == 0

    run(lambda: with_actor(Fragile(RESTART), talk))


def test_an_ask_that_comes_with_the_last_crash_of_an_actor_fails_instead_of_hanging() -> None:
    async def talk(address: Address) -> None:
        address.observe("key", lambda _: "bad", wake=False)
        with pytest.raises(ActorFailedError):
            await address.ask(Ask("hello"), owes="h1")
        assert address.statistics().slots_in_use == 0

    run(lambda: with_actor(Fragile(NEVER_RESTART), talk))


def test_what_is_owed_and_comes_with_a_crashing_observation_is_taken_after_the_restart() -> None:
    async def talk(address: Address) -> None:
        await address.ask(Ask("hold"), owes="h1")
        address.observe("key", lambda _: "bad", wake=False)
        address.tell_owed("h1", "settle")
        await wait_all_tasks_blocked()
        statistics = address.statistics()
        assert (statistics.slots_in_use, statistics.restarts, statistics.lost) == (0, 1, 0)

    run(lambda: with_actor(Fragile(RESTART), talk))


def test_after_a_crash_observations_still_wake_the_actor() -> None:
    async def talk(address: Address) -> None:
        address.observe("key", lambda _: "bad", wake=True)
        await wait_all_tasks_blocked()
        address.observe("key", lambda _: "good", wake=True)
        await wait_all_tasks_blocked()
        assert actor.observed == [{"key": "good"}]

    actor = Fragile(RESTART)
    run(lambda: with_actor(actor, talk))


def test_a_full_mailbox_has_room_for_a_wake_up_after_every_crash() -> None:
    async def talk(address: Address) -> None:
        for number in range(3):
            for slot in range(2):
                await address.ask(Ask("hold"), owes=f"{number}.{slot}")
            address.observe("key", lambda _: "bad", wake=True)
            for slot in range(2):
                address.tell_owed(f"{number}.{slot}", "settle")
            await wait_all_tasks_blocked()
        assert address.statistics().restarts == 3
        assert address.statistics().slots_in_use == 0

    run(lambda: with_actor(Fragile(RESTART, breaks=3), talk))


class CrashesAside(Fragile):
    """Breaks on one word, and once when it has drained its mail."""

    def __init__(self, *, drains: int = 0) -> None:
        super().__init__(RESTART, breaks=0)
        self.drains = drains

    def handle(self, envelope: Envelope) -> None:
        if envelope.message == Ask("crash"):
            raise ZeroDivisionError("a bug")
        super().handle(envelope)

    def drained(self) -> None:
        if self.drains:
            self.drains -= 1
            raise ZeroDivisionError("a bug")


def test_onlookers_behind_one_that_crashes_the_actor_are_answered_after_the_restart() -> None:
    answers: dict[str, str] = {}

    async def talk(address: Address) -> None:
        async def look(word: str) -> None:
            try:
                answers[word] = await address.ask_aside(Ask(word))
            except ActorFailedError:
                answers[word] = "failed"

        async with trio.open_nursery() as nursery:
            for word in ("crash", "one", "two"):
                nursery.start_soon(look, word)
            nursery.start_soon(address.flush)

    run(lambda: with_actor(CrashesAside(), talk))
    assert answers == {"crash": "failed", "one": "heard", "two": "heard"}


def test_a_flush_that_meets_a_crash_is_answered_after_the_restart() -> None:
    async def talk(address: Address) -> None:
        await address.flush()
        assert address.statistics().restarts == 1

    run(lambda: with_actor(CrashesAside(drains=1), talk))
