"""`[ledger] store = "redis"`: budgets shared by machines, on a Redis (7 and up) or Valkey server.

Needs `penstock[redis]`. Each batch is one call of a function, which the server carries out alone and as one, by its own
clock. All keys carry one hash tag: a cluster keeps a ledger on one node.

What it survives is what the server survives: with `appendonly yes` and `appendfsync always` its crash, with less a
second's writes may be lost; a failover may lose what its replicas had not yet. Whoever has seen what was lost notices,
and refuses. `maxmemory-policy` must be `noeviction`, or the server forgets what was spent.
"""

from __future__ import annotations

import math
import os
import re
import ssl
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import unquote, urlsplit

import attrs
import trio

from penstock.abc import LedgerStore
from penstock.errors import ConfigError, LedgerUnavailableError, PluginLoadError
from penstock.hookspecs import LedgerSpec, PluginTools, hookimpl
from penstock.policy.ledger_steps import ClockSetBack, HistoryRow, HoldRow, Landed, SpendRow, Step, WindowRow
from penstock_plugins.coredis_log import keep_quiet
from penstock_plugins.ledgers.redis_ledger import wire

if TYPE_CHECKING:
    from penstock_plugins.ledgers.redis_ledger.link import Library, Link, Server

__all__ = ["RedisLedger", "RedisLedgerOptions", "open_redis_ledger", "penstock_ledgers"]

BOOK = files("penstock_plugins.ledgers.redis_ledger").joinpath("book.lua").read_text(encoding="utf-8")
KEYS = ("windows", "ends", "due", "history", "quarters", "held")
"""The keys of a ledger, in the order of the book's KEYS."""
SCHEMES = {"redis": False, "rediss": True, "valkey": False, "valkeys": True}
"""Whether TLS is spoken."""
BEFORE_THE_KERNEL = 0.95
"""Of the time that the kernel waits: what the store says of its server is more than that it did not answer."""
MOST_NEW_WINDOWS = 5
"""Times that a clock is set back in vain because a window was begun meanwhile."""
CHECK_EVERY = 5.0
"""Seconds until the server is looked at again, as with each new connection: whether it may forget keys, and whether it
is still the same. Another policy is found within them, for a tenth of a millisecond each time."""
MOST_LOOKS = 2
"""At the server for one batch: it has begun another life, and is not likely to begin one more meanwhile."""
AT_ONCE = 500
"""Rows that are read in one step: nobody else waits long for the server."""


def _is_url(_: object, __: object, url: str) -> None:
    kind, _, rest = url.partition(":")
    # An address behind either word is a slip, and holds a password; `file:///PATH` is a path.
    if kind not in {"env", "file"} or re.match(r"\w+://", rest):
        _checked(url)


@attrs.frozen(kw_only=True)
class RedisLedgerOptions:
    """What `[ledger]` may say beside the kernel's own."""

    url: str = attrs.field(default="redis://127.0.0.1:6379/0", validator=_is_url, repr=False)
    """`redis://user:password@host:port/db`; `rediss` with TLS; `valkey` and `valkeys` are the same. `env:NAME`: as that
    variable of the environment says; `file:/PATH`: as that file says. Both are read again before each connection."""
    namespace: str = attrs.field(default="default", validator=attrs.validators.matches_re(r"[A-Za-z0-9_.-]{1,64}"))
    """Kernels that share a ledger have the same: its keys begin with `{penstock:NAMESPACE}`."""
    timeout: float | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.gt(0)))
    """Seconds for one batch, connecting included; None: a little less than `timeout` of the whole section."""
    ca_file: Path | None = None
    """Certificates to trust, with TLS; None: those of the system."""


