"""What `kernel.cache.explain_miss` tells, as values. Nothing of a request or an answer is in them, but names of fields.

Not here: finding it out (`_cache_controls`).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

__all__ = ["CacheExplanation", "CacheFinding", "NearEntry", "StageCacheExplanation"]

CacheFinding: TypeAlias = Literal["hit", "stale", "expired", "miss", "not_cached"]
"""`hit`: it would be served. `stale`: it would be served, and fetched anew. `expired`: it is there, and too old, unless
every target fails. `miss`: it is not there, or is no answer to what is asked for now. `not_cached`: it would not be
looked for at all."""


class NearEntry(Struct, frozen=True, kw_only=True):
    """A stored answer to a similar question."""

    key: str
    differs: tuple[str, ...]
    """The parts in which its request differs: fields of the body, `messages[2]`, `header NAME`, `url`, `method`."""
    age: float
    """Seconds since it was stored."""


class StageCacheExplanation(Struct, frozen=True, kw_only=True):
    """One target of the call."""

    target: str
    outcome: CacheFinding
    says: str
    """The same in words."""
    key: str | None
    """None: its codec cannot say the request, or the target is passed over."""
    age: float | None
    """Seconds since its answer was stored; None: none is."""
    near: tuple[NearEntry, ...]
    """Where there is none: the nearest ones of the same tenant, those that differ least first."""


class CacheExplanation(Struct, frozen=True, kw_only=True):
    """Why a call would, or would not, be answered from the cache."""

    route: str
    tenant: str
    when: str
    """The policy that applies: `always`, `deterministic` or `never`."""
    stages: tuple[StageCacheExplanation, ...]
    """In the order of the cascade; each is looked up when its turn comes."""

    @property
    def hit(self) -> bool:
        """True where the first target of the cascade would be answered from the cache."""
        return bool(self.stages) and self.stages[0].outcome in {"hit", "stale"}
