"""Names to addresses: one lookup per host at a time, in threads of its own, kept for a few seconds.

Not here: connecting. A lookup belongs to nobody: it survives the cancellation of who asked first, so that callers that
come and go while a resolver hangs do not start one thread each.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple, TypeAlias

import attrs
import trio
from outcome import Outcome

__all__ = ["Address", "Lookup", "Resolve", "resolve_by_system"]

KEEP_S = 5.0
"""Long enough for a burst of new connections, short enough to follow a failover by DNS."""
MAX_THREADS = 8
"""A hung resolver takes at most these, and none of trio's own."""


class Address(NamedTuple):
    """Where to connect: a family and what `socket.connect` takes there, but for the port."""

    family: int
    host: str
    flow_and_scope: tuple[int, ...] = ()

    def with_port(self, port: int) -> tuple[str | int, ...]:
        """What `socket.connect` takes."""
        return (self.host, port, *self.flow_and_scope)


Resolve: TypeAlias = Callable[[str], tuple[Address, ...]]
"""Runs in a thread; raises OSError."""


def resolve_by_system(host: str, flags: int = 0) -> tuple[Address, ...]:
    """The system's answer, in its order."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=flags)
    return tuple(
        Address(family, str(address[0]), tuple(int(part) for part in address[2:])) for family, _, _, _, address in found
    )


@attrs.define(eq=False)
class _Flight:
    """A lookup under way. Once landed it has addresses, or a reason, or neither: then it never started."""

    landed: trio.Event
    addresses: tuple[Address, ...] = ()
    reason: str = ""


class Lookup:
    """Made in any thread, used in one trio loop."""

    def __init__(self, resolve: Resolve = resolve_by_system) -> None:
        self._resolve = resolve
        self._known: dict[str, tuple[tuple[Address, ...], float]] = {}
        self._flights: dict[str, _Flight] = {}
        self._limiter = trio.CapacityLimiter(MAX_THREADS)

    async def addresses(self, host: str) -> tuple[Address, ...]:
        """At least one address of a host. Raises OSError with a sentence."""
        with suppress(OSError, UnicodeError):
            return resolve_by_system(host, socket.AI_NUMERICHOST)
        while True:
            known = self._known.get(host)
            if known is not None and trio.current_time() < known[1]:
                return known[0]
            flight = self._flights.get(host) or await self._start(host)
            await flight.landed.wait()
            if flight.addresses:
                return flight.addresses
            if flight.reason:
                raise OSError(flight.reason)

    async def _start(self, host: str) -> _Flight:
        flight = self._flights[host] = _Flight(trio.Event())
        try:
            await self._limiter.acquire_on_behalf_of(flight)
        except BaseException:
            # Those who joined meanwhile find it landed with nothing, and one of them starts again.
            del self._flights[host]
            flight.landed.set()
            raise
        deliver = partial(self._deliver, trio.lowlevel.current_trio_token(), host, flight)
        trio.lowlevel.start_thread_soon(partial(_looked_up, self._resolve, host), deliver)
        return flight

    def _deliver(
        self, token: trio.lowlevel.TrioToken, host: str, flight: _Flight, result: Outcome[tuple[Address, ...] | str]
    ) -> None:
        """In the thread. The loop may be gone by now; then nobody waits any more."""
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(self._land, host, flight, result)

    def _land(self, host: str, flight: _Flight, result: Outcome[tuple[Address, ...] | str]) -> None:
        self._limiter.release_on_behalf_of(flight)
        del self._flights[host]
        now = trio.current_time()
        self._known = {name: entry for name, entry in self._known.items() if now < entry[1]}
        match result.unwrap():
            case str(reason):
                flight.reason = reason
            case addresses:
                flight.addresses = addresses
                self._known[host] = (addresses, now + KEEP_S)
        flight.landed.set()


def _looked_up(resolve: Resolve, host: str) -> tuple[Address, ...] | str:
    """In the thread: the addresses, or why there are none. Whatever a resolver raises must reach those who wait."""
    try:
        return resolve(host) or "the name has no address"
    except OSError as error:
        return error.strerror or type(error).__name__
    except Exception as error:  # noqa: BLE001 - the codec of international names raises kinds of its own
        return type(error).__name__