class RedisLedger(LedgerStore):
    """Sends batches to the book on the server. `now`: a clock in the place of the server's, where tests cannot wait."""

    shared: ClassVar[bool] = True
    durable: ClassVar[bool] = True

    def __init__(
        self,
        link: Link,
        book: Library,
        namespace: str,
        *,
        now: Callable[[], float] | None = None,
        check_every: float = CHECK_EVERY,
    ) -> None:
        self._link = link
        self._book = book
        self._keys = [f"{{penstock:{namespace}}}:{name}".encode() for name in KEYS]
        self._key: dict[str, bytes] = dict(zip(KEYS, self._keys, strict=True))
        self._now = now
        self._check_every = check_every
        self._checked_on = 0
        """The connection by which the server was last looked at."""
        self._check_at = -math.inf
        self._life = ""
        """Of the server, as of that look."""
        self._seen: wire.Seen | None = None
        """How far the books had come that this kernel keeps; None: it has not seen them yet."""

    async def commit(self, steps: Sequence[Step]) -> Landed:
        """One function of the server, one round trip; now and then one more before it, as `CHECK_EVERY` says."""
        now = "" if self._now is None else repr(self._now())
        packed = wire.packed_steps(steps)
        looks = self._link.on != self._checked_on or trio.current_time() >= self._check_at
        for _ in range(MOST_LOOKS):
            if looks:
                await self._look()
            seen = wire.packed_seen(self._life, self._seen, fresh=looks)
            reply = await self._link.run(self._book, self._keys, b"steps", now, seen, *packed)
            try:
                with wire.understood():
                    landed, self._seen = wire.landed(reply, self._life)
            except wire.LookAgain:
                looks = True
            else:
                return landed
        raise LedgerUnavailableError("the ledger's server is being replaced; it is asked again with the next step")

    async def set_clock_back(self, reason: str) -> ClockSetBack | None:
        """As `LedgerStore` says, to the time of the server."""
        for _ in range(MOST_NEW_WINDOWS):
            keys = [key.decode() for key in await self._link.ask(b"ZRANGE", self._key["ends"], 0, -1)]
            if self._now is None:
                seconds, micros = await self._link.ask(b"TIME")
                now = int(seconds) + int(micros) / 1e6
            else:
                now = self._now()
            with wire.understood():
                ends = wire.packed_ends(reason, keys, now)
            reply = await self._link.run(self._book, self._keys, b"back", repr(now), "", ends)
            with wire.understood():
                before = wire.clock_before(reply)
            if before is not None:
                self._seen = None  # they are the same books, to whoever set their clock
                return ClockSetBack(before, min(before, now))
        raise LedgerUnavailableError("new accounts spend faster than the ledger's clock can be set back: end the apps")

    async def _look(self) -> None:
        """Which life of the server this is.

        Raises LedgerUnavailableError where it gives up keys for room: what was spent would be forgotten.
        """
        told: bytes | str = await self._link.ask(b"INFO", b"server", b"replication", b"memory")
        with wire.understood():
            life, policy = wire.life_and_policy(told)
        if policy.startswith("allkeys"):
            raise LedgerUnavailableError(
                "the ledger's server forgets keys when its memory is full (maxmemory-policy allkeys-...): set"
                " maxmemory-policy noeviction, or give the ledger a server of its own"
            )
        self._life = life
        self._checked_on, self._check_at = self._link.on, trio.current_time() + self._check_every

    async def windows(self, keys: Sequence[str] | None = None) -> Sequence[WindowRow]:
        """As they are now: leases that have ended are charged before."""
        now = (await self.commit(())).now
        found = await (self._all("windows") if keys is None else self._some(keys))
        with wire.understood():
            rows = [wire.window_row(key, packed, now) for key, packed in found.items()]
        return [row for row in rows if (row.ends_at, row.limit_tokens, row.limit_nano_usd) != (None, None, None)]

    async def holds(self) -> Sequence[HoldRow]:
        """As they are now: leases that have ended are charged before."""
        await self.commit(())
        found = await self._all("holds")
        with wire.understood():
            rows = [wire.hold_row(field, packed) for field, packed in found.items()]
        return sorted(rows, key=lambda row: (row.reserved_at, row.hold_id))

    async def history(self, *, since: float, until: float) -> Sequence[HistoryRow]:
        """The latest ten thousand changes."""
        found = await self._link.ask(b"LRANGE", self._key["history"], 0, -1)
        with wire.understood():
            rows = [wire.history_row(packed) for packed in found]
        return [row for row in rows if since <= row.at < until]

    async def spending(self, *, since: float, until: float) -> Sequence[SpendRow]:
        """Of the last 400 days, as they are now: leases that have ended are charged before."""
        await self.commit(())
        fields = await self._link.ask(b"ZRANGEBYSCORE", self._key["quarters"], repr(since), f"({until!r}")
        rows: list[SpendRow] = []
        for at in range(0, len(fields), AT_ONCE):
            some = fields[at : at + AT_ONCE]
            sums = await self._link.ask(b"HMGET", self._key["windows"], *some)
            with wire.understood():
                rows += [wire.spend_row(field, packed) for field, packed in zip(some, sums, strict=True) if packed]
        # One without a call was taken back: its hold was settled after all.
        return [row for row in rows if row.calls]

    async def _all(self, what: str) -> dict[str, bytes]:
        """What is kept of all windows or of all holds, as of one time, by its field."""
        told: list[bytes] = await self._link.run(self._book, self._keys, what)
        return {field.decode(): packed for field, packed in zip(told[::2], told[1::2], strict=True)}

    async def _some(self, fields: Sequence[str]) -> dict[str, bytes]:
        """Some fields of the book; unknown ones are left out."""
        if not fields:
            return {}
        values: list[bytes | None] = await self._link.ask(b"HMGET", self._key["windows"], *fields)
        return {field: packed for field, packed in zip(fields, values, strict=True) if packed is not None}


