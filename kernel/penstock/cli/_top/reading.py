"""Frames as they come over the socket. Not here: what is shown of them (`screen`)."""

from __future__ import annotations

import msgspec
import trio

from penstock._live.frame import Frame

__all__ = ["Frames", "GoneError"]

PATIENCE = 10.0
"""Seconds: a kernel sends one each second, unless its loop is held up."""
LONGEST = 16_777_216
"""Bytes. A frame of ten thousand targets has a fifth of that."""
_DECODER = msgspec.json.Decoder(Frame)


class GoneError(Exception):
    """The kernel sends no more; says why."""


class Frames:
    """Those of one connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._read = b""

    async def next(self) -> tuple[bytes, Frame]:
        """The next one, and the line that it came in. Raises GoneError."""
        with trio.move_on_after(PATIENCE):
            while b"\n" not in self._read:
                try:
                    more = await self._stream.receive_some()
                except trio.BrokenResourceError:
                    more = b""
                self._read += more
                if not more or len(self._read) > LONGEST:
                    raise GoneError("the kernel has ended, or lets nobody else watch")
            line, _, self._read = self._read.partition(b"\n")
            try:
                return line, _DECODER.decode(line)
            except msgspec.DecodeError:
                raise GoneError("the kernel is of a version that speaks otherwise: use its own penstock top") from None
        raise GoneError(f"the kernel has sent nothing for {PATIENCE:g} s: its loop is held up, or it is stopped")
