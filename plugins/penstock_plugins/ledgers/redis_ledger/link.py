"""One connection to the server of a ledger: opened when it is needed, left when it is of no use.

Not a pool: batches come one after the other, and what is read for people may stand in the same queue. coredis speaks
the protocol, with a task of its own per connection that lives in the nursery it is given; who connects, waits and gives
up is decided here, because a connection whose other end has gone says nothing, and a client that keeps it hangs.
"""

from __future__ import annotations

import hashlib
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import coredis.exceptions as says
import trio
from anyio import connect_tcp
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.memory import MemoryObjectSendStream
from coredis.connection import TCPConnection, TCPLocation

from penstock.errors import LedgerUnavailableError
from penstock_plugins.coredis_log import OURS
from penstock_plugins.ledgers.redis_ledger.at_once import SocketOnlyStream, Writing

NOT_LOADED = "Function not found"
MOST_MOVES = 3
"""A cluster that is well sends whoever asks the wrong node to the right one: once, or twice while it changes."""
AT_LEAST = 0.001
"""Seconds for an answer: none at all would be for ever, to coredis."""
logger = logging.getLogger("penstock")

__all__ = ["Library", "Link", "Server"]


@attrs.frozen
class Library:
    """A function that the server carries out alone and as one, under a name that no other text has.

    So processes of several versions of penstock share a server; what an older one left behind there is some kilobytes.
    """

    name: bytes
    text: bytes

    @classmethod
    def of(cls, text: str, word: str) -> Library:
        """A library by its text, in which `word` stands for its name and its function's."""
        name = f"{word}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        return cls(name.encode(), text.replace(word, name).encode())


@attrs.frozen(kw_only=True)
class Server:
    """Where it is, and how one shows who one is."""

    host: str
    port: int
    db: int = 0
    username: str | None = attrs.field(default=None, repr=False)
    password: str | None = attrs.field(default=None, repr=False)
    tls: ssl.SSLContext | None = attrs.field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class _NotLoadedError(LedgerUnavailableError):
    """The server does not know the function."""


class Link:
    """Asks the server, each time within `timeout` seconds, connecting included.

    `find` tells the server anew before each connection: passwords change. `nursery` is where the connection's own task
    lives.
    """

    def __init__(self, find: Callable[[], Server], timeout: float, nursery: trio.Nursery) -> None:
        self._find = find
        self._timeout = timeout
        self._nursery = nursery
        self._connecting = trio.Lock()
        self.opened = 0
        """Connections so far: with each there may be another server."""
        self._connection: TCPConnection | None = None
        self._moved: tuple[str, int] | None = None
        """In a cluster: the node that has the ledger's slot, by the word of another."""

    async def run(self, library: Library, keys: Sequence[bytes], *arguments: bytes | str) -> Any:
        """What its function returns; the server is sent its text where it does not know it yet, or any more."""
        try:
            return await self.ask(b"FCALL", library.name, len(keys), *keys, *arguments)
        except _NotLoadedError:
            await self.ask(b"FUNCTION", b"LOAD", b"REPLACE", library.text)
            return await self.ask(b"FCALL", library.name, len(keys), *keys, *arguments)

    async def ask(self, command: bytes, *arguments: bytes | str | int) -> Any:
        """The reply. Raises LedgerUnavailableError."""
        deadline = trio.current_time() + self._timeout
        for _ in range(MOST_MOVES):
            try:
                return await self._ask(command, arguments, deadline)
            except says.MovedError as error:
                self.leave()
                # A node that does not know its own name says "where you reached me".
                self._moved = error.host or self._find().host, error.port
        self.leave()
        raise LedgerUnavailableError(f"the ledger at {self._where}: its cluster does not agree on who has it")

    def leave(self) -> None:
        """The connection is of no use any more; the next question opens another, from the beginning."""
        connection, self._connection, self._moved = self._connection, None, None
        if connection is not None:
            connection.invalidate()

    @property
    def on(self) -> int:
        """The number of the connection by which the next question goes; 0 where it opens another."""
        return self.opened if self._connection is not None and self._connection.usable else 0

    @property
    def _where(self) -> str:
        return ":".join(map(str, self._moved)) if self._moved else str(self._find())

    async def _ask(self, command: bytes, arguments: tuple[bytes | str | int, ...], deadline: float) -> Any:
        connection = self._connection
        try:
            if connection is None or not connection.usable:
                connection = await self._connect_by(deadline)
            # coredis minds the time in any case: a scope of ours around it would take a tenth of a round trip.
            left = max(deadline - trio.current_time(), AT_LEAST)
            return await connection.create_request(command, *arguments, decode=False, timeout=left)
        except (says.MovedError, LedgerUnavailableError):
            raise
        except Exception as error:
            # coredis lets through what its own tasks died of, whatever it was.
            await trio.lowlevel.checkpoint_if_cancelled()
            where = self._where
            late = isinstance(error, TimeoutError) and connection is not None
            lost = late or not isinstance(error, says.ResponseError) or isinstance(error, LOOK_ANEW)
            # Somebody else may have found another connection by now.
            if lost and (connection is None or connection is self._connection):
                self.leave()
            if late:
                raise self._no_answer(where) from None
            kind = _NotLoadedError if str(error) == NOT_LOADED else LedgerUnavailableError
            raise kind(f"the ledger at {where} cannot be used: {_in_words(error)}") from error

    def _no_answer(self, where: str) -> LedgerUnavailableError:
        return LedgerUnavailableError(
            f"the ledger at {where} did not answer within {self._timeout:g} s: it is down, cut off, paused or"
            " overloaded; it is asked again with the next step"
        )

    async def _connect_by(self, deadline: float) -> TCPConnection:
        with trio.move_on_at(deadline) as scope:
            try:
                return await self._connect()
            except Exception:
                # Where a handshake is cancelled, coredis says that there is no connection.
                await trio.lowlevel.checkpoint_if_cancelled()
                raise
        assert scope.cancelled_caught
        where = self._where
        self.leave()
        raise self._no_answer(where)

    async def _connect(self) -> TCPConnection:
        async with self._connecting:
            connection = self._connection
            if connection is not None and connection.usable:
                return connection
            self._connection = None
            server = self._find()
            host, port = self._moved or (server.host, server.port)
            stream = await _stream(host, port, server.tls)
            connection = _Connection(
                TCPLocation(host, port),
                client_name="penstock-ledger",
                db=server.db,
                username=server.username,
                password=server.password,
            )
            connection.over = stream
            await self._nursery.start(_live, connection)
            if isinstance(stream, SocketOnlyStream):
                connection.send_at_once(stream)
            self._connection = connection
            self.opened += 1
            return connection