@asynccontextmanager
async def open_redis_ledger(
    options: RedisLedgerOptions,
    tools: PluginTools,
    *,
    now: Callable[[], float] | None = None,
    check_every: float = CHECK_EVERY,
) -> AsyncGenerator[RedisLedger]:
    """The store. Nothing is sent before it is asked: a server that is down at the start may be there later.

    Raises PluginLoadError where coredis is not installed, ConfigError where the URL is none.
    """
    try:
        from penstock_plugins.ledgers.redis_ledger.link import Library, Link  # noqa: PLC0415 - coredis is an extra
    except ImportError:
        raise PluginLoadError("[ledger] store = redis needs coredis: pip install 'penstock[redis]'") from None
    keep_quiet()
    tls = _tls(options)
    _server(options, tls)
    async with trio.open_nursery() as nursery:
        timeout = tools.timeout * BEFORE_THE_KERNEL if options.timeout is None else options.timeout
        link = Link(lambda: _server(options, tls), timeout, nursery)
        yield RedisLedger(
            link, Library.of(BOOK, "penstock_ledger"), options.namespace, now=now, check_every=check_every
        )
        nursery.cancel_scope.cancel()


def _tls(options: RedisLedgerOptions) -> ssl.SSLContext | None:
    if not SCHEMES[urlsplit(_url(options)).scheme]:
        return None
    try:
        return ssl.create_default_context(cafile=options.ca_file)
    except OSError as error:
        raise ConfigError(f"[ledger] ca_file: {options.ca_file} holds no certificates: {error}") from error


def _server(options: RedisLedgerOptions, tls: ssl.SSLContext | None) -> Server:
    """Where the server is, and who one is to it."""
    from penstock_plugins.ledgers.redis_ledger.link import Server  # noqa: PLC0415 - coredis is an extra

    parts = urlsplit(_url(options))
    password = None if parts.password is None else unquote(parts.password)
    return Server(
        host=parts.hostname or "",
        port=parts.port or 6379,
        db=int(parts.path.strip("/") or 0),
        # A password without a user is the default user's.
        username=unquote(parts.username) if parts.username else "default" if password else None,
        password=password,
        tls=tls,
    )


def _url(options: RedisLedgerOptions) -> str:
    kind, _, rest = options.url.partition(":")
    if kind not in {"env", "file"}:
        return options.url
    try:
        found = os.environ[rest] if kind == "env" else Path(rest).read_text(encoding="utf-8")
    except KeyError:
        # What is no name of a variable may be a credential, and is not shown.
        told = f"variable {rest}" if rest.isidentifier() else "such variable"
        raise ConfigError(f"[ledger] url: there is no {told} in the environment; set it") from None
    except (OSError, UnicodeDecodeError) as error:
        told = rest if Path(rest).is_absolute() else "what is named there"
        raise ConfigError(f"[ledger] url: {told} cannot be read: {type(error).__name__}") from None
    try:
        _checked(found.strip())
    except ValueError as error:
        raise ConfigError(f"[ledger] url: what {rest} holds {error}") from None
    return found.strip()


def _checked(url: str) -> None:
    """Raises ValueError, which does not show the URL: it may hold a password."""
    try:
        parts = urlsplit(url)
        fine = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0
        int(parts.path.strip("/") or 0)
    except ValueError:
        fine = False
    if not fine:
        raise ValueError(
            'must be a URL such as "redis://user:password@127.0.0.1:6379/0" (or rediss://, valkey://, valkeys://),'
            ' "env:NAME" or "file:/PATH"'
        )


@hookimpl
def penstock_ledgers() -> Sequence[LedgerSpec]:
    """The store named `redis`, for Valkey too."""
    return [LedgerSpec("redis", open_redis_ledger, options=RedisLedgerOptions, needs={"coredis": "penstock[redis]"})]
