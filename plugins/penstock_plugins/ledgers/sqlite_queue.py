"""The queue of processes that want to write to one file.

SQLite has none: who finds the file locked sleeps and asks again, so that one process got 40 times as many turns as
another. Here writers wait in the kernel for a lock on a file beside it, which ends with the process that holds it,
`kill -9` included: a fork, which shares the open file and with it the lock, lets go of it at once. Not here: safety.
Writing is safe without the queue too, by SQLite's own locks.
"""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from pathlib import Path

from penstock_plugins.sqlite.forks import Guard

try:
    import fcntl
except ImportError:  # Windows: writers ask SQLite again and again
    _fcntl = None
else:
    _fcntl = fcntl

__all__ = ["WriterQueue"]


_entered: weakref.WeakSet[WriterQueue] = weakref.WeakSet()
"""All of this process that have their file open."""


def _leave_in_fork() -> None:
    for queue in list(_entered):
        queue.close()


if _fcntl is not None:
    os.register_at_fork(after_in_child=_leave_in_fork)


class WriterQueue:
    """A place in the queue. Used by one thread; the file stays open, so that a turn costs two system calls."""

    def __init__(self, path: Path, ledger: Path, guard: Guard) -> None:
        """`guard` is that of the ledger's connection: not within it is this entered."""
        self._path = path
        self._ledger = ledger
        self._guard = guard
        self._file: int | None = None

    def enter(self) -> None:
        """Blocks until it is our turn. Raises OSError where the file beside the ledger cannot be made."""
        if _fcntl is None:
            return
        if self._file is None:
            with self._guard:  # a fork in this moment would have the file, and know nothing of it
                self._file = _opened(self._path, self._ledger)
                _entered.add(self)
        _fcntl.flock(self._file, _fcntl.LOCK_EX)

    def leave(self) -> None:
        """The next one's turn. Harmless where it was not ours."""
        if _fcntl is not None and self._file is not None:
            _fcntl.flock(self._file, _fcntl.LOCK_UN)

    @property
    def is_marked(self) -> bool:
        """Whether there was a file to write to, once. While it is our turn."""
        return self._file is not None and os.fstat(self._file).st_size > 0

    def mark(self) -> None:
        """There is one: kept in the file beside it, which outlives it. While it is our turn."""
        if self._file is not None and not self.is_marked:
            with suppress(OSError):  # one that is only for others to write to
                os.write(self._file, b"in use\n")

    def close(self) -> None:
        """Leaves for good. The file stays: others may be waiting at it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _opened(path: Path, ledger: Path) -> int:
    """The file, made where there is none: as SQLite makes those beside it, for whom the ledger is. Who may only read it
    can lock it too.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        with suppress(OSError):  # no ledger yet, or it is another user's: it is locked all the same
            found = ledger.stat()
            if os.geteuid() == 0:
                os.fchown(file, found.st_uid, found.st_gid)
            os.fchmod(file, found.st_mode & 0o666)
        return file
    except PermissionError:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
