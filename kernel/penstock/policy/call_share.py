"""What one call may add to the failures of a target or provider, and how long it rests there once it has.

Not here: what opens a breaker (`circuit`), and whom a call asks meanwhile (`retry`).

A breaker opens on failures of several calls, so that one poisoned request closes no target to all others. Whatever one
call adds beyond its share opens nothing and spares nobody: it can only wait for the next call to fail, or to be
answered. So it asks others first; where there is nobody else, it comes back after a rest, and then once in a minute.
With the default breaker that makes 4 failures at once, a fifth after `REST`, and no more than one in each `LONG_REST`:
of calls that come once in a minute, or more often, six at most reach a target that is down before its breaker opens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import attrs

from penstock.policy.error_actions import Blame
from penstock.policy.steps import Stage

__all__ = ["LONG_REST", "REST", "CallShare", "longest_rests", "rest"]

REST = 15.0
"""Seconds after the failure that was the last of its share: as long as an open circuit stays so at most
(`BreakerSettings.open_cap`)."""
LONG_REST = 60.0
"""Seconds after each one beyond it: a call a minute is the least traffic that a breaker is to be quick for."""


def rest(failures: float, share: float) -> float:
    """Seconds that a call which has failed somewhere so often stays away; 0 while it has not had its share."""
    if failures < share:
        return 0.0
    return REST if failures < share + 1 else LONG_REST


def longest_rests(failures: int, share: float, *, doubled: int = 0) -> float:
    """The most seconds that so many failures, which have one share between them, make a call rest in all.

    `doubled` of them may count twice: the first after a kept connection that had been closed, at each stage.
    """
    return sum(rest(failed + doubled, share) for failed in range(1, failures))


@attrs.define
class _Failed:
    """What a target, or a provider, has cost this call."""

    times: int = 0
    rests_until: float = -math.inf


class CallShare:
    """Failures of one call that breakers count, by target and by provider: several stages may share either.

    Laws: a rest is never shortened but by `forget`; a stage rests as long as the longer of its target and its provider.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = stages
        self._failed: dict[tuple[Blame, str], _Failed] = {}

    def count(self, stage: int, blame: Blame, now: float, *, times: int = 1) -> None:
        """An attempt at the stage failed in a way that the breaker of its target, or of its provider too, counts."""
        mine = self._stages[stage]
        if blame in {Blame.TARGET, Blame.PROVIDER}:
            self._add(Blame.TARGET, mine.target, mine.target_share, times, now)
        if blame is Blame.PROVIDER:
            self._add(Blame.PROVIDER, mine.provider, mine.provider_share, times, now)

    def _add(self, blame: Blame, name: str, share: float, times: int, now: float) -> None:
        failed = self._failed.setdefault((blame, name), _Failed())
        failed.times += times
        if pause := rest(failed.times, share):
            failed.rests_until = max(failed.rests_until, now + pause)

    def is_had(self, stage: int) -> bool:
        """True where the stage's target or provider has failed this call as often as one call should have it fail."""
        mine = self._stages[stage]
        shares = {Blame.TARGET: mine.target_share, Blame.PROVIDER: mine.provider_share}
        return any(failed.times >= shares[blame] for blame, failed in self._of(stage))

    def rests_until(self, stage: int) -> float:
        """Before that moment this call does not come back; minus infinity where it need not rest."""
        return max((failed.rests_until for _, failed in self._of(stage)), default=-math.inf)

    def forget(self, stage: int) -> None:
        """Others have found out how it is with the stage's target and provider: what this call had seen is over."""
        mine = self._stages[stage]
        self._failed.pop((Blame.TARGET, mine.target), None)
        self._failed.pop((Blame.PROVIDER, mine.provider), None)

    def _of(self, stage: int) -> Iterator[tuple[Blame, _Failed]]:
        mine = self._stages[stage]
        for blame, name in ((Blame.TARGET, mine.target), (Blame.PROVIDER, mine.provider)):
            if (failed := self._failed.get((blame, name))) is not None:
                yield blame, failed
