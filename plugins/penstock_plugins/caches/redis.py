"""`[cache] store = "redis"`: answers shared by machines, on a Redis or Valkey server. Needs `penstock[redis]`.

The server's own clock ends entries and claims. All keys carry one hash tag, so that a cluster keeps them in one place.
Of several processes that miss the same answer one asks upstream: it holds a claim with a lease, and the others look for
the answer until it is there or the lease has ended.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast
from urllib.parse import urlsplit

import attrs
import trio

from penstock.abc import CacheStore, CacheStoreStatistics, StoredEntry
from penstock.errors import CacheStoreError, PluginLoadError
from penstock.hookspecs import CacheStoreSpec, PluginTools, hookimpl
from penstock_plugins.coredis_log import OURS, keep_quiet

if TYPE_CHECKING:
    from coredis import Redis
    from coredis.connection import BaseConnection

__all__ = ["RedisCache", "RedisCacheOptions", "open_redis_cache", "penstock_caches"]

T = TypeVar("T")

ENTRY, CLAIM = "c1", "f1"
"""What a key holds, with the version of its form: another version's keys are never looked at."""
SUSPICIOUS = 3
"""Failures, and requests given up, in a row after which the client is made anew. coredis loses a place of its pool with
each connect that is cancelled, and a connection whose other end is gone says nothing: a new client knows of neither."""
CONNECTING = 1.0
"""Seconds for a connection to come about, or a place in the pool to become free."""
LONG = 0.05
"""Seconds that an answer of a server nearby never takes."""
LONGEST_REST = 5.0
"""Seconds until a client whose pool broke is made anew, at most; the first time at once."""
SCANNED = 500
"""Keys that one step of a scan looks at."""
SCHEMES = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss"}
_CLAIM = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


def _is_redis(_: object, __: object, url: str) -> None:
    if url.startswith("env:") and "://" not in url:
        return
    try:
        parts = urlsplit(url)
        fine = parts.scheme in SCHEMES and bool(parts.hostname)
    except ValueError:
        # Its words quote the address, which may hold a password.
        fine = False
    if not fine:
        raise ValueError('must be a URL such as "redis://127.0.0.1:6379/0", or "env:NAME" for one in the environment')


@attrs.frozen(kw_only=True)
class RedisCacheOptions:
    """What `[cache]` may say beside the kernel's own."""

    url: str = attrs.field(default="redis://127.0.0.1:6379/0", validator=_is_redis, repr=False)
    """`redis`, `rediss`, `valkey` or `valkeys`; `env:NAME`: as that variable of the environment says."""
    prefix: str = attrs.field(default="penstock", validator=attrs.validators.matches_re(r"[A-Za-z0-9_.:-]{1,64}"))
    """Begins every key: kernels that share a cache have the same."""


