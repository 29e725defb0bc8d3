"""How far one call has come at one stage of its cascade: what it may still do there, and when.

Not here: what makes it move (`retry`), and what stages share (`call_share`).
"""

from __future__ import annotations

import math

import attrs

__all__ = ["Progress"]


@attrs.define
class Progress:
    """Begins as a stage that may be tried at once."""

    failures: int = 0
    not_before: float = -math.inf
    failed_at: float = -math.inf
    """When it failed last: since then the call has waited for it, if it has stayed there."""
    spent: bool = False
    last_resort: bool = False
    """It timed out, or its host cannot be reached: it waits until no other target is left."""
    silent: int = 0
    """How much it has in common with one that kept the call waiting for nothing: see `Stage.closeness`."""
    patient: bool = False
    """A rate limit: what everyone knows of it is what this call waits for."""
    second_chance: bool = True
    """A malformed answer may be asked for once more."""
    fresh_connection: bool = True
    """A reused connection that the server had closed is replaced once."""
    doubtful: bool = False
    """That has just been done: if the fresh one fails as well, it was no idle connection that had been closed."""