class _Connection(TCPConnection):
    """Over a stream that is there already: one of coredis that does not get so far leaves buffers open behind it."""

    over: ByteStream

    async def _connect(self) -> ByteStream:
        return self.over

    def send_at_once(self, stream: SocketOnlyStream) -> None:
        """From now on. Not during the handshake, in which coredis has several questions under way."""
        # A name of coredis' own: in a release that uses another this changes nothing, and its task sends as before.
        channel = getattr(self, "_write_buffer_in", None)
        if isinstance(channel, MemoryObjectSendStream):
            self._write_buffer_in = Writing(stream, channel)  # type: ignore[assignment]


async def _stream(host: str, port: int, tls: ssl.SSLContext | None) -> ByteStream:
    """Raises OSError."""
    if tls is None:
        plain = await connect_tcp(host, port)
        stream: ByteStream = SocketOnlyStream(plain)
        raw = plain.extra(SocketAttribute.raw_socket)  # noqa: S610 - of anyio
    else:
        # A ledger's answers say themselves when they are whole: an end without a goodbye cuts none short unseen.
        stream = await connect_tcp(host, port, tls=True, ssl_context=tls, tls_standard_compatible=False)
        raw = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - of anyio
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return stream


async def _live(connection: TCPConnection, *, task_status: trio.TaskStatus[None]) -> None:
    """A connection's own task. What it dies of is for who asks by it, never for the nursery that others live in."""
    OURS.set(True)  # in the context of this task alone
    ready = _Ready(task_status)
    try:
        await connection.run(task_status=ready)
    except Exception as error:
        if not ready.told:
            raise
        logger.debug("a connection to the ledger ended in %s", type(error).__name__)


@attrs.define
class _Ready:
    """Passes on that the connection is there, and remembers that it did."""

    status: trio.TaskStatus[None]
    told: bool = False

    def started(self, value: None = None) -> None:
        self.told = True
        self.status.started(value)


LOOK_ANEW = (says.ReadOnlyError, says.AuthenticationError, says.AskError, says.ClusterDownError)
"""After these the next question looks for the server anew: a name may lead to another one by then."""


def _in_words(error: Exception) -> str:
    """What is wrong, and what to do. The server's own words are quoted where nothing better is known."""
    said = str(error)
    match error:
        case says.ReadOnlyError():
            return "it is a replica and takes no writes; point url at the primary, or wait for the end of a failover"
        case says.BusyLoadingError():
            return "it is still loading its data; it is asked again with the next step"
        case says.AuthenticationError():
            return "it does not accept the user or the password of url; correct them"
        case says.AuthorizationError():
            return f"its user may not do what a ledger needs (FCALL, FUNCTION, hashes, lists and sorted sets): {said}"
        case says.WrongTypeError():
            return "a key of the ledger holds something else; choose another namespace, or delete what is there"
        case says.AskError() | says.TryAgainError() | says.ClusterDownError():
            return "its cluster is being changed; it is asked again with the next step"
        case says.ConnectionError() | OSError():
            return f"no connection: {_reason(error)}; check that it runs and that url leads to it"
        case _ if said.startswith("OOM"):
            return "its memory is full (maxmemory); give it more, and let maxmemory-policy be noeviction"
        case _ if said.startswith(("MISCONF", "MASTERDOWN", "NOREPLICAS", "BUSY")):
            return f"it takes no writes at present: {said}"
        case _:
            return said or type(error).__name__


def _reason(error: BaseException) -> str:
    """The innermost cause: what the operating system said."""
    reason: BaseException = error
    while reason.__cause__ is not None:
        reason = reason.__cause__
    return str(reason) or type(reason).__name__