class RedisCache(CacheStore):
    """One client, made anew where it is suspected to be of no use any more."""

    shares_flights: ClassVar[bool] = True

    def __init__(self, make: Callable[[], Redis[bytes]], prefix: str, wall: Callable[[], float]) -> None:
        self._make = make
        self._prefix = prefix
        self._wall = wall
        self._client: Redis[bytes] | None = None
        self._line: BaseConnection | None = None
        """A connection of that client, by which it was last asked."""
        self._in_a_row = 0
        self._renew = trio.Event()

    async def keep(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Holds the client, and makes it anew where it is suspected. Ends when it is cancelled."""
        OURS.set(True)
        rest, begun = 0.0, False
        while True:
            self._renew = trio.Event()
            try:
                async with self._make() as client:
                    self._client, self._in_a_row = client, 0
                    if not begun:
                        task_status.started()
                    begun = True
                    await self._renew.wait()
                    rest = 0.0
            except Exception:  # noqa: BLE001 - of coredis's own tasks; whoever asks meanwhile is told
                rest = min(LONGEST_REST, rest * 2 or 0.1)
            finally:
                self._client = self._line = None
            await trio.sleep(rest)

    async def get(self, key: str) -> bytes | None:
        """GET, past the layers of coredis that build, retry and adapt commands: they take as long as all the rest."""
        name = self._key(ENTRY, key)

        async def get(client: Redis[bytes]) -> bytes | None:
            connection = self._line
            if connection is None or not connection.reusable:
                # Given back at once: connections are shared, and replies come in the order of the requests. So it need
                # not be asked for again, which takes a fifth of all the time.
                pool = client.connection_pool
                connection = await pool.get_connection()
                pool.release(connection)
                if client is self._client:
                    self._line = connection
            reply = connection.create_request(b"GET", name, decode=False)
            return cast("bytes | None", await reply)

        return await self._by(get)

    async def put(self, entries: Sequence[StoredEntry]) -> None:
        """SET with the time that is left, all in one round trip."""
        now = self._wall()

        async def put(client: Redis[bytes]) -> None:
            async with client.pipeline(transaction=False) as pipeline:
                for entry in entries:
                    left = int((entry.keep_until - now) * 1_000)
                    name = self._key(ENTRY, entry.key)
                    if left > 0:
                        pipeline.set(name, entry.sealed, px=left)
                    else:
                        pipeline.unlink([name])

        await self._by(put)

    async def purge(self, prefix: str = "") -> int:
        """UNLINK of what SCAN finds."""

        async def purge(client: Redis[bytes]) -> int:
            gone, cursor = 0, None
            while cursor != 0:
                cursor, names = await self._scan(client, cursor, prefix)
                gone += await client.unlink(names) if names else 0
            return gone

        return await self._by(purge)

    async def newest(self, prefix: str, most: int) -> Sequence[StoredEntry]:
        """Some of them: a server cannot tell which are the newest."""

        async def read(client: Redis[bytes]) -> list[StoredEntry]:
            found: list[StoredEntry] = []
            cursor: int | None = None
            while cursor != 0 and len(found) < most:
                cursor, names = await self._scan(client, cursor, prefix)
                for name in names[: most - len(found)]:
                    sealed, left = await client.get(name), await client.pttl(name)
                    if sealed is not None and left > 0:
                        key = name.decode().removeprefix(self._key(ENTRY, ""))
                        found.append(StoredEntry(key, sealed, self._wall() + left / 1_000))
            return found

        return await self._by(read)

    async def statistics(self) -> CacheStoreStatistics:
        """How many there are; a server counts bytes and evictions for all who use it together."""

        async def count(client: Redis[bytes]) -> int:
            entries, cursor = 0, None
            while cursor != 0:
                cursor, names = await self._scan(client, cursor, "")
                entries += len(names)
            return entries

        return CacheStoreStatistics(entries=await self._by(count))

    async def claim(self, key: str, owner: str, lease: float) -> bool:
        """One atomic step of the server."""
        name = self._key(CLAIM, key)
        return await self._by(lambda client: client.eval(_CLAIM, [name], [owner, int(lease * 1_000)])) == 1

    async def release(self, key: str, owner: str) -> None:
        """The same."""
        name = self._key(CLAIM, key)
        await self._by(lambda client: client.eval(_RELEASE, [name], [owner]))

    def _key(self, kind: str, key: str) -> str:
        return f"{{{self._prefix}}}:{kind}:{key}"

    async def _scan(self, client: Redis[bytes], cursor: int | None, prefix: str) -> tuple[int, list[bytes]]:
        """One step: the next cursor (0: there is no more) and names. A name may come twice, which harms nobody."""
        pattern = "".join(f"\\{sign}" if sign in "*?[]\\^" else sign for sign in self._key(ENTRY, prefix)) + "*"
        after, names = await client.scan(cursor=cursor, match=pattern, count=SCANNED)
        return int(after), list(names)

    async def _by(self, ask: Callable[[Redis[bytes]], Awaitable[T]]) -> T:
        client = self._client
        if client is None:
            raise CacheStoreError("the connection to the server is being made anew")
        began = trio.current_time()
        token = OURS.set(True)  # connections that are made for it are of this context
        try:
            answer = await ask(client)
        except BaseException as error:
            # Who left at once has learnt nothing; who waited in vain has.
            if isinstance(error, Exception) or trio.current_time() - began >= LONG:
                self._in_a_row += 1
            # A pool that gives no connection in time has lost its places to those who left while they connected.
            exhausted = isinstance(error, TimeoutError)
            if (exhausted or self._in_a_row >= SUSPICIOUS) and self._client is client:
                self._renew.set()
            if isinstance(error, Exception):
                # coredis makes an error of a cancellation that comes while it connects.
                await trio.lowlevel.checkpoint_if_cancelled()
                # A server's words may quote what it was sent.
                raise CacheStoreError(f"the server cannot be used: {type(error).__name__}") from error
            raise
        finally:
            OURS.reset(token)
        self._in_a_row = 0
        return answer


def _url(options: RedisCacheOptions) -> str:
    """The URL, as coredis takes it. Raises PluginLoadError where the environment holds none."""
    url = options.url
    if url.startswith("env:"):
        name = url.removeprefix("env:")
        url = os.environ.get(name, "")
        if not url:
            # What is no name of a variable may be a credential, and is not shown.
            told = name if name.isidentifier() else "such variable"
            raise PluginLoadError(f"[cache] url: there is no {told} in the environment")
        try:
            _is_redis(None, None, url)
        except ValueError as error:
            raise PluginLoadError(f"[cache] url: what {name} holds {error}") from None
    scheme, rest = url.split(":", 1)
    return f"{SCHEMES[scheme]}:{rest}"


@asynccontextmanager
async def open_redis_cache(options: RedisCacheOptions, tools: PluginTools) -> AsyncGenerator[RedisCache]:
    """The store; nothing is sent before it is asked. Raises PluginLoadError where coredis is not installed."""
    try:
        import coredis  # noqa: PLC0415 - an extra, and heavy
        from coredis.retry import NoRetryPolicy  # noqa: PLC0415
    except ImportError:
        raise PluginLoadError("[cache] store = \"redis\" needs coredis: pip install 'penstock[redis]'") from None
    keep_quiet()
    url = _url(options)
    store = RedisCache(
        # No retries: the kernel's own breaker decides when to ask again.
        lambda: coredis.Redis.from_url(
            url, retry_policy=NoRetryPolicy(), verify_version=False, pool_timeout=CONNECTING
        ),
        options.prefix,
        tools.wall,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(store.keep)
        yield store
        nursery.cancel_scope.cancel()


@hookimpl
def penstock_caches() -> Sequence[CacheStoreSpec]:
    """One store."""
    return (CacheStoreSpec("redis", open_redis_cache, options=RedisCacheOptions, needs={"coredis": "penstock[redis]"}),)
