"""One request of one token to each target, for `penstock check --live`.

Not here: printing what came of it.
"""

from __future__ import annotations

import attrs
import trio

from penstock._config import Config
from penstock._front import Kernel
from penstock._kernel import open_kernel
from penstock.cli._words import dollars, seconds
from penstock.errors import PenstockError

__all__ = ["LiveLine", "try_targets"]

PATIENCE = 30.0
"""Seconds for a target to say one token, retries included."""


@attrs.frozen
class LiveLine:
    """How a target did."""

    target: str
    answered: bool
    attempts: int
    took: str
    cost: str
    says: str


async def try_targets(config: Config, names: list[str]) -> list[LiveLine]:
    """Asks all targets at once, and waits for each. Only the configuration itself can make it raise."""
    lines: dict[str, LiveLine] = {}

    async def try_one(kernel: Kernel, name: str) -> None:
        lines[name] = await _try(kernel, name)

    async with open_kernel(config) as kernel, trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(try_one, kernel, name)
    return [lines[name] for name in names]


async def _try(kernel: Kernel, name: str) -> LiveLine:
    began = trio.current_time()
    try:
        response = await kernel.complete("Say ok.", model=name, max_tokens=1, cache="never", timeout=PATIENCE)
    except PenstockError as error:
        attempts = len(getattr(error, "attempts", ()))
        return LiveLine(name, False, attempts, seconds(trio.current_time() - began), "-", str(error))
    took = seconds(trio.current_time() - began)
    says = f"answered as {response.model}" if response.model else "answered"
    return LiveLine(name, True, len(response.attempts), took, dollars(response.cost), says)
