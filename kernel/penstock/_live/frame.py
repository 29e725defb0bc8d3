"""One look at a kernel, as it goes over the socket: a line of JSON. Names and figures, never content."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["AccountFrame", "ActorFrame", "CacheFrame", "Frame", "TargetFrame"]


class TargetFrame(Struct, frozen=True, kw_only=True):
    """A target. Its figures count from the moment when somebody began to watch."""

    name: str
    state: str
    """`closed`, `open`, `half_open`, `isolated` or `cooling`; `gone` where a reload has taken it away since."""
    why: str = ""
    """What made it so."""
    for_s: float | None = None
    """Seconds until it may be tried; None: it may, or nobody knows."""
    attempts: int = 0
    failures: int = 0
    per_s: float = 0.0
    """Attempts a second, over the last ten."""
    last_failure: str = ""
    first_token_p95: float | None = None
    """Seconds; None: not known yet."""
    duration_p50: float | None = None
    """Seconds, of the attempts that answered."""


class AccountFrame(Struct, frozen=True, kw_only=True):
    """One window of an account, in the unit that it has a limit in."""

    account: str
    per: str
    unit: str
    limit: float
    spent: float
    held: float


class CacheFrame(Struct, frozen=True, kw_only=True):
    """The cache in memory."""

    entries: int
    bytes: int
    hits: int
    misses: int
    followers: int
    """Calls that wait for another's answer."""


class ActorFrame(Struct, frozen=True, kw_only=True):
    """A mailbox."""

    name: str
    queued: int
    slots_in_use: int
    handled: int


class Frame(Struct, frozen=True, kw_only=True):
    """Everything at one moment."""

    kernel: str
    """Begins the ids of its calls."""
    version: str
    pid: int
    up_s: float
    watched_s: float
    """How long the figures of calls and targets have been counted."""
    closing: bool
    in_flight: int
    waiting: int
    max_in_flight: int
    calls: int
    calls_per_s: float
    outcomes: dict[str, int]
    """By outcome: `ok`, `cancelled`, or the kind of the error."""
    duration_p50: float | None
    duration_p95: float | None
    tokens: int
    cost: float
    """USD, of calls whose prices are known."""
    targets: tuple[TargetFrame, ...]
    accounts: tuple[AccountFrame, ...]
    cache: CacheFrame | None
    actors: tuple[ActorFrame, ...]
    problems: tuple[str, ...]
    missed: int
    """Events that were lost because there were too many between two frames."""
