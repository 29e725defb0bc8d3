"""The upstream behind a real TCP port, with or without TLS: plans played byte for byte, through h11.

Not here: what is answered (`upstream`), one connection (`socket_connection`). Binds to loopback unless told otherwise.
A scripted window in which every connection is refused closes the port itself; nothing answers there then.
"""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import AbstractAsyncContextManager
from types import TracebackType

import trio

from penstock_plugins.rehearsal.socket_connection import SocketConnection, reset
from penstock_plugins.rehearsal.upstream import Upstream

__all__ = ["Server", "serve"]

_BACKLOG = 1024


def serve(
    upstream: Upstream, host: str = "127.0.0.1", port: int = 0, *, ssl_context: ssl.SSLContext | None = None
) -> AbstractAsyncContextManager[Server]:
    """Serves until the block is left; the server has a `url`. Port 0: any free one."""
    return _Serving(Server(upstream, host, port, ssl_context))


class Server:
    """A running server. Leaving its block cuts every connection, whatever hangs."""

    def __init__(self, upstream: Upstream, host: str, port: int, ssl_context: ssl.SSLContext | None) -> None:
        self.upstream = upstream
        self.host = host
        self.port = port
        """The port it got; the same after a refusal."""
        self.connections_accepted = 0
        self.failures: list[Exception] = []
        """Bugs of the server itself, raised when the block is left in peace. No fault of a script is one."""
        self._ssl_context = ssl_context
        self._listener: trio.SocketListener | None = None
        self._connections: set[trio.CancelScope] = set()
        self._refused_by_hand = False
        self._changed = trio.Event()

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        scheme = "http" if self._ssl_context is None else "https"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"

    @property
    def connections_open(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    def refuse(self) -> None:
        """Closes the port and cuts every connection, as if the process had died; `accept` brings it back."""
        self._refused_by_hand = True
        self._follow_script()

    def accept(self) -> None:
        """Listens again on the same port, unless the script refuses just then."""
        self._refused_by_hand = False
        self._follow_script()

    def open(self) -> None:
        """Starts the script, and takes the port. Raises OSError where it is taken."""
        self.upstream.start(trio.current_time())
        self._open_port()
        self._follow_script()

    async def run(self) -> None:
        """Accepts connections, and opens and closes the port by the script, until cancelled."""
        async with trio.open_nursery() as connections:
            try:
                while True:
                    await self._serve_until_change(connections)
            except Exception as error:  # noqa: BLE001 - the port may be taken by now: told when the server ends
                self.failures.append(error)
            finally:
                self._close_port()

    async def _serve_until_change(self, connections: trio.Nursery) -> None:
        self._changed = trio.Event()
        with trio.move_on_at(self.upstream.next_change(trio.current_time())):
            if self._listener is None:
                await self._changed.wait()
            else:
                await self._accept_from(self._listener, connections)
        self._follow_script()

    async def _accept_from(self, listener: trio.SocketListener, connections: trio.Nursery) -> None:
        while True:
            try:
                stream = await listener.accept()
            except trio.ClosedResourceError:
                return
            self.connections_accepted += 1
            connections.start_soon(self._serve_connection, stream)

    async def _serve_connection(self, stream: trio.SocketStream) -> None:
        with trio.CancelScope() as scope:
            self._connections.add(scope)
            try:
                await SocketConnection(self.upstream, stream, _wall, self._ssl_context).serve()
                stream.socket.close()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # The client left, which is its right.
            except Exception as error:  # noqa: BLE001 - a bug ends one connection, and is told when the server ends
                self.failures.append(error)
            finally:
                self._connections.discard(scope)
                reset(stream)

    def _follow_script(self) -> None:
        if self._refused_by_hand or self.upstream.port_is_closed(trio.current_time()):
            self._close_port()
        else:
            self._open_port()

    def _open_port(self) -> None:
        if self._listener is not None:
            return
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listening = socket.create_server((self.host, self.port), family=family, backlog=_BACKLOG)
        self.port = listening.getsockname()[1]
        self._listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
        self._changed.set()

    def _close_port(self) -> None:
        if self._listener is None:
            return
        self._listener.socket.close()
        self._listener = None
        for scope in self._connections:
            scope.cancel()


class _Serving(AbstractAsyncContextManager[Server]):
    """A class, so that an exception of the block leaves it as it is and not in a group."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._manager = trio.open_nursery()
        self._nursery: trio.Nursery | None = None
        self._stopped = trio.Event()

    async def __aenter__(self) -> Server:
        self._server.open()
        self._nursery = await self._manager.__aenter__()
        self._nursery.start_soon(self._run)
        return self._server

    async def _run(self) -> None:
        try:
            await self._server.run()
        finally:
            self._stopped.set()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._nursery is not None, "entered before it is left"
        self._nursery.cancel_scope.cancel()
        # Shielded: everything inside is cancelled and only has sockets to close, so this ends at once.
        with trio.CancelScope(shield=True):
            await self._stopped.wait()
        await self._manager.__aexit__(None, None, None)
        if exc is None and self._server.failures:
            raise ExceptionGroup("the rehearsal server failed", self._server.failures)


def _wall() -> float:
    return time.time()
