"""Chance without a state: the same seed and the same names give the same number, in whatever order they are asked."""

from __future__ import annotations

from hashlib import blake2b

__all__ = ["digest", "draw"]


def draw(seed: int, *names: object) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    mark = blake2b(repr((seed, *names)).encode(), digest_size=8).digest()
    return (int.from_bytes(mark) >> 11) / 2**53  # 53 bits: what a float holds exactly, so that 1.0 cannot come out


def digest(data: bytes) -> str:
    """A short name for data, for counting and choosing; never shown in place of a secret."""
    return blake2b(data, digest_size=12).hexdigest()
