"""The most that a call can come to, before it is made: attempts, seconds, tokens and money of a whole cascade.

Not here: where the figures of one attempt come from (timeouts, `bound`, `money`), and the walk itself (`retry`). Every
figure is an upper bound of what `retry.Cascade` can be driven to; what may make a call end earlier (a deadline that
leaves no time, a retry budget, an open circuit) only makes it less.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import attrs

from penstock.policy.call_share import longest_rests
from penstock.policy.holds import NOTHING, Amount
from penstock.policy.retry import RetrySettings, backoff

__all__ = ["FRESH_CONNECTIONS", "StageCase", "WorstCase", "worst_case"]

FRESH_CONNECTIONS = 1
"""An attempt whose kept connection turns out to be dead is made again on a fresh one, once for each stage, and counts
as none of the stage's own (`retry.Same.AT_ONCE`)."""


@attrs.frozen(kw_only=True)
class StageCase:
    """What one stage can come to, as its parts."""

    allowed: int
    """Attempts as configured."""
    longest: float
    """Seconds of its longest attempt."""
    dearest: Amount | None
    """Of one attempt, at most; None where nothing bounds it."""
    share: float = math.inf
    """Failures after which the call rests before it comes back (`call_share`): the smaller of those against its target
    and its provider."""
    provider: str = ""
    """Stages of one provider have one share between them."""
    refused_prefills: int = 0
    """Attempts that may be asked to go on from a prefix in vain, and count as none of those allowed."""
    refused_ways: int = 0
    """Attempts that may be asked for a value in ways that the target refuses; they count as none either."""
    mended: Sequence[Amount | None] = ()
    """As `dearest`, of one attempt after the first repair of an answer, after the second; the last is that of all that
    follow. Empty: as before."""

    @property
    def attempts(self) -> int:
        """Attempts at most: those allowed, and those that count as none of them. 0 where none may be made.

        Those that repair an answer are the call's, and not among them.
        """
        if not self.allowed:
            return 0
        return self.allowed + FRESH_CONNECTIONS + self.refused_prefills + self.refused_ways

    @property
    def trying(self) -> float:
        """Seconds of all its attempts, each at its longest."""
        return self.attempts * self.longest if self.attempts else 0.0

    def dearest_after(self, repairs: int) -> Amount | None:
        """Of one attempt at most, after so many repairs."""
        return self.mended[min(repairs, len(self.mended)) - 1] if repairs and self.mended else self.dearest

    def waits(self, settings: RetrySettings, longest_hint: float = 0.0) -> Iterator[float]:
        """Seconds of each wait that its failures can bring, at its longest.

        One comes after each failure but the last, and is the longer of the back-off and what the server asks for.
        """
        for failures in range(1, self.allowed):
            yield max(backoff(failures, settings, 1.0), longest_hint)


@attrs.frozen(kw_only=True)
class WorstCase:
    """What a whole call can come to."""

    attempts: int
    trying: float
    """Seconds of attempts and back-offs at their longest, where nobody asks the call to wait. At most the deadline."""
    seconds: float
    """Seconds of the call, whatever happens: at most the deadline; infinite where there is neither."""
    total: Amount | None
    """Of all attempts together; None where one that may be made has no bound."""
    dearest: Amount | None
    """Of the dearest single attempt, each unit for itself; None likewise."""


def worst_case(
    stages: Sequence[StageCase],
    *,
    repairs: int = 0,
    deadline: float = math.inf,
    longest_hint: float = math.inf,
    elsewhere: float = math.inf,
    settings: RetrySettings | None = None,
) -> WorstCase:
    """The bounds of a call over these stages.

    `repairs`: how often an answer that is not valid may be asked for again, in the whole call.
    `deadline` is in seconds from the call's start. `longest_hint`: what a server may ask for before the same target is
    tried again; nothing bounds it but the deadline. `elsewhere`: what others may make the call wait in all, beside its
    own failures: a place in the kernel, another call's answer or hold, a cool-down, an open circuit; likewise.
    """
    settings = settings or RetrySettings()
    repairs = repairs if any(stage.attempts for stage in stages) else 0
    repairing = repairs * max((stage.longest for stage in stages if stage.attempts), default=0.0) if repairs else 0.0
    trying = sum(stage.trying for stage in stages) + _resting(stages) + repairing
    backing_off = sum(wait for stage in stages for wait in stage.waits(settings))
    waiting = sum(wait for stage in stages for wait in stage.waits(settings, longest_hint))
    return WorstCase(
        attempts=sum(stage.attempts for stage in stages) + repairs,
        trying=min(deadline, trying + backing_off),
        seconds=min(deadline, trying + waiting + elsewhere),
        total=_total(stages, repairs),
        dearest=_dearest(stages, repairs),
    )


def _resting(stages: Sequence[StageCase]) -> float:
    """Seconds of the rests that failures can bring, each at its longest; those of one provider count together."""
    by_provider: dict[str, list[StageCase]] = {}
    for stage in stages:
        if stage.allowed:
            by_provider.setdefault(stage.provider, []).append(stage)
    return sum(
        longest_rests(
            sum(stage.allowed for stage in together),
            min(stage.share for stage in together),
            doubled=FRESH_CONNECTIONS * len(together),
        )
        for together in by_provider.values()
    )


def _total(stages: Sequence[StageCase], repairs: int) -> Amount | None:
    """Before each repair is one attempt that costs no more than may be asked by then; every other one may come last."""
    total = NOTHING
    for stage in stages:
        if not stage.attempts:
            continue
        dearest = stage.dearest_after(repairs)
        if dearest is None:
            return None
        total += _times(stage.attempts, dearest)
    levels = min(repairs, max((len(stage.mended) for stage in stages), default=0))
    for made in range(levels):
        dearest = _dearest(stages, made)
        if dearest is None:
            return None
        total += dearest
    # From there on each costs the same, however many there are.
    dearest = _dearest(stages, levels)
    return None if dearest is None else total + _times(repairs - levels, dearest)


def _times(attempts: int, each: Amount) -> Amount:
    return Amount(attempts * each.tokens, attempts * each.nano_usd)


def _dearest(stages: Sequence[StageCase], repairs: int) -> Amount | None:
    dearest = NOTHING
    for stage in stages:
        if not stage.attempts:
            continue
        each = stage.dearest_after(repairs)
        if each is None:
            return None
        dearest = dearest.at_least(each)
    return dearest
