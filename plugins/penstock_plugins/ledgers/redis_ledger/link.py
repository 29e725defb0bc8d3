"""One connection to the server of a ledger: opened when it is needed, left when it is of no use.

Not a pool: batches come one after the other, and what is read for people may stand in the same queue. coredis speaks
the protocol, with a task of its own per connection that lives in the nursery it is given; who connects, waits and gives
up is decided here, because a connection whose other end has gone says nothing, and a client that keeps it hangs.
"""

from __future__ import annotations

import hashlib
import logging
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import coredis.exceptions as says
import trio
from coredis.connection import TCPConnection, TCPLocation

from penstock.errors import LedgerUnavailableError

logger = logging.getLogger("penstock")

__all__ = ["Link", "Script", "Server"]


@attrs.frozen
class Script:
    """What the server carries out alone and as one."""

    text: str
    sha: str = attrs.field(init=False)
    """The name under which a server keeps it."""

    @sha.default
    def _sha(self) -> str:
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


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
        self._connection: TCPConnection | None = None
        self._moved: tuple[str, int] | None = None
        """In a cluster: the node that has the ledger's slot, by the word of another."""

    async def run(self, script: Script, keys: Sequence[str], *arguments: bytes | str) -> Any:
        """What the script returns; the server is sent its text where it does not know it yet, or any more."""
        try:
            return await self.ask(b"EVALSHA", script.sha, len(keys), *keys, *arguments)
        except says.NoScriptError:
            return await self.ask(b"EVAL", script.text, len(keys), *keys, *arguments)

    async def ask(self, command: bytes, *arguments: bytes | str | int) -> Any:
        """The reply. Raises LedgerUnavailableError; NoScriptError where the server does not know the script."""
        with trio.move_on_after(self._timeout) as scope:
            try:
                return await self._ask(command, arguments)
            except says.MovedError as error:
                self.leave()
                # A node that does not know its own name says "use that by which you reached me".
                self._moved = error.host or self._find().host, error.port
                return await self._ask(command, arguments)
        assert scope.cancelled_caught
        self.leave()
        raise LedgerUnavailableError(
            f"the ledger at {self._where} did not answer within {self._timeout:g} s: it is down, cut off, paused or"
            " overloaded; it is asked again with the next step"
        )

    def leave(self) -> None:
        """The connection is of no use any more; the next question opens another."""
        connection, self._connection, self._moved = self._connection, None, None
        if connection is not None:
            connection.invalidate()

    @property
    def _where(self) -> str:
        return ":".join(map(str, self._moved)) if self._moved else str(self._find())

    async def _ask(self, command: bytes, arguments: tuple[bytes | str | int, ...]) -> Any:
        try:
            connection = self._connection
            if connection is None or not connection.usable:
                connection = await self._connect()
            return await connection.create_request(command, *arguments, decode=False)
        except (says.NoScriptError, says.MovedError):
            raise
        except Exception as error:
            # coredis lets through what its own tasks died of, whatever it was.
            where = self._where
            if not isinstance(error, says.ResponseError) or isinstance(error, LOOK_ANEW):
                self.leave()
            raise LedgerUnavailableError(f"the ledger at {where} cannot be used: {_in_words(error)}") from error

    async def _connect(self) -> TCPConnection:
        async with self._connecting:
            connection = self._connection
            if connection is not None and connection.usable:
                return connection
            self._connection = None
            server = self._find()
            host, port = self._moved or (server.host, server.port)
            connection = TCPConnection(
                TCPLocation(host, port),
                socket_keepalive=True,
                client_name="penstock-ledger",
                db=server.db,
                username=server.username,
                password=server.password,
                ssl_context=server.tls,
            )
            await self._nursery.start(_live, connection)
            self._connection = connection
            return connection


async def _live(connection: TCPConnection, *, task_status: trio.TaskStatus[None]) -> None:
    """A connection's own task. What it dies of is for who asks by it, never for the nursery that others live in."""
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
            return f"its user may not do what a ledger needs (EVAL, EVALSHA and the commands of the script): {said}"
        case says.WrongTypeError():
            return "a key of the ledger holds something else; choose another namespace, or delete what is there"
        case says.AskError() | says.TryAgainError() | says.ClusterDownError():
            return "its cluster is being changed; it is asked again with the next step"
        case says.ConnectionError():
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
    while isinstance(reason, BaseExceptionGroup):
        reason = reason.exceptions[0]
    return str(reason) or type(reason).__name__
