"""A wire of the tests' own: the codec that speaks it, and the transport that answers on it from a script.

The body of a request is the request itself as JSON; the body of an answer is one JSON line for each chunk, then the
whole. Not here: what is answered (`_answers`).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import ClassVar

import httpx
import msgspec
import trio

from penstock.abc import Provider, StreamDecoder
from penstock.errors import (
    MalformedResponseError,
    ProviderError,
    StreamBrokenError,
    TransportError,
    UnsendableRequestError,
    replica,
)
from penstock.testing._answers import Asked, Script
from penstock.testing._scripted import Silence
from penstock.types import (
    Capabilities,
    ChatRequest,
    Chunk,
    Completion,
    Discreet,
    Message,
    Refusal,
    Target,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    UsageUpdate,
    WireHead,
    WireRequest,
    WireResponse,
)

__all__ = ["AnsweringTransport", "ScriptCodec"]

NUMBER = "x-answer"
_PIECES = re.compile(r"\S+\s*|\s+")


class _Line(Discreet, frozen=True, omit_defaults=True):
    """One line of a streamed answer."""

    chunk: Chunk | None = None
    whole: Completion | None = None


class AnsweringTransport(httpx.AsyncBaseTransport):
    """Gives each request the next answer of the script."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One attempt."""
        asked = msgspec.json.decode(await request.aread(), type=Asked)
        await trio.lowlevel.checkpoint()
        number, played = await self._script.play(asked)
        headers = [(NUMBER, str(number)), ("x-request-id", f"attempt-{number}")]
        match played:
            case Silence():
                await trio.sleep_forever()
                raise AssertionError("nobody wakes a task that sleeps forever")
            case ProviderError():
                return httpx.Response(self._script.error(number).status or 400, headers=headers, stream=_Body([]))
            case StreamBrokenError() if asked.streamed and played.partial:
                body = _Body([*_encoded(_text(played.partial)), replica(played)])
                return httpx.Response(200, headers=headers, stream=body)
            case TransportError():
                raise replica(played)
            case Exception():
                raise played
            case Completion() if asked.streamed:
                body = _Body([*_encoded(_chunks(played)), msgspec.json.encode(_Line(whole=played)) + b"\n"])
                return httpx.Response(200, headers=headers, stream=body)
            case Completion():
                return httpx.Response(200, headers=headers, stream=_Body([msgspec.json.encode(played)]))


class _Body(httpx.AsyncByteStream):
    def __init__(self, pieces: list[bytes | Exception]) -> None:
        self._pieces = iter(pieces)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        piece = next(self._pieces, None)
        if piece is None:
            raise StopAsyncIteration
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def aclose(self) -> None:
        """Nothing to close."""


def _encoded(chunks: Iterator[Chunk]) -> Iterator[bytes]:
    return (msgspec.json.encode(_Line(chunk=chunk)) + b"\n" for chunk in chunks)


def _chunks(completion: Completion) -> Iterator[Chunk]:
    calls = 0
    for part in completion.message.content:
        match part:
            case Text(text=text):
                yield from _text(text)
            case Refusal(text=text):
                yield TextDelta(text, refusal=True)
            case Thinking(text=text):
                yield ThinkingDelta(text)
            case ToolCall():
                yield ToolCallDelta(calls, part.id, part.name, part.wire_arguments())
                calls += 1
            case _:
                pass  # what no chunk can say comes with the whole
    if completion.usage is not None:
        yield UsageUpdate(completion.usage)


def _text(text: str) -> Iterator[Chunk]:
    """Word by word, as models speak."""
    return (TextDelta(piece) for piece in _PIECES.findall(text))


class ScriptCodec(Provider):
    """The wire of the tests' own."""

    family: ClassVar[str] = "penstock-test"

    def __init__(self, script: Script) -> None:
        self._script = script

    def encode(self, request: ChatRequest, target: Target, *, stream: bool, now: float) -> WireRequest:
        del now
        try:
            body = msgspec.json.encode(Asked(target=target.name, streamed=stream, request=request))
        except (UnicodeEncodeError, TypeError, ValueError) as error:
            raise UnsendableRequestError(f"the request cannot be written as JSON ({type(error).__name__})") from None
        return WireRequest("POST", "http://penstock.test/", (("content-type", "application/json"),), body)

    def authorize(self, wire: WireRequest, secret: str | None, *, now: float) -> WireRequest:
        """No credential goes anywhere."""
        del secret, now
        return wire

    def input_bound(self, request: ChatRequest, target: Target) -> int | None:
        """A byte is at least a part of a token."""
        return len(self.encode(request, target, stream=False, now=0.0).body)

    def decode(self, response: WireResponse) -> Completion:
        return msgspec.json.decode(response.body, type=Completion)

    def decoder(self, head: WireHead) -> StreamDecoder:
        del head
        return _ScriptDecoder()

    def classify(self, response: WireResponse, *, now: float) -> ProviderError:
        del now
        return self._script.error(int(response.header(NUMBER) or 0))

    def capabilities(self, model: str) -> Capabilities:
        del model
        return Capabilities(prefill=True, json_schema=True, seed=True)


class _ScriptDecoder(StreamDecoder):
    def __init__(self) -> None:
        self._rest = b""
        self._said: list[str] = []
        self._whole: Completion | None = None

    def feed(self, data: bytes) -> list[Chunk]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        chunks: list[Chunk] = []
        for line in lines:
            try:
                read = msgspec.json.decode(line, type=_Line)
            except msgspec.DecodeError as error:
                raise MalformedResponseError("a line of the answer is no JSON") from error
            self._whole = read.whole or self._whole
            if read.chunk is not None:
                chunks.append(read.chunk)
                if isinstance(read.chunk, TextDelta):
                    self._said.append(read.chunk.text)
        return chunks

    def close(self) -> None:
        if self._whole is None:
            raise StreamBrokenError("the stream ended before its end")

    @property
    def completion(self) -> Completion:
        return self._whole or Completion(message=Message.assistant("".join(self._said)), finish_reason="error")

    @property
    def done(self) -> bool:
        return self._whole is not None
