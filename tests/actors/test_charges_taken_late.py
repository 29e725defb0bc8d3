"""What a ledger's store does not take at once though it answers.

No charge is lost to a moment's trouble, none holds up others, and none keeps what was held for it for good.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

import pytest
import trio
from keeping import Own, Shared, World, talk

from penstock.actors.late_charges import MOST_ASIDE, PATIENCE
from penstock.errors import LedgerUnavailableError
from penstock.policy.budget import Amount, Granted, NotBooked
from penstock.policy.ledger_steps import Held, Landed, Renew, Settle, Step
from penstock_plugins.ledgers.memory import MemoryLedger

LEASE = 60.0


def settles(hold: str, steps: Sequence[Step]) -> bool:
    return any(isinstance(step, Settle) and step.hold_id == hold for step in steps)


KINDS = pytest.mark.parametrize("kind", [Own, Shared])


@KINDS
@pytest.mark.parametrize("seconds", [0.0, PATIENCE / 2])
def test_a_charge_that_the_store_does_not_take_for_a_while_is_booked_when_that_is_over(
    kind: type[Own], seconds: float
) -> None:
    async def job(world: World) -> None:
        over = [trio.current_time() + seconds]

        def trouble(steps: Sequence[Step]) -> Exception | None:
            if not settles("one", steps) or trio.current_time() > over[0]:
                return None
            return OSError("sk-secret")

        world.store.trouble = trouble
        await world.reserve("one")
        world.settle("one")
        await trio.sleep(seconds / 2)
        # Others neither wait for it nor are refused.
        assert isinstance(await world.reserve("two"), Granted)
        world.settle("two")
        await world.ref.flush()
        await trio.sleep(seconds / 2 + 2.1)
        assert await world.books() == (0, 80)

    world = talk(kind, job)
    assert world.changes == []
    assert world.events == []


@KINDS
@pytest.mark.parametrize("trouble", [OSError("sk-secret"), ValueError("sk-secret")], ids=["for ever", "at once"])
def test_a_charge_that_is_dropped_leaves_nothing_held_and_the_log_says_so(
    kind: type[Own], trouble: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def job(world: World) -> None:
        world.store.trouble = lambda steps: trouble if settles("one", steps) else None
        await world.reserve("one")
        world.settle("one")
        await world.ref.flush()
        if isinstance(trouble, OSError):
            await trio.sleep(PATIENCE - 1)
            assert world.events == []
            assert await world.books() == (100, 0)
            await trio.sleep(3)
        await world.ref.flush()
        assert world.events == [NotBooked("", "one", Amount(40))]
        await trio.sleep(LEASE + 1)
        assert await world.books() == (0, 100), "all that was held is charged"

    with caplog.at_level(logging.ERROR):
        assert talk(kind, job).changes == []
    assert "dropped: 0 nano-USD and 40 tokens" in caplog.text
    assert "what was held for it is charged in full when its lease ends" in caplog.text
    assert "sk-secret" not in caplog.text


def test_a_hold_that_the_store_will_not_end_in_any_way_is_told_to_stay(caplog: pytest.LogCaptureFixture) -> None:
    async def job(world: World) -> None:
        def trouble(steps: Sequence[Step]) -> Exception | None:
            renews = any(isinstance(step, Renew) for step in steps)
            return ValueError() if renews or settles("one", steps) else None

        world.store.trouble = trouble
        await world.reserve("one")
        world.settle("one")
        await trio.sleep(LEASE + 1)
        assert await world.books() == (100, 0)

    with caplog.at_level(logging.ERROR):
        talk(Own, job)
    assert "cannot renew the leases of 1 holds, which stay held" in caplog.text


@KINDS
def test_a_store_that_takes_no_charges_is_away_and_they_are_booked_when_it_is_back(kind: type[Own]) -> None:
    async def job(world: World) -> None:
        for number in range(2 * MOST_ASIDE):
            await world.reserve(str(number))
        world.store.trouble = lambda steps: OSError() if any(isinstance(step, Settle) for step in steps) else None
        for number in range(2 * MOST_ASIDE):
            world.settle(str(number))
        await trio.sleep(1)
        assert [change.away for change in world.changes] == [True]
        with pytest.raises(LedgerUnavailableError, match="broke: OSError"):
            await world.reserve("another")
        world.store.trouble = lambda _: None
        await trio.sleep(4.2)
        assert [change.away for change in world.changes] == [True, False]
        assert await world.books() == (0, 2 * MOST_ASIDE * 40)

    assert talk(kind, job).events == []


@pytest.mark.parametrize("over", [True, False])
def test_a_charge_that_stands_aside_when_the_kernel_ends_is_tried_once_more_or_told(
    over: bool,  # noqa: FBT001 - a parameter of the test
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def job(world: World) -> None:
        world.store.trouble = lambda steps: OSError() if settles("one", steps) else None
        await world.reserve("one")
        world.settle("one")
        await trio.sleep(5)
        if over:
            world.store.trouble = lambda _: None

    with caplog.at_level(logging.ERROR):
        world = talk(Shared, job)
    (row,) = cast("Any", MemoryLedger.peek(world.store))
    assert (row.held.tokens, row.spent.tokens) == ((0, 40) if over else (100, 0))
    assert ("1 charges were not booked" in caplog.text) is not over


def test_a_hold_that_was_kept_though_its_reserve_raised_is_given_back() -> None:
    async def job(world: World) -> None:
        def lost(landed: Landed) -> object:
            if any(isinstance(answer, Held) for answer in landed.answers):
                raise OSError
            return landed

        world.store.answered = lost
        with pytest.raises(LedgerUnavailableError, match="cannot keep what this call is to hold"):
            await world.reserve("one")
        world.settle("one", 0)
        assert await world.books() == (0, 0)

    assert talk(Own, job).events == []
