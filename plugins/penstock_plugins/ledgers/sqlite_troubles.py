"""What goes wrong with a ledger file, in words that say what to do; and file systems on which there can be none."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from penstock.errors import ConfigError, LedgerUnavailableError

__all__ = [
    "BEGUN_ANEW",
    "DAMAGED",
    "OLDER",
    "OTHER",
    "PARTED",
    "is_spoiled",
    "mounted_types",
    "network_file_system",
    "not_to_be_opened",
    "unavailable",
]

DAMAGED = (
    "the ledger {path} was overwritten or cut short while it was in use: what was spent is not known any more; bring"
    " the file back, or stop what uses it and put a copy in its place"
)
PARTED = (
    "the files beside the ledger {path} (-shm, -wal) were taken away while it was in use: by somebody, or by the last"
    " who closed it, after this process had opened and closed the file by itself, which ends SQLite's locks (back it up"
    " by sqlite3's .backup, or from another process). Those that opened it since and this one do not see what the other"
    " writes, so this process refuses calls of accounts with limits; end it, and start it anew (penstock budget set"
    " corrects what is spent)"
)
OLDER = (
    "the ledger {path} has older books than this process knew: the file itself holds {found} batches, and it held"
    " {known}. An older copy was put in its place. What was spent since is not in it, so this process refuses calls"
    " of accounts with limits; bring the file back, or, to go on with the copy, end all that use it, take away its"
    " -wal and its -shm, and start anew (penstock budget set corrects what is spent)"
)
OTHER = (
    "the file of the ledger {path} has other books than its -wal: another ledger, or a copy that was used elsewhere,"
    " was put over it. What was spent since is not in it, so this process refuses calls of accounts with limits; bring"
    " the file back, or, to go on with the other, end all that use it, take away its -wal and its -shm, and start anew"
    " (penstock budget set corrects what is spent)"
)
BEGUN_ANEW = (
    "the ledger %s is begun anew: there was one before, and its file is gone or empty. What was spent is not known any"
    " more; where nobody meant that, bring the file back"
)
_WORDS: dict[int, str] = {
    sqlite3.SQLITE_BUSY: "another program keeps it locked: end that program, or raise lock_timeout in [ledger]",
    sqlite3.SQLITE_LOCKED: "another program keeps it locked: end that program, or raise lock_timeout in [ledger]",
    sqlite3.SQLITE_FULL: "the disk is full: free some space",
    sqlite3.SQLITE_READONLY: "it, or its folder, may not be written to: give this user leave to",
    sqlite3.SQLITE_PERM: "it, or its folder, may not be written to: give this user leave to",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: see that its folder exists, and that this user may write there",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write: see what the system's log says of it",
    sqlite3.SQLITE_CORRUPT: "it is damaged: stop what uses it and put a copy in its place, or move it away",
    sqlite3.SQLITE_NOTADB: "it is no SQLite database: name another path in [ledger], or put a copy in its place",
}

_LASTING = (
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
)

NETWORK = frozenset(
    {
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "glusterfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs3",
        "nfs4",
        "smb",
        "smb2",
        "smb3",
        "smbfs",
    }
    | {"gfs2", "ocfs2", "fuse.gcsfuse", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs"}
)
"""Names of file systems that several machines share: the memory that SQLite's WAL shares between processes does not
reach from one machine to the other."""


def unavailable(path: Path, error: sqlite3.Error | OSError) -> LedgerUnavailableError:
    """The trouble as the ledger's own error."""
    return LedgerUnavailableError(f"the ledger {path} cannot be used: {_in_words(error)}")


def not_to_be_opened(path: Path, error: sqlite3.Error | OSError) -> ConfigError | LedgerUnavailableError:
    """The trouble at the start. What only hands can mend is a mistake: nobody should find out by refused calls."""
    if isinstance(error, OSError):
        lasts = isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError | IsADirectoryError)
    else:
        lasts = _code(error) in _LASTING
    return (
        ConfigError(f"[ledger] path: {path} cannot be used: {_in_words(error)}") if lasts else unavailable(path, error)
    )


def is_spoiled(error: sqlite3.Error) -> bool:
    """Whether it says that what is in the file is no sound database."""
    return _code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def network_file_system(folder: Path) -> str | None:
    """The type of the folder's file system where it is one of a network. None: it is none, or that cannot be told."""
    text = str(folder)
    if text.startswith(("\\\\", "//")):
        return "a network share"
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # neither Linux nor anything that looks like it
        return None
    types = mounted_types(mounts)
    nearest = next((parent for parent in (folder, *folder.parents) if str(parent) in types), None)
    found = None if nearest is None else types[str(nearest)]
    return found if found in NETWORK else None


def mounted_types(mounts: Iterable[str]) -> dict[str, str]:
    """File system types by mount point, of the lines of `/proc/self/mountinfo`; the later mount hides the earlier."""
    types: dict[str, str] = {}
    for line in mounts:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) > 4 and after:
            point = fields[4].encode("ascii", "replace").decode("unicode_escape") if "\\" in fields[4] else fields[4]
            types[point] = after.split(" ")[0]
    return types


def _in_words(error: sqlite3.Error | OSError) -> str:
    if isinstance(error, OSError):
        where = f"{error.filename}: " if isinstance(error.filename, str) else ""
        what_to_do = ": give this user leave to" if isinstance(error, PermissionError) else ""
        return f"{where}{error.strerror or error}{what_to_do}"
    name: str = getattr(error, "sqlite_errorname", type(error).__name__)
    return f"{_WORDS.get(_code(error)) or error} ({name})"


def _code(error: sqlite3.Error) -> int:
    """The code without its finer distinctions; 0, which is none of an error, where Python made it up."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF
