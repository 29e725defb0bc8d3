"""A thread that owns one SQLite connection, and the tasks that have it do things.

Not here: what is done (`sqlite`), and what the file looks like (`sqlite_file`).
"""

from __future__ import annotations

import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import trio

from penstock.errors import CacheStoreError
from penstock_plugins.caches.sqlite_file import inode, is_damaged, set_aside

__all__ = ["ConnectionThread"]

T = TypeVar("T")


class _Job(Generic[T]):
    """Something to be done with the connection, and the task that waits for it."""

    __slots__ = ("_act", "_error", "_task", "_value", "abandoned")

    def __init__(self, act: Callable[[sqlite3.Connection], T]) -> None:
        self._act = act
        self._task: trio.lowlevel.Task | None = None
        self._value: T | None = None
        self._error: Exception | None = None
        self.abandoned = False

    def act(self, connect: Callable[[], sqlite3.Connection]) -> Exception | None:
        """In the thread. Says what went wrong, too."""
        try:
            self._value = self._act(connect())
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            self._error = error
        return self._error

    def fail(self, error: Exception) -> None:
        self._error = error

    async def wait(self) -> T:
        """In the loop. Cancelled, it is abandoned: what has not begun by then is not done."""
        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abandon)
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame
        return cast("T", self._value)

    def settle(self) -> None:
        """In the loop, when it is done."""
        if not self.abandoned and self._task is not None:
            trio.lowlevel.reschedule(self._task)

    def _abandon(self, _raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        self.abandoned = True
        return trio.lowlevel.Abort.SUCCEEDED


class ConnectionThread:
    """Runs jobs one after the other. The connection is made when it is first needed, and anew when the file was
    replaced.

    A file that turns out to be damaged is set aside; the job that found it fails, and the next begins a new file.
    """

    def __init__(self, path: Path, connect: Callable[[Path], sqlite3.Connection], name: str) -> None:
        self._path = path
        self._connect = connect
        self._pid = os.getpid()
        self._token = trio.lowlevel.current_trio_token()
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._inode: int | None = None
        self._ended = trio.Event()
        # A daemon: where a disk hangs for good, the process must still be able to end.
        threading.Thread(target=self._live, name=name, daemon=True).start()

    async def run(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """What `act` returns or raises; it must be done soon, for others wait behind it."""
        if os.getpid() != self._pid:
            raise CacheStoreError("a SQLite connection does not survive a fork: open a kernel in the new process")
        job = _Job(act)
        self._jobs.put(job)
        return await job.wait()

    async def close(self) -> None:
        """Ends the thread and closes its connection, when what waits is done; cancelled, it does not wait for that."""
        self._jobs.put(None)
        if os.getpid() == self._pid:
            await self._ended.wait()

    def _live(self) -> None:
        try:
            self._do_jobs()
        finally:
            with suppress(sqlite3.Error):
                self._disconnect()
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._ended.set)

    def _do_jobs(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.abandoned:
                continue
            error = job.act(self._connected)
            if error is not None and is_damaged(error):
                job.fail(self._begin_anew(error))
            try:
                self._token.run_sync_soon(job.settle)
            except trio.RunFinishedError:
                return

    def _connected(self) -> sqlite3.Connection:
        there = inode(self._path)
        if self._connection is not None and there == self._inode:
            return self._connection
        self._disconnect()
        self._inode = there
        self._connection = self._connect(self._path)
        self._inode = inode(self._path)
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _begin_anew(self, error: Exception) -> Exception:
        try:
            self._disconnect()
            moved = set_aside(self._path, self._inode)
        except (OSError, sqlite3.Error) as problem:
            return CacheStoreError(f"{self._path.name} is damaged and cannot be set aside: {problem}")
        where = f"it was kept as {moved.name}" if moved else "another process has replaced it"
        return CacheStoreError(f"{self._path.name} was damaged ({error}); {where}, and a new one is begun")
