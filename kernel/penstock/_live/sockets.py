"""Where kernels that may be watched have their sockets: a folder that is its user's alone, so that they are as well."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

__all__ = ["NotPrivateError", "folder_of_sockets", "socket_path", "sockets_in"]

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
    return sorted(each for each in folder.iterdir() if each.suffix == SUFFIX and stat.S_ISSOCK(each.lstat().st_mode))
