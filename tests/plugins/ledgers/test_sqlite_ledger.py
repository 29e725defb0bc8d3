"""The ledger in a file beyond the laws of all stores: restarts, what readers and other stores see, what goes."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
from ledgering import MIDNIGHT, NOON, ROOT, Wall, answer, answers, day, reserve, root_window, settle, sqlite_ledger

from penstock.abc import LedgerStore
from penstock.errors import LedgerUnavailableError
from penstock.policy.account_window import window_end
from penstock.policy.holds import Amount
from penstock.policy.ledger_steps import (
    Adopt,
    Change,
    Charged,
    ClockSetBack,
    Held,
    Known,
    Lacking,
    Release,
    Renew,
    Stale,
    Turn,
    WindowUse,
)
from penstock.policy.window import Per, bucket_at
from penstock_plugins.ledgers.sqlite_schema import STEPS, bring_up_to_date

Story = Callable[[LedgerStore], Awaitable[None]]
DAY = 86_400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """One with characters that mean something in a URI."""
    return tmp_path / "a ledger? #1 50%.db"


@pytest.fixture
def wall() -> Wall:
    return Wall()


def told(path: Path, wall: Wall, *stories: Story) -> None:
    """Each story with a store of its own, opened when the one before is closed."""

    async def main() -> None:
        with trio.fail_after(20):
            for story in stories:
                async with sqlite_ledger(path, wall) as store:
                    await story(store)

    trio.run(main)


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_a_clock_that_ran_far_ahead_is_set_back_by_hand_and_nothing_spent_since_is_forgotten(
    path: Path, wall: Wall
) -> None:
    async def in_ten_years(store: LedgerStore) -> None:
        wall.now = NOON + 3_650 * DAY
        use = day(end=MIDNIGHT + 3_650 * DAY)
        hourly = WindowUse("hour:rolling:", bucket_at(Per.HOUR, wall.now).end, rolling=True, limit_tokens=1_000)
        await answers(store, reserve("one", 300, use, hourly), settle("one", 200))
        await answers(store, reserve("held", 100, use, hourly))

    async def frozen(store: LedgerStore) -> None:
        wall.now = NOON
        assert await answer(store, reserve("two", 900)) == Stale()

    async def mended(store: LedgerStore) -> None:
        assert await store.set_clock_back("it came up in 2036") == ClockSetBack(NOON + 3_650 * DAY, NOON)
        assert (await store.commit(())).now == NOON
        assert await root_window(store) == (0, 300), "and what was held is charged"
        assert [row.ends_at for row in await store.windows()] == [MIDNIGHT, bucket_at(Per.HOUR, NOON).end]
        assert await store.holds() == []
        assert await answer(store, settle("held", 5)) == Known(), "it is charged once"
        assert await answer(store, reserve("two", 700)) == Held(0, Amount(700))
        assert isinstance(await answer(store, reserve("three", 1)), Lacking)
        assert await store.set_clock_back("") == ClockSetBack(NOON, NOON)
        (row,) = await store.history(since=NOON, until=NOON + 1)
        assert (row.action, row.reason) == ("clock", "it came up in 2036")
        wall.now = MIDNIGHT + 1
        assert await root_window(store) == (0, 0), "windows end again"

    told(path, wall, in_ten_years, frozen, mended)


def test_a_process_that_reckons_by_a_clock_set_back_since_is_refused_until_it_is_started_anew(
    path: Path, wall: Wall
) -> None:
    async def ahead(store: LedgerStore) -> None:
        wall.now = NOON + 3_650 * DAY
        await answers(store)
        wall.now = NOON
        async with sqlite_ledger(path, wall) as other:
            await other.set_clock_back("")
        with pytest.raises(LedgerUnavailableError, match="start it anew"):
            await answers(store)

    async def anew(store: LedgerStore) -> None:
        assert (await store.commit(())).now == NOON

    told(path, wall, ahead, anew)


def test_a_clock_that_goes_back_after_a_batch_that_failed_was_not_set_back_by_hand(path: Path, wall: Wall) -> None:
    async def story(store: LedgerStore) -> None:
        wall.now = NOON + 20
        with pytest.raises(ValueError, match="negative"):
            await answers(store, settle("nobody", -1))
        wall.now = NOON
        assert (await store.commit(())).now == NOON

    told(path, wall, story)


def test_what_is_held_and_spent_is_there_after_a_restart(path: Path, wall: Wall) -> None:
    async def first(store: LedgerStore) -> None:
        await answers(store, reserve("one", 300), reserve("two", 200), settle("one", 30))

    async def second(store: LedgerStore) -> None:
        assert await root_window(store) == (200, 30)
        assert [row.hold_id for row in await store.holds()] == ["two"]
        assert isinstance(await answer(store, reserve("three", 800)), Lacking)
        assert await answer(store, reserve("one")) == Known()
        turn = Turn(ROOT, Amount(30), Amount(80), MIDNIGHT)
        assert await answer(store, settle("two", 50)) == Charged(Amount(200), (turn,))

    told(path, wall, first, second)


def test_a_clock_that_was_set_back_over_a_restart_reopens_no_window(path: Path, wall: Wall) -> None:
    async def today(store: LedgerStore) -> None:
        await answers(store, reserve("one", 900), settle("one", 900))

    async def tomorrow(store: LedgerStore) -> None:
        wall.now = MIDNIGHT + 60
        await answers(store)

    async def set_back(store: LedgerStore) -> None:
        wall.now = NOON
        assert (await store.commit(())).now == MIDNIGHT + 60
        assert await answer(store, reserve("two", 900)) == Stale()
        assert await store.windows() == []

    told(path, wall, today, tomorrow, set_back)


def test_a_lease_that_ended_while_nothing_ran_is_charged(path: Path, wall: Wall) -> None:
    async def first(store: LedgerStore) -> None:
        await answer(store, reserve("one", 300, lease=60))

    async def second(store: LedgerStore) -> None:
        wall.now += 61
        assert await root_window(store) == (0, 300), "readers reckon with ended leases by themselves"
        assert (await store.holds())[0].lapsed
        assert isinstance(await answer(store, reserve("two", 701)), Lacking)
        await answer(store, settle("one", 10))
        assert await root_window(store) == (0, 10)

    told(path, wall, first, second)


def test_the_longest_lease_is_remembered_over_a_restart(path: Path, wall: Wall) -> None:
    async def first(store: LedgerStore) -> None:
        await answers(store, reserve("one", lease=3_600), settle("one"))

    async def second(store: LedgerStore) -> None:
        await answer(store, settle("unknown"))
        wall.now += 3_000
        assert await answer(store, reserve("unknown", lease=3_600)) == Known()

    told(path, wall, first, second)


def test_a_call_that_ends_after_midnight_and_a_restart_is_charged_to_its_own_day(path: Path, wall: Wall) -> None:
    tomorrow = day(end=MIDNIGHT + DAY)

    async def first(store: LedgerStore) -> None:
        await answer(store, reserve("one", 300, lease=2 * DAY))

    async def second(store: LedgerStore) -> None:
        wall.now = MIDNIGHT + 60
        await answers(store, reserve("two", 100, tomorrow, lease=2 * DAY))
        assert await answer(store, settle("one", 300)) == Charged(
            Amount(300), (Turn(ROOT, Amount(), Amount(), MIDNIGHT + DAY),)
        )
        assert await root_window(store) == (100, 0)

    told(path, wall, first, second)


def test_a_step_that_makes_no_sense_leaves_nothing_behind_of_its_batch(path: Path, wall: Wall) -> None:
    async def main() -> None:
        async with sqlite_ledger(path, wall) as one, sqlite_ledger(path, wall) as other:
            await answer(one, reserve("one", 300))
            with pytest.raises(ValueError, match="is negative"):
                await answers(one, settle("one", 10), reserve("two", 600), settle("three", -1))
            assert await root_window(one) == (300, 0)
            # Its number is that of the batch that failed.
            await answer(other, reserve("other", 100))
            assert isinstance(await answer(one, reserve("two", 601)), Lacking)
            assert isinstance(await answer(one, reserve("two", 600)), Held)
            assert isinstance(await answer(one, settle("one", 300)), Charged)
            assert await root_window(one) == (700, 300)

    trio.run(main)


def test_readers_see_whole_batches_and_hold_up_nobody(path: Path, wall: Wall) -> None:
    async def story(store: LedgerStore) -> None:
        await answers(store, reserve("one", 300), Change(account="", window=day(), limit_tokens=700, reason="less"))
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        before = reader.execute("SELECT held_tokens FROM buckets").fetchall()
        await answers(store, settle("one", 10, target="sonnet"))
        assert before == reader.execute("SELECT held_tokens FROM buckets").fetchall() == [(300,)]
        reader.close()
        assert await root_window(store) == (0, 10)
        assert [row.reason for row in await store.history(since=NOON, until=NOON + 1)] == ["less"]
        assert [row.spent.target for row in await store.spending(since=NOON, until=NOON + 1)] == ["sonnet"]

    told(path, wall, story)


def test_two_stores_on_one_file_never_go_by_what_they_remember(path: Path, wall: Wall) -> None:
    async def main() -> None:
        async with sqlite_ledger(path, wall) as one, sqlite_ledger(path, wall) as other:
            for n in range(5):
                assert isinstance(await answer(one, reserve(f"one-{n}", 100)), Held)
                assert isinstance(await answer(other, reserve(f"other-{n}", 100)), Held)
            assert isinstance(await answer(one, reserve("too much", 1)), Lacking)
            await answer(other, settle("one-0", 0))
            assert isinstance(await answer(one, reserve("fits again", 100)), Held)
            assert await answer(one, Release("one-0", "by hand")) == Known()

    trio.run(main)


def test_figures_beyond_64_bits_are_booked(path: Path, wall: Wall) -> None:
    much = 2**70

    async def first(store: LedgerStore) -> None:
        boundless = day(tokens=None)
        await answers(store, reserve("one", much, boundless, nano_usd=much), reserve("two", 1, boundless))
        await answers(store, settle("two", much, target="dear", nano_usd=much))
        await answer(store, Change(account="", window=day("team"), limit_tokens=much))

    async def second(store: LedgerStore) -> None:
        assert await root_window(store) == (much, much)
        assert (await store.holds())[0].amount == Amount(much, much)
        assert (await store.spending(since=0, until=2 * NOON))[0].spent.nano_usd == much
        assert (await store.windows(("day:UTC:team",)))[0].limit_tokens == much
        await answers(store, settle("one", 1, target="dear", nano_usd=1))
        assert await root_window(store) == (0, much + 1)
        assert (await store.spending(since=0, until=2 * NOON))[0].spent.nano_usd == much + 1

    told(path, wall, first, second)


def test_a_window_of_another_zone_begins_with_what_its_siblings_in_the_file_have_spent(path: Path, wall: Wall) -> None:
    async def first(store: LedgerStore) -> None:
        for n, zone in enumerate(("Europe/Berlin", "Asia/Kolkata", "UTC")):
            windows = (day("team", zone=zone), day("teams", zone=zone), day(zone=zone))
            await answers(store, reserve(zone, 10, *windows, account="team"), settle(zone, n + 5))
        await answer(store, reserve("held", 40, day("team"), account="team/search"))

    async def second(store: LedgerStore) -> None:
        new = day("team", zone="America/New_York")
        assert await answer(store, Adopt("team", new)) == Known()
        (row,) = await store.windows((new.key,))
        assert (row.held, row.spent) == (Amount(40), Amount(7))

    told(path, wall, first, second)


def test_what_was_put_right_by_hand_is_known_to_a_process_that_comes_later(path: Path, wall: Wall) -> None:
    async def first(store: LedgerStore) -> None:
        await answers(store, reserve("asleep", 400))
        wall.now += 70.0
        await answer(store, Change(account="", window=day(), reset=True))

    async def second(store: LedgerStore) -> None:
        await answers(store, reserve("killed", 300))
        wall.now += 70.0
        await answers(store, Renew(("asleep",), 60.0))
        assert await root_window(store) == (400, 300)
        await answers(store, settle("asleep", 50))
        assert await root_window(store) == (0, 350)

    told(path, wall, first, second)


def test_what_a_new_window_was_not_charged_for_it_was_put_right_is_known_to_a_process_that_comes_later(
    path: Path, wall: Wall
) -> None:
    tokyo = day("team", zone="Asia/Tokyo", end=window_end((Per.DAY, "Asia/Tokyo", False), NOON))

    async def first(store: LedgerStore) -> None:
        await answers(store, reserve("lost", 400, day("team"), account="team"))
        wall.now += 70.0
        await answer(store, Change(account="team", window=day("team"), spent_tokens=0))
        await answer(store, Adopt("team", tokyo))
        await answers(store, reserve("killed", 300, tokyo, account="team"))

    async def second(store: LedgerStore) -> None:
        wall.now += 70.0
        await answers(store, settle("lost", 50))
        (row,) = await store.windows((tokyo.key,))
        assert row.spent.tokens == 350

    told(path, wall, first, second)


def test_windows_of_a_file_of_the_former_version_have_counted_until_its_last_batch(path: Path, wall: Wall) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    bring_up_to_date(connection, STEPS[:4])
    connection.execute("UPDATE ledger SET writes = 40, latest = ?", (NOON,))
    for zone, spent in (("UTC", 300), ("Europe/Berlin", 20)):
        end = window_end((Per.DAY, zone, False), NOON)
        connection.execute("INSERT INTO buckets VALUES (?, ?, 0, 0, ?, 0, 0, 0)", (f"day:{zone}:team", end, spent))
    connection.execute("INSERT INTO limits VALUES ('day:UTC:team', 900, NULL)")
    connection.close()

    async def spent_in(store: LedgerStore, zone: str) -> int:
        end = window_end((Per.DAY, zone, False), wall.now)
        assert await answer(store, Adopt("team", day("team", zone=zone, end=end))) == Known()
        (row,) = await store.windows((f"day:{zone}:team",))
        return row.spent.tokens

    async def story(store: LedgerStore) -> None:
        assert (await store.windows(("day:UTC:team",)))[0].limit_tokens == 900
        assert await spent_in(store, "Europe/Berlin") == 20, "side by side"
        assert await spent_in(store, "America/New_York") == 300
        wall.now = NOON + 3.5 * 3_600  # half past midnight in Tokyo
        assert await spent_in(store, "Asia/Tokyo") == 0

    told(path, wall, story)


@pytest.mark.slow
def test_what_counts_no_more_is_deleted_in_time(path: Path, wall: Wall) -> None:
    async def story(store: LedgerStore) -> None:
        for n in range(2_500):
            await answers(store, reserve(f"{n}", 0), settle(f"{n}", 0, target="sonnet"))
            wall.now += 1.0
        wall.now += 500 * DAY
        await answers(store)
        wall.now += 1.0
        await answers(store)

    told(path, wall, story)
    assert rows(path, "SELECT (SELECT count(*) FROM holds), (SELECT count(*) FROM buckets)") == [(0, 0)]
    assert rows(path, "SELECT count(*) FROM journal") == [(0,)]


def test_a_journal_that_is_too_old_is_deleted_batch_by_batch_until_it_is_gone(path: Path, wall: Wall) -> None:
    left: list[object] = []

    async def story(store: LedgerStore) -> None:
        await answers(store, settle("first", 0, target="sonnet"))
        with sqlite3.connect(path) as connection:
            connection.executemany(
                "INSERT INTO journal SELECT since, ?, target, estimated, calls, attempts, input_tokens,"
                " cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, nano_usd"
                " FROM journal WHERE account = ''",
                [(f"u/{account}",) for account in range(3_499)],
            )
        connection.close()
        wall.now += 500 * DAY
        for _ in range(5):
            await answers(store)
            left.append(rows(path, "SELECT count(*) FROM journal")[0][0])

    told(path, wall, story)
    assert left == [2_500, 1_500, 500, 0, 0], "more than some would keep the writers waiting"


def test_the_wal_is_put_into_the_file_when_nothing_is_asked(path: Path, wall: Wall) -> None:
    async def story(store: LedgerStore) -> None:
        await answers(store, reserve("to-be-found", 300))
        file = trio.Path(path)
        assert b"to-be-found" not in await file.read_bytes()
        with trio.fail_after(10):
            while b"to-be-found" not in await file.read_bytes():  # noqa: ASYNC110 - a thread does it, and tells nobody
                await trio.sleep(0.02)

    told(path, wall, story)


@pytest.mark.slow
def test_the_wal_stays_small_under_load(path: Path, wall: Wall) -> None:
    async def story(store: LedgerStore) -> None:
        for batch in range(60):
            await answers(store, *(reserve(f"{batch}-{n}", 0) for n in range(300)))
        wal = await trio.Path(f"{path}-wal").stat()
        assert wal.st_size < 8_000_000

    told(path, wall, story)


@pytest.mark.slow
def test_a_wal_that_grew_beside_others_is_put_into_the_file_while_nobody_else_may_write(path: Path, wall: Wall) -> None:
    """What is checkpointed beside somebody who reads or writes all the time is never through."""

    async def story(store: LedgerStore) -> None:
        file = trio.Path(f"{path}-wal")
        await answers(store)
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT one FROM ledger").fetchall()
        batch = 0
        while (await file.stat()).st_size < 40_000_000:
            await answers(store, *(reserve(f"{batch}-{n}-{'x' * 500}", 0) for n in range(300)))
            batch += 1
        await store._ask(lambda _: store._file.checkpoint())  # type: ignore[attr-defined]
        reader.close()
        await answers(store, reserve("one"))
        assert (await file.stat()).st_size <= 2**25, "begun anew, and cut"
        assert await root_window(store) == (100, 0)

    told(path, wall, story)


def test_a_store_is_opened_without_a_word_of_sqlite_before() -> None:
    program = (
        "import sys, penstock_plugins.ledgers.sqlite as plugin\n"
        "assert [spec.name for spec in plugin.penstock_ledgers()] == ['sqlite']\n"
        "assert 'sqlite3' not in sys.modules, 'imported before it is used'\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
