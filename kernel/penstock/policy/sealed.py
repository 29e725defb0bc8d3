"""A stored answer as the bytes that leave the process: with a version, its times, a checksum, compressed where it pays.

What comes back from a disk or a server may be of another version, cut, flipped, or another key's: then it is no entry.
Not here: what is in the answer, and where the bytes are kept.
"""

from __future__ import annotations

import math
import struct
import zlib

from penstock.policy.entries import Entry

__all__ = ["LARGEST", "SEAL_VERSION", "WORTH_COMPRESSING", "seal", "unseal"]

SEAL_VERSION = 1
"""Counted up when the form of sealed bytes, or of what is in them, changes: older entries are then misses."""
LARGEST = 64 * 2**20
"""Bytes of a decompressed answer. A larger one is not sealed; bytes that claim to be more are no entry."""
WORTH_COMPRESSING = 2_048
"""Bytes from which on an answer is compressed. Measured with zlib level 1 on English prose, CPython 3.11: at 1 KB it
saves 430 bytes for 23 us, less than a packet or a page; at 2 KB 940 for 38 us; at 8 KB half for 104 us, and 16 us to
open it."""
LEVEL = 1
"""Level 6 saves 2 to 5 hundredths more and takes up to three times as long."""
_HEAD = struct.Struct("<BBIddI")
"""Version, flags, CRC-32 of the key and of all that follows it, stored_at, fresh_until, bytes of the parts."""
_CHECKED_FROM = struct.calcsize("<BBI")
_COMPRESSED = 1


def seal(key: str, entry: Entry) -> bytes | None:
    """The entry as bytes that only `unseal` of the same key reads; None where it is too large to be kept."""
    value, flags = entry.value, 0
    if len(value) > LARGEST:
        return None
    if len(value) >= WORTH_COMPRESSING:
        smaller = zlib.compress(value, LEVEL)
        if len(smaller) < len(value) * 0.9:
            value, flags = smaller, _COMPRESSED
    head = _HEAD.pack(SEAL_VERSION, flags, 0, entry.stored_at, entry.fresh_until, len(entry.parts))
    checked = head[_CHECKED_FROM:] + entry.parts + value
    return bytes((SEAL_VERSION, flags)) + struct.pack("<I", _checksum(key, flags, checked)) + checked


def unseal(key: str, sealed: bytes) -> Entry | None:
    """The entry; None for bytes that were not sealed for this key by this version."""
    if len(sealed) < _HEAD.size or sealed[0] != SEAL_VERSION:
        return None
    _, flags, checksum, stored_at, fresh_until, parts = _HEAD.unpack_from(sealed)
    if _checksum(key, flags, sealed[_CHECKED_FROM:]) != checksum or flags not in (0, _COMPRESSED):
        return None
    if not (math.isfinite(stored_at) and math.isfinite(fresh_until)) or _HEAD.size + parts > len(sealed):
        return None
    value = sealed[_HEAD.size + parts :]
    if flags:
        opened = _decompressed(value)
        if opened is None:
            return None
        value = opened
    return Entry(value, stored_at, fresh_until, sealed[_HEAD.size : _HEAD.size + parts])


def _checksum(key: str, flags: int, checked: bytes) -> int:
    return zlib.crc32(checked, zlib.crc32(key.encode(), flags))


def _decompressed(value: bytes) -> bytes | None:
    stream = zlib.decompressobj()
    try:
        opened = stream.decompress(value, LARGEST)
    except zlib.error:
        return None
    return opened if stream.eof and not stream.unused_data else None
