"""What can go wrong with the file: each trouble says what to do, nothing hangs, nothing is half done, and it passes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from ledgering import NOON, Wall, answer, answers, reserve, root_window, settle, sqlite_ledger

from penstock.abc import LedgerStore
from penstock.errors import ConfigError, LedgerUnavailableError
from penstock.policy.ledger_steps import Held, Known, Stale
from penstock_plugins.ledgers.sqlite_schema import STEPS, bring_up_to_date
from penstock_plugins.ledgers.sqlite_troubles import NETWORK, mounted_types, network_file_system

fcntl = pytest.importorskip("fcntl", reason="writers queue by flock, which this system does not have")
resource = pytest.importorskip(
    "resource", reason="a process is ended by the size of its file, which this system cannot"
)
PAGE = 2_048
TESTS = str(Path(__file__).parents[2])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def told(
    path: Path, story: Callable[[LedgerStore], Awaitable[None]], *, wall: Wall | None = None, lock_timeout: float = 5.0
) -> None:
    async def main() -> None:
        with trio.fail_after(30):
            async with sqlite_ledger(path, wall or Wall(), lock_timeout=lock_timeout) as store:
                await story(store)

    trio.run(main)


def refused_to_open(path: Path, error: type[Exception], words: str) -> None:
    async def nothing(_: LedgerStore) -> None:
        raise AssertionError("it was opened")

    with pytest.raises(error, match=words) as raised:
        told(path, nothing, lock_timeout=0.5)
    assert str(path) in str(raised.value)


async def unavailable(store: LedgerStore, words: str) -> None:
    with pytest.raises(LedgerUnavailableError, match=words):
        await answers(store, reserve("while away"), settle("one", 1))


def run_program(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    head = f"import sys; sys.path.insert(0, {TESTS!r})\n"
    return subprocess.run(
        [sys.executable, "-c", head + program, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@contextmanager
def anybodys_folder() -> Generator[Path]:
    """One that another user than root may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def test_locked_by_another_program_it_says_so_and_goes_on_when_that_has_ended(path: Path) -> None:
    async def story(store: LedgerStore) -> None:
        await answer(store, reserve("one", 300))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await unavailable(store, "keeps it locked: end that program")
        other.execute("ROLLBACK")
        other.close()
        assert await root_window(store) == (300, 0)
        assert isinstance(await answer(store, reserve("while away")), Held)

    told(path, story, lock_timeout=0.5)


def test_behind_a_stopped_process_it_says_so_and_carries_nothing_out_later(path: Path) -> None:
    async def story(store: LedgerStore) -> None:
        await answer(store, reserve("one", 300))
        with path.with_name(f"{path.name}-lock").open() as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            await unavailable(store, "others have been writing for 0.5 s")
            await unavailable(store, "others have been writing for 0.5 s")
            assert await root_window(store) == (300, 0), "readers wait for nobody"
        assert await answer(store, settle("one", 10)) != Known()
        assert await root_window(store) == (0, 10)

    told(path, story, lock_timeout=0.5)


def test_behind_a_disk_that_is_slow_in_a_checkpoint_it_names_the_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, begun, go_on = sqlite3.connect, threading.Event(), threading.Event()

    def slow(statement: str) -> None:
        if statement.startswith("PRAGMA wal_checkpoint"):
            begun.set()
            assert go_on.wait(20)

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_trace_callback(slow)
        return connection

    async def story(store: LedgerStore) -> None:
        await answer(store, reserve("one", 300))
        await trio.to_thread.run_sync(begun.wait)
        await unavailable(store, "the disk has not answered for 0.5 s")
        go_on.set()
        assert isinstance(await answer(store, reserve("while away")), Held)

    monkeypatch.setattr(sqlite3, "connect", traced)
    told(path, story, lock_timeout=0.5)


