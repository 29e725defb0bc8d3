"""Asks of an actor that batches: answered in the asker's own task while there are few, in the actor's turn else."""

from __future__ import annotations

import contextvars
import math
import signal
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked
from turns import another_at_work

from penstock.actors._address import Address
from penstock.actors._inbox import FEW, Inbox, open_mailbox
from penstock.actors._mail import Envelope, Reply, Request
from penstock.actors._supervisor import NEVER_RESTART, Actor, supervise
from penstock.errors import ActorFailedError

whose = contextvars.ContextVar("whose", default="nobody")


class Ask(Request[str], frozen=True):
    word: str


class Clerk(Actor):
    """Writes down what it hears, and answers asks with whose task it was carried out in, once it is carried out."""

    name = "clerk"
    restart_policy = NEVER_RESTART

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.seen: list[object] = []
        self.owed: list[Reply[str]] = []
        self.batches: list[int] = []
        self.wakes: float | None = None
        self.breaks = self.fails = False
        self.takes = 0.0
        self.on_commit: Callable[[], None] | None = None

    async def run(self, inbox: Inbox) -> None:
        await inbox.serve(
            self.handle, self.observe, self.drained, lambda: self.wakes, self.commit, commit_now=self.commit_now
        )

    def handle(self, envelope: Envelope) -> None:
        self.heard.append(envelope.message.word if isinstance(envelope.message, Ask) else envelope.message)
        if envelope.reply is not None:
            self.owed.append(envelope.reply)

    def observe(self, observations: dict[str, object]) -> None:
        self.seen.append(observations)

    def drained(self) -> None:
        """Nothing to publish."""

    async def commit(self, *, at_once: bool) -> None:
        del at_once
        await trio.sleep(self.takes)
        self._answer("actor")

    def commit_now(self) -> None:
        if self.breaks:
            raise ZeroDivisionError("a bug")
        self._answer("asker")

    def _answer(self, whose: str) -> None:
        owed, self.owed = self.owed, []
        self.batches.append(len(owed))
        if self.on_commit is not None:
            self.on_commit()
        for reply in owed:
            if self.fails:
                reply.fail(ValueError(whose))
            else:
                reply.answer(whose)

    def restart(self) -> None:
        """Never called."""

    def stop(self, error: Exception) -> None:
        for reply in self.owed:
            reply.fail(error)


def _unheard(_name: str, _crash: Exception, _again: bool) -> None:  # noqa: FBT001 - the supervisor's signature
    """Nobody listens to crashes."""


def at_work(talk: Callable[[Address, Clerk], Awaitable[None]]) -> None:
    async def main() -> None:
        address, inbox = open_mailbox("clerk", slots=8)
        clerk = Clerk()
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(supervise, clerk, inbox, _unheard)
                await wait_all_tasks_blocked()
                await talk(address, clerk)
                await wait_all_tasks_blocked()
                address.close()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_few_asks_are_answered_in_the_askers_task_and_more_in_the_actors() -> None:
    async def talk(address: Address, clerk: Clerk) -> None:
        answers = [await address.ask(Ask(str(number)), owes=str(number)) for number in range(FEW + 2)]
        assert answers == ["asker"] * FEW + ["actor"] * 2
        for number in range(FEW + 2):
            address.tell_owed(str(number), f"settle {number}")
        await wait_all_tasks_blocked()
        assert await address.ask(Ask("again")) == "asker"
        assert clerk.heard == [*map(str, range(FEW + 2)), *(f"settle {number}" for number in range(FEW + 2)), "again"]

    at_work(talk)


def test_what_was_told_and_seen_before_is_carried_out_with_the_ask_and_never_in_the_tellers_task() -> None:
    async def talk(address: Address, clerk: Clerk) -> None:
        await address.ask(Ask("first"), owes="h")
        address.tell_owed("h", "settle")
        address.observe("key", lambda _: "spent", wake=False)
        assert clerk.heard == ["first"]
        assert await address.ask(Ask("second")) == "asker"
        assert clerk.heard == ["first", "settle", "second"]
        assert clerk.seen == [{"key": "spent"}]
        assert clerk.batches == [1, 1], "one batch for what was told and asked"

    at_work(talk)


