"""Which kernel is meant, among those that can be watched on this machine by this user."""

from __future__ import annotations

from pathlib import Path

import trio

from penstock._live.sockets import NotPrivateError, folder_of_sockets, sockets_in, sweep

__all__ = ["NoKernelError", "find"]

HOW = "a kernel can be watched where its configuration has live_view = true in [telemetry]"


class NoKernelError(Exception):
    """There is none that is meant; says what there is."""


async def find(kernel: str | None) -> trio.SocketStream:
    """A connection to the one kernel that is meant. Raises NoKernelError."""
    try:
        folder = folder_of_sockets(make=False)
        sweep(folder)
        paths = sockets_in(folder)
    except FileNotFoundError:
        paths = []
    except NotPrivateError as error:
        raise NoKernelError(str(error)) from None
    except AttributeError:
        raise NoKernelError("kernels can be watched on Linux and macOS alone") from None
    found: list[tuple[Path, trio.SocketStream]] = []
    for path in paths:
        if kernel is None or kernel in path.stem.split("-"):
            stream = await _connected(path)
            if stream is not None:
                found.append((path, stream))
    if len(found) == 1:
        return found[0][1]
    for _, stream in found:
        await stream.aclose()
    if found:
        names = ", ".join(path.stem.replace("-", " (kernel ") + ")" for path, _ in found)
        raise NoKernelError(f"several can be watched; name one by its process: {names}")
    raise NoKernelError(f"no kernel {f'named {kernel} ' if kernel else ''}is running here; {HOW}")


async def _connected(path: Path) -> trio.SocketStream | None:
    """None: nobody is there any more."""
    try:
        return trio.SocketStream((await trio.open_unix_socket(path)).socket)
    except OSError:
        return None
