"""Compressed bodies, decompressed within a limit. Nobody here asks for compression; some servers compress unasked.

An encoding that is not known passes through with its header, as it does in httpx's own transports.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator
from typing import cast

import httpx

from penstock._transport.plain import Fields

__all__ = ["Decompressor", "decompressed", "decompressed_body"]

MAX_PIECE = 65_536
"""Bytes made at a time: a bomb of a few KB must not become gigabytes before anybody can look."""
_GZIP = 16 + zlib.MAX_WBITS
_KNOWN = frozenset({"gzip", "x-gzip", "deflate"})


class Decompressor:
    """One encoding, fed piece by piece. Pure. Raises httpx.DecodingError."""

    def __init__(self, encoding: str) -> None:
        self._gzip = encoding != "deflate"
        self._started = False
        self._held = b""
        self._zlib = zlib.decompressobj(_GZIP if self._gzip else zlib.MAX_WBITS)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What the data becomes, in pieces of at most 64 KiB, each made when asked for."""
        if not self._started:
            # Two bytes tell zlib's format from bare deflate, and a read may bring one.
            data = self._held = self._held + data
            if len(data) < 2:
                return
        while data:
            if self._zlib.eof:
                if not self._gzip:
                    raise httpx.DecodingError("the compressed body goes on after its end")
                # A gzip body may have several members, one after another.
                self._zlib = zlib.decompressobj(_GZIP)
            piece = self._decompress(data)
            data = self._zlib.unconsumed_tail or self._zlib.unused_data
            if piece:
                yield piece
        while not self._zlib.eof and self._started and (piece := self._decompress(b"")):
            yield piece

    def check_ended(self) -> None:
        """Raises unless the data ended where the encoding says so. Nothing at all is no compressed body."""
        if (self._started or self._held) and not self._zlib.eof:
            raise httpx.DecodingError("the compressed body ends too early")

    def _decompress(self, data: bytes) -> bytes:
        first, self._started = not self._started, True
        try:
            return self._zlib.decompress(data, MAX_PIECE)
        except zlib.error:
            if self._gzip or not first:
                raise httpx.DecodingError("the body is not what its content-encoding says") from None
        # "deflate" means zlib's format, and some servers send bare deflate.
        self._zlib = zlib.decompressobj(-zlib.MAX_WBITS)
        return self._decompress(data)


class _DecompressedBody(httpx.AsyncByteStream):
    """A body seen through a decompressor for each of its encodings, the last one applied first."""

    def __init__(self, body: httpx.AsyncByteStream, encodings: list[str], limit: int) -> None:
        self._body = body
        self._source = aiter(body)
        self._decompressors = [Decompressor(encoding) for encoding in reversed(encodings)]
        self._ready: Iterator[bytes] = iter(())
        self._limit = limit
        self._size = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while (piece := next(self._ready, None)) is None:
            try:
                data = await anext(self._source)
            except StopAsyncIteration:
                for decompressor in self._decompressors:
                    decompressor.check_ended()
                raise
            self._ready = self._through(data)
        self._size += len(piece)
        if self._size > self._limit:
            raise httpx.DecodingError(f"the body is larger than {self._limit} bytes once decompressed")
        return piece

    async def aclose(self) -> None:
        await self._body.aclose()

    def _through(self, data: bytes) -> Iterator[bytes]:
        pieces = iter((data,))
        for decompressor in self._decompressors:
            pieces = _each(decompressor, pieces)
        return pieces


def _each(decompressor: Decompressor, pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield from decompressor.feed(piece)


def decompressed(response: httpx.Response, *, limit: int) -> httpx.Response:
    """The response with a plain body and without the headers that spoke of the compressed one."""
    body = cast("httpx.AsyncByteStream", response.stream)
    headers, plain = decompressed_body(response.headers.raw, body, limit=limit)
    if plain is body:
        return response
    return httpx.Response(response.status_code, headers=headers, stream=plain, extensions=response.extensions)


def decompressed_body(
    headers: Fields, body: httpx.AsyncByteStream, *, limit: int
) -> tuple[Fields, httpx.AsyncByteStream]:
    """The same for what a response is made of. Nearly always nothing is compressed: then both are as they came."""
    named = [value for name, value in headers if name.lower() == b"content-encoding"]
    if not named:
        return headers, body
    parts = b",".join(named).decode("latin-1").split(",")
    encodings = [name for part in parts if (name := part.strip().lower()) not in ("", "identity")]
    if not encodings or not _KNOWN.issuperset(encodings):
        return headers, body
    kept = [(name, value) for name, value in headers if name.lower() not in (b"content-encoding", b"content-length")]
    return kept, _DecompressedBody(body, encodings, limit)
