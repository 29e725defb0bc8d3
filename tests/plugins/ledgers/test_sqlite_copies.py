"""Copies put over the file of a ledger, and files taken away beside it: it is never mixed with another state.

The file itself has only what was put there from its `-wal`; by the number of batches in it a copy is told from it.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from ledgering import MIDNIGHT, NOON, Wall, answer, answers, day, reserve, root_window, settle, sqlite_ledger

from penstock.abc import LedgerStore
from penstock.errors import LedgerUnavailableError
from penstock.policy.ledger_steps import Held
from penstock_plugins.ledgers.sqlite_alone import books_in
from penstock_plugins.ledgers.sqlite_schema import STEPS, bring_up_to_date

fcntl = pytest.importorskip("fcntl", reason="writers queue by flock, which this system does not have")

PAGE = 2_048
TESTS = str(Path(__file__).parents[2])
OLDER = "older books than this process knew"
MANY = 200
"""Accounts: so many that what one batch writes leaves most pages alone."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def told(path: Path, story: Callable[[LedgerStore], Awaitable[None]]) -> None:
    async def main() -> None:
        with trio.fail_after(60):
            async with sqlite_ledger(path, Wall()) as store:
                await story(store)

    trio.run(main)


def run_program(program: str, path: Path) -> str:
    """In a process of its own: within one, SQLite shares what it knows of the files beside the ledger."""
    head = f"import sys; sys.path.insert(0, {TESTS!r})\n"
    ran = subprocess.run(
        [sys.executable, "-c", head + program, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout.strip()


def checkpoint(path: Path) -> None:
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
    connection.close()


@contextmanager
def nothing_put_into(path: Path) -> Generator[None]:
    """Somebody reads: as long as he does, what comes into the -wal is there alone, however slow this machine is."""
    reader = sqlite3.connect(path, isolation_level=None)
    try:
        reader.execute("BEGIN")
        reader.execute("SELECT one FROM ledger").fetchall()
        yield
    finally:
        reader.close()


async def spend(store: LedgerStore, account: int, tokens: int) -> bool:
    """Whether there was room, for so many tokens that are spent at once."""
    hold = f"{account}-{tokens}-{os.urandom(4).hex()}"
    held = await answer(store, reserve(hold, tokens, day(f"a{account:03d}")))
    await answer(store, settle(hold, tokens))
    return isinstance(held, Held)


async def rest(store: LedgerStore) -> None:
    """As in a pause: it learns that all is in the file, and synced."""
    await store._ask(lambda _: store._file.checkpoint())  # type: ignore[attr-defined]


async def refused(store: LedgerStore, account: int) -> None:
    with pytest.raises(LedgerUnavailableError, match=OLDER):
        await spend(store, account, 900)


def put_over(copy: Path, path: Path, how: str) -> None:
    """In place, or as another file; what lies beside it stays."""
    if how == "cp":
        shutil.copyfile(copy, path)
    else:
        shutil.copyfile(copy, path.with_name("new.db"))
        path.with_name("new.db").replace(path)


async def put_an_older_copy_over(store: LedgerStore, path: Path, how: str) -> tuple[Path, Path]:
    """One in which account 7 has spent nothing; returns it, and a copy of the file as it was before.

    What account 7 has spent is in the file alone: the -wal was begun anew since, for another account.
    """
    older, kept = path.with_name("older.db"), path.with_name("kept.db")
    for account in range(MANY):
        assert await spend(store, account, 1)
    checkpoint(path)
    shutil.copyfile(path, older)
    assert await spend(store, 7, 900)
    checkpoint(path)
    await rest(store)
    with nothing_put_into(path):
        assert await spend(store, MANY - 1, 1)
        shutil.copyfile(path, kept)
        put_over(older, path, how)
    return older, kept


@pytest.mark.parametrize("how", ["cp", "mv"])
def test_an_older_copy_under_the_wal_of_the_newer_one_is_used_by_nobody_until_the_file_is_brought_back(
    path: Path, how: str
) -> None:
    async def story(store: LedgerStore) -> None:
        async with AsyncExitStack() as stack:
            other = await stack.enter_async_context(sqlite_ledger(path, Wall()))
            assert await spend(other, 0, 1)
            _, kept = await put_an_older_copy_over(store, path, how)
            later = await stack.enter_async_context(sqlite_ledger(path, Wall()))
            for _ in range(2):
                for each in (store, other, later):
                    await refused(each, 7)
                    await refused(each, MANY - 1)
            put_over(kept, path, "cp")
            for each in (store, other, later):
                assert not await spend(each, 7, 900)
                assert await spend(each, MANY - 1, 1)

    told(path, story)


@pytest.mark.parametrize("how", ["cp", "mv"])
def test_an_older_copy_under_the_wal_is_still_known_when_all_have_closed_it(path: Path, how: str) -> None:
    copies: list[Path] = []

    async def first(store: LedgerStore) -> None:
        copies.extend(await put_an_older_copy_over(store, path, how))

    async def later(store: LedgerStore) -> None:
        await refused(store, 7)

    async def afterwards(store: LedgerStore) -> None:
        assert not await spend(store, 7, 900)
        assert await spend(store, MANY - 1, 1)

    async def with_the_copy(store: LedgerStore) -> None:
        assert await spend(store, 7, 900), "as the copy has it, and as it was said that it would be"

    told(path, first)
    told(path, later)
    told(path, later)
    put_over(copies[1], path, "cp")
    told(path, afterwards)
    put_over(copies[0], path, "cp")
    for ending in ("-wal", "-shm"):
        path.with_name(f"{path.name}{ending}").unlink(missing_ok=True)
    told(path, with_the_copy)


async def spend_elsewhere(path: Path, accounts: int, *, batches: int) -> None:
    """By who knows nothing of the others. The file is about as large as theirs: else SQLite finds it malformed."""
    async with sqlite_ledger(path, Wall()) as store:
        for account in range(accounts):
            assert await spend(store, account, 1)
        for _ in range(batches):
            await answers(store)


@pytest.mark.parametrize("how", ["cp", "mv"])
@pytest.mark.parametrize(
    ("which", "batches"), [("another ledger", 10), ("another ledger", 500), ("a copy of its own", 500)]
)
def test_books_that_are_further_under_the_wal_of_others_are_used_by_nobody_until_the_file_is_brought_back(
    path: Path, which: str, batches: int, how: str
) -> None:
    other, kept = path.with_name("other.db"), path.with_name("kept.db")

    async def story(store: LedgerStore) -> None:
        async with AsyncExitStack() as stack:
            second = await stack.enter_async_context(sqlite_ledger(path, Wall()))
            assert await spend(second, 0, 1)
            for account in range(MANY):
                assert await spend(store, account, 1)
            assert await spend(store, 7, 900)
            checkpoint(path)
            if which == "a copy of its own":
                as_the_disk_has_it(path, other)
            await spend_elsewhere(other, 20 if which == "a copy of its own" else MANY, batches=batches)
            with nothing_put_into(path):
                for _ in range(20):
                    assert await spend(store, MANY - 1, 1)
                as_the_disk_has_it(path, kept)
                put_over(other, path, how)
            later = await stack.enter_async_context(sqlite_ledger(path, Wall()))
            for each in (second, store, later, second, store, later):
                with pytest.raises(LedgerUnavailableError, match="has other books than its -wal|" + OLDER):
                    await spend(each, 7, 90)
            put_over(kept, path, "cp")
            for each in (store, second, later):
                assert not await spend(each, 7, 900)
                assert await spend(each, MANY - 1, 1)

    told(path, story)


def test_a_backup_from_before_books_had_a_name_is_gone_on_with(path: Path) -> None:
    backup = path.with_name("backup.db")
    connection = sqlite3.connect(backup, isolation_level=None)
    connection.execute(f"PRAGMA page_size = {PAGE}")
    bring_up_to_date(connection, STEPS[:3])
    connection.execute("INSERT INTO buckets VALUES ('day:UTC:', ?, 0, 0, 300, 0, 0, 0)", (MIDNIGHT,))
    connection.close()

    async def story(store: LedgerStore) -> None:
        await answers(store, reserve("one", 900))
        checkpoint(path)
        with nothing_put_into(path):
            copy(backup, path)
            async with sqlite_ledger(path, Wall()) as later:
                assert isinstance(await answer(later, reserve("two", 700)), Held)
        checkpoint(path)
        async with sqlite_ledger(path, Wall()) as later:
            assert await root_window(later) == (700, 300)
            assert not isinstance(await answer(later, reserve("three", 1)), Held)

    told(path, story)


def test_the_wal_is_not_put_into_an_older_copy_in_a_pause(path: Path) -> None:
    async def story(store: LedgerStore) -> None:
        await put_an_older_copy_over(store, path, "cp")
        written = read_page(path)
        await rest(store)
        assert read_page(path) == written
        await refused(store, 7)

    told(path, story)


def test_books_restored_through_sqlite_are_gone_on_with_by_who_comes_later(path: Path) -> None:
    backup = path.with_name("backup.db")

    async def story(store: LedgerStore) -> None:
        await answers(store, reserve("one", 300))
        copy(path, backup)
        for number in range(20):
            await answers(store, reserve(f"held-{number}", 10))
        checkpoint(path)
        async with AsyncExitStack() as stack:
            idle = await stack.enter_async_context(sqlite_ledger(path, Wall()))
            with nothing_put_into(path):
                copy(backup, path)
                # It knows only that the file was further, and that may be so still.
                assert isinstance(await answer(idle, reserve("one more", 1)), Held)
                other = await stack.enter_async_context(sqlite_ledger(path, Wall()))
                assert isinstance(await answer(other, reserve("two", 99)), Held)
            checkpoint(path)
            assert isinstance(await answer(other, reserve("three", 100)), Held)
            with pytest.raises(LedgerUnavailableError, match=OLDER):
                await answer(idle, reserve("three", 100))
        async with sqlite_ledger(path, Wall()) as later:
            assert await root_window(later) == (500, 0)
            assert isinstance(await answer(later, reserve("four", 100)), Held)
        with pytest.raises(LedgerUnavailableError, match=OLDER):
            await answer(store, reserve("five", 100))

    told(path, story)


@pytest.mark.parametrize("version", [1, 2, 4])
def test_a_file_of_an_older_version_is_told_from_its_copies_from_the_next_batch_on(path: Path, version: int) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    bring_up_to_date(connection, STEPS[:version])
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("UPDATE ledger SET writes = 40")
    connection.execute("INSERT INTO buckets VALUES ('day:UTC:', ?, 0, 0, 300, 0, 0, 0)", (MIDNIGHT,))
    connection.close()

    async def first(store: LedgerStore) -> None:
        assert await root_window(store) == (0, 300)
        await put_an_older_copy_over(store, path, "cp")

    async def later(store: LedgerStore) -> None:
        await refused(store, 7)

    told(path, first)
    told(path, later)


def test_a_power_cut_beside_a_checkpoint_leaves_no_older_copy(path: Path) -> None:
    """Beside one who commits SQLite puts the -wal into the file and syncs it later: what is seen there may be gone."""
    cut = path.with_name("cut.db")

    async def story(store: LedgerStore) -> None:
        assert await spend(store, 0, 1)
        checkpoint(path)
        as_the_disk_has_it(path, cut)
        assert await spend(store, 7, 600)
        with nothing_put_into(path):  # and so the -wal is not begun anew
            run_program("import sqlite3; sqlite3.connect(sys.argv[1]).execute('PRAGMA wal_checkpoint')", path)
            assert await spend(store, 7, 300)
            as_the_disk_has_it(path.with_name(f"{path.name}-wal"), cut.with_name(f"{cut.name}-wal"))

    async def after_the_cut(store: LedgerStore) -> None:
        assert await spend(store, 7, 100)
        assert not await spend(store, 7, 1), "all 1,000 are spent"

    told(path, story)
    found = books_in(cut)
    assert found is not None
    assert found.batches == 2, "what is in it by itself"
    told(cut, after_the_cut)
    told(cut, nothing_is_left)


async def nothing_is_left(store: LedgerStore) -> None:
    assert not await spend(store, 7, 1)


def as_the_disk_has_it(path: Path, to: Path) -> None:
    # By another process: to close the file here would end the locks that SQLite has on it.
    subprocess.run(["cp", str(path), str(to)], check=True)


def copy(source: Path, to: Path) -> None:
    """As SQLite's own `.backup` and `.restore` do it."""
    with sqlite3.connect(source) as theirs, sqlite3.connect(to) as ours:
        theirs.backup(ours)
    theirs.close()
    ours.close()


def test_a_file_made_smaller_and_a_checkpoint_of_others_stop_nobody(path: Path) -> None:
    async def story(store: LedgerStore) -> None:
        for account in range(MANY):
            assert await spend(store, account, 1)
        for statement in ("DELETE FROM holds", "VACUUM", "PRAGMA wal_checkpoint(PASSIVE)", "VACUUM"):
            connection = sqlite3.connect(path, isolation_level=None)
            connection.execute(statement).fetchall()
            connection.close()
            assert await spend(store, 7, 1)
            async with sqlite_ledger(path, Wall()) as other:
                assert await spend(other, 7, 1)

    told(path, story)


@pytest.mark.parametrize("half", ["older", "newer"])
def test_what_is_read_while_it_is_written_is_read_again(path: Path, half: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the page with the number of batches a look meets another state, which is gone when it looks once more."""
    open_database, swaps = sqlite3.connect, list[bytes]()

    def connect(name: Any, **options: Any) -> sqlite3.Connection:
        if swaps and "immutable" in name:
            write_page(path, swaps.pop(0))
        opened: sqlite3.Connection = open_database(name, **options)
        return opened

    async def story(store: LedgerStore) -> None:
        pages: list[bytes] = []
        for number in range(3):
            await answers(store, reserve(f"first-{number}", 1))
            checkpoint(path)
            pages.append(read_page(path))
        with nothing_put_into(path):
            await answers(store, reserve("two", 300))
            await answers(store, reserve("three", 300))
            copy(path, path.with_name("newer.db"))
            odd = pages[0] if half == "older" else read_page(path.with_name("newer.db"))
            assert read_page(path) == pages[-1] != odd
            swaps[:] = [odd, pages[-1]] if half == "newer" else [odd, odd, pages[-1]]
            several = len(swaps)
            os.utime(path)
            assert isinstance(await answer(store, reserve("four", 100)), Held)
            assert len(swaps) < several, "it was looked at"
            os.utime(path)
            assert isinstance(await answer(store, reserve("five", 100)), Held)

    monkeypatch.setattr(sqlite3, "connect", connect)
    told(path, story)


def read_page(path: Path) -> bytes:
    """The page of the table `ledger`, which comes first."""
    return path.read_bytes()[PAGE : 2 * PAGE]


def write_page(path: Path, page: bytes) -> None:
    # By another process: to close the file here would end the locks that SQLite has on it.
    program = f"import sys; f = open(sys.argv[1], 'r+b'); f.seek({PAGE}); f.write({page!r})"
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)


# Links


@pytest.mark.parametrize("endings", [("-shm",), ("-wal", "-shm")])
def test_files_taken_away_beside_the_ledger_are_missed_where_its_path_is_a_link(
    tmp_path: Path, endings: tuple[str, ...]
) -> None:
    (tmp_path / "data").mkdir()
    real, link = tmp_path / "data" / "books.db", tmp_path / "ledger.db"
    link.symlink_to(real)

    async def story(store: LedgerStore) -> None:
        await answers(store, reserve("one", 300))
        for ending in endings:
            real.with_name(f"{real.name}{ending}").unlink()
        with pytest.raises(LedgerUnavailableError, match="were taken away while it was in use"):
            await answers(store, reserve("two", 300))

    told(link, story)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["data", "ledger.db"], "all is beside the file itself"


# Parted


GONE_ON = """
import os, sqlite3, trio
from pathlib import Path
from ledgering import *

async def main():
    path = Path(sys.argv[1])
    async with sqlite_ledger(path, Wall()) as store:
        await answers(store, *[reserve(f"{n}-{'x' * 500}", 1) for n in range(60)])
        connection = sqlite3.connect(path)
        while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() != (0, 0, 0):
            pass  # its own thread does the same in a pause
        for n in range(60):
            await answers(store, settle(f"{n}-{'x' * 500}", 1), reserve(f"then-{n}", 1))
        # Somebody stays: the last to close the file would put the -wal into it.
        os._exit(0)

trio.run(main)
"""
WHOLE = """
import sqlite3
connection = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
print(connection.execute("PRAGMA integrity_check").fetchall(), connection.execute(
    "SELECT held_tokens, spent_tokens FROM buckets").fetchall())
"""


@pytest.mark.parametrize("ends", ["in a pause", "when it closes", "when it meets trouble"])
def test_a_process_that_was_parted_from_the_others_writes_nothing_into_the_file(path: Path, ends: str) -> None:
    in_order = "[('ok',)] [(60, 60)]"

    def go_on_without(_: object) -> str:
        # In the thread that would put its -wal into the file meanwhile.
        path.with_name(f"{path.name}-shm").unlink()
        run_program(GONE_ON, path)
        return run_program(WHOLE, path)

    async def story(store: LedgerStore) -> None:
        file = store._file  # type: ignore[attr-defined]
        begun = [reserve(f"{n}-{'y' * 500}", 1) for n in range(60)]
        await answers(store, *begun)
        await answers(store, *[settle(step.hold_id, 0) for step in begun])
        assert await store._ask(go_on_without) == in_order  # type: ignore[attr-defined]
        if ends == "in a pause":
            await store._ask(lambda _: file.checkpoint())  # type: ignore[attr-defined]
        elif ends == "when it meets trouble":
            await store._ask(lambda _: file.disconnect())  # type: ignore[attr-defined]
        else:
            with pytest.raises(LedgerUnavailableError, match="were taken away"):
                await answer(store, reserve("two", 1))
        assert run_program(WHOLE, path) == in_order

    told(path, story)
    assert run_program(WHOLE, path) == in_order

    async def later(store: LedgerStore) -> None:
        assert await root_window(store) == (60, 60)
        assert (await store.commit(())).now == NOON

    told(path, later)
