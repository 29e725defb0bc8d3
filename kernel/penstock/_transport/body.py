"""The body of a response while it comes in. It gives its connection back with its last byte."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import httpx

from penstock._transport.connection import Connection
from penstock._transport.failures import BrokenHttp

__all__ = ["Body"]


class LetGo(Protocol):
    """Gives the connection back."""

    def __call__(self, *, reusable: bool) -> None: ...


class Body(httpx.AsyncByteStream):
    """Yields what each read brings. Ends only where HTTP says so; after a failure or `aclose` it never ends: it raises.

    `let_go` is called exactly once.
    """

    def __init__(self, connection: Connection, let_go: LetGo, *, read_timeout: float, max_bytes: int) -> None:
        self._connection: Connection | None = connection
        self._let_go = let_go
        self._read_timeout = read_timeout
        self._left = max_bytes
        self._whole = False

    @property
    def is_whole(self) -> bool:
        """True once the last byte was handed out."""
        return self._whole

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._whole:
            raise StopAsyncIteration
        if self._connection is None:
            raise httpx.StreamClosed
        try:
            data = self._counted(await self._connection.body(self._read_timeout))
        except BaseException:
            self._end(reusable=False)
            raise
        if self._connection.ended:
            self._whole = True
            self._end(reusable=self._connection.end_exchange())
        if not data:
            raise StopAsyncIteration
        return data

    def rest(self, most: int) -> bytes | None:
        """All that is left of the body, where it came with the head as nearly every whole answer does, and is no longer
        than that. None: it has to be read. Never raises.
        """
        connection = self._connection
        if connection is None or (data := connection.rest(min(most, self._left))) is None:
            return None
        self._whole = True
        self._end(reusable=connection.end_exchange())
        return data

    async def aclose(self) -> None:
        """Lets the connection go; one with more to come is closed. Never waits. Idempotent."""
        if (connection := self._connection) is not None:
            self._end(reusable=connection.skip_buffered_body() and connection.end_exchange())

    def _counted(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise BrokenHttp("the response is larger than is allowed")
        return data

    def _end(self, *, reusable: bool) -> None:
        if self._connection is not None:
            self._connection = None
            self._let_go(reusable=reusable)