def test_opened_while_another_program_keeps_it_locked_it_says_so_and_goes_on_when_that_has_ended(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with path.with_name(f"{path.name}-lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        async def story(store: LedgerStore) -> None:
            assert "others have been writing for 0.5 s" in caplog.text
            await unavailable(store, "others have been writing")
            fcntl.flock(other, fcntl.LOCK_UN)
            assert isinstance(await answer(store, reserve("one", 300)), Held)

        told(path, story, lock_timeout=0.5)


def test_closing_behind_a_stopped_process_does_not_hang(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with path.with_name(f"{path.name}-lock").open("w") as other:

        async def story(store: LedgerStore) -> None:
            await answers(store, reserve("one", 300))
            fcntl.flock(other, fcntl.LOCK_EX)
            await unavailable(store, "others have been writing")

        told(path, story, lock_timeout=0.5)
        assert "closed when that ends" in caplog.text
        (writer,) = [thread for thread in threading.enumerate() if thread.name == "penstock-ledger"]
        assert path.with_name("ledger.db-wal").exists()
    writer.join(timeout=30)
    assert not writer.is_alive()
    assert not path.with_name("ledger.db-wal").exists(), "the last to close a file takes its WAL away"


def test_on_a_full_disk_nothing_of_a_batch_is_kept_and_all_goes_on_when_there_is_room(path: Path) -> None:
    async def story(store: LedgerStore) -> None:
        await answers(store, reserve("one", 300))
        file = store._file  # type: ignore[attr-defined]
        await store._ask(lambda _: file._connection.execute("PRAGMA max_page_count = 1"))  # type: ignore[attr-defined]
        big = [reserve(f"{n}-{'x' * 500}", 1) for n in range(40)]
        with pytest.raises(LedgerUnavailableError, match="disk is full: free some space"):
            await store.commit([settle("one", 10), *big])
        assert await root_window(store) == (300, 0)
        # The connection was made anew, and with it the room.
        await store.commit([settle("one", 10), *big])
        assert await root_window(store) == (40, 10)

    told(path, story)


LIMITED = """
import resource, trio
from pathlib import Path
from ledgering import *
from penstock.errors import LedgerUnavailableError

async def main():
    path = Path(sys.argv[1])
    async with sqlite_ledger(path, Wall()) as store:
        await answers(store, reserve("one", 300))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, resource.RLIM_INFINITY))
        try:
            await answers(store, settle("one", 10))
            raise SystemExit("written beyond the limit")
        except LedgerUnavailableError as error:
            assert "the disk failed" in str(error) or "the disk is full" in str(error), error
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert await root_window(store) == (300, 0)
        await answers(store, settle("one", 10))
        assert await root_window(store) == (0, 10)

trio.run(main)
"""


@pytest.mark.slow
def test_where_the_disk_refuses_to_write_nothing_is_kept_and_all_goes_on_when_it_writes_again(path: Path) -> None:
    ran = run_program(LIMITED, str(path))
    assert ran.returncode == 0, ran.stdout + ran.stderr


AS_NOBODY = """
import os, trio
import urllib.parse  # pathlib's, from Python 3.13 on: what is imported later may lie where nobody may look
from pathlib import Path
from ledgering import *
from penstock.errors import ConfigError, LedgerUnavailableError

import penstock_plugins.ledgers.sqlite_store

if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)

async def main():
    try:
        async with sqlite_ledger(Path(sys.argv[1]), Wall()) as store:
            await answers(store, reserve("two", 300))
    except (ConfigError, LedgerUnavailableError) as error:
        print(error)

trio.run(main)
"""


@pytest.mark.slow
def test_a_file_that_may_not_be_written_to_says_so() -> None:
    with anybodys_folder() as folder:
        path = folder / "ledger.db"
        told(path, answers_nothing)
        path.chmod(0o444)
        (folder / "ledger.db-lock").chmod(0o666)
        ran = run_program(AS_NOBODY, str(path))
        assert "may not be written to: give this user leave" in ran.stdout, ran.stdout + ran.stderr
        assert re.search(r"SQLITE_READONLY", ran.stdout)


def test_a_folder_that_may_not_be_written_to_says_so() -> None:
    with anybodys_folder() as folder:
        path = folder / "ledger.db"
        told(path, answers_nothing)
        path.chmod(0o666)
        (folder / "ledger.db-lock").unlink()
        folder.chmod(0o555)
        ran = run_program(AS_NOBODY, str(path))
        assert "Permission denied" in ran.stdout, ran.stdout + ran.stderr


def seen(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_uid, found.st_gid, found.st_mode & 0o777


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what another user owns")
def test_the_file_that_is_made_beside_a_ledger_is_its_owners_and_for_whom_the_ledger_is() -> None:
    with anybodys_folder() as folder:
        path = folder / "ledger.db"
        lock = folder / "ledger.db-lock"
        assert run_program(AS_NOBODY, str(path)).stdout == ""
        path.chmod(0o664)
        lock.unlink()  # brought back from a backup, which has the ledger alone
        told(path, answers_nothing)
        assert seen(lock) == seen(path) == (65534, 65534, 0o664)
        assert run_program(AS_NOBODY, str(path)).stdout == ""


def test_who_may_only_read_the_file_beside_a_ledger_takes_turns_by_it() -> None:
    with anybodys_folder() as folder:
        path = folder / "ledger.db"
        told(path, answers_nothing)
        path.chmod(0o666)
        (folder / "ledger.db-lock").chmod(0o444)
        assert run_program(AS_NOBODY, str(path)).stdout == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what another user owns")
def test_the_file_beside_a_ledger_that_may_not_be_opened_is_named() -> None:
    with anybodys_folder() as folder:
        path = folder / "ledger.db"
        told(path, answers_nothing)
        path.chmod(0o666)
        (folder / "ledger.db-lock").chmod(0o600)
        ran = run_program(AS_NOBODY, str(path))
        assert f"{path}-lock: Permission denied: give this user leave to" in ran.stdout, ran.stdout + ran.stderr


async def answers_nothing(store: LedgerStore) -> None:
    await answers(store, reserve("one", 300))


def test_what_is_no_database_is_told_and_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"not a database, but somebody's work " * 100)
    before = path.read_bytes()
    refused_to_open(path, ConfigError, "it is no SQLite database")
    assert path.read_bytes() == before


def test_a_damaged_file_is_told_when_the_damage_is_met_and_left_as_it_is(path: Path) -> None:
    told(path, answers_nothing)
    whole = path.read_bytes()
    connection = sqlite3.connect(path)
    ((root,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'holds'")
    connection.close()
    path.write_bytes(whole[: (root - 1) * PAGE] + b"\xa5" * PAGE + whole[root * PAGE :])

    async def later(store: LedgerStore) -> None:
        with pytest.raises(
            LedgerUnavailableError, match="it is damaged: stop what uses it and put a copy in its place"
        ):
            await answers(store, reserve("two", 1))
        assert await root_window(store) == (300, 0)

    told(path, later)
    assert path.stat().st_size == len(whole)
    path.write_bytes(whole[:PAGE] + b"\xa5" * (len(whole) - PAGE))
    refused_to_open(path, ConfigError, "it is damaged: stop what uses it")
    assert path.stat().st_size == len(whole)


def test_a_path_that_is_a_folder_or_lies_in_none_is_told(tmp_path: Path) -> None:
    refused_to_open(tmp_path, ConfigError, "it cannot be opened")
    refused_to_open(tmp_path / "none" / "ledger.db", ConfigError, "No such file or directory")


def test_the_database_of_another_program_is_refused_and_left_as_it_is(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    before = path.read_bytes()
    refused_to_open(path, ConfigError, "the database of another program: name another path")
    assert path.read_bytes() == before


def test_a_file_of_a_newer_version_is_refused_and_left_as_it_is(path: Path) -> None:
    told(path, answers_nothing)
    newer = sqlite3.connect(path, isolation_level=None)
    bring_up_to_date(newer, (*STEPS, "ALTER TABLE holds ADD COLUMN note TEXT;\n"))
    newer.close()
    before = path.read_bytes()
    refused_to_open(path, ConfigError, r"written by a newer penstock \(ledger version 6; this one knows 5\)")
    assert path.read_bytes() == before


def test_a_file_of_an_older_version_is_brought_up_to_date_with_all_that_is_in_it(path: Path) -> None:
    told(path, answers_nothing)
    newer = (*STEPS, "ALTER TABLE holds ADD COLUMN note TEXT NOT NULL DEFAULT 'none';\nCREATE TABLE more (x) STRICT;\n")
    connection = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(sqlite3.OperationalError, match=r"(unknown|missing) datatype"):
        bring_up_to_date(connection, newer)
    assert connection.execute("PRAGMA user_version").fetchone() == (5,), "all of it or nothing"
    assert "note" not in [name for _, name, *_ in connection.execute("PRAGMA table_info(holds)")]
    bring_up_to_date(connection, (*STEPS, newer[-1].replace("(x)", "(x ANY)")))
    assert connection.execute("SELECT id, note FROM holds").fetchall() == [("one", "none")]
    assert connection.execute("PRAGMA user_version").fetchone() == (6,)
    connection.close()


def test_a_file_that_vanished_is_not_begun_anew_behind_your_back(path: Path) -> None:
    async def story(store: LedgerStore) -> None:
        await answers(store, reserve("one", 300), settle("one", 300))
        away = path.with_name("away.db")
        for ending in ("", "-wal"):
            path.with_name(f"{path.name}{ending}").rename(away.with_name(f"{away.name}{ending}"))
        path.with_name(f"{path.name}-shm").unlink()
        await unavailable(store, "No such file|cannot be opened")
        await unavailable(store, "No such file|cannot be opened")
        assert not await trio.Path(path).exists()
        for ending in ("", "-wal"):
            away.with_name(f"{away.name}{ending}").rename(path.with_name(f"{path.name}{ending}"))
        assert isinstance(await answer(store, reserve("two", 700)), Held)
        assert await root_window(store) == (700, 300)

    told(path, story)


def test_a_program_that_changes_its_folder_keeps_its_ledger(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(store: LedgerStore) -> None:
        await answers(store, reserve("one", 300))
        monkeypatch.chdir(elsewhere)
        await answers(store, settle("one", 10))
        assert await root_window(store) == (0, 10)

    elsewhere = path.parent / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(path.parent)
    told(Path(path.name), story)
    assert list(elsewhere.iterdir()) == []


def spoil(path: Path, how: str) -> None:
    with path.open("r+b") as file:
        if how == "overwritten":
            file.write(b"\x5a" * path.stat().st_size)
        else:
            file.truncate(2_048 if how == "cut short" else 0)


@pytest.mark.parametrize("how", ["overwritten", "cut short", "emptied"])
def test_a_file_that_is_spoiled_while_it_is_in_use_is_noticed_and_no_call_is_let_through(path: Path, how: str) -> None:
    async def story(store: LedgerStore) -> None:
        await answers(store, reserve("one", 300))
        checkpoint(path)
        whole = path.with_name("whole.db")
        shutil.copyfile(path, whole)
        spoil(path, how)
        for hold in ("two", "three"):
            with pytest.raises(LedgerUnavailableError, match="overwritten or cut short while it was in use"):
                await answer(store, reserve(hold, 200))
        shutil.copyfile(whole, path)
        assert isinstance(await answer(store, reserve("four", 200)), Held), "it is well again, and so are we"
        assert await root_window(store) == (500, 0)

    told(path, story)


@pytest.mark.parametrize("how", ["overwritten", "cut short"])
def test_a_file_that_is_spoiled_when_sqlite_cannot_be_asked_is_noticed_once_it_can(path: Path, how: str) -> None:
    async def story(store: LedgerStore) -> None:
        await answers(store, reserve("one", 300))
        checkpoint(path)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        spoil(path, how)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            with pytest.raises(LedgerUnavailableError):
                await answer(store, reserve("two", 200))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        with pytest.raises(LedgerUnavailableError, match="overwritten or cut short while it was in use"):
            await answer(store, reserve("three", 200))

    told(path, story)


def checkpoint(path: Path) -> None:
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
    connection.close()


GROWN = """
import os, signal, trio
from pathlib import Path
from ledgering import *

async def main():
    async with sqlite_ledger(Path(sys.argv[1]), Wall()) as store:
        await answers(store, *[reserve(f"{n}-{'x' * 500}", 1) for n in range(40)])
        os.kill(os.getpid(), signal.SIGKILL)

trio.run(main)
"""
TORN = """
import os, resource, signal, sqlite3

connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA wal_autocheckpoint = 0")
# Ended, as at once as by SIGKILL, by its first write that would lengthen the file.
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(sys.argv[1]),) * 2)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
"""


def test_a_checkpoint_whose_process_was_killed_in_its_middle_stops_nobody(path: Path) -> None:
    async def story(store: LedgerStore) -> None:
        before = written_at(path)
        await answers(store, reserve("one", 300))
        while written_at(path) == before:  # noqa: ASYNC110 - its own checkpoint, in its pause, tells nobody
            await trio.sleep(0.01)
        assert run_program(GROWN, str(path)).returncode == -signal.SIGKILL
        ran = run_program(TORN, str(path))
        assert ran.returncode == -signal.SIGXFSZ, ran.stderr
        assert is_torn(path), "it has the beginning of the checkpoint, and not its end"
        assert isinstance(await answer(store, reserve("two", 200)), Held)
        assert await root_window(store) == (540, 0)

    told(path, story)


def written_at(path: Path) -> int:
    return path.stat().st_mtime_ns


def is_torn(path: Path) -> bool:
    """Whether it says that it has more pages than it has."""
    content = path.read_bytes()
    return int.from_bytes(content[28:32], "big") * PAGE > len(content)


def test_older_books_in_its_place_are_for_who_has_not_known_the_later_ones(path: Path) -> None:
    copy, kept = path.with_name("copy.db"), path.with_name("kept.db")

    async def story(store: LedgerStore) -> None:
        await answers(store, reserve("one", 300))
        checkpoint(path)
        shutil.copyfile(path, copy)
        await answers(store, reserve("two", 600))
        checkpoint(path)
        shutil.copyfile(path, kept)
        for older in range(2):
            put_in_place(copy, path)
            for _ in range(2):
                with pytest.raises(LedgerUnavailableError, match="older books than this process knew"):
                    await answer(store, reserve("three", 200))
            if not older:
                async with sqlite_ledger(path, Wall()) as other:
                    assert isinstance(await answer(other, reserve("three", 200)), Held)
        put_in_place(kept, path)
        assert not isinstance(await answer(store, reserve("three", 200)), Held)
        assert await root_window(store) == (900, 0)

    told(path, story)


def test_older_books_are_known_by_our_own_last_batch_however_far_others_have_gone_on(path: Path) -> None:
    copy = path.with_name("copy.db")

    async def story(store: LedgerStore) -> None:
        await answers(store, reserve("one", 300))
        checkpoint(path)
        shutil.copyfile(path, copy)
        await answers(store, reserve("two", 600))
        put_in_place(copy, path)
        async with sqlite_ledger(path, Wall()) as other:
            for number in range(5):
                await answers(other, reserve(f"other-{number}", 1))
            await unavailable(store, "older books than this process knew")
            await answers(other, reserve("other-5", 1))

    told(path, story)


def test_a_process_that_wrote_last_long_ago_goes_on_with_books_that_have_forgotten_it(path: Path) -> None:
    wall = Wall()

    async def story(store: LedgerStore) -> None:
        await answers(store, reserve("one", 300), settle("one", 300))
        async with sqlite_ledger(path, wall) as other:
            await answers(other, reserve("two", 1))
            wall.now += 100 * 86_400.0
            # It forgets by itself, now and then.
            await answers(other, reserve("three", 1))
            wall.now += 61.0
            await answers(other, reserve("four", 1))
        connection = sqlite3.connect(path)
        assert connection.execute("SELECT count(*) FROM writers").fetchone() == (0,)
        connection.close()
        assert isinstance(await answer(store, reserve("five", 200)), Stale), "answered: its windows are over"

    told(path, story, wall=wall)


GREEDY = """
import trio
from pathlib import Path
from ledgering import *
from penstock.policy.ledger_steps import Held

async def main():
    async with sqlite_ledger(Path(sys.argv[1]), Wall()) as store:
        found = await answers(store, *[reserve(f"greedy-{n}", 100) for n in range(5)])
        print(sum(isinstance(one, Held) for one in found))

trio.run(main)
"""


@pytest.mark.parametrize(("endings", "lost"), [(("-shm",), 0), (("-wal", "-shm"), 300)])
def test_files_beside_the_ledger_that_were_taken_away_never_part_its_processes(
    path: Path, endings: tuple[str, ...], lost: int
) -> None:
    """Whoever comes later knows nothing of what was in the `-wal` alone; who wrote it does, and stops."""

    async def story(store: LedgerStore) -> None:
        await answers(store, reserve("one", 300))
        for ending in endings:
            path.with_name(f"{path.name}{ending}").unlink()
        held = 300
        ran = run_program(GREEDY, str(path))
        assert ran.returncode == 0, ran.stderr
        held += 100 * int(ran.stdout)
        for number in range(10):
            with pytest.raises(LedgerUnavailableError, match="were taken away while it was in use"):
                held += 100 * isinstance(await answer(store, reserve(f"later-{number}", 100)), Held)
        assert held <= 1_000 + lost, "the limit, of both of them together"

    told(path, story)


def put_in_place(copy: Path, path: Path) -> None:
    for ending in ("-wal", "-shm"):
        path.with_name(f"{path.name}{ending}").unlink(missing_ok=True)
    shutil.copyfile(copy, path.with_name("new.db"))
    path.with_name("new.db").replace(path)


def test_books_that_another_process_began_anew_are_not_taken_for_those_of_before(path: Path) -> None:
    async def story(store: LedgerStore) -> None:
        await answers(store, reserve("one", 300))
        await answers(store, reserve("two", 300))
        checkpoint(path)
        spoil(path, "emptied")
        await unavailable(store, "overwritten or cut short")
        async with sqlite_ledger(path, Wall()) as other:
            await answers(other, reserve("three", 1))
            await unavailable(store, "older books than this process knew")

    told(path, story)


@pytest.mark.parametrize("how", ["emptied", "deleted"])
def test_a_file_that_was_lost_between_two_runs_is_begun_anew_and_that_is_told(
    path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        told(path, answers_nothing)
    assert not caplog.text, "at first, and when all is well"
    if how == "emptied":
        os.truncate(path, 0)
    else:
        path.unlink()
    told(path, answers_nothing)
    (record,) = caplog.records
    assert "is begun anew: there was one before, and its file is gone or empty" in record.getMessage()
    told(path, answers_nothing)
    assert len(caplog.records) == 1


def test_another_file_in_its_place_is_for_who_has_not_known_the_one_before(path: Path) -> None:
    other = path.with_name("other.db")

    async def in_the_other(store: LedgerStore) -> None:
        await answers(store, reserve("other", 900))
        await answers(store, settle("other", 900))

    told(other, in_the_other)

    async def story(store: LedgerStore) -> None:
        await answers(store, reserve("one", 300))
        for ending in ("-wal", "-shm"):
            path.with_name(f"{path.name}{ending}").unlink()
        other.replace(path)
        await unavailable(store, "older books than this process knew")

    async def afterwards(store: LedgerStore) -> None:
        assert not isinstance(await answer(store, reserve("two", 200)), Held)
        assert await root_window(store) == (0, 900)

    told(path, story)
    told(path, afterwards)


@pytest.mark.parametrize("now", [float("nan"), float("inf"), 1e12])
def test_a_clock_that_tells_no_time_stops_calls_and_not_the_ledger(path: Path, now: float) -> None:
    wall = Wall()

    async def story(store: LedgerStore) -> None:
        await answers(store, reserve("one", 300))
        wall.now = now
        await unavailable(store, "which is no Unix time")
        with pytest.raises(LedgerUnavailableError, match="which is no Unix time"):
            await store.windows()
        wall.now = NOON + 1
        assert (await store.commit([settle("one", 1)])).now == NOON + 1

    told(path, story, wall=wall)


def test_a_fork_may_not_use_it_and_does_it_no_harm(path: Path) -> None:
    async def story(store: LedgerStore) -> None:
        await answers(store, reserve("one", 300))
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for use in (store.commit(()), store.windows(), store.holds()):
                    use.send(None)
            except LedgerUnavailableError as error:
                status = 0 if "this is a fork" in str(error) else 2
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)  # noqa: ASYNC222 - it ends at once
        assert os.waitstatus_to_exitcode(status) == 0
        await answers(store, settle("one", 10))
        assert await root_window(store) == (0, 10)

    told(path, story)


FORKED = """
import os, signal, trio
from pathlib import Path
from ledgering import *

async def main():
    async with sqlite_ledger(Path(sys.argv[1]), Wall()) as store:
        await answers(store, reserve("one", 300))
        child = os.fork()
        if not child:
            signal.pause()  # a worker of a pool that is idle
        print(child, flush=True)

        def killed_while_it_writes(begin):
            store._file.write(lambda _: os.kill(os.getpid(), signal.SIGKILL), begin)

        await store._ask(killed_while_it_writes)

trio.run(main)
"""


def test_a_process_that_is_killed_while_it_writes_shuts_nobody_out_by_its_forks(path: Path) -> None:
    head = f"import sys; sys.path.insert(0, {TESTS!r})\n"
    command = [sys.executable, "-c", head + FORKED, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            assert parent.wait(timeout=60) == -signal.SIGKILL

            async def story(store: LedgerStore) -> None:
                assert isinstance(await answer(store, reserve("two", 700)), Held)
                assert await root_window(store) == (1_000, 0)

            told(path, story, lock_timeout=1.0)
        finally:
            os.kill(child, signal.SIGKILL)


KILLED = """
import os, signal, sqlite3, trio
from pathlib import Path
from ledgering import *

last = sys.argv[2]
connect = sqlite3.connect
armed = False

def traced(*arguments, **named):
    connection = connect(*arguments, **named)
    def trace(statement):
        if armed and statement.lstrip().startswith(last):
            os.kill(os.getpid(), signal.SIGKILL)
    connection.set_trace_callback(trace)
    return connection

sqlite3.connect = traced

async def main():
    global armed
    async with sqlite_ledger(Path(sys.argv[1]), Wall()) as store:
        await answers(store, reserve("one", 300), reserve("two", 200))
        armed = True
        await answers(store, settle("one", 10, target="sonnet"), reserve("three", 100))

trio.run(main)
"""


@pytest.mark.parametrize(
    "last",
    [
        "UPDATE ledger",
        "UPDATE buckets",
        "INSERT INTO holds",
        "UPDATE holds",
        "UPDATE journal",
        "INSERT INTO journal",
        "COMMIT",
    ],
)
def test_killed_before_any_statement_all_of_the_batch_or_nothing_is_there(path: Path, last: str) -> None:
    ran = run_program(KILLED, str(path), last)
    assert ran.returncode == -signal.SIGKILL, ran.stderr

    async def story(store: LedgerStore) -> None:
        assert await root_window(store) == (500, 0)
        assert await store.spending(since=0, until=2 * NOON) == []
        await answers(store, settle("one", 10), reserve("three", 100))
        assert await root_window(store) == (300, 10)

    told(path, story)


def test_file_systems_of_a_network_are_told_by_their_mounts() -> None:
    mounts = mounted_types(
        [
            "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw",
            "40 22 0:35 / /srv/data\\040disk rw master:2 - nfs4 server:/x rw",
            "41 22 0:36 / /mnt rw - ext4 /dev/sdb rw",
            "42 41 0:37 / /mnt rw - cifs //server/share rw",
            "nonsense",
        ]
    )
    assert mounts == {"/": "ext4", "/srv/data disk": "nfs4", "/mnt": "cifs"}
    assert {"nfs4", "cifs"} <= NETWORK
    assert network_file_system(Path("/tmp")) is None
    assert network_file_system(Path("//server/share")) == "a network share"


def test_a_file_on_a_network_is_refused_before_anything_is_made(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mounted(_: Any) -> dict[str, str]:
        return {str(path.parent.resolve()): "nfs4"}

    monkeypatch.setattr("penstock_plugins.ledgers.sqlite_troubles.mounted_types", mounted)
    refused_to_open(path, ConfigError, r"file system of a network \(nfs4\)")
    assert list(path.parent.iterdir()) == []
