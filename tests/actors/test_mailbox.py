"""Mailboxes under one loop and virtual time: slots, owed tells, observations, deadlines, death."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from penstock.actors._inbox import Inbox, open_mailbox
from penstock.actors._mail import Envelope, Request
from penstock.errors import ActorFailedError, DeadlineExceededError, KernelClosedError


class Ask(Request[str], frozen=True):
    word: str


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(60):
            await main()

    trio.run(bounded, clock=MockClock(autojump_threshold=0))


class Echo:
    """Serves one inbox; keeps what it was told; answers asks but those whose word is `later`."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.seen: list[dict[object, object]] = []
        self.later: list[Envelope] = []
        self.drains = 0

    def handle(self, envelope: Envelope) -> None:
        match envelope.message:
            case Ask(word="later"):
                self.later.append(envelope)
            case Ask(word=word):
                assert envelope.reply is not None
                envelope.reply.answer(word.upper())
            case message:
                self.told.append(message)

    def drained(self) -> None:
        self.drains += 1

    async def serve(self, inbox: Inbox) -> None:
        await inbox.serve(self.handle, self.seen.append, self.drained, lambda: None)


def test_an_ask_waits_for_its_reply_and_gives_its_slot_back() -> None:
    async def main() -> None:
        address, inbox = open_mailbox("echo", slots=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Echo().serve, inbox)
            assert await address.ask(Ask("a")) == "A"
            assert await address.ask(Ask("b")) == "B"
            assert address.statistics().slots_in_use == 0
            address.close()

    run(main)


def test_the_slot_of_an_owing_ask_is_kept_until_the_actor_took_what_is_owed() -> None:
    async def main() -> None:
        address, inbox = open_mailbox("echo", slots=1)
        echo = Echo()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo.serve, inbox)
            await address.ask(Ask("a"), owes="h1")
            assert address.statistics().slots_in_use == 1
            with trio.move_on_after(5) as scope:
                await address.ask(Ask("b"), owes="h2")
            assert scope.cancelled_caught
            address.tell_owed("h2", "nothing was owed: it never got a slot")
            address.tell_owed("h1", "settle h1")
            address.tell_owed("h1", "settle h1 again")
            await address.flush()
            assert echo.told == ["settle h1"]
            assert address.statistics().stray == 2
            assert address.statistics().slots_in_use == 0
            address.close()

    run(main)


def test_slots_are_given_out_in_the_order_of_asking() -> None:
    async def main() -> None:
        address, inbox = open_mailbox("echo", slots=1)
        order: list[str] = []

        async def call(name: str) -> None:
            await address.ask(Ask(name), owes=name)
            order.append(name)
            await trio.sleep(1)
            address.tell_owed(name, name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(Echo().serve, inbox)
            async with trio.open_nursery() as callers:
                for name in "abcd":
                    callers.start_soon(call, name)
                    await wait_all_tasks_blocked()
            address.close()
        assert order == ["a", "b", "c", "d"]

    run(main)


def test_an_ask_whose_caller_left_is_dropped_unhandled() -> None:
    async def main() -> None:
        address, inbox = open_mailbox("echo", slots=4)
        echo = Echo()
        with trio.move_on_after(1):
            await address.ask(Ask("nobody waits"), owes="x")
        address.tell_owed("x", "settled")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo.serve, inbox)
            await address.flush()
            address.close()
        assert echo.told == ["settled"]
        assert address.statistics().dropped == 1
        assert address.statistics().slots_in_use == 0

    run(main)


def test_an_ask_whose_deadline_passed_fails_instead_of_hanging() -> None:
    async def main() -> None:
        address, inbox = open_mailbox("echo", slots=4)
        async with trio.open_nursery() as nursery:

            async def late() -> None:
                with pytest.raises(DeadlineExceededError):
                    await address.ask(Ask("late"), deadline=trio.current_time() + 1)

            nursery.start_soon(late)
            await trio.sleep(2)
            nursery.start_soon(Echo().serve, inbox)
            await address.flush()
            address.close()

    run(main)


def test_a_full_mailbox_still_takes_everything_that_is_owed() -> None:
    """Every slot with an abandoned ask, an abandoned top-up and its tell: the bound of the channel is exact."""

    async def main() -> None:
        slots = 8
        address, inbox = open_mailbox("echo", slots=slots)
        echo = Echo()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo.serve, inbox)
            for n in range(slots):
                await address.ask(Ask("reserve"), owes=f"h{n}")
            nursery.cancel_scope.cancel()  # the actor sleeps from here on
        for n in range(slots):
            with trio.CancelScope() as scope:
                scope.cancel()
                await address.ask(Ask("top up"), rides_on=f"h{n}")
            address.tell_owed(f"h{n}", f"settle h{n}")
            address.observe("scope", lambda before: (before or 0) + 1, wake=True)
        assert address.statistics().queued == 2 * slots
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo.serve, inbox)
            await address.flush()
            address.close()
        assert echo.told == [f"settle h{n}" for n in range(slots)]
        assert echo.seen == [{"scope": slots}]
        assert address.statistics().slots_in_use == 0
        assert address.statistics().lost == 0

    run(main)


