"""A response as it comes in: its head, the bytes of its body, and letting go of it.

Not here: what the bytes say (`_codec_edge`, `_streamed_answer`).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple, TypeAlias

import httpx
import trio

from penstock._codec_edge import CodecEdge
from penstock._edge import broken_transport
from penstock._foreign import let_through
from penstock._transport.body import Body
from penstock._transport.plain import Fields
from penstock.errors import ConnectionLostError, MalformedResponseError, StreamBrokenError
from penstock.types import WireHead

__all__ = ["AFTER_THE_END", "MAX_BODY", "Cut", "Incoming", "Response"]

logger = logging.getLogger("penstock")

MAX_ERROR_BODY = 1_048_576
"""An error's body is read to be understood, not kept: 1 MiB is a thousand times the largest recorded one."""
MAX_BODY = 67_108_864
"""64 MiB: a whole answer with images in base64 stays far below."""
AFTER_THE_END = 1.0
"""Seconds for the wire's mark of its end once nothing else is missing, and for the HTTP body to end after it: with less
than that a connection is not worth keeping."""

Cut: TypeAlias = type[MalformedResponseError | StreamBrokenError]
"""What a response is whose connection ended before it did: no answer, or the beginning of one."""


class Response(NamedTuple):
    """What a transport gives, ours or one that was handed in."""

    status: int
    headers: Fields
    body: httpx.AsyncByteStream
    close: Callable[[], Awaitable[None]]
    ours: bool


class Incoming:
    """One response. Whoever gets one closes it with `let_go`."""

    def __init__(self, edge: CodecEdge, response: Response) -> None:
        self._edge = edge
        self._response = response
        self._pieces: AsyncIterator[bytes] | None = None
        self.broke = False
        """The connection, or what frames or compresses the body on it, broke under the body."""
        self.head = WireHead(
            response.status,
            tuple([(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.headers]),
        )
        edge.answered = True
        named = dict(self.head.headers)
        edge.is_named(named.get("x-request-id") or named.get("request-id"))

    @property
    def is_success(self) -> bool:
        """True for a 2xx status."""
        return 200 <= self._response.status < 300

    @property
    def is_whole(self) -> bool:
        """True where the answer comes in one piece, whatever was asked for."""
        kind = (self.head.header("content-type") or "").partition(";")[0]
        return kind.strip().lower() == "application/json"

    async def read(self, cut: Cut) -> bytes | None:
        """The next piece of the body; None at its end. Raises `cut` where its connection ends before, and another of
        our errors where something else is wrong with it.
        """
        try:
            if self._pieces is None:
                # What the transport yields is already decoded; httpx's aiter_raw() would add a layer of generators.
                self._pieces = aiter(self._response.body)
            return await anext(self._pieces)
        except StopAsyncIteration:
            return None
        except BaseException as error:  # noqa: BLE001 - foreign code: whatever it raises is translated
            let_through(error)
            failure = broken_transport(error, self._edge.target, in_body=True)
        self.broke = True
        if isinstance(failure, ConnectionLostError):
            # The head came: what is lost is the rest of an answer, not the provider.
            lost = cut(f"{self._edge.target}: the response was cut: {failure}").with_traceback(failure.__traceback__)
            lost.__cause__ = failure.__cause__
            failure = lost
        try:
            raise self._edge.discreet(failure)
        finally:
            del failure  # it holds this frame: together they would wait for the garbage collector

    async def body(self, cut: Cut = MalformedResponseError) -> bytes:
        """The whole body."""
        limit = MAX_BODY if self.is_success else MAX_ERROR_BODY
        body = self._response.body
        if isinstance(body, Body) and (rest := body.rest(limit)) is not None:
            return rest
        pieces: list[bytes] = []
        size = 0
        while (data := await self.read(cut)) is not None:
            pieces.append(data)
            size += len(data)
            if size > limit:
                raise MalformedResponseError(f"{self._edge.target} sent a body of more than {limit} bytes")
            if isinstance(body, Body) and body.is_whole:
                break
        return b"".join(pieces)

    async def let_go(self) -> None:
        """Closes the response. Never raises: the exchange is over, and how it ended is known.

        Shielded: a transport that waits while closing must lose neither its connection to a cancel nor us the answer.
        """
        try:
            if self._response.ours:
                await self._response.close()  # which never waits
                return
            with trio.CancelScope(shield=True, deadline=trio.current_time() + AFTER_THE_END):
                await self._response.close()
        except BaseException as error:  # noqa: BLE001 - foreign code
            let_through(error)
            logger.debug("a transport broke while it closed a response: %s", type(error).__name__)
