"""A new connection to an origin: lookup, TCP and TLS under one timeout. Not here: what is said over it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from typing import NamedTuple

import httpx
import trio

from penstock._transport.connection import Connection
from penstock._transport.lookup import Address, Lookup
from penstock._transport.wire import TlsWire, Wire
from penstock._ungrouped import ungrouped

__all__ = ["Dialer", "Origin", "Race"]

STAGGER_S = 0.25
"""RFC 8305: the next address is tried after this long, should the one before it not have answered."""


class Origin(NamedTuple):
    """Where requests go: connections are shared within one."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: httpx.URL) -> Origin:
        """That of a URL. Raises httpx.UnsupportedProtocol."""
        scheme = url.scheme
        if scheme not in ("http", "https") or not url.host:
            raise httpx.UnsupportedProtocol("only http:// and https:// URLs with a host can be requested")
        return cls(scheme, url.raw_host.decode("ascii"), url.port or (443 if scheme == "https" else 80))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class Dialer:
    """Makes connections. The certificates are loaded with the first one that needs them: that takes tens of ms."""

    def __init__(self, lookup: Lookup, load_trust: Callable[[], ssl.SSLContext], *, max_header_bytes: int) -> None:
        self._lookup = lookup
        self._load_trust = load_trust
        self._context: ssl.SSLContext | None = None
        self._max_header_bytes = max_header_bytes

    async def dial(self, origin: Origin, within: float) -> Connection:
        """A connection, TLS and all. Raises httpx.ConnectError or ConnectTimeout and leaves nothing open."""
        with trio.CancelScope(deadline=trio.current_time() + within):
            connected = await self._tcp(origin)
            if origin.scheme == "http":
                wire = Wire(connected)
                return Connection(wire, wire, max_header_bytes=self._max_header_bytes)
            return await self._tls(connected, origin)
        raise httpx.ConnectTimeout(f"no connection to {origin} within {within:g} s")

    async def _tcp(self, origin: Origin) -> socket.socket:
        try:
            addresses = await self._lookup.addresses(origin.host)
        except OSError as error:
            raise httpx.ConnectError(f"cannot resolve {origin.host}: {error}") from error
        try:
            return await _connect(_families_in_turn(addresses), origin.port)
        except OSError as error:
            raise httpx.ConnectError(f"cannot connect to {origin}: {error.strerror or error}") from error

    async def _tls(self, connected: socket.socket, origin: Origin) -> Connection:
        wire = TlsWire(connected)
        try:
            # https_compatible: many servers close without a TLS goodbye; HTTP has framing of its own to notice a cut.
            tls = trio.SSLStream(wire, self._trusting(), server_hostname=origin.host, https_compatible=True)
            await tls.do_handshake()
        except BaseException as error:
            wire.close()
            if isinstance(error, trio.BrokenResourceError | trio.ClosedResourceError | OSError | ValueError):
                raise httpx.ConnectError(f"no TLS connection to {origin}: {_why(error)}") from error
            raise
        return Connection(tls, wire, max_header_bytes=self._max_header_bytes)

    def _trusting(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = self._load_trust()
        return self._context


def _why(error: Exception) -> str:
    cause = error.__cause__ or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"certificate not trusted ({cause.verify_message})"
    if isinstance(cause, ssl.SSLError):
        return (cause.reason or type(cause).__name__).lower().replace("_", " ")
    return str(cause) or "the server broke off the handshake"


def _families_in_turn(addresses: Sequence[Address]) -> Sequence[Address]:
    """The second address is of another family than the first, if there is one: one family alone may be broken."""
    for index, address in enumerate(addresses):
        if address.family != addresses[0].family:
            return (addresses[0], address, *addresses[1:index], *addresses[index + 1 :])
    return addresses


async def _connect(addresses: Sequence[Address], port: int) -> socket.socket:
    if len(addresses) == 1:
        return await _connect_to(addresses[0], port)
    race = Race(port)
    try:
        with ungrouped():
            async with trio.open_nursery() as nursery:
                for address in addresses:
                    failed = trio.Event()
                    nursery.start_soon(race.run, address, failed, nursery.cancel_scope)
                    with trio.move_on_after(STAGGER_S):
                        await failed.wait()
    except BaseException:
        if race.winner is not None:
            race.winner.close()
        raise
    if race.winner is None:
        raise race.failures[0]
    return race.winner


class Race:
    """Happy eyeballs: several addresses are tried at once, one wins, and no other socket stays open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.winner: socket.socket | None = None
        self.failures: list[OSError] = []

    @trio.lowlevel.enable_ki_protection
    async def run(self, address: Address, failed: trio.Event, race: trio.CancelScope) -> None:
        """Tries one address. Never raises OSError: `failures` has it, and `failed` lets the next one start."""
        try:
            connected = await _connect_to(address, self._port)
        except OSError as error:
            self.failures.append(error)
            failed.set()
            return
        if self.winner is not None:
            connected.close()
            return
        self.winner = connected
        race.cancel()


async def _connect_to(address: Address, port: int) -> socket.socket:
    connected = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        await trio.socket.from_stdlib_socket(connected).connect(address.with_port(port))
    except BaseException:
        connected.close()
        raise
    return connected
