"""How long answers take where nothing is wrong, with a jitter that a seed decides.

Not here: faults that make them late.
"""

from __future__ import annotations

import math

from msgspec import Struct

from penstock_plugins.rehearsal.chance import draw

__all__ = ["Latency"]


class Latency(Struct, frozen=True, kw_only=True):
    """Seconds to the first byte and between chunks; each is multiplied by a number from 1 - jitter to 1 + jitter."""

    first_s: float = 0.0
    chunk_s: float = 0.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.first_s < math.inf and 0 <= self.chunk_s < math.inf and 0 <= self.jitter <= 1):
            raise ValueError("latency: seconds must be finite and not negative, jitter must be from 0 to 1")

    def first(self, seed: int, exchange: str) -> float:
        """Seconds before the head."""
        return self.first_s * self._factor(seed, exchange, 0)

    def chunk(self, seed: int, exchange: str, number: int) -> float:
        """Seconds before the chunk of that number."""
        return self.chunk_s * self._factor(seed, exchange, number)

    def _factor(self, seed: int, exchange: str, number: int) -> float:
        return 1 + self.jitter * (2 * draw(seed, "latency", exchange, number) - 1) if self.jitter else 1.0
