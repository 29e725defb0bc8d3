"""A commit to a ledger on Redis, cancelled at each step that it has: the store stays usable, no batch is half done."""

from __future__ import annotations

import pytest
import trio
from cancelled import CancelAtStep
from redis_stores import opened
from valkey_process import Valkey

from penstock.policy.holds import Line
from penstock.policy.ledger_steps import Reserve, WindowUse

WINDOW = WindowUse("day:UTC:team", 9e9, rolling=False)


def reserve(hold_id: str) -> Reserve:
    return Reserve(
        hold_id=hold_id,
        account="team",
        windows=(WINDOW,),
        lines=(Line(1, 0, 0, 0),),
        min_output=0,
        max_output=0,
        lease=600.0,
    )


@pytest.mark.parametrize("connected", [False, True], ids=["with the connection", "on a connection"])
def test_a_commit_may_be_cancelled_at_each_await(connected: bool, valkey: Valkey) -> None:  # noqa: FBT001 - a parameter
    async def once(nth: int) -> bool:
        """True where it got through."""
        batch = [reserve(f"{nth}-{half}") for half in "ab"]
        cancel = CancelAtStep(nth)
        async with opened(valkey.url, f"cancelled-{connected}") as store:
            if connected:
                await store.commit(())
            with trio.CancelScope() as cancel.scope:
                trio.lowlevel.add_instrument(cancel)
                await store.commit(batch)
            trio.lowlevel.remove_instrument(cancel)
            with trio.fail_after(20):
                held = {row.hold_id for row in await store.holds()} & {step.hold_id for step in batch}
                assert held in (set(), {step.hold_id for step in batch})
                await store.commit(batch)
                (row,) = await store.windows((WINDOW.key,))
                assert row.held.tokens == 2 * nth
        return not cancel.scope.cancelled_caught

    nth = 1
    while not trio.run(once, nth):
        nth += 1
        assert nth < 500, "a commit never gets through"
    assert nth > 1, "nothing was cancelled"


def test_cancelled_questions_leave_no_answer_for_the_next(valkey: Valkey) -> None:
    """The reply to a question that nobody waits for any more is not taken for the next one's."""

    async def main() -> None:
        async with opened(valkey.url, "mixed-up") as store:
            await store.commit(())
            for number in range(50):
                with trio.move_on_after(0.0005):
                    await store.commit((reserve(f"{number}"),))
                landed = await store.commit(tuple(reserve(f"{number}-{each}") for each in range(number % 5)))
                assert len(landed.answers) == number % 5

    trio.run(main)


def test_reading_beside_a_commit_is_fine(valkey: Valkey) -> None:
    async def main() -> None:
        async with opened(valkey.url, "beside") as store, trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(store.windows)
                nursery.start_soon(store.holds)
                await store.commit((reserve(f"{number}"),))
            (row,) = await store.windows()
            assert row.held.tokens == 20
        assert valkey.say("PING") == "+PONG"

    trio.run(main)
