"""Chunks of a chunked body that have come whole, read without h11. Pure.

Servers send each event of a stream as an HTTP chunk of its own, and h11 spends on a chunk more than all the rest of
the way of its event to the consumer: half of the CPU of a stream. So whole chunks are taken out before h11 sees
them. Everything else stays with h11: heads, chunks in pieces, the last chunk and its trailers, and whatever looks odd.

Not here: h11, and whose bytes these are (`connection`).
"""

from __future__ import annotations

import re

__all__ = ["WholeChunks"]

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
"""The plain form alone: h11 knows what to make of extensions and stray blanks."""
_HALF_A_LINE = re.compile(rb"[0-9A-Fa-f]{0,8}\r?")


class WholeChunks:
    """Follows one chunked body, read by read. h11 and this see the same bytes, each its own part of them.

    Laws: what h11 is given is a well-formed body whenever the whole was, and broken in the same way where it was; body
    bytes keep their order; how the bytes are split changes nothing; at most 9 bytes are held back.
    """

    def __init__(self, already_with_h11: bytes) -> None:
        self._missing: int | None = 0
        """Bytes until the chunk ends that h11 is in the middle of; None: the rest is h11's."""
        self._held = b""
        end, _ = self._walk(already_with_h11, 0)
        if end < len(already_with_h11) and self._missing == 0:
            self._missing = None  # h11 has half a size line, and nobody can say how far it is

    def take(self, data: bytes) -> tuple[bytes, list[bytes], bytes]:
        """What h11 is to read first, what the whole chunks after that hold, and what h11 is to read then.

        `data` empty: the connection has ended, and h11 is to be told so after this.
        """
        if self._missing is None:
            return data, [], b""
        ended = not data
        if self._held:
            data, self._held = self._held + data, b""
        start = min(self._missing, len(data))
        self._missing -= start
        if self._missing:
            return data, [], b""
        end, pieces = self._walk(data, start)
        rest = data[end:]
        if rest and self._missing == 0 and not ended:
            self._held, rest = rest, b""
        return data[:start], pieces, rest

    def _walk(self, data: bytes, at: int) -> tuple[int, list[bytes]]:
        """The whole chunks from `at` on: where they end, and what they hold. Notes what the rest is."""
        pieces: list[bytes] = []
        while line := _SIZE_LINE.match(data, at):
            begin = line.end()
            end = begin + int(line[1], 16)
            if begin == end:
                self._missing = None  # the last chunk
                return at, pieces
            if end + 2 > len(data):
                self._missing = end + 2 - len(data)
                return at, pieces
            if data[end : end + 2] != b"\r\n":
                self._missing = None
                return at, pieces
            pieces.append(data[begin:end])
            at = end + 2
        if not _HALF_A_LINE.fullmatch(data, at):
            self._missing = None  # no size line that is known here
        return at, pieces
