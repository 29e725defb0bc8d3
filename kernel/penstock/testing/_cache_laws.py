"""The laws of `CacheStore`, as a function that takes a maker: run it against your own store, in a trio loop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import TypeAlias

import trio

from penstock.abc import CacheStore, StoredEntry
from penstock.testing._laws import BrokenLawError

__all__ = ["check_cache_store"]

Make: TypeAlias = Callable[[], AbstractAsyncContextManager[CacheStore]]
VALUES = (b"", b"\x00", b"\xff\xfe\x00text", b"\r\n$-1\r\n", b"x" * 300_000)
KEYS = ("a/1", "a/1 2", "a/%_", "a/[1]*?", "a/\\", "a/'\"", "A/1", "a/" + "k" * 190)
"""No two may be taken for one, whatever the language of the store makes of their signs."""
MOMENT = 0.3
"""Seconds that an entry lives of which it is tested that it ends; stores count in milliseconds or better."""
CROWD = 50


async def check_cache_store(
    make: Make,
    *,
    wall: Callable[[], float],
    too_large: int | None = None,
    shared: bool = True,
) -> None:
    """Checks a store against its laws. It is emptied.

    `make` opens the store; `shared`: two that are open at once see the same entries, and so does one opened later.
    `too_large`: bytes that it leaves out. Raises BrokenLawError where a law does not hold. Takes about two seconds.
    """
    async with make() as store:
        await store.purge()
        for law in (
            _keeps,
            _tells_keys_apart,
            _replaces,
            _forgets_in_time,
            _purges,
            _lists,
            _serves_a_crowd,
            _survives,
        ):
            await law(store, wall)
            await store.purge()
        if too_large is not None:
            await _leaves_out(store, wall, too_large)
        if store.shares_flights:
            await _claims(store)
        if shared:
            await _is_shared(store, make, wall)


def _held(law: str, *, holds: bool) -> None:
    if not holds:
        raise BrokenLawError(law)


async def _keeps(store: CacheStore, wall: Callable[[], float]) -> None:
    _held("get: None for what was never put", holds=await store.get("a/0") is None)
    for place, value in enumerate(VALUES):
        await store.put([StoredEntry(f"a/{place}", value, wall() + 60)])
        _held(f"get: what was put, byte by byte ({len(value)} bytes)", holds=await store.get(f"a/{place}") == value)
    _held("statistics: all entries count", holds=(await store.statistics()).entries == len(VALUES))


async def _tells_keys_apart(store: CacheStore, wall: Callable[[], float]) -> None:
    await store.put([StoredEntry(key, key.encode(), wall() + 60) for key in KEYS])
    for key in KEYS:
        _held(f"get: the value of that very key ({key})", holds=await store.get(key) == key.encode())


async def _replaces(store: CacheStore, wall: Callable[[], float]) -> None:
    until = wall() + 60
    await store.put([StoredEntry("a/1", b"one", until), StoredEntry("a/1", b"two", until)])
    _held("put: of two entries with one key the last stands", holds=await store.get("a/1") == b"two")
    await store.put([StoredEntry("a/1", b"three", until)])
    await store.put([StoredEntry("a/1", b"three", until)])
    _held("put: replaces, and may be repeated", holds=await store.get("a/1") == b"three")
    _held("put: a key counts once", holds=(await store.statistics()).entries == 1)
    await store.put([])
    await store.put([StoredEntry("a/1", b"old", wall() - 1)])
    _held("put: what is over is not there, nor what it has superseded", holds=await store.get("a/1") is None)


async def _forgets_in_time(store: CacheStore, wall: Callable[[], float]) -> None:
    await store.put([StoredEntry("a/1", b"short", wall() + MOMENT), StoredEntry("a/2", b"long", wall() + 60)])
    _held("get: an entry is there until its time is over", holds=await store.get("a/1") == b"short")
    await trio.sleep(MOMENT * 1.2)
    _held("get: and not after it", holds=await store.get("a/1") is None)
    _held("get: the others stay", holds=await store.get("a/2") == b"long")
    listed = [entry.key for entry in await store.newest("", 10)]
    _held("newest: nothing whose time is over", holds=listed == ["a/2"])


async def _purges(store: CacheStore, wall: Callable[[], float]) -> None:
    keys = ["a/1", "a/2", "a*/1", "ab/1", "b/1"]
    await store.put([StoredEntry(key, b"x", wall() + 60) for key in keys])
    _held("purge: says how many", holds=await store.purge("a/") == 2)
    _held("purge: a sign is no pattern", holds=await store.purge("a*") == 1)
    left = sorted(entry.key for entry in await store.newest("", 10))
    _held("purge: what begins with the prefix, and nothing else", holds=left == ["ab/1", "b/1"])
    _held("purge: all, without a prefix", holds=await store.purge() == 2 and (await store.statistics()).entries == 0)


async def _lists(store: CacheStore, wall: Callable[[], float]) -> None:
    until = wall() + 60
    await store.put([StoredEntry(f"a/{number}", b"x", until) for number in range(20)])
    await store.put([StoredEntry("b/1", b"y", until)])
    listed = await store.newest("a/", 5)
    _held("newest: at most so many", holds=len(listed) == 5)
    fits = all(entry.key.startswith("a/") and entry.sealed == b"x" for entry in listed)
    _held("newest: those of the prefix, as they were put", holds=fits)
    _held("newest: and until when they are of use", holds=all(abs(entry.keep_until - until) < 5 for entry in listed))


async def _serves_a_crowd(store: CacheStore, wall: Callable[[], float]) -> None:
    wrong: list[str] = []

    async def one(number: int) -> None:
        key = f"a/{number}"
        await store.put([StoredEntry(key, key.encode(), wall() + 60)])
        if await store.get(key) != key.encode():
            wrong.append(key)

    async with trio.open_nursery() as nursery:
        for number in range(CROWD):
            nursery.start_soon(one, number)
    _held(f"{CROWD} tasks at once each find their own ({', '.join(wrong)} did not)", holds=not wrong)


async def _survives(store: CacheStore, wall: Callable[[], float]) -> None:
    """Whoever leaves in the middle leaves no harm behind."""
    await store.put([StoredEntry("a/1", b"x", wall() + 60)])
    for number in range(CROWD):
        with trio.move_on_after(number * 20e-6), suppress(Exception):
            await store.get("a/1")
        with trio.move_on_after(number * 20e-6), suppress(Exception):
            await store.put([StoredEntry("a/2", b"y", wall() + 60)])
    _held("cancelled callers leave the store usable, at once or soon", holds=await _soon(store, "a/1") == b"x")
    _held("what a cancelled caller put is there as a whole or not at all", holds=await store.get("a/2") in (None, b"y"))


async def _soon(store: CacheStore, key: str) -> bytes | None:
    """What is there, once the store says: it may have to make its connections anew, and raises meanwhile."""
    with trio.fail_after(10):
        while True:
            try:
                return await store.get(key)
            except Exception:  # noqa: BLE001 - foreign code: whatever it is means "not now"
                await trio.sleep(0.05)


async def _leaves_out(store: CacheStore, wall: Callable[[], float], too_large: int) -> None:
    await store.put([StoredEntry("a/1", b"small", wall() + 60), StoredEntry("a/2", b"x", wall() + 60)])
    await store.put([StoredEntry("a/1", bytes(too_large), wall() + 60)])
    _held("put: what is too large is left out, and what it superseded is gone", holds=await store.get("a/1") is None)
    _held("put: and the others stay", holds=await store.get("a/2") == b"x")


async def _claims(store: CacheStore) -> None:
    winners: list[str] = []

    async def claim(owner: str) -> None:
        if await store.claim("a/1", owner, 30.0):
            winners.append(owner)

    async with trio.open_nursery() as nursery:
        for number in range(CROWD):
            nursery.start_soon(claim, f"owner-{number}")
    _held("claim: of many exactly one", holds=len(winners) == 1)
    _held("claim: it may renew its own", holds=await store.claim("a/1", winners[0], 30.0))
    await store.release("a/1", "somebody else")
    _held("release: by its owner alone", holds=not await store.claim("a/1", "somebody else", 30.0))
    await store.release("a/1", winners[0])
    _held("claim: free once it was released", holds=await store.claim("a/1", "next", MOMENT))
    _held("claim: and held again", holds=not await store.claim("a/1", "another", MOMENT))
    await trio.sleep(MOMENT * 1.2)
    _held("claim: free once its lease has ended", holds=await store.claim("a/1", "another", MOMENT))
    _held("claim: no entry", holds=await store.get("a/1") is None)
    await store.release("a/1", "another")


async def _is_shared(store: CacheStore, make: Make, wall: Callable[[], float]) -> None:
    await store.put([StoredEntry("a/1", b"x", wall() + 60)])
    async with make() as other:
        _held("one opened later sees what is there", holds=await other.get("a/1") == b"x")
        await other.put([StoredEntry("a/2", b"y", wall() + 60)])
        if store.shares_flights:
            await other.claim("a/1", "other", 30.0)
            _held("claim: holds for all who share the store", holds=not await store.claim("a/1", "one", 30.0))
            await other.release("a/1", "other")
    _held("what another has put is seen, also when it is closed", holds=await store.get("a/2") == b"y")
    await store.purge()
