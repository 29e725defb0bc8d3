"""The queue of processes that want to write to one file.

SQLite has none: who finds the file locked sleeps and asks again, so that one process got 40 times as many turns as
another. Here writers wait in the kernel for a lock on a file beside it, which ends with the process that holds it,
`kill -9` included. Not here: safety. Writing is safe without the queue too, by SQLite's own locks.
"""

from __future__ import annotations

import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: writers ask SQLite again and again
    _fcntl = None
else:
    _fcntl = fcntl

__all__ = ["WriterQueue"]


class WriterQueue:
    """A place in the queue. Used by one thread; the file stays open, so that a turn costs two system calls."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def enter(self) -> None:
        """Blocks until it is our turn. Raises OSError where the file beside the ledger cannot be made."""
        if _fcntl is None:
            return
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
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
            os.write(self._file, b"in use\n")

    def close(self) -> None:
        """Leaves for good. The file stays: others may be waiting at it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
