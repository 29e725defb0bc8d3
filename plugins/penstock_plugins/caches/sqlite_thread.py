"""One SQLite connection in a thread of its own, made when it is first needed and anew when it is of no use any more.

Not here: what is done (`sqlite`), and what the file looks like (`sqlite_file`).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

from penstock.errors import CacheStoreError
from penstock_plugins.caches.sqlite_file import inode, is_damaged, set_aside
from penstock_plugins.sqlite.apart import close_apart
from penstock_plugins.sqlite.forks import Guard, trouble_of_fork
from penstock_plugins.sqlite.own_thread import Begin, OwnThread

__all__ = ["ConnectionThread"]

T = TypeVar("T")


class ConnectionThread:
    """Runs jobs one after the other. The connection is made when it is first needed, and anew when the file was
    replaced.

    A file that turns out to be damaged is set aside; the job that found it fails, and the next begins a new file.
    """

    def __init__(self, path: Path, connect: Callable[[Path], sqlite3.Connection], name: str) -> None:
        self._path = path
        self._connect = connect
        self._pid = os.getpid()
        self._thread = OwnThread(name)
        self._guard = Guard(self._close_for_fork)
        """The connection is used within it."""
        self._connection: sqlite3.Connection | None = None
        self._left = False
        """It was closed for a fork, and its WAL left as it was."""
        self._inode: int | None = None

    async def run(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """What `act` returns or raises; it must be done soon, for others wait behind it.

        Cancelled, what has not begun by then is not done.
        """
        if os.getpid() != self._pid:
            raise CacheStoreError("a SQLite connection does not survive a fork: open a kernel in the new process")
        trouble = trouble_of_fork()
        if trouble is not None:
            raise CacheStoreError(f"{self._path.name} cannot be used here: {trouble}")
        done = await self._thread.ask(partial(self._do, act))
        return cast("T", done)  # None, where that is none, is for who does not wait any more

    async def close(self) -> None:
        """Ends the thread and closes its connection, when what waits is done; cancelled, it does not wait for that."""
        if os.getpid() == self._pid:
            await self._thread.close(self._let_go)

    def _do(self, act: Callable[[sqlite3.Connection], T], begin: Begin) -> T | None:
        with self._guard:
            if not begin():
                return None
            try:
                return act(self._connected())
            except sqlite3.DatabaseError as error:
                if not is_damaged(error):
                    raise
                raise self._begin_anew(error) from error

    def _let_go(self) -> None:
        with self._guard, suppress(sqlite3.Error, CacheStoreError):
            if self._left and inode(self._path) == self._inode:
                self._connected()  # who closes it last puts the WAL into the file
            self._disconnect()
        self._guard.leave()

    def _close_for_fork(self) -> None:
        """In any thread: the next job makes it anew."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._left = True
            close_apart(self._path, connection)

    def _connected(self) -> sqlite3.Connection:
        there = inode(self._path)
        if self._connection is not None and there == self._inode:
            return self._connection
        self._disconnect()
        self._inode = there
        self._connection, self._left = self._connect(self._path), False
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
