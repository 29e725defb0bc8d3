"""What one call wants of the cache: whether it reads, whether it stores, and how old an answer may be.

Not here: what a stored answer's age means for everybody (`freshness`), and the key (`cache_key`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, TypeAlias

from msgspec import Struct

__all__ = ["CACHE_WORDS", "MAX_AGE", "CachePolicy", "CacheWhen", "cache_policy"]

CacheWhen: TypeAlias = Literal["deterministic", "always", "never"]
"""Which requests are cached at all: those at temperature 0, all, none."""
MAX_AGE = "max-age="


class CachePolicy(Struct, frozen=True, kw_only=True):
    """The cache as one call asks for it. Raises ValueError where `max_age` is no number of seconds.

    A call that does not read still joins one under way that asks the same: that answer is as new as its own would be.
    """

    when: CacheWhen | None = None
    """None: as the route or [cache] says."""
    read: bool = True
    """False: nothing that was stored before the call is used (`refresh`)."""
    store: bool = True
    """False: the answer is neither stored nor shared with calls that wait for the same (`read-only`)."""
    max_age: float | None = None
    """Seconds: an answer that was stored longer ago is not used. None: as long as it is fresh."""

    def __post_init__(self) -> None:
        # A bool is an int, and NaN is neither more nor less than 0.
        if self.max_age is not None and (isinstance(self.max_age, bool) or not 0 <= self.max_age < math.inf):
            raise ValueError(f"max_age is {self.max_age!r}; it must be a number of seconds, 0 or more")


CACHE_WORDS: Mapping[str, CachePolicy] = {
    "always": CachePolicy(when="always"),
    "deterministic": CachePolicy(when="deterministic"),
    "never": CachePolicy(when="never"),
    "no-store": CachePolicy(when="never"),
    "read-only": CachePolicy(store=False),
    "refresh": CachePolicy(read=False),
}
"""The words for it. `no-store` is what HTTP calls `never`: the call leaves nothing in the cache and takes nothing."""


def cache_policy(word: str) -> CachePolicy:
    """The policy of a word, or of `max-age=60`. Raises ValueError that says what is valid."""
    known = CACHE_WORDS.get(word)
    if known is not None:
        return known
    if word.startswith(MAX_AGE):
        try:
            seconds = float(word.removeprefix(MAX_AGE))
        except ValueError:
            raise ValueError(f"{word!r}: max-age must be a number of seconds, as in max-age=60") from None
        return CachePolicy(max_age=seconds)
    raise ValueError(f"{word!r} is not available; valid are {', '.join(sorted(CACHE_WORDS))} and max-age=60")
