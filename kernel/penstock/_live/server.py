"""The socket at which a kernel is watched: a frame a second to everyone who connects, for as long as they read.

Only the user of the process can connect. Nothing of it holds up the kernel: a watcher that does not read is let go, and
while nobody watches nothing is counted.
"""

from __future__ import annotations

import contextvars
import logging
import socket
from contextlib import suppress
from pathlib import Path

import msgspec
import trio

from penstock._engine import Engine
from penstock._front import Kernel
from penstock._live.sockets import socket_path, sweep
from penstock._live.tally import LiveTally
from penstock._live.view import Watcher

__all__ = ["LiveServer"]

logger = logging.getLogger("penstock")

EVERY = 1.0
"""Seconds from one frame to the next."""
PATIENCE = 5.0
"""Seconds until a watcher that does not read is let go."""
MOST_WATCHERS = 4
"""At once: each makes frames of its own."""
EVENTS_KEPT = 50_000
"""Events between two frames: some ten thousand calls a second end in no fewer."""


class LiveServer:
    """Serves one kernel, from `start` to `close`."""

    def __init__(self, kernel: Kernel, engine: Engine) -> None:
        self._kernel = kernel
        self._engine = engine
        self._opened_at = engine.clock.monotonic()
        self._scope = trio.CancelScope()
        self._done = trio.Event()
        self._done.set()
        self._watchers = 0
        self._told = False

    def start(self, nursery: trio.Nursery) -> None:
        """Begins to listen. Where it cannot, the log says so, and the kernel goes on."""
        try:
            path = socket_path(self._engine.name)
            sweep(path.parent)
            listening = _listening(path)
        except (OSError, AttributeError) as error:
            logger.warning("telemetry.live_view: nobody can watch this kernel: %s", error)
            return
        self._done = trio.Event()
        # An empty context: it belongs to no caller.
        served = trio.socket.from_stdlib_socket(listening)
        contextvars.Context().run(nursery.start_soon, self._serve, served, path)

    async def close(self) -> None:
        """Lets everyone go. Waits for nobody who reads slowly."""
        self._scope.cancel()
        await self._done.wait()

    async def _serve(self, listening: trio.socket.SocketType, path: Path) -> None:
        try:
            with self._scope:
                await trio.serve_listeners(self._watch, [trio.SocketListener(listening)])
        except Exception:
            logger.exception("telemetry.live_view: a bug; nobody can watch this kernel any more")
        finally:
            listening.close()
            with suppress(OSError):
                path.unlink()  # noqa: ASYNC240 - a name in memory, which nobody has to wait for
            self._done.set()

    async def _watch(self, stream: trio.SocketStream) -> None:
        async with stream:
            if self._watchers >= MOST_WATCHERS:
                return
            self._watchers += 1
            try:
                await self._send_frames(stream)
            except trio.BrokenResourceError:
                pass  # it has seen enough
            except Exception:
                # The trouble of one watcher is no other's; and who comes back every second fills no log.
                if not self._told:
                    self._told = True
                    logger.exception("telemetry.live_view: a bug; a watcher is let go (this is told once)")
            finally:
                self._watchers -= 1

    async def _send_frames(self, stream: trio.SocketStream) -> None:
        with self._kernel.events(size=EVENTS_KEPT) as events:
            tally = LiveTally(self._engine.clock.monotonic())
            watcher = Watcher(self._kernel, self._engine, self._opened_at, events, tally)
            while True:
                line = msgspec.json.encode(watcher.frame()) + b"\n"
                with trio.move_on_after(PATIENCE) as sending:
                    await stream.send_all(line)
                if sending.cancelled_caught:
                    return
                await trio.sleep(EVERY)


def _listening(path: Path) -> socket.socket:
    """A socket at the path. Windows has no such sockets: AttributeError."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The folder is private: before its mode is set nobody else can reach it either.
        made.bind(str(path))
        path.chmod(0o600)
        made.listen(MOST_WATCHERS)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made
