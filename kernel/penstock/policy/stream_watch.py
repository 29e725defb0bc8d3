"""The clocks of one streamed exchange: which timeout is the next to fire, and which one did.

Pure: `now` is an argument. Not here: the deadline of the whole call, which never stops.
"""

from __future__ import annotations

from msgspec import Struct

from penstock.errors import (
    AttemptTimeoutError,
    FirstTokenTimeoutError,
    IdleTimeoutError,
    TooSlowError,
    TotalTimeoutError,
)

__all__ = ["THROUGHPUT_PERIOD", "Phases", "StreamWatch"]

THROUGHPUT_PERIOD = 10.0
"""Seconds over which `min_throughput` is measured: models pause for a second or two in healthy streams."""


class Phases(Struct, frozen=True, gc=False):
    """The timeouts of one attempt, in seconds, and the slowest stream that is put up with."""

    connect: float = 5.0
    write: float = 30.0
    first_token: float = 30.0
    idle: float = 30.0
    total: float = 600.0
    min_throughput: float | None = None
    """UTF-8 bytes of text, thinking and arguments a second, once the first token came; None: any will do."""
    given: frozenset[str] = frozenset()
    """The names of those that somebody has set: they are kept as they are."""
    halved: bool = False
    """The one that ends a silence is half of what its call had left: see `time_slice`."""

    @property
    def whose(self) -> str:
        """What to say of a silence that has lasted too long, beside the name of its timeout."""
        return "; others are to be asked within the call's time" if self.halved else ""


class StreamWatch:
    """Follows one stream.

    Laws: before the first token `first_token` counts from the start, whatever else comes; `idle` counts from the last
    byte, once one came; `total` from the start; after the first token every period of `THROUGHPUT_PERIOD` seconds must
    bring its share of `min_throughput`, and is over, for the next one to begin, once it has. A pause moves all of them.
    """

    def __init__(self, phases: Phases, now: float) -> None:
        self._phases = phases
        self._started = now
        self._heard: float | None = None
        self._token = False
        self._period: float | None = None
        """When the period of the throughput began that is not yet fulfilled."""
        self._missing = 0.0
        """Bytes that this period still has to bring."""

    def heard(self, now: float) -> None:
        """Bytes came, of any kind."""
        self._heard = now

    def token(self, now: float) -> None:
        """The first delta of text, thinking or a tool call came."""
        self._token = True
        self._heard = now
        if self._phases.min_throughput is not None:
            self._begin_period(now, self._phases.min_throughput)

    def in_one_piece(self) -> None:
        """The answer is no stream after all: it has no first token and no pace, and only `total` is left."""
        self._token, self._heard, self._period = True, None, None

    def brought(self, now: float, output_bytes: int) -> None:
        """So many bytes of the answer itself came."""
        if self._period is not None and self._phases.min_throughput is not None:
            self._missing -= output_bytes
            if self._missing <= 0:
                self._begin_period(now, self._phases.min_throughput)

    def _begin_period(self, now: float, min_throughput: float) -> None:
        self._period, self._missing = now, min_throughput * THROUGHPUT_PERIOD

    def pause(self, seconds: float) -> None:
        """The consumer made the stream wait so long: not the provider's time."""
        self._started += seconds
        if self._heard is not None:
            self._heard += seconds
        if self._period is not None:
            self._period += seconds

    def deadline(self) -> float:
        """When the first of the clocks fires if nothing comes."""
        return min(self._fires().values())

    def error(self, target: str) -> AttemptTimeoutError:
        """The timeout that fired: the one that `deadline` named."""
        fires = self._fires()
        kind = min(fires, key=lambda kind: fires[kind])
        phases = self._phases
        if kind is TotalTimeoutError:
            return TotalTimeoutError(f"{target} was not done within {phases.total:g} s (total)")
        if kind is FirstTokenTimeoutError:
            return FirstTokenTimeoutError(
                f"{target} sent no token within {phases.first_token:g} s (first_token{phases.whose})"
            )
        if kind is TooSlowError:
            slowest = f"{phases.min_throughput:g} bytes a second over {THROUGHPUT_PERIOD:g} s (min_throughput)"
            return TooSlowError(f"{target} sent less than {slowest}")
        return IdleTimeoutError(f"{target} fell silent for {phases.idle:g} s (idle)")

    def _fires(self) -> dict[type[AttemptTimeoutError], float]:
        phases = self._phases
        fires: dict[type[AttemptTimeoutError], float] = {TotalTimeoutError: self._started + phases.total}
        if not self._token:
            fires[FirstTokenTimeoutError] = self._started + phases.first_token
        if self._heard is not None:
            fires[IdleTimeoutError] = self._heard + phases.idle
        if self._period is not None:
            fires[TooSlowError] = self._period + THROUGHPUT_PERIOD
        return fires
