"""The default transport: HTTP/1.1 on trio, with a pool per origin. Not here: proxies and HTTP/2 (`routing`).

Any other `httpx.AsyncBaseTransport` can take its place: it takes httpx's timeouts and raises httpx's errors.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import attrs
import httpx
import trio

from penstock._transport.body import Body
from penstock._transport.connection import Connection
from penstock._transport.decompression import decompressed_body
from penstock._transport.dial import Dialer, Origin
from penstock._transport.failures import GivenUp, ReusedConnectionClosed
from penstock._transport.lookup import Lookup, Resolve, resolve_by_system
from penstock._transport.plain import Asked, Fields, Head
from penstock._transport.pool import Pool, PoolStatistics, Slot
from penstock._transport.timeouts import Timeouts
from penstock._transport.trust import trust

__all__ = ["Asked", "Transport", "TransportStatistics"]

MIB = 1_048_576


@attrs.frozen
class TransportStatistics:
    """Connections now, for each origin that has any."""

    origins: tuple[PoolStatistics, ...]

    @property
    def open(self) -> int:
        """Connections in use or idle."""
        return sum(origin.open for origin in self.origins)

    @property
    def in_use(self) -> int:
        """Connections in use or being made."""
        return sum(origin.in_use for origin in self.origins)

    @property
    def idle(self) -> int:
        """Connections that wait for a request."""
        return sum(origin.idle for origin in self.origins)

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection."""
        return sum(origin.waiting for origin in self.origins)


class Transport(httpx.AsyncBaseTransport):
    """Keep-alive over TCP and TLS. `max_connections` is per origin. Used within one trio loop.

    Never follows a redirect, never retries, never waits longer than the request's own timeouts. A response must be read
    to its end or closed. `extensions["penstock_eof_delimited"]` marks one whose end is only the end of the connection:
    whether it is whole only its reader can tell.
    """

    def __init__(
        self,
        *,
        max_connections: int = 512,
        ca_file: str | None = None,
        trust_env: bool = True,
        max_header_bytes: int = 65_536,
        max_body_bytes: int = 64 * MIB,
        max_decompressed_bytes: int = 64 * MIB,
        idle_expiry: float = 30.0,
        environ: Mapping[str, str] | None = None,
        resolve: Resolve = resolve_by_system,
    ) -> None:
        known = (os.environ if environ is None else environ) if trust_env else MappingProxyType[str, str]({})
        self._dialer = Dialer(Lookup(resolve), partial(trust, ca_file, known), max_header_bytes=max_header_bytes)
        self._pools: dict[Origin, Pool[Connection]] = {}
        self._max_connections = max_connections
        self._idle_expiry = idle_expiry
        self._max_body_bytes = max_body_bytes
        self._max_decompressed_bytes = max_decompressed_bytes
        self._next_sweep = -math.inf
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One exchange, up to the head of the response. Its errors leave no connection behind."""
        body = await request.aread()
        asked = Asked(request.method, request.url.raw_path, request.headers.raw, body)
        head, headers, stream = await self.exchange(Origin.of(request.url), asked, Timeouts.of(request))
        return _response(head, headers, request.method, stream)

    async def exchange(
        self,
        origin: Origin,
        asked: Asked,
        timeouts: Timeouts,
        *,
        placed: Callable[[], object] | None = None,
        connected: Callable[[Connection], object] | None = None,
        until: float = math.inf,
        fresh: bool = False,
    ) -> tuple[Head, Fields, httpx.AsyncByteStream]:
        """The same without httpx's objects, which cost as much as the exchange itself.

        The head as it came, and headers and body of the response as they are once decompressed. `placed` is called once
        it is not others that it waits for, `connected` once there is a connection, a kept one or a new one; where there
        is none at `until` (monotonic), it is given up. `fresh`: no kept one will do.
        """
        now = trio.current_time()
        pool = self._pool(origin, now)
        slot, waited = pool.take(now), False
        if slot is None:
            # What is handed on is looked at again: its server may have said something, or closed it, meanwhile.
            slot, waited = await self._slot(pool, origin, timeouts.pool, until), True
        try:
            if placed is not None:
                placed()
            connection = slot.connection
            if connection is not None and (fresh or (waited and not connection.is_usable())):
                connection.close()
                connection = None
            if connection is None:
                connection = await self._dialed(origin, timeouts.connect, until)
                pool.fill(slot, connection)
            if connected is not None:
                connected(connection)
            head = await connection.ask(asked, timeouts)
        except BaseException as error:
            pool.give_back(slot, trio.current_time(), reusable=False)
            if isinstance(error, ReusedConnectionClosed):
                # The last one used is dead; those that have been idle for longer hardly live. The next try dials.
                pool.forget_idle()
            raise
        stream = Body(
            connection, partial(_let_go, pool, slot), read_timeout=timeouts.read, max_bytes=self._max_body_bytes
        )
        if not head.is_encoded:
            return head, head.headers, stream
        return head, *decompressed_body(head.headers, stream, limit=self._max_decompressed_bytes)

    async def aclose(self) -> None:
        """Closes every connection at once, those in use too: their exchanges end in httpx.ReadError. Idempotent."""
        self._closed = True
        for pool in self._pools.values():
            pool.close()

    def statistics(self) -> TransportStatistics:
        """The numbers now."""
        return TransportStatistics(tuple(pool.statistics(str(origin)) for origin, pool in self._pools.items()))

    def _pool(self, origin: Origin, now: float) -> Pool[Connection]:
        if self._closed:
            raise httpx.ConnectError("the transport is closed")
        self._sweep(now)
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = Pool(max_connections=self._max_connections, idle_expiry=self._idle_expiry)
        return pool

    def _sweep(self, now: float) -> None:
        """Once in a while: origins that are no longer asked must not keep their connections, nor their pools."""
        if now < self._next_sweep:
            return
        self._next_sweep = now + self._idle_expiry
        for origin, pool in list(self._pools.items()):
            pool.expire(now)
            if pool.is_unused:
                del self._pools[origin]

    async def _dialed(self, origin: Origin, within: float, until: float) -> Connection:
        with trio.CancelScope(deadline=until):
            return await self._dialer.dial(origin, within)
        raise GivenUp("no connection was made in time")

    async def _slot(self, pool: Pool[Connection], origin: Origin, within: float, until: float) -> Slot[Connection]:
        woken = trio.Event()
        waiter = pool.wait(woken.set)
        try:
            with trio.CancelScope(deadline=min(trio.current_time() + within, until)):
                await woken.wait()
        except BaseException:
            pool.leave(waiter, trio.current_time())
            raise
        if waiter.slot is not None:
            return waiter.slot
        pool.leave(waiter, trio.current_time())
        if self._closed:
            raise httpx.ConnectError("the transport was closed")
        if trio.current_time() >= until:
            raise GivenUp("no connection was free in time")
        raise httpx.PoolTimeout(f"all {self._max_connections} connections to {origin} were in use for {within:g} s")


def _let_go(pool: Pool[Connection], slot: Slot[Connection], *, reusable: bool) -> None:
    pool.give_back(slot, trio.current_time(), reusable=reusable)


def _response(head: Head, headers: Fields, method: str, stream: httpx.AsyncByteStream) -> httpx.Response:
    extensions: dict[str, object] = {"http_version": b"HTTP/" + head.http_version, "reason_phrase": head.reason}
    has_body = method != "HEAD" and head.status_code not in (204, 304)
    if has_body and not head.is_framed:
        extensions["penstock_eof_delimited"] = True
    return httpx.Response(head.status_code, headers=headers, stream=stream, extensions=extensions)