def test_an_ask_that_comes_while_the_actor_carries_out_a_batch_is_one_of_the_next() -> None:
    async def talk(address: Address, clerk: Clerk) -> None:
        start, clerk.takes = trio.current_time(), 5.0
        address.observe("key", lambda _: 1, wake=True)
        await trio.sleep(1)
        assert await address.ask(Ask("late")) == "actor"
        assert trio.current_time() == pytest.approx(start + 10)

    at_work(talk)


def test_a_request_aside_is_answered_in_the_order_of_the_actor() -> None:
    async def talk(address: Address, clerk: Clerk) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(address.ask_aside, Ask("look"))
            await trio.lowlevel.checkpoint()
            await address.ask(Ask("ask"))
        assert sorted(map(str, clerk.heard)) == ["ask", "look"]
        await address.flush()

    at_work(talk)


def test_an_actor_that_has_to_wake_sooner_for_it_is_roused_and_else_sleeps_on() -> None:
    async def talk(address: Address, clerk: Clerk) -> None:
        await address.ask(Ask("nothing follows"))
        await trio.sleep(10)
        assert clerk.batches == [1]
        clerk.wakes = trio.current_time() + 3
        await address.ask(Ask("something is due in three seconds"))
        clerk.wakes = math.inf
        await trio.sleep(10)
        assert clerk.batches == [1, 1, 0], "it came to itself once"

    at_work(talk)


def test_what_a_batch_leads_back_to_is_handled_once_and_in_the_actors_turn() -> None:
    async def talk(address: Address, clerk: Clerk) -> None:
        def lead_back() -> None:
            clerk.on_commit = None
            address.tell_owed("h", "told from within")
            address.catch_up()
            assert "told from within" not in clerk.heard

        await address.ask(Ask("first"), owes="h")
        clerk.on_commit = lead_back
        await address.ask(Ask("second"))
        await wait_all_tasks_blocked()
        assert clerk.heard == ["first", "second", "told from within"]

    at_work(talk)


def test_what_is_carried_out_in_the_askers_task_has_the_context_variables_of_the_actor() -> None:
    seen: list[str] = []

    async def talk(address: Address, clerk: Clerk) -> None:
        whose.set("the caller")
        clerk.on_commit = lambda: seen.append(whose.get())
        assert await address.ask(Ask("word")) == "asker"

    at_work(talk)
    assert set(seen) == {"nobody"}


def test_who_left_before_the_answer_gets_none_though_it_is_made_in_the_same_step() -> None:
    async def talk(address: Address, clerk: Clerk) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await address.ask(Ask("word"), owes="h")
        assert scope.cancelled_caught
        address.tell_owed("h", "settle")
        await wait_all_tasks_blocked()
        assert clerk.heard == ["word", "settle"], "and owes what it owes all the same"

    at_work(talk)


def test_whoever_asks_again_and_again_for_an_error_lets_others_come_to_their_turn() -> None:
    async def talk(address: Address, clerk: Clerk) -> None:
        clerk.fails = True
        async with another_at_work() as turns:
            for _ in range(10):
                with pytest.raises(ValueError, match="asker"):
                    await address.ask(Ask("word"))
        assert turns.number > 5

    at_work(talk)


def test_ctrl_c_waits_until_a_batch_in_the_task_of_who_looks_on_is_carried_out() -> None:
    carried_out: list[str] = []

    async def talk(address: Address, clerk: Clerk) -> None:
        def interrupted() -> None:
            signal.raise_signal(signal.SIGINT)
            carried_out.append("whole")

        await address.ask(Ask("word"), owes="word")
        clerk.on_commit = interrupted
        address.tell_owed("word", "over")
        address.catch_up()

    with pytest.raises(BaseExceptionGroup) as caught:
        at_work(talk)
    assert caught.group_contains(KeyboardInterrupt)
    assert carried_out == ["whole"]


def test_a_crash_in_the_askers_task_is_the_actors_own() -> None:
    async def talk(address: Address, clerk: Clerk) -> None:
        clerk.breaks = True
        for _ in range(2):
            with pytest.raises(ActorFailedError, match="clerk"):
                await address.ask(Ask("breaks it"))

    at_work(talk)
