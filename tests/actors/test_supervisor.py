"""What a crash means: who fails, who starts again, and who never does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from penstock.actors._inbox import open_mailbox
from penstock.actors._mail import Envelope, Request
from penstock.actors._supervisor import NEVER_RESTART, RESTART, Actor, RestartPolicy, supervise
from penstock.actors.breaker_registry import BreakerRegistry
from penstock.actors.budget_keeper import BudgetKeeper
from penstock.actors.cache_actor import CacheActor
from penstock.actors.router import Router
from penstock.errors import ActorFailedError


class Ask(Request[int], frozen=True):
    word: str


class Counter(Actor):
    """Counts what it answered since its last start; breaks on `crash`."""

    name = "counter"

    def __init__(self, policy: RestartPolicy) -> None:
        self.policy = policy
        self.count = 0
        self.stopped: Exception | None = None

    @property
    def restart_policy(self) -> RestartPolicy:  # type: ignore[override]  # set by each test, not by the class
        return self.policy

    def handle(self, envelope: Envelope) -> None:
        if envelope.message == Ask("crash"):
            raise ZeroDivisionError("a bug")
        self.count += 1
        assert envelope.reply is not None
        envelope.reply.answer(self.count)

    def restart(self) -> None:
        self.count = 0

    def stop(self, error: Exception) -> None:
        self.stopped = error


def nobody_hears(_name: str, _crash: Exception, _again: bool) -> None:  # noqa: FBT001 - the supervisor's signature
    """A listener for tests that do not ask what was told."""


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(60):
            await main()

    trio.run(bounded, clock=MockClock(autojump_threshold=0))


def test_a_crash_fails_only_the_message_in_hand() -> None:
    async def main() -> None:
        address, inbox = open_mailbox("counter", slots=8)
        crashes: list[tuple[str, bool]] = []
        answers: dict[str, object] = {}

        def note(name: str, _crash: Exception, again: bool) -> None:  # noqa: FBT001 - the supervisor's signature
            crashes.append((name, again))

        async def ask(name: str, word: str) -> None:
            try:
                answer = await address.ask(Ask(word))
                answers[name] = answer
            except ActorFailedError as error:
                answers[name] = type(error.__cause__)

        async with trio.open_nursery() as nursery:
            for name, word in (("1", "a"), ("2", "crash"), ("3", "b"), ("4", "c")):
                nursery.start_soon(ask, name, word)
                await wait_all_tasks_blocked()
            actor = Counter(RESTART)
            nursery.start_soon(supervise, actor, inbox, note)
            await wait_all_tasks_blocked()
            address.close()
        assert answers == {"1": 1, "2": ZeroDivisionError, "3": 1, "4": 2}
        assert crashes == [("counter", True)]
        assert address.statistics().restarts == 1

    run(main)


def test_a_fourth_crash_within_five_seconds_is_the_end() -> None:
    async def main() -> None:
        address, inbox = open_mailbox("counter", slots=8)
        actor = Counter(RESTART)
        ended: list[Exception | None] = []

        async def live() -> None:
            ended.append(await supervise(actor, inbox, nobody_hears))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(live)
            for _ in range(4):
                with pytest.raises(ActorFailedError):
                    await address.ask(Ask("crash"))
                await trio.sleep(1)
            with pytest.raises(ActorFailedError):
                await address.ask(Ask("a"))
        assert isinstance(ended[0], ActorFailedError)
        assert actor.stopped is ended[0]

    run(main)


def test_crashes_that_are_far_apart_never_end_an_actor() -> None:
    async def main() -> None:
        address, inbox = open_mailbox("counter", slots=8)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervise, Counter(RESTART), inbox, nobody_hears)
            for _ in range(10):
                with pytest.raises(ActorFailedError):
                    await address.ask(Ask("crash"))
                await trio.sleep(2)
            assert await address.ask(Ask("a")) == 1
            address.close()

    run(main)


def test_the_restart_table_is_as_designed() -> None:
    table = {actor.name: actor.restart_policy for actor in (BreakerRegistry, CacheActor, Router, BudgetKeeper)}
    assert table == {
        "breaker_registry": RESTART,
        "cache_actor": RESTART,
        "router": RESTART,
        "budget_keeper": NEVER_RESTART,
    }
    assert RestartPolicy(3, 5.0) == RESTART


def test_no_actor_asks_another_in_a_circle() -> None:
    asks = {actor.name: set(actor.asks) for actor in (BreakerRegistry, CacheActor, Router, BudgetKeeper)}
    while asks:
        leaves = [name for name, others in asks.items() if not others & set(asks)]
        assert leaves, f"a cycle among {sorted(asks)}"
        for name in leaves:
            del asks[name]
