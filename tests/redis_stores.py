"""Redis ledgers on real servers, for tests: each in a namespace of its own, by the server's clock or by one at hand."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

import trio

from penstock.errors import LedgerUnavailableError
from penstock.hookspecs import PluginTools
from penstock.testing import LedgerAtHand, MakeLedger
from penstock_plugins.ledgers.redis import RedisLedger, RedisLedgerOptions, open_redis_ledger

T = TypeVar("T")

__all__ = ["TOOLS", "Clock", "by_a_clock_at_hand", "by_its_own_clock", "opened", "patiently"]

TOOLS = PluginTools("ledger", time.time, logging.getLogger("penstock"))


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    async def elapse(self, seconds: float) -> None:
        self.now += seconds


def opened(
    url: str, namespace: str, *, clock: Clock | None = None, timeout: float = 20.0, check_every: float = 5.0
) -> AbstractAsyncContextManager[RedisLedger]:
    """A store; by the server's own clock where no other is given."""
    options = RedisLedgerOptions(url=url, namespace=namespace, timeout=timeout)
    now: Callable[[], float] | None = (lambda: clock.now) if clock is not None else None
    return open_redis_ledger(options, TOOLS, now=now, check_every=check_every)


def by_a_clock_at_hand(url: str) -> MakeLedger:
    """Makes empty ledgers for laws, whose time passes at once."""

    @asynccontextmanager
    async def make() -> AsyncGenerator[LedgerAtHand]:
        clock, namespace = Clock(), uuid.uuid4().hex
        async with opened(url, namespace, clock=clock) as store:
            yield LedgerAtHand(store, clock.elapse, another=lambda: opened(url, namespace, clock=clock))

    return make


def by_its_own_clock(url: str, span: float) -> MakeLedger:
    """Makes empty ledgers for laws, by the server's clock."""

    @asynccontextmanager
    async def make() -> AsyncGenerator[LedgerAtHand]:
        namespace = uuid.uuid4().hex
        async with opened(url, namespace) as store:
            yield LedgerAtHand(store, trio.sleep, span, another=lambda: opened(url, namespace))

    return make


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Again and again, as a kernel would."""
    while True:
        try:
            return await ask()
        except LedgerUnavailableError:
            await trio.sleep(0.05)
