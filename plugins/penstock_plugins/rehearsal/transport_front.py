"""The upstream as an httpx transport, in memory: for virtual time, where no server can be.

Not here: sockets. It raises what a real transport raises. Answers come as they are on the wire: each piece for itself,
not decompressed. There is no pool, so the pool timeout never fires; connecting and uploading take time by fault only.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self, cast

import h11
import httpx
import trio

from penstock.types import WireRequest
from penstock_plugins.rehearsal.plan import Close, Connect, Data, End, Head, Refuse, Reset, Step, Upload
from penstock_plugins.rehearsal.playback import Playback
from penstock_plugins.rehearsal.upstream import Upstream

__all__ = ["RehearsalTransport"]

_LARGEST_HEAD = 102_400
"""What h11 takes at most, and with it httpx: more is a broken protocol."""


class RehearsalTransport(httpx.AsyncBaseTransport):
    """Plays the plans of an upstream. At most `window` bytes of a body are under way unread; then the upstream waits.

    `open_responses` counts those begun and not closed: 0 when nothing leaks. `wall` gives Unix time, for dates in
    headers; None: the machine's, going on with the loop's own clock, which may be virtual.
    """

    def __init__(self, upstream: Upstream, *, window: int = 65_536, wall: Callable[[], float] | None = None) -> None:
        self.upstream = upstream
        self.open_responses = 0
        self._window = window
        self._wall_clock = wall
        self._anchor: float | None = None
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One exchange."""
        if self._closed:
            raise RuntimeError("the rehearsal transport is closed")
        body = await request.aread()
        await trio.lowlevel.checkpoint()
        now = trio.current_time()
        self.upstream.start(now)
        if self.upstream.port_is_closed(now):
            raise httpx.ConnectError("connection refused", request=request)
        exchange = self.upstream.receive(_value(request, body), now=now, wall=self._wall(now))
        try:
            await _reach(exchange.steps[0], request)
        except BaseException:
            exchange.close()
            raise
        playback = Playback(exchange, now=trio.current_time(), window=self._window)
        stream = _Stream(self, request, playback)
        self.open_responses += 1
        try:
            head = await stream.head()
        except BaseException:
            await stream.aclose()
            raise
        headers = [(name.encode(), value.encode()) for name, value in head.headers]
        return httpx.Response(
            head.status, headers=headers, stream=stream, extensions={"http_version": b"HTTP/1.1"}, request=request
        )

    async def aclose(self) -> None:
        """No more requests; open responses stay readable."""
        self._closed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    def _wall(self, now: float) -> float:
        """Unix time that goes with the loop's own."""
        if self._wall_clock is not None:
            return self._wall_clock()
        if self._anchor is None:
            self._anchor = time.time() - now
        return self._anchor + now


class _Stream(httpx.AsyncByteStream):
    """The body of one response, and before it the wait for its head."""

    def __init__(self, transport: RehearsalTransport, request: httpx.Request, playback: Playback) -> None:
        self._transport = transport
        self._request = request
        self._playback = playback
        self._open = True
        self._ended = False
        self._read_timeout = _limits(request).get("read")

    async def head(self) -> Head:
        """The head, or what comes in its place."""
        match await self._next():
            case Head() as head:
                if sum(len(name) + len(value) for name, value in head.headers) > _LARGEST_HEAD:
                    # As httpx's own transport says it: its parser is behind it.
                    says = "the head of the response is too long"
                    raise httpx.RemoteProtocolError(says, request=self._request) from h11.RemoteProtocolError(says)
                return head
            case Refuse():
                raise httpx.ConnectError("connection refused", request=self._request)
            case Reset():
                raise httpx.ReadError("connection reset by peer", request=self._request)
            case _:
                raise httpx.RemoteProtocolError(
                    "Server disconnected without sending a response.", request=self._request
                )

    def __aiter__(self) -> _Stream:
        return self

    async def __anext__(self) -> bytes:
        if self._ended or not self._open:
            await trio.lowlevel.checkpoint()
            raise StopAsyncIteration
        match await self._next():
            case Data(data=data):
                return data
            case End():
                self._ended = True
                raise StopAsyncIteration
            case Close():
                raise httpx.RemoteProtocolError(
                    "peer closed connection without sending complete message body", request=self._request
                )
            case _:
                raise httpx.ReadError("connection reset by peer", request=self._request)

    async def aclose(self) -> None:
        """Tells the upstream that nobody listens any more."""
        if self._open:
            self._open = False
            self._transport.open_responses -= 1
            self._playback.leave(trio.current_time())

    async def _next(self) -> Head | Data | End | Reset | Close | Refuse:
        """What was sent next; raises ReadTimeout after so long a silence."""
        await trio.lowlevel.checkpoint()
        patience = trio.current_time() + (math.inf if self._read_timeout is None else self._read_timeout)
        while True:
            now = trio.current_time()
            step = self._playback.take(now)
            if isinstance(step, Head | Data | End | Reset | Close | Refuse):
                return step
            if now >= patience:
                raise httpx.ReadTimeout("the upstream sent nothing", request=self._request)
            await trio.sleep_until(min(self._playback.next_at, patience))


async def _reach(step: Step, request: httpx.Request) -> None:
    """The time until the request was read, where a fault makes it take any."""
    limits = _limits(request)
    match step:
        case Connect(seconds=seconds):
            if await _outlasts(seconds, limits.get("connect")):
                raise httpx.ConnectTimeout("no connection came about", request=request)
        case Upload(seconds=seconds):
            if await _outlasts(seconds, limits.get("write")):
                raise httpx.WriteTimeout("the upstream does not read the request", request=request)
        case _:
            pass


async def _outlasts(seconds: float | None, limit: float | None) -> bool:
    """Waits so long, but not beyond the limit; True where the limit came first."""
    takes = math.inf if seconds is None else seconds
    await trio.sleep(takes if limit is None else min(takes, limit))
    return limit is not None and limit < takes


def _limits(request: httpx.Request) -> Mapping[str, float | None]:
    return cast("Mapping[str, float | None]", request.extensions.get("timeout") or {})


def _value(request: httpx.Request, body: bytes) -> WireRequest:
    headers = tuple((name.lower(), value) for name, value in request.headers.multi_items())
    return WireRequest(request.method, str(request.url.raw_path, "ascii"), headers, body)
