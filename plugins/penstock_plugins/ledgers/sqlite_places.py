"""Where the files of a ledger are, and which they are: what is asked of the file system in every batch.

Not here: what follows from it (`sqlite_file`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

__all__ = ["Seen", "beside", "inode_of", "is_empty", "real", "seen_at", "size_of"]

Seen: TypeAlias = tuple[int, ...]
"""Device and inode; size; when it was last written to. Empty: it never was."""


def seen_at(path: str | Path) -> Seen:
    """The file as it is now. Raises OSError where there is none."""
    found = os.stat(path)  # noqa: PTH116 - twice as fast as Path.stat, in every batch
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def inode_of(path: str) -> int:
    """0 where there is no such file."""
    try:
        return os.stat(path).st_ino  # noqa: PTH116 - as above
    except FileNotFoundError:
        return 0


def beside(path: Path, ending: str) -> Path:
    """Where SQLite has it: beside the file itself, where the path is a link to it."""
    file = real(path)
    return file.with_name(f"{file.name}{ending}")


def real(path: Path) -> Path:
    """The file itself."""
    return Path(os.path.realpath(path))  # Path.resolve raises where links lead in a circle


def is_empty(path: Path) -> bool:
    """Whether nothing is in it, or it is not there."""
    return not size_of(path)


def size_of(path: Path) -> int:
    """In bytes; 0 where it is not there."""
    try:
        return seen_at(path)[2]
    except FileNotFoundError:
        return 0
