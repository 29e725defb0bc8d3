"""The budget keeper and a ledger store that others share, that fails, hangs, and comes back."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar

import pytest
import trio
import trio.testing
from acme import PanicException
from supervised import run, with_actor

from penstock._clock import Clock
from penstock.actors.budget_keeper import SETTLE_WITHIN, KeeperSettings, open_budget_keeper
from penstock.actors.store_standing import StoreChange
from penstock.errors import ActorFailedError, ConfigError, LedgerUnavailableError
from penstock.policy.accounts import AccountSpec, Limit
from penstock.policy.budget import Amount, BudgetEvent, Granted, Line, NotBooked, Per, Refused
from penstock.policy.ledger_steps import Landed, Reserve, Settle, Spent, Step, WindowUse
from penstock_plugins.ledgers.memory import MemoryLedger

LIMIT = 1_000
ROOT = AccountSpec(path="", limits=(Limit(per=Per.DAY, tokens=LIMIT),))
LEASE = 60.0


class Shared(MemoryLedger):
    """Books in memory that behave like those of a server: others share them, and they can be away."""

    shared: ClassVar[bool] = True
    durable: ClassVar[bool] = True

    def __init__(self, wall: Callable[[], float]) -> None:
        super().__init__(wall)
        self.trouble: Callable[[], Awaitable[None]] | None = None
        self.answer_is_lost = False
        self.cannot_keep: frozenset[str] = frozenset()
        """Ids of holds that it cannot write down, for all that it is well."""
        self.batches: list[Sequence[Step]] = []

    async def commit(self, steps: Sequence[Step]) -> Landed:
        self.batches.append(steps)
        if self.trouble is not None:
            await self.trouble()
        await trio.lowlevel.checkpoint()
        if any(getattr(step, "hold_id", None) in self.cannot_keep for step in steps):
            raise UnicodeEncodeError("utf-8", "sk-secret\ud800", 9, 10, "surrogates not allowed")
        landed = await super().commit(steps)
        if self.answer_is_lost:
            raise LedgerUnavailableError("the connection was lost")
        return landed

    def peek(self) -> None:  # type: ignore[override]
        """It has to be waited for."""

    async def spends(self, hold: str, held: int, charged: int | None) -> None:
        """Somebody else holds, and settles where `charged` says so."""
        end = (self._wall() // 86_400 + 1) * 86_400
        use = WindowUse("day:UTC:", end, rolling=False, limit_tokens=LIMIT)
        steps: list[Step] = [
            Reserve(
                hold_id=hold,
                account="",
                windows=(use,),
                lines=(Line(held, 0, 0, 0),),
                min_output=0,
                max_output=0,
                lease=LEASE,
            )
        ]
        if charged is not None:
            steps.append(Settle(hold_id=hold, charged=Amount(charged)))
        await super().commit(steps)


async def refuses() -> None:
    raise LedgerUnavailableError("127.0.0.1:6379 refused the connection; start the server")


async def breaks() -> None:
    raise KeyError("sk-secret")


async def panics() -> None:
    raise PanicException("sk-secret")


async def hangs() -> None:
    await trio.sleep_forever()


class World:
    """A keeper of one account with 1,000 tokens a day, in a store that is shared."""

    def __init__(self, *, slots: int = 8, settings: KeeperSettings | None = None) -> None:
        self.events: list[BudgetEvent] = []
        self.changes: list[StoreChange] = []
        clock = Clock()
        self.store = Shared(clock.wall)
        self.actor, self.inbox, self.ref = open_budget_keeper(
            [ROOT],
            self.store,
            clock,
            slots=slots,
            on_event=self.events.append,
            on_store=self.changes.append,
            settings=settings,
        )

    async def reserve(self, hold: str, tokens: int, *, wait: float = 0.0) -> Granted | Refused:
        return await self.ref.reserve(
            hold, "", [Line(tokens, 0, 0, 0)], min_output=0, max_output=0, wait=wait, deadline=trio.current_time() + 900
        )

    def settle(self, hold: str, tokens: int = 0, *, spent: Sequence[Spent] = ()) -> None:
        self.ref.settle(hold, Amount(tokens), estimated=False, spent=spent)

    async def books(self) -> tuple[int, int]:
        """Held and spent tokens, as the store has them."""
        await self.ref.flush()
        await self.ref.look()
        (window,) = self.ref.accounts()[""].windows
        return window.held.tokens, window.spent.tokens


def talk(job: Callable[[World], Awaitable[None]], *, settings: KeeperSettings | None = None) -> World:
    made: list[World] = []

    async def main() -> None:
        world = World(settings=settings)
        made.append(world)
        await with_actor(world.actor, world.inbox, world.ref.close, lambda: job(world))

    run(main, limit=100_000.0)  # longer than a day
    return made[0]


def test_calls_one_after_the_other_settle_with_the_next_ones_reserve() -> None:
    async def job(world: World) -> None:
        await world.ref.flush()
        world.store.batches.clear()
        for number in range(20):
            assert isinstance(await world.reserve(str(number), 600), Granted)
            world.settle(str(number), 1)  # the room that this makes is there for the next
            await trio.sleep(SETTLE_WITHIN / 2)
        assert len(world.store.batches) == 20, "with the settles apart there would be twice as many"

    talk(job)


def test_a_settle_that_no_other_call_follows_is_carried_out_in_a_moment() -> None:
    async def job(world: World) -> None:
        await world.ref.flush()
        world.store.batches.clear()
        await world.reserve("one", 600)
        world.settle("one", 1)
        await trio.sleep(2 * SETTLE_WITHIN)
        assert len(world.store.batches) == 2
        await trio.sleep(1)
        assert len(world.store.batches) == 2

    talk(job)


def test_a_settle_is_carried_out_at_once_where_somebody_waits_for_its_room_or_for_the_books() -> None:
    async def job(world: World) -> None:
        async def waits(hold: str) -> None:
            assert isinstance(await world.reserve(hold, 600, wait=5.0), Granted)

        await world.reserve("one", 600)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waits, "two")
            await trio.testing.wait_all_tasks_blocked()
            began = trio.current_time()
            world.settle("one", 1)
        world.settle("two", 2)
        assert await world.books() == (0, 3)
        assert trio.current_time() == began

    talk(job)


@pytest.mark.parametrize("trouble", [refuses, breaks, panics], ids=["refuses", "breaks", "panics"])
def test_while_the_store_is_away_calls_are_refused_at_once_and_it_is_told_once(
    trouble: Callable[[], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    async def job(world: World) -> None:
        world.store.trouble = trouble
        for number in range(5):
            began = trio.current_time()
            with pytest.raises(LedgerUnavailableError) as refused:
                await world.reserve(str(number), 10)
            assert trio.current_time() == began
            assert refused.value.retry_after is not None
            assert "sk-secret" not in str(refused.value)
            world.settle(str(number))
        assert [change.away for change in world.changes] == [True]
        # Only the first of them met the store, which one that breaks is asked once more, with nothing in hand; nobody
        # knocks at its door with every call.
        assert len(world.store.batches) == (1 if trouble is refuses else 2)

    with caplog.at_level(logging.ERROR):
        talk(job)
    assert "sk-secret" not in caplog.text
    assert "calls of accounts with limits are refused" in caplog.text


def test_a_store_that_comes_back_is_found_by_itself_and_nothing_is_lost() -> None:
    async def job(world: World) -> None:
        assert isinstance(await world.reserve("before", 600), Granted)
        world.store.trouble = refuses
        world.settle("before", 450)
        await trio.sleep(30)
        assert world.changes[-1].away
        assert 10 < len(world.store.batches) < 40, "it is asked again, ever less often"
        world.store.trouble = None
        await trio.sleep(2.1)
        assert [change.away for change in world.changes] == [True, False]
        assert await world.books() == (0, 450)
        assert isinstance(await world.reserve("after", 550), Granted)
        world.settle("after", 0)

    talk(job)


def test_a_store_that_hangs_is_waited_for_as_long_as_it_may_take() -> None:
    async def job(world: World) -> None:
        world.store.trouble = hangs
        with pytest.raises(LedgerUnavailableError, match="did not answer within 3 s"):
            await world.reserve("one", 10)
        assert trio.current_time() == 3.0
        world.settle("one")
        world.store.trouble = None
        await trio.sleep(1)
        assert isinstance(await world.reserve("two", 10), Granted)
        world.settle("two")

    talk(job, settings=KeeperSettings(timeout=3.0))


def test_a_hold_whose_answer_was_lost_is_given_back() -> None:
    async def job(world: World) -> None:
        world.store.answer_is_lost = True
        with pytest.raises(LedgerUnavailableError):
            await world.reserve("one", 700)
        world.settle("one")
        world.store.answer_is_lost = False
        await trio.sleep(5)
        assert await world.books() == (0, 0)
        assert isinstance(await world.reserve("two", 700), Granted)
        world.settle("two")

    talk(job)


def test_calls_are_let_through_where_that_is_wanted_and_booked_when_the_store_is_back() -> None:
    async def job(world: World) -> None:
        world.store.trouble = refuses
        for number in range(3):
            assert await world.reserve(str(number), 600) == Granted(str(number), 0, Amount(600))
        more = await world.ref.top_up("0", Amount(100), deadline=trio.current_time() + 5)
        assert more == Granted("0", 0, Amount(700))
        for number in range(3):
            world.settle(str(number), 500)
        await trio.sleep(1)
        world.store.trouble = None
        await trio.sleep(2.1)
        # More than the limit: that is what was asked for.
        assert await world.books() == (0, 1_500)
        assert isinstance(await world.reserve("after", 1), Refused)
        world.settle("after")

    talk(job, settings=KeeperSettings(on_store_down="allow"))


def test_a_call_that_was_let_through_may_ask_for_more_once_the_store_is_back() -> None:
    async def job(world: World) -> None:
        await world.reserve("before", 100)
        world.settle("before", 100)
        await world.ref.flush()
        world.store.trouble = refuses
        assert isinstance(await world.reserve("one", 100), Granted)
        assert isinstance(await world.reserve("two", 100), Granted)
        world.store.trouble = None
        await trio.sleep(5)
        more = await world.ref.top_up("one", Amount(50), deadline=trio.current_time() + 5)
        assert more == Granted("one", 0, Amount(150))
        assert await world.books() == (150, 100)
        refused = await world.ref.top_up("two", Amount(651), deadline=trio.current_time() + 5)
        assert isinstance(refused, Refused)
        assert (refused.reason, refused.missing) == ("held", Amount(1))
        for hold in ("one", "two"):
            world.settle(hold, 90)
        assert await world.books() == (0, 280)

    talk(job, settings=KeeperSettings(on_store_down="allow"))


def test_what_could_not_be_booked_by_the_end_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def job(world: World) -> None:
        await world.reserve("one", 600)
        world.store.trouble = refuses
        world.settle("one", 450)

    with caplog.at_level(logging.ERROR):
        talk(job)
    assert "1 charges were not booked; what is held for them is charged in full when the leases end" in caplog.text
    assert "never booked" not in caplog.text


def test_a_charge_for_a_window_that_is_over_is_booked_in_the_one_of_now_when_the_kernel_ends_with_it() -> None:
    async def job(world: World) -> None:
        each_minute = AccountSpec(path="", limits=(Limit(per=Per.MINUTE, tokens=LIMIT), *ROOT.limits))
        await trio.sleep(50)
        await world.ref.reconfigure([each_minute])
        await trio.sleep(20)  # the minute in which the call had begun is over
        world.ref.note("began without limits", "", Amount(300), estimated=False)

    world = talk(job)
    assert {row.spent for row in trio.run(world.store.windows)} == {Amount(300)}


@pytest.mark.parametrize("reload_at", ["while it is away", "when it is back"])
def test_what_was_let_through_counts_in_the_windows_that_a_reload_has_made_meanwhile(reload_at: str) -> None:
    in_tokyo = AccountSpec(path="", limits=(Limit(per=Per.DAY, tokens=LIMIT, timezone="Asia/Tokyo"),))

    async def job(world: World) -> None:
        assert isinstance(await world.reserve("before", 100), Granted)
        world.settle("before", 100)
        await world.ref.flush()
        world.store.trouble = refuses
        for number in range(3):
            assert isinstance(await world.reserve(str(number), 300), Granted)
            world.settle(str(number), 300)
        if reload_at == "while it is away":
            await world.ref.reconfigure([in_tokyo])
        await trio.sleep(5)
        world.store.trouble = None
        await trio.sleep(5)
        if reload_at == "when it is back":
            await world.ref.reconfigure([in_tokyo])
        assert isinstance(await world.reserve("one more", 1), Refused)
        assert await world.books() == (0, LIMIT)

    talk(job, settings=KeeperSettings(on_store_down="allow"))


def test_a_charge_without_a_hold_keeps_no_other_account_from_finding_what_it_has_spent() -> None:
    def counted_in(zone: str) -> AccountSpec:
        return AccountSpec(path="u/*", limits=(Limit(per=Per.DAY, tokens=LIMIT, timezone=zone),))

    async def job(world: World) -> None:
        clock = Clock()
        actor, inbox, ref = open_budget_keeper(
            [], world.store, clock, slots=8, on_event=world.events.append, on_store=world.changes.append
        )

        async def later() -> None:
            await ref.reconfigure([counted_in("Asia/Tokyo")])
            ref.note("it began without limits", "u/alice", Amount(10), estimated=False)
            await ref.flush()
            asked = ref.reserve(
                "bob's", "u/bob", [Line(1, 0, 0, 0)], min_output=0, max_output=0, wait=0.0, deadline=900.0
            )
            assert isinstance(await asked, Refused)

        await world.ref.reconfigure([counted_in("UTC")])
        await world.ref.reserve(
            "all", "u/bob", [Line(LIMIT, 0, 0, 0)], min_output=0, max_output=0, wait=0.0, deadline=900.0
        )
        world.settle("all", LIMIT)
        await world.ref.flush()
        await with_actor(actor, inbox, ref.close, later)

    talk(job)


def test_what_was_let_through_and_is_never_booked_is_told_by_account_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def job(world: World) -> None:
        await world.reserve("held", 600)
        world.store.trouble = refuses
        world.settle("held", 450)
        for number in range(3):
            await world.reserve(str(number), 10)
            world.settle(str(number), 7)

    with caplog.at_level(logging.ERROR):
        talk(job, settings=KeeperSettings(on_store_down="allow"))
    assert "0 USD and 21 tokens of 3 calls of account '/', which were let through without it, are never" in caplog.text
    assert "1 charges were not booked" in caplog.text


def test_another_trouble_of_a_store_that_is_away_is_told_too_and_each_once(caplog: pytest.LogCaptureFixture) -> None:
    async def job(world: World) -> None:
        for trouble in ("it is down", "its books are older", "it is down"):

            async def raises(trouble: str = trouble) -> None:
                raise LedgerUnavailableError(trouble)

            world.store.trouble = raises
            with pytest.raises(LedgerUnavailableError):
                await world.reserve(trouble, 10)
            world.settle(trouble)
            await trio.sleep(5)

    with caplog.at_level(logging.ERROR):
        talk(job)
    told = [record.getMessage() for record in caplog.records]
    assert sum("it is down" in line for line in told) == 1
    assert sum("its books are older" in line for line in told) == 1


def test_a_store_whose_content_is_of_another_version_is_told_in_its_own_words(caplog: pytest.LogCaptureFixture) -> None:
    async def newer() -> None:
        raise ConfigError("[ledger] path: ledger.db: it was written by a newer penstock: use that penstock")

    async def job(world: World) -> None:
        world.store.trouble = newer
        with pytest.raises(LedgerUnavailableError, match="written by a newer penstock: use that penstock"):
            await world.reserve("one", 10)

    talk(job)
    assert "written by a newer penstock" in caplog.text


def test_the_hold_of_a_long_call_is_renewed_and_that_of_a_killed_one_is_charged_in_full() -> None:
    async def job(world: World) -> None:
        await world.reserve("long", 300)
        await world.store.spends("killed", 200, None)
        await trio.sleep(10 * LEASE)
        assert await world.books() == (300, 200)
        world.settle("long", 30)
        assert await world.books() == (0, 230)

    talk(job, settings=KeeperSettings(lease=LEASE))


def test_room_that_another_process_gives_back_is_found() -> None:
    async def job(world: World) -> None:
        await world.store.spends("theirs", 800, None)

        async def gives_back() -> None:
            await trio.sleep(1)
            await world.store.spends("theirs", 800, 100)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(gives_back)
            assert isinstance(await world.reserve("ours", 900, wait=5.0), Granted)
        assert 1.0 <= trio.current_time() <= 1.1
        world.settle("ours")

    talk(job)


def test_those_who_wait_are_refused_when_the_store_goes_away() -> None:
    async def job(world: World) -> None:
        await world.reserve("first", 800)

        async def goes_away() -> None:
            await trio.sleep(1)
            world.store.trouble = refuses

        async with trio.open_nursery() as nursery:
            nursery.start_soon(goes_away)
            with pytest.raises(LedgerUnavailableError):
                await world.reserve("second", 800, wait=60.0)
        assert trio.current_time() <= 1.1
        world.settle("second")
        world.settle("first")

    talk(job)


def test_the_day_that_ends_on_the_way_to_the_store_is_asked_for_anew() -> None:
    async def job(world: World) -> None:
        day = 86_400.0
        clock = Clock()
        await world.reserve("yesterday", 900)
        world.settle("yesterday", 900)
        await world.ref.flush()

        async def midnight() -> None:
            world.store.trouble = None
            await trio.sleep(2.0)

        await trio.sleep(day - clock.wall() % day - 1.0)
        world.store.trouble = midnight
        assert isinstance(await world.reserve("today", 900), Granted)
        world.settle("today")
        assert await world.books() == (0, 0)

    talk(job)


def test_what_calls_spent_is_kept_for_reports_whether_they_held_or_not() -> None:
    async def job(world: World) -> None:
        await world.reserve("held", 100)
        world.settle("held", 60, spent=[Spent(target="t/m", output_tokens=60, nano_usd=5)])
        world.ref.note("free", "team", Amount(7), estimated=False, spent=[Spent(target="t/m", output_tokens=7)])
        await world.ref.flush()
        rows = await world.store.spending(since=0.0, until=1e11)
        assert sorted((row.account, row.calls, row.spent.output_tokens) for row in rows) == [
            ("", 1, 60),
            ("team", 1, 7),
        ]

    talk(job)


def test_a_bug_of_our_own_between_two_batches_ends_the_keeper_and_nobody_hangs() -> None:
    async def main() -> None:
        world = World()

        def broken(*_: object) -> None:
            raise ZeroDivisionError("a planted bug")

        async def job() -> None:
            world.actor._queue.landed = broken  # type: ignore[method-assign,assignment]  # pyright: ignore[reportPrivateUsage]
            with pytest.raises(ActorFailedError, match="ZeroDivisionError"):
                await world.reserve("one", 10)

        await with_actor(world.actor, world.inbox, world.ref.close, job)

    run(main)


@pytest.mark.parametrize("place", [0, 3, 6])
def test_of_a_batch_that_the_store_cannot_take_for_one_hold_only_that_one_is_refused(place: int) -> None:
    refused: dict[str, str] = {}

    async def job(world: World) -> None:
        world.store.cannot_keep = frozenset({str(place)})

        async def asks(hold: str) -> None:
            try:
                assert isinstance(await world.reserve(hold, 10), Granted)
            except LedgerUnavailableError as error:
                refused[hold] = str(error)

        async with trio.open_nursery() as nursery:
            for number in range(7):
                nursery.start_soon(asks, str(number))
        for number in range(7):
            world.settle(str(number), 3)
        # What was never held has nothing to settle: the store is not asked for that again.
        assert await world.books() == (0, 18)

    world = talk(job)
    assert list(refused) == [str(place)]
    assert "cannot keep what this call is to hold" in refused[str(place)]
    assert "sk-secret" not in refused[str(place)]
    assert world.changes == []
    assert world.events == []


def test_a_charge_that_the_store_cannot_keep_is_dropped_loudly_and_holds_up_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def job(world: World) -> None:
        for hold in ("one", "two", "three"):
            await world.reserve(hold, 100)
        world.store.cannot_keep = frozenset({"two"})
        for hold in ("one", "two", "three"):
            world.settle(hold, 40)
        await world.ref.flush()
        assert await world.books() == (100, 80)
        # Nothing of it is kept for the next batch, and others go on.
        assert isinstance(await world.reserve("four", 100), Granted)
        world.settle("four", 20)
        assert await world.books() == (100, 100)
        await trio.sleep(LEASE + 1)
        assert await world.books() == (0, 200), "the lease ends, and all that was held is charged"

    with caplog.at_level(logging.ERROR):
        world = talk(job)
    assert world.changes == []
    assert world.events == [NotBooked("", "two", Amount(40))]
    assert "cannot keep a charge, which is dropped: 0 nano-USD and 40 tokens" in caplog.text
    assert "sk-secret" not in caplog.text


def test_charges_that_waited_for_the_store_are_booked_but_for_the_one_it_cannot_keep() -> None:
    async def job(world: World) -> None:
        for hold in ("one", "two", "three"):
            await world.reserve(hold, 100)
        world.store.trouble = refuses
        for hold in ("one", "two", "three"):
            world.settle(hold, 40)
        await trio.sleep(1)
        world.store.cannot_keep = frozenset({"two"})
        world.store.trouble = None
        await trio.sleep(2.1)
        assert [change.away for change in world.changes] == [True, False]
        assert await world.books() == (100, 80)

    assert talk(job).events == [NotBooked("", "two", Amount(40))]


def test_a_store_that_goes_away_while_the_one_step_is_looked_for_is_away_and_nothing_is_lost() -> None:
    async def job(world: World) -> None:
        for hold in ("one", "two", "three"):
            await world.reserve(hold, 100)
        world.store.cannot_keep = frozenset({"two"})
        begun = len(world.store.batches)

        async def soon_away() -> None:
            if len(world.store.batches) > begun + 3:
                await refuses()

        world.store.trouble = soon_away
        for hold in ("one", "two", "three"):
            world.settle(hold, 40)
        await trio.sleep(0.05)
        assert [change.away for change in world.changes] == [True]
        world.store.trouble = None
        await trio.sleep(2.1)
        assert [change.away for change in world.changes] == [True, False]
        assert await world.books() == (100, 80)

    assert talk(job).events == [NotBooked("", "two", Amount(40))]
