"""Where kernels that may be watched have their sockets: a folder that is its user's alone, so that they are as well."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["NotPrivateError", "folder_of_sockets", "socket_path", "sockets_in", "sweep"]

SUFFIX = ".sock"


class NotPrivateError(OSError):
    """The folder is there, and others may look into it."""


def folder_of_sockets(*, make: bool) -> Path:
    """The folder. Raises NotPrivateError where it belongs to somebody else, or others may enter it; FileNotFoundError
    where there is none and it is not to be made.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    named = Path(runtime) / "penstock" if runtime else Path(tempfile.gettempdir()) / f"penstock-{os.getuid()}"
    if make:
        named.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Never through a link: in a folder that all may write to, somebody else could have put one there.
    found = named.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise NotPrivateError(f"{named} must be a folder of this user's, with the mode 0700")
    return named


def socket_path(kernel: str) -> Path:
    """That of a kernel of this process."""
    return folder_of_sockets(make=True) / f"{os.getpid()}-{kernel}{SUFFIX}"


def sockets_in(folder: Path) -> list[Path]:
    """Those that are there, whether or not anybody answers at them."""
    return sorted(each for each in folder.iterdir() if each.suffix == SUFFIX and _is_socket(each))


def sweep(folder: Path) -> None:
    """Takes away what kernels that were killed have left: sockets of this user's, of processes that are no more, where
    connecting is refused. Never waits.
    """
    for path in sockets_in(folder):
        with suppress(OSError):  # another has been quicker, or it is not ours to judge
            if path.lstat().st_uid == os.getuid() and _is_gone(path) and _is_refused(path):
                path.unlink()


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:  # its kernel has ended meanwhile
        return False


def _is_gone(path: Path) -> bool:
    """Whether its process is: one is refused also where a kernel has made its socket and does not listen yet."""
    pid = path.name.partition("-")[0]
    if not (pid.isdecimal() and int(pid) > 0):
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OverflowError:  # it is no number of a process
        return False
    return False


def _is_refused(path: Path) -> bool:
    """Asked as well, for a process of another container may have a number that means nothing here."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.setblocking(False)
        try:
            asking.connect(str(path))
        except ConnectionRefusedError:
            return True
    return False
