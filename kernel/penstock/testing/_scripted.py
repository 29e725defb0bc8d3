"""A transport that answers from a script: for tests of one loop, under virtual time.

Not here: a whole upstream that speaks the providers' wires (`penstock_plugins.rehearsal`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, TypeAlias

import attrs
import httpx
import msgspec
import trio

__all__ = ["Answer", "Broken", "Reply", "ScriptedTransport", "Silence"]


@attrs.frozen
class Reply:
    """A response. `json` is encoded, with the header that says so; `body` is sent as it is.

    `chunks` come one by one, `pause` seconds apart, and may end in an exception.
    """

    status: int = 200
    json: Any = None
    body: bytes = b""
    chunks: Sequence[bytes | Exception] = ()
    pause: float = 0.0
    headers: Sequence[tuple[str, str]] = ()
    delay: float = 0.0
    """Seconds until the head comes."""


@attrs.frozen
class Broken:
    """No response: the transport raises. `delay` in seconds."""

    error: Exception = attrs.field(factory=lambda: httpx.ConnectError("connection refused"))
    delay: float = 0.0


@attrs.frozen
class Silence:
    """No response, ever."""


Answer: TypeAlias = Reply | Broken | Silence


class ScriptedTransport(httpx.AsyncBaseTransport):
    """Gives the answers in order, the last one again and again; or asks a function for each.

    `requests` keeps what was sent. `open` counts responses that were begun and not closed: 0 when nothing leaks.
    """

    def __init__(self, answers: Iterable[Answer] | Callable[[httpx.Request], Answer]) -> None:
        self._answer = answers if callable(answers) else _in_order(answers)
        self.requests: list[httpx.Request] = []
        self.open = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Plays the next answer."""
        self.requests.append(request)
        await trio.lowlevel.checkpoint()
        match self._answer(request):
            case Reply() as reply:
                await trio.sleep(reply.delay)
                self.open += 1
                return httpx.Response(reply.status, headers=_headers(reply), stream=_Body(self, reply))
            case Broken(error=error, delay=delay):
                await trio.sleep(delay)
                raise error
            case Silence():
                await trio.sleep_forever()
                raise AssertionError("nobody wakes a task that sleeps forever")

    async def aclose(self) -> None:
        """Nothing to close."""


def _headers(reply: Reply) -> list[tuple[str, str]]:
    """Its own, and what a server says of JSON, where they do not."""
    headers = list(reply.headers)
    if reply.json is not None and all(name.lower() != "content-type" for name, _ in headers):
        headers.append(("content-type", "application/json"))
    return headers


def _in_order(answers: Iterable[Answer]) -> Callable[[httpx.Request], Answer]:
    script = list(answers)

    def answer(_: httpx.Request) -> Answer:
        return script.pop(0) if len(script) > 1 else script[0]

    return answer


class _Body(httpx.AsyncByteStream):
    def __init__(self, transport: ScriptedTransport, reply: Reply) -> None:
        self._transport = transport
        self._pause = reply.pause
        whole = msgspec.json.encode(reply.json) if reply.json is not None else reply.body
        self._chunks = iter(reply.chunks or ([whole] if whole else []))
        self._closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await trio.sleep(self._pause)
        chunk = next(self._chunks, None)
        if chunk is None:
            raise StopAsyncIteration
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._transport.open -= 1