def test_observations_merge_by_key_and_wake_the_actor_once() -> None:
    async def main() -> None:
        address, inbox = open_mailbox("echo", slots=1)
        echo = Echo()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo.serve, inbox)
            await wait_all_tasks_blocked()
            for n in range(100):
                address.observe("a" if n % 2 else "b", lambda before: (before or 0) + 1, wake=True)
            await wait_all_tasks_blocked()
            assert echo.seen == [{"a": 50, "b": 50}]
            assert echo.drains == 1
            address.observe("quiet", lambda _: 1, wake=False)
            await wait_all_tasks_blocked()
            assert len(echo.seen) == 1, "a quiet observation leaves the actor asleep"
            await address.flush()
            assert echo.seen[1] == {"quiet": 1}
            address.close()

    run(main)


def test_observations_are_bounded() -> None:
    async def main() -> None:
        address, _inbox = open_mailbox("echo", slots=1, observation_keys=10)
        for n in range(50):
            address.observe(n, lambda _: 1, wake=False)
        assert address.statistics().observations == 10
        assert address.statistics().lost == 40

    run(main)


def test_telling_a_closed_or_dead_actor_never_raises_and_is_counted() -> None:
    async def main() -> None:
        for end in ("closed", "dead"):
            address, inbox = open_mailbox("echo", slots=2)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(Echo().serve, inbox)
                await address.ask(Ask("a"), owes="h")
                nursery.cancel_scope.cancel()
            if end == "closed":
                address.close()
            else:
                inbox.die(ActorFailedError("broken"))
            address.tell_owed("h", "settle")
            address.observe("x", lambda _: 1, wake=True)
            assert address.statistics().slots_in_use == 0
            assert address.statistics().lost + address.statistics().stray >= 2
            with pytest.raises(KernelClosedError if end == "closed" else ActorFailedError):
                await address.ask(Ask("b"))

    run(main)


def test_nobody_hangs_on_an_actor_that_dies() -> None:
    async def main() -> None:
        address, inbox = open_mailbox("echo", slots=2)
        failed: list[str] = []

        async def call(name: str) -> None:
            try:
                await address.ask(Ask(name), owes=name)
            except ActorFailedError:
                failed.append(name)

        async with trio.open_nursery() as nursery:
            for name in "abcd":  # two queued, two waiting for a slot
                nursery.start_soon(call, name)
            await wait_all_tasks_blocked()
            inbox.die(ActorFailedError("broken"))
        assert sorted(failed) == ["a", "b", "c", "d"]
        assert address.statistics().slots_in_use == 0

    run(main)


def test_a_top_up_without_a_slot_is_a_bug_and_says_so() -> None:
    async def main() -> None:
        address, _inbox = open_mailbox("echo", slots=1)
        with pytest.raises(ActorFailedError, match="holds no slot"):
            await address.ask(Ask("more"), rides_on="nobody")

    run(main)


def test_what_was_sent_before_the_end_is_still_handled() -> None:
    async def main() -> None:
        address, inbox = open_mailbox("echo", slots=4)
        echo = Echo()
        with trio.CancelScope() as scope:
            scope.cancel()
            await address.ask(Ask("a"), owes="h")
        address.tell_owed("h", "settle h")
        address.observe("x", lambda _: 1, wake=False)
        address.close()
        await echo.serve(inbox)
        assert echo.told == ["settle h"]
        assert echo.seen == [{"x": 1}]

    run(main)


def test_who_looks_on_finds_everything_handled_that_was_told_before() -> None:
    async def main() -> None:
        address, inbox = open_mailbox("echo", slots=4)
        echo = Echo()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo.serve, inbox)
            assert await address.ask(Ask("a"), owes="h") == "A"
            await wait_all_tasks_blocked()
            drains = echo.drains
            address.catch_up()
            assert echo.drains == drains, "where nothing waits nothing is done"
            address.observe("x", lambda _: 1, wake=False)
            address.tell_owed("h", "settle h")
            assert echo.told == []
            address.catch_up()
            assert (echo.told, echo.seen) == (["settle h"], [{"x": 1}])
            assert echo.drains == drains + 1
            assert address.statistics().slots_in_use == 0
            address.close()
        address.catch_up()
        assert echo.told == ["settle h"]

    run(main)


def test_who_looks_on_lets_the_actor_come_to_what_is_left_for_it_without_waking_it() -> None:
    async def main() -> None:
        address, inbox = open_mailbox("echo", slots=1)
        echo = Echo()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo.serve, inbox)
            await wait_all_tasks_blocked()
            address.observe("a", lambda _: 1, wake=False)
            address.catch_up()
            address.observe("b", lambda _: 2, wake=False)
            await wait_all_tasks_blocked()
            assert echo.seen == [{"a": 1}, {"b": 2}]
            address.close()

    run(main)


def test_an_actor_that_leads_back_to_itself_while_it_is_caught_up_with_handles_each_message_once() -> None:
    async def main() -> None:
        address, inbox = open_mailbox("echo", slots=4)
        echo = Echo()

        def told(envelope: Envelope) -> None:
            echo.handle(envelope)
            address.catch_up()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(inbox.serve, told, echo.seen.append, address.catch_up, lambda: None)
            for word in ("a", "b"):
                await address.ask(Ask(word), owes=word)
            await wait_all_tasks_blocked()
            for word in ("a", "b"):
                address.tell_owed(word, word)
            address.catch_up()
            assert echo.told == ["a", "b"]
            address.close()

    run(main)
